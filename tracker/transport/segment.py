"""A segment: a part of a window, in a file or in memory, mapped while it is written to. Used by `Window` only."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from sidecar.protocol.segments import HEADER_BYTES, header

_MADV_POPULATE_WRITE = 23  # madvise(2), Linux 5.14; Python 3.10 to 3.12 have no name for it


class Segment(ABC):
    """A part of the window.

    Attributes:
        first: the number of its first record.
        last, end: the number of its last record and the offset of that record's end, once the segment is complete.
        memory: where records are written; None once the segment is complete.
    """

    __slots__ = ("end", "first", "last", "memory", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.first = self.last = self.end = 0
        self.memory: mmap.mmap | None = None

    @abstractmethod
    def map(self) -> None:
        """Have `memory`.

        Raises:
            OSError: there is no room in the address space.
        """

    def begin(self, first: int) -> None:
        """Begin to use the segment, with `first` as the number of its first record; it must be mapped."""
        assert self.memory is not None
        self.memory[:HEADER_BYTES] = header(first)
        self.first, self.last, self.end = first, 0, 0

    @abstractmethod
    def retire(self) -> mmap.mmap | None:
        """Note that the segment is complete; return what is to be closed when there is time for it."""

    @abstractmethod
    def read(self, count: int, position: int) -> bytes:
        """Return bytes of the segment.

        Raises:
            OSError: its file was removed.
        """

    @abstractmethod
    def invalidate(self) -> None:
        """Have a reader of the window ignore the segment until it is used again."""

    @abstractmethod
    def close(self, *, remove: bool) -> None:
        """Close what it holds. May be called twice.

        Args:
            remove: whether to remove the file.
        """

    @abstractmethod
    def close_descriptor(self) -> None:
        """Close the descriptor of its file: it is opened again to be read."""


class FileSegment(Segment):
    """A segment in a file, which outlives the process.

    Args:
        directory: descriptor of the window's directory, which may be renamed.
        name: the file's name in it.
        size: its size in bytes.

    Raises:
        OSError: the file cannot be made.
    """

    __slots__ = ("_directory", "_fd", "_name")

    def __init__(self, directory: int, name: str, size: int) -> None:
        super().__init__(size)
        self._directory = directory
        self._name = name
        self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            _allocate(self._fd, size)
            self.map()
        except BaseException:
            self.close(remove=True)
            raise

    def map(self) -> None:
        """Map the file with its pages present and writable, so that the hot path meets no page fault."""
        if self.memory is None:
            with self._descriptor() as fd:
                self.memory = mmap.mmap(fd, self.size)
            try:
                self.memory.madvise(_MADV_POPULATE_WRITE)
            except (OSError, ValueError, AttributeError):
                return  # an older kernel: the first write to each page faults

    def retire(self) -> mmap.mmap | None:
        memory, self.memory = self.memory, None
        return memory

    def read(self, count: int, position: int) -> bytes:
        with self._descriptor() as fd:
            return os.pread(fd, count, position)

    def invalidate(self) -> None:
        with self._descriptor() as fd:
            os.pwrite(fd, bytes(HEADER_BYTES), 0)

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[int]:
        if self._fd >= 0:
            yield self._fd
            return
        fd = os.open(self._name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            yield fd
        finally:
            os.close(fd)

    def close_descriptor(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self, *, remove: bool) -> None:
        memory = self.retire()
        if memory is not None:
            memory.close()
        self.close_descriptor()
        if remove:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)


class MemorySegment(Segment):
    """A segment in memory, where no file can be made: its records are lost with the process.

    Args:
        size: its size in bytes.

    Raises:
        OSError: there is no memory.
    """

    __slots__ = ("_kept",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._kept = self.memory = mmap.mmap(-1, size)

    def map(self) -> None:
        self.memory = self._kept

    def retire(self) -> mmap.mmap | None:
        self.memory = None
        return None

    def read(self, count: int, position: int) -> bytes:
        return self._kept[position : position + count]

    def invalidate(self) -> None:
        """Nothing: no other process can read it."""

    def close_descriptor(self) -> None:
        """Nothing: it has none."""

    def close(self, *, remove: bool) -> None:
        self.memory = None
        self._kept.close()


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
