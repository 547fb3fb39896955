"""Reads a transaction log, from any process, also while it grows. Knows nothing of stores, sockets or threads.

The file: a header of 16 bytes, then frames (`sidecar.protocol.frames`), each holding one record. Corruption is data
here: a damaged stretch is skipped and listed in `damage`, a torn tail is a normal end.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from sidecar.protocol.checks import check, check_envelope, is_usual
from sidecar.protocol.codec import NO_SCHEMAS, decode, decode_frames
from sidecar.protocol.errors import LogFormatError, RecordError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK, find_frame, scan, valid_at
from sidecar.protocol.limits import MAX_RECORD_BYTES, MAX_RUN_KEYS
from sidecar.protocol.records import Record
from sidecar.protocol.rows import ROW, SCHEMA, Item, Rows, Schema, record_ends, records_of, word_of

MAGIC = b"\x89TRKLOG\n"
VERSION = 2
"""Version of the format: rows are known from 2 on."""

_READABLE = (1, 2)
_HEADER = struct.Struct(">8sII")
HEADER_BYTES = _HEADER.size

BATCH_BYTES = 1 << 18
"""Approximate size of a batch, in bytes of the log; larger ones do not fit into a processor's cache."""

_LOOK_BACK_BYTES = 1 << 20
_MAX_LOOK_BACK_BYTES = 1 << 24
"""Bytes of the log that are searched for a schema at a time, at first and at most."""

_MAX_UNDECLARED = 1000
"""Maximum number of schemas whose rows are counted in `LogReader.undeclared`."""

_SCHEMA_NAME = SCHEMA.encode()
_BEFORE_NAME = tuple(
    array + text
    for array in (b"\x96", b"\xdc\0\6", b"\xdd\0\0\0\6")
    for text in (b"\xa6", b"\xd9\6", b"\xda\0\6", b"\xdb\0\0\0\6")
)
"""What a ``schema`` record may begin with before its kind: an array of six, a text of six bytes, in msgpack."""

_FRAME_BYTES = MAX_RECORD_BYTES + HEAD_BYTES
_SEARCH_BYTES = 2 * _FRAME_BYTES
"""Most bytes read at once to find the next valid frame: every frame that begins in the first half is whole in them."""


def header(version: int = VERSION) -> bytes:
    """Return the 16 bytes that a log begins with: magic, version, and the CRC-32 of both."""
    start = MAGIC + version.to_bytes(4, "big")
    return start + zlib.crc32(start).to_bytes(4, "big")


class Batch:
    """Consecutive records of a log.

    Attributes:
        items: the records; rows of one schema that follow one another may be together, in columns.
        item_ends: the offset after each item.
        end: the offset after the last record: a checkpoint.
        schemas: word -> schema, of the rows.

    Args:
        items, item_ends, schemas: see above.
        data: the bytes of the log that hold the records.
        position: offset of the data in the log.
    """

    __slots__ = ("_data", "_ends", "_position", "_records", "end", "item_ends", "items", "schemas")

    def __init__(
        self,
        items: Sequence[Item],
        item_ends: Sequence[int],
        schemas: Mapping[int, Schema] = NO_SCHEMAS,
        data: bytes = b"",
        position: int = 0,
    ) -> None:
        self.items = items
        self.item_ends = item_ends
        self.end = item_ends[-1]
        self.schemas = schemas
        self._data = data
        self._position = position
        self._records: Sequence[Record] | None = None
        self._ends: Sequence[int] | None = None

    @property
    def records(self) -> Sequence[Record]:
        """The records one by one; a row is a ``log`` record."""
        if self._records is None:
            self._records = records_of(self.items)
        return self._records

    @property
    def ends(self) -> Sequence[int]:
        """The offset after each of `records`."""
        if self._ends is None:
            self._ends = record_ends(self.items, self.item_ends)
        return self._ends

    @property
    def first_end(self) -> int:
        """The offset after the first record."""
        return record_ends(self.items[:1], self.item_ends[:1])[0]

    def frames(self, number: int) -> bytes:
        """Return the bytes in the log of the item `number`; b"" for a batch that was not read from a log."""
        if not self._data:
            return b""
        start = self.item_ends[number - 1] if number else self._position
        return self._data[start - self._position : self.item_ends[number] - self._position]

    @property
    def count(self) -> int:
        """Number of records."""
        return sum(item.count if type(item) is Rows else 1 for item in self.items)

    @property
    def kinds(self) -> set[str]:
        """The kinds of the records."""
        return {"log" if isinstance(item, Rows) else item.kind for item in self.items}

    def of(self, kinds: Container[str]) -> Iterator[Record]:
        """Yield the records of some kinds; rows are not made into records unless ``log`` is one of the kinds."""
        for item in self.records if "log" in kinds else self.items:
            if isinstance(item, Record) and item.kind in kinds:
                yield item

    def before(self, offset: int) -> Batch | None:
        """Return the batch of the records that end at or before `offset`, or None if no record does."""
        number = bisect_right(self.item_ends, offset)
        items, ends = list(self.items[:number]), list(self.item_ends[:number])
        if number < len(self.items) and isinstance(rows := self.items[number], Rows):
            size = rows.schema.frame_bytes
            start = self.item_ends[number] - rows.count * size
            if offset >= start + size:
                whole = (offset - start) // size
                items.append(rows.part(0, whole))
                ends.append(start + whole * size)
        return Batch(items, ends, self.schemas, self._data, self._position) if items else None


