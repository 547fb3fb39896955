"""Conversion between a log's metrics and rows of ``tracker_points``. Pure functions on bytes, no I/O.

Values come back equal and of the same type: NaN, infinities, -0.0, signed and unsigned integers of 64 bits.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import lt
from typing import Any, NamedTuple

from sidecar.log.reader import Batch
from sidecar.projections.store.blocks import Column, Values
from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.rows import Rows
from sidecar.sinks.clickhouse.schema import KINDS, POINT_COLUMNS
from sidecar.sinks.clickhouse.wire import Column as NativeColumn
from sidecar.sinks.clickhouse.wire import RowBinary, native_block, numbers, text

BLOCK_POINTS = 16_384
"""Approximate number of points in a block."""

FLOAT, INT, UINT, BOOL, TEXT, JSON, MSGPACK = (
    KINDS[name] for name in ("float", "int", "uint", "bool", "text", "json", "msgpack")
)
_MAX_INT = 2**63 - 1
_WRAP = 2**64
_FLOATS, _INTS, _BOOLS = {float}, {int}, {bool}
_TYPES = {"d": _FLOATS, "q": _INTS}


class _Records:
    """Records of one client that have the same keys.

    Attributes:
        seqs, positions, steps, times: one per record.
        values: values that are not in a column yet: those of a record, of the next record, and so on.
    """

    __slots__ = ("_columns", "positions", "seqs", "steps", "times", "values")

    def __init__(self, keys: int) -> None:
        self.seqs = array("Q")
        self.positions = array("Q")
        self.steps = array("q")
        self.times = array("d")
        self.values: list[Any] = []
        self._columns: list[list[Sequence[Any]]] = [[] for _ in range(keys)]

    def add_rows(self, rows: Rows, end: int) -> None:
        """Add rows, the last of which ends at the offset `end`."""
        self._fill()
        size = rows.schema.frame_bytes
        self.seqs.extend(array("Q", range(rows.first, rows.last + 1)))
        self.positions.extend(array("Q", range(end - (rows.count - 1) * size, end + 1, size)))
        self.steps.extend(rows.steps)
        self.times.extend(rows.times)
        for parts, column in zip(self._columns, rows.columns, strict=True):
            parts.append(column)

    def columns(self) -> list[Sequence[Any]]:
        """Return the values of each key."""
        self._fill()
        return [_joined(parts) for parts in self._columns]

    def _fill(self) -> None:
        """Move `values` into the columns."""
        values: Sequence[Any] = self.values
        if not values:
            return
        if set(map(type, values)) == _FLOATS:
            values = array("d", values)
        for place, parts in enumerate(self._columns):
            parts.append(values[place :: len(self._columns)])
        self.values = []


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return sequences as one, an array if all are arrays of the same type."""
    if len(parts) == 1:
        return parts[0]
    codes = {part.typecode if isinstance(part, array) else None for part in parts}
    joined: Any = array(code) if len(codes) == 1 and (code := codes.pop()) is not None else []
    for part in parts:
        joined.extend(part)
    return joined  # type: ignore[no-any-return]


class _Group(NamedTuple):
    """The encoded columns that all values of the same records share."""

    client: str
    size: int
    seqs: bytes
    positions: bytes
    steps: bytes
    times: bytes


class _Piece(NamedTuple):
    """The values of one key in one group."""

    group: _Group
    place: int
    values: Sequence[Any]


def native_points(run: str, batch: Batch) -> Iterator[bytes]:
    """Yield the points of a batch as blocks of the Native format, sorted as the table is."""
    count = 0
    rows: list[tuple[str, _Piece]] = []
    for key, pieces in sorted(_pieces(batch).items()):
        for piece in pieces:
            rows.append((key, piece))
            count += piece.group.size
            if count >= BLOCK_POINTS:
                yield _block(run, rows, count)
                rows, count = [], 0
    if count:
        yield _block(run, rows, count)


