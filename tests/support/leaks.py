"""Leaks: detects threads, processes, file descriptors and socket directories that a test leaves behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class Leaks:
    """Compares threads, processes, file descriptors and socket directories with those at its creation.

    Args:
        temporary: the directory that all processes of these tests have as their ``TMPDIR``.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._running = frozenset(filter(str.isdigit, os.listdir("/proc")))
        self._before = self._now()
        self._allow_socket_directories = False

    def allow_socket_directories(self) -> None:
        """Do not report socket directories: a sidecar that is killed cannot remove its own."""
        self._allow_socket_directories = True

    def _now(self) -> dict[str, set[str]]:
        return {
            "thread": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
            "process": {f"{pid}: {command}" for pid, command in processes(self._temporary, self._running)},
            "file descriptor": set(_descriptors()),
            "socket directory": {path.name for path in self._temporary.glob("tracker-*")},
        }

    def remaining(self, seconds: float = 10.0) -> list[str]:
        """Return what is new since the creation and does not disappear within `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            new = [f"{what} {name}" for what, names in self._now().items() for name in names - self._before[what]]
            if self._allow_socket_directories:
                new = [line for line in new if not line.startswith("socket directory")]
            if not new or time.monotonic() > deadline:
                return new
            gc.collect()
            time.sleep(0.01)

    def kill_processes(self) -> None:
        """Kill the remaining processes, so that they do not disturb the next test."""
        for pid, _ in processes(self._temporary, self._running):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def processes(temporary: Path, exclude: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Yield process id and command of each process of these tests, orphans included.

    These are the children of this process, and the processes whose ``TMPDIR`` is `temporary`.
    """
    mark = b"TMPDIR=" + os.fsencode(temporary)
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry in exclude or int(entry) == os.getpid():
            continue
        try:
            status = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            ours = mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (ours or int(status[1]) == os.getpid()) and "resource_tracker" not in command:
            yield int(entry), command.strip()


def _descriptors() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield f"{name}: {os.readlink(f'/proc/self/fd/{name}')}"
        except OSError:
            continue
