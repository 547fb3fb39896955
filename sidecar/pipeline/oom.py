"""Whether the kernel killed something for want of memory in a process's cgroup. Linux only; elsewhere nobody can say.

Source: the kernel's ``Documentation/admin-guide/cgroup-v2.rst``, ``memory.events``, key ``oom_kill``; for cgroup v1
``cgroup-v1/memory.rst``, ``memory.oom_control``, the same key.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/sys/fs/cgroup")


class OomCount(NamedTuple):
    """How many processes of a cgroup the kernel has killed so far, and the file that says so."""

    path: Path
    kills: int


def oom_count(pid: int) -> OomCount | None:
    """Return the count of the cgroup that `pid` is in; None where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            path = _ROOT / group.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            path = _ROOT / "memory" / group.lstrip("/") / "memory.oom_control"
        else:
            continue
        count = _read(path)
        if count is not None:
            return OomCount(path, count)
    return None


def oom_since(before: OomCount | None) -> bool:
    """Whether there was a kill since `before` was read."""
    if before is None:
        return False
    now = _read(before.path)
    return now is not None and now > before.kills


def _read(path: Path) -> int | None:
    try:
        words = path.read_text().split()
    except OSError:
        return None
    try:
        return int(words[words.index("oom_kill") + 1])
    except (ValueError, IndexError):
        return None