def _pieces(batch: Batch) -> dict[str, list[_Piece]]:
    """Return the values of each key."""
    pieces: dict[str, list[_Piece]] = {}
    for (client, keys), records in _gather(batch).items():
        group = _Group(
            client,
            len(records.seqs),
            numbers("Q", records.seqs),
            numbers("Q", records.positions),
            numbers("q", records.steps),
            numbers("d", records.times),
        )
        for place, (key, values) in enumerate(zip(keys, records.columns(), strict=True)):
            pieces.setdefault(key, []).append(_Piece(group, place, values))
    for several in pieces.values():
        if len(several) > 1:
            several.sort(key=lambda piece: piece.group.client)
    return pieces


def _gather(batch: Batch) -> dict[tuple[str, tuple[str, ...]], _Records]:
    """Return the records by client and keys. Creates no object per record, which would trigger garbage collection."""
    groups: dict[tuple[str, tuple[str, ...]], _Records] = {}
    for item, end in zip(batch.items, batch.item_ends, strict=True):
        if isinstance(item, Rows):
            name = item.schema.client, item.schema.keys
            group = groups.get(name)
            if group is None:
                group = groups[name] = _Records(len(name[1]))
            group.add_rows(item, end)
            continue
        kind, _, client, seq, time, body = item
        if kind == "log":
            data = body["data"]
            name = client, tuple(data)
            group = groups.get(name)
            if group is None:
                group = groups[name] = _Records(len(data))
            group.seqs.append(seq or end)
            group.positions.append(end)
            group.steps.append(body["step"])
            group.times.append(time)
            group.values += data.values()
    return groups


def _block(run: str, rows: list[tuple[str, _Piece]], count: int) -> bytes:
    groups = [piece.group for _, piece in rows]
    values = [_encode(piece.values) for _, piece in rows]
    kinds, floats, integers, texts = (b"".join(parts) for parts in zip(*values, strict=True))
    columns = {
        "run": text(run) * count,
        "key": b"".join([text(key) * piece.group.size for key, piece in rows]),
        "client": b"".join([text(group.client) * group.size for group in groups]),
        "seq": b"".join([group.seqs for group in groups]),
        "position": b"".join([group.positions for group in groups]),
        "place": b"".join([piece.place.to_bytes(2, "little") * piece.group.size for _, piece in rows]),
        "step": b"".join([group.steps for group in groups]),
        "time": b"".join([group.times for group in groups]),
        "kind": kinds,
        "number": floats,
        "integer": integers,
        "text": texts,
    }
    return native_block(count, [NativeColumn(name, type_, columns[name]) for name, type_ in POINT_COLUMNS.items()])


