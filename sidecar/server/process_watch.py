"""Process watch: notices at once when a process ends, by pidfd_open(2) or else by polling with psutil.

Used on the HandlerThread. Its process ids are valid on this machine (see `sidecar.protocol.connection.machine_id`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_Open = Callable[[int], int]
_pidfd_open: _Open | None = getattr(os, "pidfd_open", None)


class ProcessWatch:
    """Watches processes, each under a key that the caller chooses."""

    def __init__(self) -> None:
        self._by_fd: dict[int, Hashable] = {}
        self._polled: dict[Hashable, psutil.Process] = {}
        self._gone: list[Hashable] = []

    def add(self, pid: int, key: Hashable) -> int | None:
        """Watch `pid`; return a descriptor that becomes readable when the process ends, or None if it is polled.

        A process that has ended already is yielded by the next `gone`.
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
        except (psutil.NoSuchProcess, ValueError, OverflowError):  # a client sent the number: it may not be valid
            self._gone.append(key)
        return None

    def ended(self, fd: int) -> Hashable | None:
        """Return the key whose descriptor became readable, and stop watching it; None if `fd` is of something else."""
        key = self._by_fd.pop(fd, None)
        if key is not None:
            os.close(fd)
        return key

    def gone(self) -> Iterator[Hashable]:
        """Yield the keys of ended processes that have no descriptor, each once."""
        yield from self._gone
        self._gone.clear()
        for key, process in list(self._polled.items()):
            if _has_ended(process):
                del self._polled[key]
                yield key

    def forget(self, key: Hashable) -> int | None:
        """Stop watching a process; return the descriptor that was closed, if it had one."""
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


def _has_ended(process: psutil.Process) -> bool:
    import psutil

    try:
        return not process.is_running() or process.status() == "zombie"
    except psutil.NoSuchProcess:  # it ended between the two
        return True
    except psutil.AccessDenied:
        return False
