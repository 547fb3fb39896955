"""Notices at once when a process ends: pidfd_open(2) where the system has it, psutil's polling elsewhere.

Used on the HandlerThread. Knows only process ids that are valid here (see `sidecar.protocol.connection.machine_id`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_Open = Callable[[int], int]
_pidfd_open: _Open | None = getattr(os, "pidfd_open", None)


class Watch:
    """Watches processes; each under a key of the caller's."""

    def __init__(self) -> None:
        self._by_fd: dict[int, Hashable] = {}
        self._polled: dict[Hashable, psutil.Process] = {}
        self._gone: list[Hashable] = []

    def add(self, pid: int, key: Hashable) -> int | None:
        """Begin to watch `pid`; return a descriptor to poll, readable when the process ends; None where there is none.

        A process that is gone already is told by the next `gone`.
        """
        if _pidfd_open is not None:
            try:
                fd = _pidfd_open(pid)
                self._by_fd[fd] = key
                return fd
            except ProcessLookupError:
                self._gone.append(key)
                return None
            except (OSError, OverflowError):
                pass  # no pidfd in this kernel, or not allowed: poll
        import psutil

        try:
            self._polled[key] = psutil.Process(pid)
        except (psutil.NoSuchProcess, ValueError, OverflowError):  # the number is a client's, and may be none
            self._gone.append(key)
        return None

    def ended(self, fd: int) -> Hashable | None:
        """Return the key whose descriptor became readable, and stop watching it; None if `fd` is not ours."""
        key = self._by_fd.pop(fd, None)
        if key is not None:
            os.close(fd)
        return key

    def gone(self) -> Iterator[Hashable]:
        """Yield the keys of the processes that ended and have no descriptor, each once."""
        yield from self._gone
        self._gone.clear()
        for key, process in list(self._polled.items()):
            if _is_over(process):
                del self._polled[key]
                yield key

    def forget(self, key: Hashable) -> int | None:
        """Stop watching; return the descriptor that is closed by it, if there was one."""
        self._polled.pop(key, None)
        for fd, held in list(self._by_fd.items()):
            if held == key:
                del self._by_fd[fd]
                os.close(fd)
                return fd
        return None

    def close(self) -> None:
        for fd in self._by_fd:
            os.close(fd)
        self._by_fd.clear()
        self._polled.clear()


def _is_over(process: psutil.Process) -> bool:
    import psutil

    try:
        return not process.is_running() or process.status() == "zombie"
    except psutil.NoSuchProcess:  # it ended between the two
        return True
    except psutil.AccessDenied:
        return False
