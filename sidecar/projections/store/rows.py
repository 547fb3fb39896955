"""Blocks as users see them: rows sorted by step, and histories as columns. Pure functions over `Block`s, no I/O.

A row has ``_step``, ``_timestamp`` (Unix seconds), ``_label`` (the writer, None if there is one) and the keys logged at
that step. Rows are sorted by step, then by writer in the order of their first row, then by arrival. Points of one
writer at one step make one row as long as their keys differ, with the time of the last; a key that is there already
begins another row with the same step, so nothing is dropped.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from operator import eq, lt
from typing import Any

from sidecar.projections.store.blocks import Block, ascending

_NUMBERS = {float, int}
_OWN = 3
"""How many keys every row has by itself."""

Row = dict[str, Any]
_Place = tuple[int, int, int]
"""Step, the writer's ordinal, the number of the row among its writer's: what points are sorted by."""

_Point = tuple[int, int, Row]
"""Step, the writer's ordinal, the row."""


def rows(
    blocks: Iterable[Block],
    keys: Iterable[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[Row]:
    """Yield the rows, lazily: only blocks whose steps overlap are held at a time. A row is the caller's to change.

    Args:
        blocks: ordered by their smallest step, as `StoreReader.columns` yields them.
        keys: only these; rows without any of them are left out.
        min_step, max_step: only steps from and up to these.
    """
    wanted = None if keys is None else frozenset(keys)
    at: tuple[int, int] | None = None
    row: Row = {}
    for step, ordinal, point in _points(blocks, wanted):
        if len(point) == _OWN or (min_step is not None and step < min_step):
            continue
        if max_step is not None and step > max_step:
            break
        if at == (step, ordinal) and len(row.keys() & point.keys()) == _OWN:
            row.update(point)
            continue
        if at is not None:
            yield row
        at, row = (step, ordinal), point
    if at is not None:
        yield row


class _Cursor:
    """The points of one block by step, then arrival, and how far they were read."""

    def __init__(self, block: Block, keys: frozenset[str] | None) -> None:
        self.ordinal = block.ordinal
        self.steps: Sequence[int] = block.steps
        self.arrivals: Sequence[int] = range(block.first, block.first + len(block.steps))
        self.rows = _block_rows(block, keys)
        self.next = 0
        if not ascending(self.steps):
            order = sorted(range(len(self.steps)), key=self.steps.__getitem__)
            self.steps = [block.steps[i] for i in order]
            self.arrivals = [block.first + i for i in order]
            self.rows = [self.rows[i] for i in order]

    def place(self) -> _Place:
        """Where the next point stands among those of all blocks."""
        return self.steps[self.next], self.ordinal, self.arrivals[self.next]

    def until(self, end: _Place | None) -> Iterator[_Point]:
        """Return the points that stand before `end`, and go on behind them."""
        start, stop = self.next, len(self.steps)
        if end is not None:
            stop = bisect_left(self.steps, end[0], start)
            while stop < len(self.steps) and (self.steps[stop], self.ordinal, self.arrivals[stop]) < end:
                stop += 1
        self.next = stop
        return zip(self.steps[start:stop], repeat(self.ordinal), self.rows[start:stop], strict=False)

    def done(self) -> bool:
        return self.next == len(self.steps)


def _points(blocks: Iterable[Block], keys: frozenset[str] | None) -> Iterator[_Point]:
    """Yield all points by step, writer and arrival, with no more blocks held than overlap."""
    held: list[tuple[_Place, int, _Cursor]] = []  # a heap; the number keeps cursors from being compared
    coming = _in_order(blocks)
    ahead = next(coming, None)
    count = 0
    while held or ahead is not None:
        while ahead is not None and (not held or ahead.floor <= held[0][0][0]):
            cursor = _Cursor(ahead, keys)
            count += 1
            heapq.heappush(held, (cursor.place(), count, cursor))
            ahead = next(coming, None)
        _, number, cursor = held[0]
        end = min(held[1:3])[0] if len(held) > 1 else None  # the smallest of a heap but its first is one of these
        if ahead is not None and (end is None or (ahead.floor, -1, -1) < end):
            end = (ahead.floor, -1, -1)
        yield from cursor.until(end)
        if cursor.done():
            heapq.heappop(held)
        else:
            heapq.heapreplace(held, (cursor.place(), number, cursor))


def _in_order(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks that have rows.

    Raises:
        ValueError: they do not come ordered by their smallest step.
    """
    before = None
    for block in blocks:
        if before is not None and block.floor < before:
            raise ValueError(f"a block with steps from {block.floor} after one with steps from {before}; order them")
        before = block.floor
        if block.steps:
            yield block


def _together(columns: Iterable[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    return zip(*columns, strict=True)


def _increasing(steps: Sequence[int]) -> bool:
    return all(map(lt, steps, islice(steps, 1, None)))


def _block_rows(block: Block, keys: frozenset[str] | None) -> list[Row]:
    """Return each point of a block as a row, with nothing but what every row has where it has none of the keys."""
    chosen = {key: column for key, column in block.columns.items() if keys is None or key in keys}
    whole = {key: values for key, (present, values) in chosen.items() if present is None}
    names = ("_step", "_timestamp", "_label", *whole)
    columns: tuple[Iterable[Any], ...] = (block.steps, block.times, [block.label] * len(block.steps), *whole.values())
    found = [dict(zip(names, values, strict=True)) for values in _together(columns)]
    for key, (present, values) in chosen.items():
        if present is not None:
            for index, value in zip(present, values, strict=True):
                found[index][key] = value
    return found


def columns_for(keys: Iterable[str] | None, x: str = "step") -> list[str] | None:
    """The keys to ask `StoreReader.columns` for, to make the history of `keys` over `x`."""
    if keys is None:
        return None
    wanted = list(dict.fromkeys(keys))
    return wanted if x in ("step", "time") or x in wanted else [*wanted, x]


def history(
    blocks: Iterable[Block], keys: Iterable[str] | None = None, samples: int | None = None, x: str = "step"
) -> dict[str, list[Any]]:
    """Return the same rows as columns: ``_step``, ``_timestamp``, ``_label`` and each key, None where it is absent.

    Args:
        blocks: with the keys and, if `x` is one, that key (`columns_for` names them).
        keys: only these, in this order, each there even if it was never logged; rows without any are left out.
            None: all.
        samples: at most so many rows: of each of equally wide stretches of `x`, those with the smallest and the
            largest value of each key. Of values with the same key, step and writer only the last counts. None: all.
        x: ``"step"``, ``"time"`` or a metric's key: what the rows are sorted by and the stretches are of. For a key,
            rows without a number there are left out, and it is among the columns returned.

    Raises:
        ValueError: `samples` is less than 1.
    """
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; ask for at least 1, or None for every point")
    asked = None if keys is None else list(dict.fromkeys(keys))
    table = _table(list(blocks), columns_for(asked, x))
    if asked is None:
        asked = list(table.columns)
    elif len(asked) < len(table.columns):  # x came along; rows that have nothing else are left out
        table.keep(table.present(asked))
    if samples is not None:
        table.keep_last(asked)
    if x != "step":
        table.sort_by(x)
    if samples is not None:
        table.keep(table.sample(asked, samples, x))
    found: dict[str, list[Any]] = {"_step": table.steps, "_timestamp": table.times, "_label": table.labels}
    found.update((key, table.columns[key]) for key in (*asked, x) if key in table.columns)
    return found


class _Table:
    """Rows as columns of one length, None where a value is absent, while a history is made of them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.ordinals: list[int] = []
        self.labels: list[str | None] = []
        self.columns: dict[str, list[Any]] = {key: [] for key in keys}

    def keep(self, indexes: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        if isinstance(indexes, range) and indexes == range(len(self.steps)):
            return
        self.steps = [self.steps[i] for i in indexes]
        self.times = [self.times[i] for i in indexes]
        self.ordinals = [self.ordinals[i] for i in indexes]
        self.labels = [self.labels[i] for i in indexes]
        for key, column in self.columns.items():
            self.columns[key] = [column[i] for i in indexes]

    def present(self, keys: Sequence[str]) -> Sequence[int]:
        """The rows that have one of the keys."""
        columns = [self.columns[key] for key in keys]
        if any(None not in column for column in columns):
            return range(len(self.steps))
        return [i for i, values in enumerate(_together(columns)) if any(value is not None for value in values)]

    def sort_by(self, x: str) -> None:
        """Sort by time or by a key's value; rows without a number there are left out."""
        if x == "time":
            values: Sequence[Any] = self.times
            usable: Sequence[int] = range(len(values))
        else:
            values = self.columns.get(x, [])
            usable = [i for i, value in enumerate(values) if type(value) in _NUMBERS and value == value]
        if not usable or not ascending([values[i] for i in usable]):
            usable = sorted(usable, key=values.__getitem__)
        self.keep(usable)

    def keep_last(self, keys: Sequence[str]) -> None:
        """Of values with the same key, step and writer keep the last, and only rows that still have one."""
        if _increasing(self.steps):
            return
        places = list(zip(self.steps, self.ordinals, strict=True))
        if len(set(places)) == len(places):
            return
        for key in keys:
            column = self.columns[key]
            last = {place: i for i, (place, value) in enumerate(zip(places, column, strict=True)) if value is not None}
            self.columns[key] = [
                value if value is not None and last[place] == i else None
                for i, (place, value) in enumerate(zip(places, column, strict=True))
            ]
        self.keep(self.present(keys))

    def sample(self, keys: Sequence[str], samples: int, x: str) -> Sequence[int]:
        """Choose at most so many rows, with the smallest and largest value of each key in each stretch of x."""
        total = len(self.steps)
        if total <= samples:
            return range(total)
        values: Sequence[Any] = self.steps if x == "step" else self.times if x == "time" else self.columns[x]
        stretches = max(1, samples // (2 * max(1, len(keys))))
        chosen: set[int] = set()
        for start, end in _stretches(values, stretches):
            for key in keys:
                chosen.update(_extremes(self.columns[key], start, end))
        rows_ = sorted(chosen)
        if len(rows_) <= samples:
            return rows_
        return [rows_[i * len(rows_) // samples] for i in range(samples)]  # more keys than samples have room for


def _stretches(values: Sequence[Any], count: int) -> Iterator[tuple[int, int]]:
    """Cut ascending values in equally wide stretches; yield where each that is not empty starts and ends."""
    finite = [value for value in (values[0], values[-1]) if math.isfinite(value)]
    low, high = float(values[0]), float(values[-1])
    width = (high - low) / count if len(finite) == 2 else math.inf
    start = 0
    for number in range(1, count):
        if not 0 < width < math.inf:
            break
        end = bisect_left(values, low + width * number, start)
        if end > start:
            yield start, end
        start = end
    if start < len(values):
        yield start, len(values)


def _extremes(column: Sequence[Any], start: int, end: int) -> set[int]:
    """The rows of the smallest and the largest number between; where there is none, of the first value."""
    part = column[start:end]
    numbers: Sequence[int] = range(len(part))
    if not (set(map(type, part)) <= _NUMBERS and all(map(eq, part, part))):
        numbers = [i for i, value in enumerate(part) if type(value) in _NUMBERS and value == value]
    if not numbers:
        return {start + i for i in islice((i for i, value in enumerate(part) if value is not None), 1)}
    get = part.__getitem__
    return {start + min(numbers, key=get), start + max(numbers, key=get)}


def _table(blocks: Sequence[Block], keys: Sequence[str] | None) -> _Table:
    """Put the blocks together: by step, writer and arrival, the points of one writer and step as one row."""
    if keys is None:
        keys = list(dict.fromkeys(key for block in blocks for key in block.columns))
    table = _Table(keys)
    for block in sorted(blocks, key=lambda block: (block.ordinal, block.first)):
        _add(table, block)
    if not _increasing(table.steps):
        if not ascending(table.steps):
            table.keep(sorted(range(len(table.steps)), key=table.steps.__getitem__))
        _merge(table)
    return table


def _add(table: _Table, block: Block) -> None:
    """Add the rows of a block that have one of the table's keys."""
    columns = {key: block.columns[key] for key in table.columns if key in block.columns}
    if not columns:
        return
    count = len(block.steps)
    chosen: Sequence[int] = range(count)
    if all(present is not None for present, _ in columns.values()):
        chosen = sorted(set().union(*(present for present, _ in columns.values() if present is not None)))
    whole = len(chosen) == count
    place: dict[int, int] | Sequence[int] = chosen if whole else {row: index for index, row in enumerate(chosen)}
    table.steps.extend(block.steps if whole else [block.steps[i] for i in chosen])
    table.times.extend(block.times if whole else [block.times[i] for i in chosen])
    table.ordinals.extend([block.ordinal] * len(chosen))
    table.labels.extend([block.label] * len(chosen))
    for key, column in table.columns.items():
        if key not in columns:
            column.extend([None] * len(chosen))
            continue
        present, values = columns[key]
        if present is None or len(present) == len(chosen):
            column.extend(values)
            continue
        spread: list[Any] = [None] * len(chosen)
        for row, value in zip(present, values, strict=True):
            spread[place[row]] = value
        column.extend(spread)


def _merge(table: _Table) -> None:
    """Make one row of neighbours with the same step and writer whose keys differ."""
    steps, ordinals, times = table.steps, table.ordinals, table.times
    columns = list(table.columns.values())
    kept: list[int] = []
    row = -1
    for index, (step, ordinal) in enumerate(zip(steps, ordinals, strict=True)):
        if row >= 0 and steps[row] == step and ordinals[row] == ordinal:
            added = [column for column in columns if column[index] is not None]
            if all(column[row] is None for column in added):
                for column in added:
                    column[row] = column[index]
                times[row] = times[index]
                continue
        row = index
        kept.append(index)
    if len(kept) < len(steps):
        table.keep(kept)


__all__ = ["columns_for", "history", "rows"]