class LogReader:
    """Reads records from a log; a context manager.

    Args:
        path: the log.
        offset: where to begin, an earlier `Batch.end`; None or 0 for the first record.

    Attributes:
        offset: the offset after the last record that was read.
        damage: the stretches ``(start, end)`` that were skipped, in bytes of the file.
        schemas: the schemas that were read, by the word that names them in a row.
        undeclared: how many rows were skipped, by the word that names their schema, because it is declared nowhere
            before them: its declaration is damaged.

    Raises:
        LogFormatError: the file is not a transaction log, or has a later format. FileNotFoundError: there is no file.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int | None = None) -> None:
        self.path = Path(path)
        self.damage: list[tuple[int, int]] = []
        self.schemas: dict[int, Schema] = {}
        self.undeclared: dict[int, int] = {}
        self._counted = 0
        self._keys: set[str] = set()  # of metrics, that were checked
        self._look_back_bytes = _LOOK_BACK_BYTES
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        try:
            start = self._read(HEADER_BYTES, 0)
            self._refuse_later_format(start)  # from any offset: what it holds would be taken for damage
            self.offset = offset or self._check_header(start)
            self._unsearched = self.offset if offset else 0
        except BaseException:
            self._file.close()
            raise

    def _refuse_later_format(self, start: bytes) -> None:
        version = int.from_bytes(start[8:12], "big")
        if version not in _READABLE and start == header(version):
            raise LogFormatError(f"{self.path} has log format {version}; this program reads formats 1 to {VERSION}")

    def _check_header(self, start: bytes) -> int:
        """Return the offset of the first frame."""
        if any(header(version).startswith(start) for version in _READABLE):
            return HEADER_BYTES
        version = int.from_bytes(start[8:12], "big")
        if start[:8] == MAGIC and version in _READABLE:  # torn when the header of an earlier format was replaced
            self.damage.append((0, HEADER_BYTES))
            return HEADER_BYTES
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
            items, ends = self._decode(data, position)
            if items:
                if position > self.offset:
                    self._skip(self.offset, position)
                self.offset = position + ends[-1]
                yield Batch(items, [position + end for end in ends], self.schemas, data, position)
                position, wanted = self.offset, max_bytes
                continue
            at_end = len(data) < wanted
            next_record, searched = self._find_record(data, position, at_end=at_end)
            if next_record is not None:
                position += next_record
            elif at_end:
                return  # a torn tail, or a record that is still being written
            elif wanted < _SEARCH_BYTES:
                whole = _frame_bytes(data)
                wanted = whole if wanted < whole else _SEARCH_BYTES
            else:
                position += searched
            data = b""  # so that memory holds one search at a time

    def _decode(self, data: bytes, position: int) -> tuple[list[Item], list[int]]:
        """Decode the records at the beginning of `data`: the one place where a reader's records come from."""
        items: list[Item] = []
        ends: list[int] = []
        start = 0
        while True:
            more, more_ends = decode_frames(data, start, schemas=self.schemas)
            usable = self._count_usable(more)
            items += more[:usable]
            ends += more_ends[:usable]
            if usable < len(more):
                return items, ends
            if more and isinstance(last := more[-1], Record) and last.kind == SCHEMA:
                self._declare(last)
            elif not self._find_schema(data, ends[-1] if ends else 0):
                return items, ends
            start = ends[-1] if ends else 0

    def _count_usable(self, items: Sequence[Item]) -> int:
        """Return how many of the items, from the first on, can be used; rows are checked where they are decoded.

        The sidecar has checked what it appended. A record that is not valid was written by another program or another
        version: it is damage, so that nothing that is made of a log needs to check it again.
        """
        keys = self._keys
        for index, item in enumerate(items):
            if isinstance(item, Rows):
                continue
            try:
                check_envelope(item)
                if item.kind == "log" and is_usual(item.body, keys):
                    continue
                check(item)
            except RecordError:
                return index
            if item.kind == "log":
                if len(keys) > MAX_RUN_KEYS:
                    keys.clear()
                keys.update(item.body["data"])
        return len(items)

    def _declare(self, record: Record, *, later: bool = True) -> None:
        """Take a ``schema`` record; `later` says whether it is behind all that were taken, and replaces those."""
        try:
            check_envelope(record)
            check(record)
        except RecordError:
            return  # its rows are damage
        schema = Schema.of(record)
        if later or schema.word not in self.schemas:
            self.schemas[schema.word] = schema

    def _find_schema(self, data: bytes, start: int) -> bool:
        """Look for the schema of a row at `start` in the part of the log that was not read; return whether it is known.

        A sidecar declares a schema again from time to time, so it is seldom far. Each part of the log is searched once:
        what was declared in it is kept.
        """
        if start + HEAD_BYTES >= len(data) or data[start + HEAD_BYTES] != ROW or valid_at(data, start) <= 0:
            return False
        word = word_of(data[start + HEAD_BYTES : start + 2 * HEAD_BYTES])
        if word in self.schemas:
            return False
        while self._unsearched > 0 and word not in self.schemas:
            self._look_back()
        return word in self.schemas

    def _look_back(self) -> None:
        """Take the schemas that are declared in the next part of the log before `_unsearched`."""
        end = self._unsearched
        begin = self._unsearched = max(0, end - self._look_back_bytes)
        self._look_back_bytes = min(4 * self._look_back_bytes, _MAX_LOOK_BACK_BYTES)
        part = self._read(end - begin + len(_SCHEMA_NAME), begin)
        budget = 2 * len(part) + _FRAME_BYTES  # what only looks like a schema must not take quadratic time
        found = part.rfind(_SCHEMA_NAME)
        while found >= 0 and budget > 0:
            budget -= self._take_schema(begin + found)
            found = part.rfind(_SCHEMA_NAME, 0, found + len(_SCHEMA_NAME) - 1)

    def _take_schema(self, name: int) -> int:
        """Take the ``schema`` record whose kind is written at `name`, if there is one; return how much was read."""
        longest = HEAD_BYTES + max(map(len, _BEFORE_NAME))
        before = self._read(min(name, longest), max(0, name - longest))
        begun = next((begun for begun in _BEFORE_NAME if before.endswith(begun)), None)
        if begun is None or len(before) < HEAD_BYTES + len(begun) or before[-len(begun) - HEAD_BYTES] != MARK:
            return len(before)
        start = name - len(begun) - HEAD_BYTES
        length = int.from_bytes(self._read(HEAD_BYTES, start)[1:4], "big")
        if length > MAX_RECORD_BYTES:
            return len(before)
        framed = self._read(HEAD_BYTES + length, start)
        items, _ = decode_frames(framed)
        if items and isinstance(record := items[0], Record) and record.kind == SCHEMA:
            self._declare(record, later=False)
        return len(framed)

    def _find_record(self, data: bytes, position: int, *, at_end: bool) -> tuple[int | None, int]:
        """Find the first valid record in `data`, which does not begin with one.

        Args:
            data: bytes of the log.
            position: their offset in the log.
            at_end: whether the log ends with them; if not, a frame at their beginning may continue behind them.

        Returns:
            where the record begins, or None if no record was found; and then how many bytes need not be searched again.
        """
        searched = 0
        for start, end, payload in scan(data, final=at_end):
            if payload is not None:
                if self._is_record(data, start, payload):
                    return start, start
                if payload[0] == ROW and position + start >= self._counted:
                    self._count_unusable(payload, position + end)
            searched = end  # damage, or a right checksum over what is not a record
        cut = data.find(MARK, max(searched, len(data) - _FRAME_BYTES))
        return None, cut if cut >= 0 else len(data)

    def _is_record(self, data: bytes, start: int, payload: memoryview) -> bool:
        if payload[0] == ROW:
            self._find_schema(data, start)
            row = bytes(payload)
            schema = self.schemas.get(word_of(row))
            return schema is not None and schema.row(row) is not None
        try:
            decode(payload)
        except RecordError:
            return False
        return True

    def _count_unusable(self, payload: memoryview, end: int) -> None:
        """Count a row that is whole, but whose schema is not known."""
        word = word_of(bytes(payload[:HEAD_BYTES]))
        if word not in self.schemas and (word in self.undeclared or len(self.undeclared) < _MAX_UNDECLARED):
            self.undeclared[word] = self.undeclared.get(word, 0) + 1
        self._counted = end

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


def _frame_bytes(data: bytes) -> int:
    """Return the size of the frame that `data` begins with, according to its head; 0 if it is not a head."""
    if len(data) < HEAD_BYTES or data[0] != MARK:
        return 0
    length = HEAD.unpack_from(data)[0] & LENGTH_BITS
    return HEAD_BYTES + length if length <= MAX_RECORD_BYTES else 0
