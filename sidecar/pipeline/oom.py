"""Counts the processes that the kernel killed for lack of memory in a process's cgroup. Linux only.

Source: the kernel's ``Documentation/admin-guide/cgroup-v2.rst``, ``memory.events``, key ``oom_kill``; for cgroup v1
``cgroup-v1/memory.rst``, ``memory.oom_control``, the same key.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class OomKills(NamedTuple):
    """Number of processes that the kernel has killed in a cgroup, and the file that counts them."""

    path: Path
    kills: int


def read_oom_kills(pid: int, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> OomKills | None:
    """Return the kills in the cgroup of `pid`, or None where they cannot be read.

    Args:
        pid: the process.
        proc: where procfs is mounted.
        cgroups: where the cgroup hierarchies are mounted.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            path = cgroups / group.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            path = cgroups / "memory" / group.lstrip("/") / "memory.oom_control"
        else:
            continue
        kills = _read_count(path)
        if kills is not None:
            return OomKills(path, kills)
    return None


def killed_since(before: OomKills | None) -> bool:
    """Whether the kernel has killed a process of the cgroup since `before` was read."""
    if before is None:
        return False
    kills = _read_count(before.path)
    return kills is not None and kills > before.kills


def _read_count(path: Path) -> int | None:
    try:
        words = path.read_text().split()
    except OSError:
        return None
    try:
        return int(words[words.index("oom_kill") + 1])
    except (ValueError, IndexError):
        return None