def _encode(values: Sequence[Any]) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the columns kind, number, integer and text of values."""
    count = len(values)
    types = _TYPES[values.typecode] if isinstance(values, array) else set(map(type, values))
    if types == _FLOATS:
        return bytes((FLOAT,)) * count, numbers("d", values), bytes(8 * count), bytes(count)
    if types == _BOOLS or (types == _INTS and max(values) <= _MAX_INT):
        kind = BOOL if types == _BOOLS else INT
        return bytes((kind,)) * count, numbers("d", values), numbers("q", values), bytes(count)
    kinds, floats, integers, texts = zip(*map(_encode_one, values), strict=True)
    return bytes(kinds), numbers("d", floats), numbers("q", integers), b"".join(map(text, texts))


def _encode_one(value: Any) -> tuple[int, float, int, str | bytes]:
    type_ = type(value)
    if type_ is float:
        return FLOAT, value, 0, ""
    if type_ is int:
        return (INT, value, value, "") if value <= _MAX_INT else (UINT, value, value - _WRAP, "")
    if type_ is bool:
        return BOOL, value, value, ""
    if type_ is str:
        return TEXT, math.nan, 0, value
    try:
        return JSON, math.nan, 0, json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):  # it contains bytes, NaN or an infinity
        return MSGPACK, math.nan, 0, pack(value)


def decode_one(kind: int, number: float, integer: int, raw: bytes) -> Any:
    """Return the value of one row.

    Raises:
        ValueError, RecordError: the row is invalid.
    """
    if kind == FLOAT:
        return number
    if kind == INT:
        return integer
    if kind == UINT:
        return integer + _WRAP
    if kind == BOOL:
        return integer != 0
    if kind == TEXT:
        return raw.decode()
    if kind == JSON:
        return json.loads(raw)
    if kind == MSGPACK:
        return unpack(raw)
    raise ValueError(f"unknown kind of value: {kind}")


class Series(NamedTuple):
    """The values of one key that one client logged, in ascending order of seq, without duplicates."""

    seqs: array[int]
    steps: array[int]
    times: array[float]
    values: Values


SERIES_SQL = (
    "groupArray(seq), groupArray(step), groupArray(time), groupArray(toInt8(kind)), "
    f"groupArrayIf(number, toInt8(kind) = {FLOAT}), "
    f"groupArrayIf(integer, toInt8(kind) IN ({INT}, {UINT}, {BOOL})), "
    f"groupArrayIf(text, toInt8(kind) IN ({TEXT}, {JSON}, {MSGPACK}))"
)
"""Columns to select, grouped by client and key, for `read_series`."""


def read_series(row: RowBinary) -> Series:
    """Read the columns of `SERIES_SQL`. The rows may be in any order, and some may be duplicates.

    Raises:
        ValueError, RecordError: the data is invalid.
    """
    seqs, steps, times, kinds = row.numbers("Q"), row.numbers("q"), row.numbers("d"), row.numbers("b")
    floats, integers, raws = row.numbers("d"), row.numbers("q"), row.raws()
    count = len(seqs)
    values: Values
    if len(floats) == count:
        values = floats
    elif len(integers) == count and set(kinds) == {INT}:
        values = integers
    else:
        values = _mixed(kinds, iter(floats), iter(integers), iter(raws))
    if all(map(lt, seqs, islice(seqs, 1, None))):
        return Series(seqs, steps, times, values)
    index_of = {seq: index for index, seq in enumerate(seqs)}  # of equal rows any one
    order = [index_of[seq] for seq in sorted(index_of)]
    chosen = [values[i] for i in order]
    return Series(
        array("Q", [seqs[i] for i in order]),
        array("q", [steps[i] for i in order]),
        array("d", [times[i] for i in order]),
        array(values.typecode, chosen) if isinstance(values, array) else chosen,
    )


def _mixed(kinds: Sequence[int], floats: Iterator[float], integers: Iterator[int], raws: Iterator[bytes]) -> list[Any]:
    values = []
    for kind in kinds:
        if kind == FLOAT:
            values.append(next(floats))
        elif kind in (INT, UINT, BOOL):
            values.append(decode_one(kind, 0.0, next(integers), b""))
        else:
            values.append(decode_one(kind, 0.0, 0, next(raws)))
    return values


class Stretch(NamedTuple):
    """Consecutive records of one client, in the form of a block.

    Attributes:
        first: seq of the first record, by which stretches of a client are ordered.
        steps, times: one per record.
        columns: key -> the records that have it, and its values.
    """

    first: int
    steps: array[int]
    times: array[float]
    columns: dict[str, Column]


def join_series(series: Mapping[str, Series]) -> Stretch:
    """Join the series of one client into records."""
    widest = max(series.values(), key=lambda one: len(one.seqs))
    if all(one.seqs == widest.seqs for one in series.values()):
        whole: dict[str, Column] = {key: (None, one.values) for key, one in series.items()}
        return Stretch(widest.seqs[0], widest.steps, widest.times, whole)
    step_and_time: dict[int, tuple[int, float]] = {}
    for one in series.values():
        if one.seqs is not widest.seqs or not step_and_time:
            step_and_time.update(zip(one.seqs, zip(one.steps, one.times, strict=True), strict=True))
    seqs = sorted(step_and_time)
    index = dict(zip(seqs, range(len(seqs)), strict=True))
    steps, times = zip(*map(step_and_time.__getitem__, seqs), strict=True)
    columns: dict[str, Column] = {}
    for key, one in series.items():
        rows = None if len(one.seqs) == len(seqs) else array("q", map(index.__getitem__, one.seqs))
        columns[key] = (rows, one.values)
    return Stretch(seqs[0], array("q", steps), array("d", times), columns)


__all__ = ["SERIES_SQL", "Series", "Stretch", "decode_one", "join_series", "native_points", "read_series"]
