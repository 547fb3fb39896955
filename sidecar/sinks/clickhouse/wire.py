"""ClickHouse's binary formats: Native for inserting columns, RowBinary for single rows and for results. Pure functions.

Native is a sequence of blocks: the number of columns, the number of rows, then for each column its name, its type and
its values. RowBinary is the values row by row. In both, numbers are little-endian, strings and arrays are preceded by
their length as a varint (LEB128), and a nullable value by a byte that says whether it is NULL. See
https://clickhouse.com/docs/interfaces/formats/Native and https://clickhouse.com/docs/interfaces/formats/RowBinary.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_FLOAT = struct.Struct("<d")
_INT = struct.Struct("<q")
_BIG_ENDIAN = sys.byteorder == "big"


class Column(NamedTuple):
    """A column of a Native block.

    Attributes:
        name: name of the column.
        type: its type; the server converts it if that of the table differs.
        data: the encoded values.
    """

    name: str
    type: str
    data: bytes


def varint(number: int) -> bytes:
    """Return a non-negative number in LEB128."""
    if number < 0x80:
        return bytes((number,))
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def text(value: str | bytes) -> bytes:
    """Return a String, which may be any bytes."""
    data = value.encode() if isinstance(value, str) else value
    return varint(len(data)) + data


def texts(values: Sequence[str | bytes]) -> bytes:
    """Return an Array(String)."""
    return varint(len(values)) + b"".join([text(value) for value in values])


def numbers(code: str, values: Iterable[Any]) -> bytes:
    """Return numbers, without their count; `code` is a type code of `array`."""
    encoded: array[Any] = array(code, values)
    if _BIG_ENDIAN:
        encoded.byteswap()
    return encoded.tobytes()


def float64(value: float) -> bytes:
    """Return a Float64."""
    return _FLOAT.pack(value)


def int64(value: int) -> bytes:
    """Return an Int64, or a UInt64 below 2**63."""
    return _INT.pack(value)


def nullable(data: bytes | None) -> bytes:
    """Return a value of a Nullable type, given the encoded value, or None for NULL."""
    return b"\1" if data is None else b"\0" + data


def native_block(rows: int, columns: Sequence[Column]) -> bytes:
    """Return a block of the Native format."""
    parts = [varint(len(columns)), varint(rows)]
    for name, type_, data in columns:
        parts += (text(name), text(type_), data)
    return b"".join(parts)


class RowBinary:
    """Reads a result in RowBinary, value by value.

    All methods raise `ValueError` if the result is incomplete.

    Args:
        data: the result.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def done(self) -> bool:
        """Whether everything has been read."""
        return self._at >= len(self._data)

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise ValueError(f"a result of {len(self._data)} bytes ends in the middle of a value")
        return self._data[start : self._at]

    def varint(self) -> int:
        data, at = self._data, self._at
        number = shift = 0
        try:
            while (byte := data[at]) > 0x7F:
                number |= (byte & 0x7F) << shift
                shift += 7
                at += 1
        except IndexError:
            raise ValueError(f"a result of {len(data)} bytes ends in the middle of a number") from None
        self._at = at + 1
        return number | byte << shift

    def raw(self) -> bytes:
        """Read a String as bytes."""
        return self._take(self.varint())

    def text(self) -> str:
        """Read a String as text."""
        return self.raw().decode()

    def int8(self) -> int:
        """Read a non-negative Int8."""
        return self._take(1)[0]

    def int64(self) -> int:
        """Read an Int64, or a UInt64 below 2**63."""
        number: int = _INT.unpack(self._take(8))[0]
        return number

    def float64(self) -> float:
        number: float = _FLOAT.unpack(self._take(8))[0]
        return number

    def numbers(self, code: str) -> array[Any]:
        """Read an Array of numbers; `code` is a type code of `array`."""
        values: array[Any] = array(code)
        count = self.varint()
        values.frombytes(self._take(count * values.itemsize))
        if _BIG_ENDIAN:
            values.byteswap()
        return values

    def raws(self) -> list[bytes]:
        """Read an Array(String) as bytes."""
        return [self.raw() for _ in range(self.varint())]


__all__ = [
    "Column", "RowBinary", "float64", "int64", "native_block", "nullable", "numbers", "text", "texts", "varint"
]  # fmt: skip
