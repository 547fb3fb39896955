"""Cells: single values out of a block, of which only these are read. Works inside a transaction of a reader."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.projections.store.blocks import ascending, decode_column, decode_floats, decode_steps
from sidecar.projections.store.database import Database, Part
from sidecar.projections.store.pyramid import last_of_each

_COLUMNS_AT_ONCE = 64
"""Maximum number of columns of a block that are open at once, or in memory: 4 MiB of numbers."""

_SEARCHED = 512
"""Number of values that are read at once to find one: half of a piece of level 1."""

_FLOAT = struct.Struct("<d")


class UnorderedError(Exception):
    """A writer's steps decrease somewhere: the run cannot be sampled by its pyramid."""


class Cells:
    """A block's columns as they are stored; of floats only the wanted ones are read. A context manager.

    Args:
        database: the store.
        block: id of the block.
        count: number of its rows.
        keys: ids of the keys.

    Attributes:
        steps: of its rows.
        repeats: whether a step occurs in it twice.

    Raises:
        UnorderedError: its steps decrease somewhere.
    """

    def __init__(self, database: Database, block: int, count: int, keys: Iterable[int]) -> None:
        self._database, self._block, self._count = database, block, count
        self._keys = sorted(keys)
        self._parts: list[Part] = []
        steps, self._times_length = database.run("SELECT steps, length(times) FROM block WHERE id = ?", (block,))[0]
        self.steps = decode_steps(steps, count)
        self.repeats = last_of_each(self.steps) is not None
        if self.repeats and not ascending(self.steps):
            raise UnorderedError
        self._held: dict[int, _Cell] | None = None

    def __enter__(self) -> Cells:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def find(self, key: int, step: int, value: float) -> int | None:
        """Return the row of the first value of a key that is `value`, from a step on; None if it is not found."""
        cell = self._cell(key)
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
        """Yield the values of each key in some rows, None where it has none."""
        places = [slice(8 * row, 8 * row + 8) for row in rows]
        for key, (present, values) in self._cells():
            if present is None:
                yield key, values.at(places) if isinstance(values, _Floats) else [values[row] for row in rows]
                continue
            indexes = [(row, bisect_left(present, row)) for row in rows]
            count = len(present)
            yield key, [values[i] if i < count and present[i] == row else None for row, i in indexes]

    def times(self, rows: Sequence[int]) -> Sequence[float]:
        times = self._floats("block", "times", self._block, self._times_length)
        return times.at([slice(8 * row, 8 * row + 8) for row in rows])

    def _cell(self, key: int) -> _Cell | None:
        """Return the column of a key; all of them stay open if there are few."""
        if self._held is not None:
            return self._held.get(key)
        if len(self._keys) <= _COLUMNS_AT_ONCE:
            self._held = dict(self._read(self._keys))
            return self._held.get(key)
        self._close()
        return dict(self._read([key])).get(key)

    def _cells(self) -> Iterator[tuple[int, _Cell]]:
        if self._held is not None:
            yield from self._held.items()
            return
        for at in range(0, len(self._keys), _COLUMNS_AT_ONCE):
            yield from self._read(self._keys[at : at + _COLUMNS_AT_ONCE])
            self._close()

    def _read(self, keys: Sequence[int]) -> Iterator[tuple[int, _Cell]]:
        count = self._count
        found = self._database.run(
            "SELECT rowid, key, type, rows, length(data), CASE WHEN type != 'd' OR rows IS NOT NULL THEN data END"
            f" FROM column WHERE block = ? AND key IN ({','.join(map(str, keys))})",
            (self._block,),
        )
        for rowid, key, type_, rows, length, data in found:
            if data is None:
                yield key, (None, self._floats("column", "data", rowid, length))
            else:
                yield key, decode_column(type_, rows, data, count)

    def _floats(self, table: str, column: str, rowid: int, length: int) -> _Floats:
        if length != 8 * self._count:
            raise ValueError(f"{self._count} float64 must have {8 * self._count} bytes, not {length}")
        part = self._database.part(table, column, rowid)
        self._parts.append(part)
        return _Floats(part, self._count)

    def _close(self) -> None:
        parts, self._parts, self._held = self._parts, [], None
        for part in parts:
            part.close()


class _Floats:
    """Encoded float64 in the store, read one by one."""

    __slots__ = ("_count", "_part")

    def __init__(self, part: Part, count: int) -> None:
        self._part, self._count = part, count

    def index(self, value: float, start: int) -> int | None:
        """Return where a value is from `start` on; None if it is nowhere."""
        encoded = _FLOAT.pack(value)
        while start < self._count:
            end = min(start + _SEARCHED, self._count)
            data, at = self._part[8 * start : 8 * end], 0
            while (at := data.find(encoded, at)) >= 0:
                if at % 8 == 0:
                    return start + at // 8
                at += 1
            start = end
        return None

    def at(self, places: Iterable[slice]) -> Sequence[float]:
        """Return the values at some places, given as ranges of bytes."""
        data = self._part.joined(places)
        return decode_floats(data, len(data) // 8)


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


__all__ = ["Cells", "UnorderedError", "indexes_of"]
