"""Rows: metrics packed under a schema, which names their keys and types once. Pure functions and data, no I/O.

A *schema* is declared by a record of kind ``schema``. A *row* is the payload of a frame (`sidecar.protocol.frames`)
that is not msgpack; it stands for a ``log`` record of the schema's run and client. All in it is little-endian::

    0x01 | schema id, 7 bytes | seq, uint64 | time, float64 | step, int64 | one value of 8 bytes for each key

A record in msgpack begins with another byte, since it is an array. A value of type ``d`` is a float64, one of type
``q`` an int64, one of type ``?`` a boolean as the int64 0 or 1. So the frames of one schema have one size, a multiple
of 8 bytes, and consecutive ones are taken apart into columns without a loop over the rows.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from collections.abc import Container, Iterator, Sequence
from typing import Any

from sidecar.protocol.envelope import Body, Record
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, MARK_BITS
from sidecar.protocol.limits import MAX_SEQ, MAX_TIME

ROW = 0x01
"""First byte of a row."""

SCHEMA = "schema"
"""Kind of the record that declares a schema."""

CODES = {float: "d", int: "q", bool: "?"}
"""Type of the values of a row, by Python type."""

_PYTHON_TYPES: dict[str, type] = {code: type_ for type_, code in CODES.items()}

RowError = struct.error
"""Raised by `Schema.pack` for a value that does not fit its type."""

_WORD_BYTES = 8
_FIELDS = 5
"""Words of 8 bytes before the values of a framed row: head of the frame, schema, seq, time, step."""

_FEW = 16
"""Rows in a row from which on they are taken apart together."""

_FIRST_BLOCK = 64
_BLOCK_FACTOR = 8
"""Rows in the first block that is taken apart together, and how much larger each further one is at most."""

_ROW_BYTE = bytes([ROW])

_BOOLEANS = frozenset({0, 1})

_BIG_ENDIAN = sys.byteorder == "big"
_crc32 = zlib.crc32
_SINGLE = struct.Struct("<Q")


def new_schema_id() -> int:
    """Return a random id of a schema."""
    return int.from_bytes(os.urandom(7), "big")


class Schema:
    """The keys and types of rows, and the client that they belong to.

    Args:
        id: at most `MAX_SCHEMA_ID`; chosen at random by the client, different from those of all other schemas.
        run, client: the ids that the rows belong to.
        keys: the metric keys, in the order of the values.
        types: a character of `ROW_TYPES` for each key.

    Attributes:
        kinds: Python's type for each key.
        word: the first 8 bytes of a row, as a number.
        head: the first 4 bytes of a row's frame, as a number.
        frame_bytes: size of a row with its frame.
        pack: packs ``(word, seq, time, step, *values)`` into the payload of a frame.
        refusal: why the sidecar refused it; None: it was not refused.
        memory: used by a window: the mapping in which it was declared last.
        written: used by the Writer: offset in the log where it was declared last; None if it is not known.
    """

    __slots__ = (
        "_struct",
        "client",
        "frame_bytes",
        "head",
        "id",
        "keys",
        "kinds",
        "memory",
        "pack",
        "refusal",
        "run",
        "types",
        "word",
        "written",
    )

    def __init__(self, id: int, run: str, client: str, keys: tuple[str, ...], types: str) -> None:
        self.id = id
        self.run = run
        self.client = client
        self.keys = keys
        self.types = types
        self.kinds = [_PYTHON_TYPES[type_] for type_ in types]
        self.word = id << 8 | ROW
        self._struct = struct.Struct("<QQdq" + types.replace("?", "q"))
        self.pack = self._struct.pack
        self.frame_bytes = HEAD_BYTES + self._struct.size
        self.head = MARK_BITS | self._struct.size
        self.refusal: RecordError | None = None
        self.memory: Any = None
        self.written: int | None = None

    @classmethod
    def of(cls, record: Record) -> Schema:
        """Return the schema that a checked ``schema`` record declares."""
        body = record.body
        return cls(body["id"], record.run, body.get("client", record.client), tuple(body["keys"]), body["types"])

    def body(self) -> Body:
        """Return the body of the ``schema`` record that declares it."""
        return {"id": self.id, "keys": list(self.keys), "types": self.types}

    def same(self, other: Schema) -> bool:
        """Whether `other` declares the same."""
        return (
            self.word == other.word
            and self.client == other.client
            and self.run == other.run
            and self.keys == other.keys
            and self.types == other.types
        )

    def row(self, payload: bytes) -> Record | None:
        """Return the ``log`` record that a row stands for; None if the bytes are not a row of this schema."""
        if len(payload) != self._struct.size:
            return None
        _, seq, time, step, *values = self._struct.unpack(payload)
        if not 0 < seq < 1 << 63 or not abs(time) < MAX_TIME:  # also true for NaN
            return None
        if "?" in self.types:
            for index, type_ in enumerate(self.types):
                if type_ == "?":
                    if values[index] not in (0, 1):
                        return None
                    values[index] = values[index] == 1
        data = dict(zip(self.keys, values, strict=True))
        return Record("log", self.run, self.client, seq, time, {"step": step, "data": data})


class Rows:
    """Rows of one schema with consecutive numbers, in columns.

    Attributes:
        schema: their schema.
        first: number of the first row.
        times: each row's time, Unix seconds.
        steps: each row's step.
        columns: for each key of the schema, the values: an array of float64 or int64, or a list of booleans.
    """

    __slots__ = ("columns", "first", "schema", "steps", "times")

    def __init__(
        self, schema: Schema, first: int, times: array[float], steps: array[int], columns: list[Sequence[Any]]
    ) -> None:
        self.schema = schema
        self.first = first
        self.times = times
        self.steps = steps
        self.columns = columns

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.steps)

    @property
    def last(self) -> int:
        """Number of the last row."""
        return self.first + len(self.steps) - 1

    def part(self, start: int, end: int) -> Rows:
        """Return the rows from index `start` to before index `end`."""
        columns = [column[start:end] for column in self.columns]
        return Rows(self.schema, self.first + start, self.times[start:end], self.steps[start:end], columns)

    def points(self, keys: Container[str] | None = None) -> Iterator[tuple[int, float, dict[str, Any]]]:
        """Yield step, time and values by key of each row.

        Args:
            keys: only these keys, and nothing if the schema has none of them; None for all.
        """
        names, columns = self.schema.keys, self.columns
        if keys is not None:
            places = [place for place, key in enumerate(names) if key in keys]
            names, columns = tuple([names[place] for place in places]), [columns[place] for place in places]
            if not names:
                return
        for step, time, *values in zip(self.steps, self.times, *columns, strict=True):
            yield step, time, dict(zip(names, values, strict=True))

    def extend(self, following: Rows) -> None:
        """Add the rows that follow these in number."""
        self.times.extend(following.times)
        self.steps.extend(following.steps)
        for column, more in zip(self.columns, following.columns, strict=True):
            column.extend(more)  # type: ignore[attr-defined]  # an array or a list

    def records(self) -> Iterator[Record]:
        """Yield the ``log`` records that the rows stand for."""
        run, client, keys = self.schema.run, self.schema.client, self.schema.keys
        make = tuple.__new__
        seq = self.first
        for time, step, *values in zip(self.times, self.steps, *self.columns, strict=True):
            body = {"step": step, "data": dict(zip(keys, values, strict=True))}
            yield make(Record, ("log", run, client, seq, time, body))
            seq += 1


Item = Record | Rows
"""What frames hold: a record, or rows."""


def records_of(items: Sequence[Item]) -> Sequence[Record]:
    """Return the records that items stand for."""
    if not any(type(item) is Rows for item in items):
        return items  # type: ignore[return-value]
    records: list[Record] = []
    for item in items:
        if isinstance(item, Rows):
            records.extend(item.records())
        else:
            records.append(item)
    return records


def record_ends(items: Sequence[Item], ends: Sequence[int]) -> Sequence[int]:
    """Return the offset after each record that items stand for, from the offsets after each item."""
    if not any(type(item) is Rows for item in items):
        return ends
    each: list[int] = []
    for item, end in zip(items, ends, strict=True):
        if isinstance(item, Rows):
            size = item.schema.frame_bytes
            each.extend(range(end - (item.count - 1) * size, end + 1, size))
        else:
            each.append(end)
    return each


def word_of(payload: bytes) -> int:
    """Return the first 8 bytes of a row, by which its schema is known; 0 if there are fewer."""
    return _SINGLE.unpack_from(payload)[0] if len(payload) >= _WORD_BYTES else 0


def word_at(data: bytes, start: int) -> int | None:
    """Return the word by which the row in the frame at `start` names its schema; None if it is a record."""
    payload = start + HEAD_BYTES
    return word_of(data[payload : payload + _WORD_BYTES]) if data[payload : payload + 1] == _ROW_BYTE else None


def read_rows(data: bytes, start: int, stop: int, schema: Schema) -> tuple[Item, int] | None:
    """Read the row at `start`, and the rows of the same schema that follow it and number consecutively.

    Args:
        data: frames.
        start: where the first row's frame begins.
        stop: no row is read that begins at or after this offset, or that is not whole.
        schema: the schema that the first row names.

    Returns:
        the row as a record if there are only few, else the rows; and the offset after them. None if the first frame is
        not valid.
    """
    size = schema.frame_bytes
    most = min((len(data) - start) // size, -(-(stop - start) // size))
    if most < 1:
        return None
    mark, word = HEAD.pack(schema.head, 0)[:4], _SINGLE.pack(schema.word)
    count = 1
    at = start + size
    while count < most and count < _FEW and data[at : at + 4] == mark and data[at + 8 : at + 16] == word:
        count += 1
        at += size
    if count < _FEW:
        payload = data[start + HEAD_BYTES : start + size]
        head, checksum = HEAD.unpack_from(data, start)
        record = schema.row(payload) if head == schema.head and _crc32(payload) == checksum else None
        return None if record is None else (record, start + size)
    rows = _columns(data, start, min(most, _FIRST_BLOCK), schema, mark)
    if rows is None:
        return None
    block = _FIRST_BLOCK
    while rows.count == block < most:  # whole so far: on in larger blocks, so that what follows the rows costs little
        more = _columns(data, start + block * size, min(most - block, _BLOCK_FACTOR * block), schema, mark)
        if more is None or more.first != rows.last + 1:
            break
        block += min(most - block, _BLOCK_FACTOR * block)
        rows.extend(more)
    return rows, start + rows.count * size


def _columns(data: bytes, start: int, most: int, schema: Schema, mark: bytes) -> Rows | None:
    """Return the valid rows at `start`, at most `most`, or None if the first row is not valid."""
    size = schema.frame_bytes
    words_per_row = size // _WORD_BYTES
    view = data[start : start + most * size]
    words = array("Q", view)
    if _BIG_ENDIAN:
        words.byteswap()
    count = _agreeing(words[1::words_per_row], array("Q", [schema.word]) * most)
    first = words[2]
    if not 0 < first <= MAX_SEQ - count + 1:
        count = 1 if 0 < first <= MAX_SEQ else 0
    if count < 1:
        return None
    count = _agreeing(
        words[2 : 2 + (count - 1) * words_per_row + 1 : words_per_row], array("Q", range(first, first + count))
    )
    heads = array("I", view[: count * size])
    if not _BIG_ENDIAN:
        heads.byteswap()
    per_row = size // 4
    count = _agreeing(heads[::per_row], array("I", [schema.head]) * count)
    bounds = map(slice, range(HEAD_BYTES, count * size, size), range(size, count * size + 1, size))
    checksums = array("I", map(_crc32, map(view.__getitem__, bounds)))
    count = _agreeing(checksums, heads[1 : count * per_row : per_row])
    floats, integers = array("d"), array("q")
    floats.frombytes(words[: count * words_per_row].tobytes())
    integers.frombytes(words[: count * words_per_row].tobytes())
    times = floats[3::words_per_row]
    if count and not _are_times(times):
        count = next(i for i, time in enumerate(times) if not abs(time) < MAX_TIME)
    columns: list[Sequence[Any]] = []
    for place, type_ in enumerate(schema.types, _FIELDS):
        if type_ == "d":
            columns.append(floats[place::words_per_row])
            continue
        numbers = integers[place::words_per_row]
        if type_ == "?":
            if not _BOOLEANS.issuperset(numbers):
                count = min(count, next(i for i, number in enumerate(numbers) if number not in _BOOLEANS))
            columns.append(list(map(bool, numbers)))
        else:
            columns.append(numbers)
    if count < 1:
        return None
    rows = Rows(schema, first, times, integers[4::words_per_row], columns)
    return rows if rows.count == count else rows.part(0, count)


def _agreeing(numbers: array[int], expected: array[int]) -> int:
    """Return how many of the numbers, from the first on, are as expected."""
    if numbers == expected:
        return len(numbers)
    return next(i for i, (one, other) in enumerate(zip(numbers, expected, strict=True)) if one != other)


def _are_times(times: array[float]) -> bool:
    """Whether all of `times` are numbers below `MAX_TIME`, without a loop in Python."""
    total = sum(times)
    return total == total and min(times) > -MAX_TIME and max(times) < MAX_TIME


__all__ = [
    "CODES", "ROW", "SCHEMA",
    "Item", "RowError", "Rows", "Schema",
    "new_schema_id", "read_rows", "record_ends", "records_of", "word_at", "word_of",
]  # fmt: skip
