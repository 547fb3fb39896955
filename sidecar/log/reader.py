"""Reads a transaction log, from any process, also while it grows. Knows nothing of stores, sockets or threads.

The file: a header of 16 bytes, then frames (`sidecar.protocol.frames`), each one record. Corruption is data here: a
damaged stretch is skipped and named in `damage`, a torn tail is a normal end.
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
from sidecar.protocol.frames import HEAD_BYTES, find_frame, scan
from sidecar.protocol.limits import MAX_RECORD_BYTES
from sidecar.protocol.records import Record

MAGIC = b"\x89TRKLOG\n"
VERSION = 1
_HEADER = struct.Struct(">8sII")
HEADER_BYTES = _HEADER.size


def header() -> bytes:
    """Return the 16 bytes a log begins with: magic, version, and the CRC-32 of both."""
    start = MAGIC + VERSION.to_bytes(4, "big")
    return start + zlib.crc32(start).to_bytes(4, "big")


class Batch(NamedTuple):
    """Records that stand one after another in the log.

    Attributes:
        records: the records.
        end: the offset after the last: a checkpoint.
        ends: for each record the offset after it.
    """

    records: list[Record]
    end: int
    ends: list[int]


class LogReader:
    """Reads records from `path`, from `offset` on.

    Args:
        path: the log.
        offset: where to begin, a `Batch.end` of before; None for the beginning.

    Attributes:
        offset: after the last record that was read.
        damage: the stretches ``(start, end)`` that were skipped, in bytes of the file.

    Raises:
        LogFormatError: the file is there and is no transaction log, or of a later format. FileNotFoundError: no file.
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
        """Return where the frames begin."""
        found = os.pread(self._file.fileno(), HEADER_BYTES, 0)
        if found == header() or header().startswith(found):
            return HEADER_BYTES
        if found[:8] == MAGIC and zlib.crc32(found[:12]) == int.from_bytes(found[12:], "big"):
            version = int.from_bytes(found[8:12], "big")
            raise LogFormatError(f"{self.path}: a transaction log of format {version}; this program reads {VERSION}")
        first = find_frame(os.pread(self._file.fileno(), 2 * MAX_RECORD_BYTES, 0), 0)
        if first < 0:
            raise LogFormatError(f"{self.path}: no transaction log: it begins with {found!r} and has no whole record")
        self.damage.append((0, min(HEADER_BYTES, first)))
        return min(HEADER_BYTES, first)

    def size(self) -> int:
        """Return the file's size in bytes, now."""
        return os.fstat(self._file.fileno()).st_size

    def batches(self, max_bytes: int = 1 << 20) -> Iterator[Batch]:
        """Yield batches of about `max_bytes` up to the end that is there now. Call it again for what came since."""
        wanted = max_bytes
        while data := os.pread(self._file.fileno(), wanted, self.offset):
            records, ends = decode_frames(data)
            end = ends[-1] if ends else 0
            if end < len(data):
                end = self._look_behind(data, end, final=len(data) < wanted)
            if end > 0:
                wanted = max_bytes
                start = self.offset
                self.offset += end
                yield Batch(records, self.offset, [start + each for each in ends])
            elif len(data) < wanted:
                return
            else:
                wanted = max(4 * wanted, 2 * (MAX_RECORD_BYTES + HEAD_BYTES))

    def _look_behind(self, data: bytes, end: int, *, final: bool) -> int:
        """Skip the damage at `end`, if a good frame follows it in `data`; return where to go on.

        What is at `end` may also be a frame that `data` does not hold to its end, a torn tail, or one that is being
        written: then there is nothing to skip.
        """
        for start, stop, payload in scan(data, end, final=final):
            if payload is not None and not _decodes(payload):
                payload = None  # a right checksum over what is no record
            if payload is not None:
                break
            self._skip(self.offset + start, self.offset + stop)
            end = stop
        return end

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


def _decodes(payload: memoryview) -> bool:
    try:
        decode_envelope(payload)
    except RecordError:
        return False
    return True
