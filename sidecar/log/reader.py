"""Reads a transaction log, from any process, also while it grows. Knows nothing of stores, sockets or threads.

The file: a header of 16 bytes, then frames (`sidecar.protocol.frames`), each holding one record. Corruption is data
here: a damaged stretch is skipped and listed in `damage`, a torn tail is a normal end.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from sidecar.protocol.codec import decode_envelope, decode_frames
from sidecar.protocol.errors import LogFormatError, RecordError
from sidecar.protocol.frames import HEAD_BYTES, MARK, find_frame, scan
from sidecar.protocol.limits import MAX_RECORD_BYTES
from sidecar.protocol.records import Record

MAGIC = b"\x89TRKLOG\n"
VERSION = 1
_HEADER = struct.Struct(">8sII")
HEADER_BYTES = _HEADER.size

BATCH_BYTES = 1 << 20
"""Approximate size of a batch, in bytes of the log."""

_FRAME_BYTES = MAX_RECORD_BYTES + HEAD_BYTES
_SEARCH_BYTES = 2 * _FRAME_BYTES
"""Most bytes read at once to find the next valid frame: every frame that begins in the first half is whole in them."""


def header() -> bytes:
    """Return the 16 bytes that a log begins with: magic, version, and the CRC-32 of both."""
    start = MAGIC + VERSION.to_bytes(4, "big")
    return start + zlib.crc32(start).to_bytes(4, "big")


class Batch(NamedTuple):
    """Consecutive records of a log.

    Attributes:
        records: the records.
        end: the offset after the last record: a checkpoint.
        ends: the offset after each record.
    """

    records: list[Record]
    end: int
    ends: list[int]


class LogReader:
    """Reads records from a log; a context manager.

    Args:
        path: the log.
        offset: where to begin, an earlier `Batch.end`; None or 0 for the first record.

    Attributes:
        offset: the offset after the last record that was read.
        damage: the stretches ``(start, end)`` that were skipped, in bytes of the file.

    Raises:
        LogFormatError: the file is not a transaction log, or has a later format. FileNotFoundError: there is no file.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int | None = None) -> None:
        self.path = Path(path)
        self.damage: list[tuple[int, int]] = []
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        try:
            self.offset = offset or self._check_header()
        except BaseException:
            self._file.close()
            raise

    def _check_header(self) -> int:
        """Return the offset of the first frame."""
        start = self._read(HEADER_BYTES, 0)
        if start == header() or header().startswith(start):
            return HEADER_BYTES
        if start[:8] == MAGIC and zlib.crc32(start[:12]) == int.from_bytes(start[12:], "big"):
            version = int.from_bytes(start[8:12], "big")
            raise LogFormatError(f"{self.path} has log format {version}; this program reads format {VERSION}")
        first = find_frame(self._read(_SEARCH_BYTES, 0), 0)
        if first < 0:
            raise LogFormatError(
                f"{self.path} is not a transaction log: it begins with {start!r} and holds no valid record"
            )
        self.damage.append((0, min(HEADER_BYTES, first)))
        return min(HEADER_BYTES, first)

    def _read(self, size: int, offset: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def size(self) -> int:
        """Return the current size of the file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def batches(self, max_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
        """Yield batches of about `max_bytes` up to the current end. Call it again for what was appended since.

        Memory is bounded by a few records of the largest size, however long a damaged stretch is.
        """
        position, wanted = self.offset, max_bytes  # no valid frame begins between `self.offset` and `position`
        while data := self._read(wanted, position):
            records, ends = _decode(data)
            if records:
                if position > self.offset:
                    self._skip(self.offset, position)
                self.offset = position + ends[-1]
                yield Batch(records, self.offset, [position + end for end in ends])
                position, wanted = self.offset, max_bytes
                continue
            at_end = len(data) < wanted
            next_record, searched = _find_record(data, at_end=at_end)
            if next_record is not None:
                position += next_record
            elif at_end:
                return  # a torn tail, or a record that is still being written
            elif wanted < _SEARCH_BYTES:
                wanted = _SEARCH_BYTES
            else:
                position += searched
            data = b""  # so that memory holds one search at a time

    def rewind(self, offset: int) -> None:
        """Continue at an earlier record's end, as if nothing behind it had been read."""
        self.offset = offset
        self.damage = [(start, min(end, offset)) for start, end in self.damage if start < offset]

    def _skip(self, start: int, end: int) -> None:
        if self.damage and self.damage[-1][1] == start:
            start = self.damage.pop()[0]
        self.damage.append((start, end))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _decode(data: bytes) -> tuple[list[Record], list[int]]:
    """Decode the records at the beginning of `data`: the one place where a reader's records come from."""
    return decode_frames(data)


def _find_record(data: bytes, *, at_end: bool) -> tuple[int | None, int]:
    """Find the first valid record in `data`, which does not begin with one.

    Args:
        data: bytes of the log.
        at_end: whether the log ends with them; if not, a frame at their beginning may continue behind them.

    Returns:
        where the record begins, or None; if there is none, how many bytes need not be searched again.
    """
    searched = 0
    for start, end, payload in scan(data, final=at_end):
        if payload is not None and _is_record(payload):
            return start, start
        searched = end  # damage, or a right checksum over what is not a record
    cut = data.find(MARK, max(searched, len(data) - _FRAME_BYTES))
    return None, cut if cut >= 0 else len(data)


def _is_record(payload: memoryview) -> bool:
    try:
        decode_envelope(payload)
    except RecordError:
        return False
    return True
