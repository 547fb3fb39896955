"""Cells: single values out of a block, of which only these are decoded. Works inside a transaction of a reader."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.projections.store.blocks import ascending, decode_column, decode_steps
from sidecar.projections.store.database import Database
from sidecar.projections.store.pyramid import last_of_each

_COLUMNS_AT_ONCE = 64
"""Maximum number of columns of a block in memory: 4 MiB of floats."""

_FLOAT = struct.Struct("<d")

ABSENT = object()
"""Stands for the value of a key in a row that has none."""


class UnorderedError(Exception):
    """A writer's steps decrease somewhere: the run cannot be sampled by its pyramid."""


class Cells:
    """A block's columns as they are stored; of floats only the wanted ones are decoded.

    Args:
        database: the store.
        block: id of the block.
        count: number of its rows.
        keys: ids of the keys.
        buffers: memory for its columns, used for one block after the other: to allocate it again costs more than
            to read the columns.

    Attributes:
        steps: of its rows.
        repeats: whether a step occurs in it twice.

    Raises:
        UnorderedError: its steps decrease somewhere.
    """

    def __init__(
        self, database: Database, block: int, count: int, keys: Iterable[int], buffers: list[bytearray]
    ) -> None:
        self._database, self._block, self._count = database, block, count
        self._keys, self._buffers = sorted(keys), buffers
        steps, self._times = database.run("SELECT steps, times FROM block WHERE id = ?", (block,))[0]
        self.steps = decode_steps(steps, count)
        self.repeats = last_of_each(self.steps) is not None
        if self.repeats and not ascending(self.steps):
            raise UnorderedError
        self._held: dict[int, _Cell] = {}
        if len(self._keys) <= _COLUMNS_AT_ONCE:
            self._held = dict(self._read(self._keys))

    def find(self, key: int, step: int, value: float) -> int | None:
        """Return the row of the first value of a key that is `value`, from a step on; None if it is not found."""
        cell = self._held.get(key) or dict(self._read([key])).get(key)
        if cell is None:
            return None
        steps = self.steps
        if type(steps) is range:  # as almost always
            start = max(0, -((steps.start - step) // steps.step))
        else:
            start = bisect_left(steps, step)
        present, values = cell
        if present is not None:
            start = bisect_left(present, start)
        index = values.index(value, start) if type(values) is _Floats else _index(values, value, start)
        return None if index is None else index if present is None else present[index]

    def columns(self, rows: Sequence[int]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the values of each key in some rows, `ABSENT` where it has none."""
        if self._held:
            cells: Iterable[tuple[int, _Cell]] = self._held.items()
        else:
            parts = range(0, len(self._keys), _COLUMNS_AT_ONCE)
            cells = (cell for at in parts for cell in self._read(self._keys[at : at + _COLUMNS_AT_ONCE]))
        for key, (present, values) in cells:
            if present is None:
                yield key, values.at(rows) if isinstance(values, _Floats) else [values[row] for row in rows]
                continue
            places = [(row, bisect_left(present, row)) for row in rows]
            count = len(present)
            yield key, [values[i] if i < count and present[i] == row else ABSENT for row, i in places]

    def times(self, rows: Sequence[int]) -> Sequence[float]:
        return _Floats(self._times, self._count).at(rows)

    def _read(self, keys: Sequence[int]) -> Iterator[tuple[int, _Cell]]:
        count = self._count
        found = self._database.each(
            f"SELECT key, type, rows, data FROM column WHERE block = ? AND key IN ({','.join(map(str, keys))})",
            (self._block,),
        )
        for number, (key, type_, rows, data) in enumerate(found):
            if type_ == "d" and rows is None:
                if number >= len(self._buffers):
                    self._buffers += [bytearray() for _ in range(number + 1 - len(self._buffers))]
                self._buffers[number][:] = data
                yield key, (None, _Floats(self._buffers[number], count))
            else:
                yield key, decode_column(type_, rows, data, count)


class _Floats:
    """Encoded float64, decoded one by one."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray, count: int) -> None:
        if len(data) != 8 * count:
            raise ValueError(f"{count} float64 must have {8 * count} bytes, not {len(data)}")
        self._data = data

    def index(self, value: float, start: int) -> int | None:
        """Return where a value is from `start` on; None if it is nowhere."""
        encoded, at = _FLOAT.pack(value), 8 * start
        while (at := self._data.find(encoded, at)) >= 0:
            if at % 8 == 0:
                return at // 8
            at += 1
        return None

    def at(self, rows: Iterable[int]) -> list[float]:
        """Return the values of some rows."""
        unpack, data = _FLOAT.unpack_from, self._data
        return [unpack(data, 8 * row)[0] for row in rows]


_Cell = tuple[Sequence[int] | None, Any]
"""The rows that have a value, None for all; the values, as `_Floats` or a sequence."""


def _index(values: Sequence[Any], value: float, start: int) -> int | None:
    return next(indexes_of(values, value, start), None)


def indexes_of(values: Sequence[Any], value: float | None, start: int) -> Iterator[int]:
    """Yield where a value is from `start` on; every index if it is None."""
    while start < len(values):
        if value is not None:
            try:
                start = values.index(value, start)
            except ValueError:
                return
        yield start
        start += 1


__all__ = ["ABSENT", "Cells", "UnorderedError", "indexes_of"]
