"""Blocks: consecutive rows of one writer, each column encoded in the form that suits it. Pure functions, no I/O.

Every value is decoded equal and with the same type. All numbers are little-endian::

    integers        "r" | first, stride (int64 each)        an arithmetic progression, or a single number
                    "h", "i", "q" | int16, int32 or int64   otherwise, the smallest type that holds all of them
    column, type d  float64                                 all values are floats (NaN, infinities and -0.0 included)
    column, type i  integers as above                       all values are integers (not booleans) of 64 bits
    column, type m  a msgpack array                         anything else: text, booleans, media objects, mixtures
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import lt
from typing import Any, NamedTuple, TypeVar

from sidecar.protocol.codec import pack, unpack

BLOCK_ROWS = 8192
"""Maximum number of rows in a block."""

Item = TypeVar("Item")
Values = Sequence[Any]
Rows = Sequence[int] | None
Column = tuple[Rows, Values]
"""The rows of the block that have a value, in ascending order (None for all rows), and the values."""

_RANGE = struct.Struct("<qq")
_BIG_ENDIAN = sys.byteorder == "big"
_MIN, _MAX = -(2**63), 2**63 - 1
_FLOATS, _INTS = {float}, {int}


class Block(NamedTuple):
    """Consecutive rows of one writer; a row is one ``log`` record.

    Attributes:
        writer: the client id.
        label: value of ``_label`` in its rows: the name of the writer among several, None if it has none.
        ordinal: position of the writer in the order in which the writers logged their first row, from 1.
        first: number of the first row among the rows of its writer, from 0.
        steps: each row's step.
        times: each row's time, Unix seconds.
        columns: metric key -> (rows that have a value, or None for all; values).
        floor: lower bound of the steps in this block and in all blocks that are yielded after it.
    """

    writer: str
    label: str | None
    ordinal: int
    first: int
    steps: array[int]
    times: array[float]
    columns: dict[str, Column]
    floor: int


def evenly(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most `most` of `items`, evenly spaced, the first and the last among them; None: all."""
    count = len(items)
    if most is None or count <= most:
        return items
    return [items[index * (count - 1) // (most - 1)] for index in range(most)] if most > 1 else items[-1:]


def _to_bytes(numbers: array[Any]) -> bytes:
    if _BIG_ENDIAN:
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _from_bytes(code: str, data: bytes) -> array[Any]:
    numbers: array[Any] = array(code)
    numbers.frombytes(data)
    if _BIG_ENDIAN:
        numbers.byteswap()
    return numbers


def encode_ints(numbers: Sequence[int]) -> bytes:
    """Encode 64-bit integers, at least one."""
    first, count = numbers[0], len(numbers)
    stride = numbers[1] - first if count > 1 else 0
    if _MIN <= stride <= _MAX:
        progression = range(first, first + stride * count, stride) if stride else [first] * count
        if all(map(int.__eq__, numbers, progression)):
            return b"r" + _RANGE.pack(first, stride)
    low, high = min(numbers), max(numbers)
    needed = max(high, -low - 1)
    code = "h" if needed < 2**15 else "i" if needed < 2**31 else "q"
    return code.encode() + _to_bytes(array(code, numbers))


def decode_ints(data: bytes, count: int) -> array[int]:
    """Return the `count` numbers that `encode_ints` encoded.

    Raises:
        ValueError: the data is not an encoding of `count` numbers.
    """
    code, rest = data[:1].decode("latin-1"), data[1:]
    if code == "r":
        try:
            first, stride = _RANGE.unpack(rest)
        except struct.error as error:
            raise ValueError(f"a progression must have 16 bytes, not {len(rest)}") from error
        return array("q", range(first, first + stride * count, stride)) if stride else array("q", [first]) * count
    if code not in ("h", "i", "q"):
        raise ValueError(f"the form of integers must be r, h, i or q, not {code!r}")
    numbers = _from_bytes(code, rest)
    if len(numbers) != count:
        raise ValueError(f"{count} integers expected, not {len(numbers)}")
    return numbers if code == "q" else array("q", numbers)


def decode_steps(data: bytes, count: int) -> Sequence[int]:
    """Return the same as `decode_ints`; an ascending progression as a range, which takes no memory."""
    if data[:1] == b"r" and len(data) == 1 + _RANGE.size:
        first, stride = _RANGE.unpack(data[1:])
        if stride > 0:
            return range(first, first + stride * count, stride)
    return decode_ints(data, count)


def encode_floats(numbers: Iterable[float]) -> bytes:
    return _to_bytes(numbers if isinstance(numbers, array) else array("d", numbers))


def decode_floats(data: bytes, count: int) -> array[float]:
    """Return the `count` numbers that `encode_floats` encoded.

    Raises:
        ValueError: the data is not an encoding of `count` numbers.
    """
    if len(data) != 8 * count:
        raise ValueError(f"{count} float64 must have {8 * count} bytes, not {len(data)}")
    return _from_bytes("d", data)


def typed(values: Values) -> Values:
    """Return values as an array of float64 or int64 if it holds them all equal and with the same type."""
    if isinstance(values, array):
        return values
    types = set(map(type, values))
    if types == _FLOATS:
        return array("d", values)
    if types == _INTS and min(values) >= _MIN and max(values) <= _MAX:
        return array("q", values)
    return values


def encode_values(values: Values) -> tuple[str, bytes]:
    """Return the type of a column, and its values as bytes."""
    values = typed(values)
    if isinstance(values, array):
        return ("d", encode_floats(values)) if values.typecode == "d" else ("i", encode_ints(values))
    return "m", pack(list(values))


def decode_values(type_: str, data: bytes, count: int) -> Values:
    """Return the values that `encode_values` encoded: an array of float64 or int64, or a list.

    Raises:
        ValueError, RecordError: the data is not an encoding of `count` values of this type.
    """
    if type_ == "d":
        return decode_floats(data, count)
    if type_ == "i":
        return decode_ints(data, count)
    values = unpack(data) if type_ == "m" else None
    if type(values) is not list or len(values) != count:
        raise ValueError(f"a column of type {type_!r} must hold {count} values in an array")
    return values


def encode_column(column: Column) -> tuple[str, bytes | None, bytes]:
    """Return type, rows and data of a column, in the form of the store's table."""
    rows, values = column
    type_, data = encode_values(values)
    return type_, None if rows is None else len(rows).to_bytes(4, "little") + encode_ints(rows), data


def decode_column(type_: str, rows: bytes | None, data: bytes, count: int) -> Column:
    """Return the column of a block of `count` rows.

    Raises:
        ValueError, RecordError: the data is not an encoding of such a column.
    """
    if rows is None:
        return None, decode_values(type_, data, count)
    present = int.from_bytes(rows[:4], "little")
    if not 0 < present <= count:
        raise ValueError(f"a column of a block with {count} rows cannot have {present} values")
    indexes = decode_ints(rows[4:], present)
    if not 0 <= indexes[0] <= indexes[-1] < count:
        raise ValueError(f"a column of a block with {count} rows cannot have a value in row {indexes[-1]}")
    return indexes, decode_values(type_, data, present)


def slice_column(column: Column, start: int, end: int) -> Column | None:
    """Return the part of a column in the rows from `start` to before `end`; None if it has no values there."""
    rows, values = column
    if rows is None:
        return None, values[start:end]
    low, high = _position(rows, start), _position(rows, end)
    if low == high:
        return None
    return array("q", [row - start for row in rows[low:high]]), values[low:high]


def _position(rows: Sequence[int], row: int) -> int:
    return bisect_left(rows, row)


def ascending(numbers: Sequence[Any]) -> bool:
    """Return whether no number is smaller than the one before it."""
    if isinstance(numbers, range):
        return numbers.step > 0
    return not any(map(lt, islice(numbers, 1, None), numbers))


def join_columns(parts: Sequence[tuple[int, Mapping[str, Column]]]) -> dict[str, Column]:
    """Return the joined columns of consecutive blocks, each given as (row count, columns)."""
    by_key: dict[str, list[tuple[int, int, Column]]] = {}
    start = 0
    for count, columns in parts:
        for key, column in columns.items():
            by_key.setdefault(key, []).append((start, count, column))
        start += count
    return {key: _join(pieces, start) for key, pieces in by_key.items()}


def _join(pieces: Sequence[tuple[int, int, Column]], total: int) -> Column:
    whole = sum(len(column[1]) for _, _, column in pieces) == total
    values = concatenate([column[1] for _, _, column in pieces])
    if whole:
        return None, values
    rows: array[int] = array("q")
    for start, count, (present, _) in pieces:
        rows.extend(range(start, start + count) if present is None else [start + row for row in present])
    return rows, values


def concatenate(parts: Sequence[Values]) -> Values:
    """Return all values in one sequence: an array if all parts are arrays of the same type, otherwise a list."""
    first = parts[0]
    if isinstance(first, array) and all(isinstance(part, array) and part.typecode == first.typecode for part in parts):
        joined = first[:]
        for part in parts[1:]:
            joined.extend(part)
        return joined
    return [value for part in parts for value in part]
