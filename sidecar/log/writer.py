"""Appends to a transaction log. Knows nothing of the content of records, of stores, sockets or threads.

One process writes a run's log: the one that holds the run's lock.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sidecar.log.reader import HEADER_BYTES, MAGIC, VERSION, LogReader, header
from sidecar.protocol.atomic import sync_directory

_COPY_BYTES = 1 << 20
"""Bytes of a log that are copied at a time."""

_Self = TypeVar("_Self", bound="LogWriter")


class LogWriter:
    """Appends framed records to a log; made by `open`. A context manager; `close` may be called twice.

    Attributes:
        path: the log.
        offset: where the next record will begin.
    """

    def __init__(self, path: Path, fd: int, offset: int) -> None:
        self.path = path
        self.offset = offset
        self._fd = fd
        self._named = False

    @classmethod
    def open(cls: type[_Self], path: str | os.PathLike[str], end: int | None = None) -> _Self:
        """Open the log at `path` for appending; create it, with its header, if there is none.

        A torn tail, which a crash in the middle of a write leaves behind, is cut off: it was never acked.

        Args:
            path: the log.
            end: the offset after the last valid record, if the caller has read the log; None to read it here.

        Raises:
            LogFormatError: the file is not a transaction log. OSError: it cannot be created or written.
        """
        path = Path(path)
        if end is None:
            end = _end_of(path) if path.exists() else 0
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        log = cls(path, fd, max(end, HEADER_BYTES))
        try:
            if _lacks_header(os.pread(fd, HEADER_BYTES, 0)):
                log._write(header(), 0)
            os.ftruncate(fd, log.offset)
        except BaseException:
            log.close()
            raise
        return log

    def append(self, data: bytes | memoryview, *, sync: bool = False) -> None:
        """Append whole frames. After an error nothing of `data` is in the log, and the call can be repeated.

        Args:
            data: the frames.
            sync: return when they are on the disk. After a failed fsync, Linux treats the pages that it could not
                write as written, so only writing them again makes the next fsync meaningful.

        Raises:
            OSError: such as no space left.
        """
        try:
            self._write(data, self.offset)
            if sync:
                self.sync()
        except OSError:
            self._cut()
            raise
        self.offset += len(data)

    @property
    def removed(self) -> bool:
        """Whether the file was removed from every directory; its content is still there while it is open here."""
        return os.fstat(self._fd).st_nlink == 0

    def put_back(self) -> None:
        """Write what is in the log to a new file of the same name, and continue with that one.

        Raises:
            FileExistsError: there is another file of that name. OSError: the file cannot be written.
        """
        new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        old, self._fd = self._fd, new
        try:
            for start in range(0, self.offset, _COPY_BYTES):
                self._write(os.pread(old, min(_COPY_BYTES, self.offset - start), start), start)
        except OSError:
            self._fd = old
            os.close(new)
            self.path.unlink(missing_ok=True)
            raise
        os.close(old)
        self._named = False

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written

    def _cut(self) -> None:
        """Remove a partial write; if that fails too, the next append overwrites it."""
        try:
            os.ftruncate(self._fd, self.offset)
        except OSError:
            return

    def sync(self) -> None:
        """Return when everything appended is on the disk (fsync), the first time with the name of the file."""
        os.fsync(self._fd)
        if not self._named:
            for directory in (self.path.parent, self.path.parent.parent):
                sync_directory(directory)
            self._named = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lacks_header(start: bytes) -> bool:
    """Whether a log that begins with `start` is new, or has a header of an earlier format, or one torn in between."""
    earlier = start[:8] == MAGIC and 0 < int.from_bytes(start[8:12], "big") <= VERSION
    return len(start) < HEADER_BYTES or (earlier and start != header())


def _end_of(path: Path) -> int:
    """Return the offset after the last valid record of a log."""
    with LogReader(path) as reader:
        for _ in reader.batches():
            pass
        return reader.offset
