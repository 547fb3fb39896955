"""Appends to a transaction log. Knows nothing of what a record says, of stores, sockets or threads.

One process writes a run's log: whoever holds the run's lock.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from sidecar.log.reader import HEADER_BYTES, LogReader, header
from sidecar.protocol.atomic import sync_directory


class LogWriter:
    """Appends framed records to `path`; makes the file, with its header, if there is none.

    A torn tail, left by a death in the middle of a write, is cut before the first append: it was never acked.

    Args:
        path: the log.
        end: the offset after the last good record, where the caller has read the log already; None: it is read here.

    Attributes:
        offset: where the next record will begin.

    Raises:
        LogFormatError: the file is there and is no transaction log. OSError: it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str], end: int | None = None) -> None:
        self.path = Path(path)
        if end is None and self.path.exists():
            with LogReader(self.path) as reader:
                for _ in reader.batches():
                    pass
                end = reader.offset
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._named = False
        try:
            self.offset = max(end or 0, HEADER_BYTES)
            if os.fstat(self._fd).st_size < HEADER_BYTES:
                self._write(header(), 0)
            os.ftruncate(self._fd, self.offset)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, data: bytes | memoryview, *, sync: bool = False) -> None:
        """Append whole frames. After an error nothing of `data` is in the log, and it can be tried again.

        Args:
            data: the frames.
            sync: return when they are on the disk. After an fsync that failed Linux takes what it could not write for
                written, so only writing it once more makes the next fsync's word worth something.

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

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view = view[written:]
            offset += written

    def _cut(self) -> None:
        """Take back a part that was written; if that fails too, the next append writes over it."""
        try:
            os.ftruncate(self._fd, self.offset)
        except OSError:
            return

    def sync(self) -> None:
        """Return when all that was appended is on the disk (fsync); the first time the file's name too."""
        os.fsync(self._fd)
        if not self._named:
            for directory in (self.path.parent, self.path.parent.parent):
                sync_directory(directory)
            self._named = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
