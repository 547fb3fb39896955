"""A segment: one file of a window, mapped into memory while it is written to. Used by `Window` only."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from sidecar.protocol.segments import HEADER_BYTES, header

_MADV_POPULATE_WRITE = 23  # madvise(2), Linux 5.14; Python 3.10 to 3.12 have no name for it


class Segment:
    """One file of the window.

    Attributes:
        first: the number of its first record.
        last, end: the number of its last record and the offset of that record's end, once the segment is complete.
        memory: the mapping; None once the segment is complete.
    """

    __slots__ = ("end", "fd", "first", "last", "memory", "path", "size")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.first = self.last = self.end = 0
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.memory: mmap.mmap | None = None
        try:
            _allocate(self.fd, size)
            self.map()
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise

    def map(self) -> None:
        """Map the file with its pages present and writable, so that the hot path meets no page fault."""
        if self.memory is None:
            self.memory = mmap.mmap(self.fd, self.size)
            try:
                self.memory.madvise(_MADV_POPULATE_WRITE)
            except (OSError, ValueError, AttributeError):
                return  # an older kernel: the first write to each page faults

    def begin(self, first: int) -> None:
        """Begin to use the segment, with `first` as the number of its first record."""
        self.map()
        assert self.memory is not None
        self.memory[:HEADER_BYTES] = header(first)
        self.first, self.last, self.end = first, 0, 0

    def close(self, *, remove: bool) -> None:
        if self.memory is not None:
            self.memory.close()
            self.memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if remove:
            self.path.unlink(missing_ok=True)


def _allocate(fd: int, size: int) -> None:
    """Allocate the file's blocks, so that a full disk is an error here and never a SIGBUS in the hot path."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        part = zeros[: size - offset]
        if os.pwrite(fd, part, offset) < len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
