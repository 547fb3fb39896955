"""Blocks as users see them: rows sorted by step, and histories as columns. Pure functions over `Block`s, no I/O.

A row has ``_step``, ``_timestamp`` (Unix seconds), ``_label`` (name of the writer, None if it has none) and the keys
logged at that step. Rows are sorted by step, then by writer in the order of their first row, then by arrival. Points of
one writer at one step form one row as long as their keys differ, with the time of the last; a key that is already in
the row begins another row with the same step, so nothing is dropped.
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
"""Number of keys that every row has in addition to the metrics."""

Row = dict[str, Any]
_Order = tuple[int, int, int]
"""Sort key of points: step, ordinal of the writer, number of the row among its writer's rows."""

_Point = tuple[int, int, Row]
"""Step, ordinal of the writer, row."""


def rows(
    blocks: Iterable[Block],
    keys: Iterable[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[Row]:
    """Yield the rows lazily: only blocks with overlapping steps are held at a time. The caller may change the rows.

    Args:
        blocks: ordered by their smallest step, as `StoreReader.columns` yields them.
        keys: only these; rows without any of them are left out.
        min_step, max_step: the smallest and the largest step.
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
    """The points of one block, sorted by step, then arrival, and the position of the next one to read."""

    def __init__(self, block: Block, keys: frozenset[str] | None) -> None:
        self.ordinal = block.ordinal
        self.steps: Sequence[int] = block.steps
        self.arrivals: Sequence[int] = range(block.first, block.first + len(block.steps))
        self.rows = _block_rows(block, keys)
        self.next = 0
        if not ascending(self.steps):
            indexes = sorted(range(len(self.steps)), key=self.steps.__getitem__)
            self.steps = [block.steps[i] for i in indexes]
            self.arrivals = [block.first + i for i in indexes]
            self.rows = [self.rows[i] for i in indexes]

    def order(self) -> _Order:
        """Return the sort key of the next point."""
        return self.steps[self.next], self.ordinal, self.arrivals[self.next]

    def until(self, end: _Order | None) -> Iterator[_Point]:
        """Return the points before `end`, and move past them."""
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
    """Yield all points by step, writer and arrival; hold only blocks that overlap."""
    held: list[tuple[_Order, int, _Cursor]] = []  # a heap; the number prevents a comparison of cursors
    coming = _in_order(blocks)
    ahead = next(coming, None)
    count = 0
    while held or ahead is not None:
        while ahead is not None and (not held or ahead.floor <= held[0][0][0]):
            cursor = _Cursor(ahead, keys)
            count += 1
            heapq.heappush(held, (cursor.order(), count, cursor))
            ahead = next(coming, None)
        _, number, cursor = held[0]
        end = min(held[1:3])[0] if len(held) > 1 else None  # the second smallest of a heap is one of these
        if ahead is not None and (end is None or (ahead.floor, -1, -1) < end):
            end = (ahead.floor, -1, -1)
        yield from cursor.until(end)
        if cursor.done():
            heapq.heappop(held)
        else:
            heapq.heapreplace(held, (cursor.order(), number, cursor))


def _in_order(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks that have rows.

    Raises:
        ValueError: they are not ordered by their smallest step.
    """
    before = None
    for block in blocks:
        if before is not None and block.floor < before:
            raise ValueError(f"blocks must be ordered by their smallest step, but {block.floor} follows {before}")
        before = block.floor
        if block.steps:
            yield block


def _together(columns: Iterable[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    return zip(*columns, strict=True)


def _increasing(steps: Sequence[int]) -> bool:
    return all(map(lt, steps, islice(steps, 1, None)))


def _block_rows(block: Block, keys: frozenset[str] | None) -> list[Row]:
    """Return each point of a block as a row; one without any of the keys has only what every row has."""
    chosen = {key: column for key, column in block.columns.items() if keys is None or key in keys}
    whole = {key: values for key, (present, values) in chosen.items() if present is None}
    names = ("_step", "_timestamp", "_label", *whole)
    columns: tuple[Iterable[Any], ...] = (block.steps, block.times, [block.label] * len(block.steps), *whole.values())
    result = [dict(zip(names, values, strict=True)) for values in _together(columns)]
    for key, (present, values) in chosen.items():
        if present is not None:
            for index, value in zip(present, values, strict=True):
                result[index][key] = value
    return result


def columns_for(keys: Iterable[str] | None, x: str = "step") -> list[str] | None:
    """Return the keys that `StoreReader.columns` must be asked for to get the history of `keys` over `x`."""
    if keys is None:
        return None
    wanted = list(dict.fromkeys(keys))
    return wanted if x in ("step", "time") or x in wanted else [*wanted, x]


def history(
    blocks: Iterable[Block], keys: Iterable[str] | None = None, samples: int | None = None, x: str = "step"
) -> dict[str, list[Any]]:
    """Return the rows as columns: ``_step``, ``_timestamp``, ``_label`` and each key, with None where it is absent.

    Args:
        blocks: blocks with the keys and, if `x` is a key, with that key; see `columns_for`.
        keys: only these, in this order, including those that were never logged; rows without any are left out.
            None for all.
        samples: maximum number of rows: `x` is divided into intervals of equal width, and of each the rows with the
            smallest and the largest value of each key are returned. Of values with the same key, step and writer only
            the last is used. None for all rows.
        x: ``"step"``, ``"time"`` or a metric's key: what the rows are sorted by, and what is divided into intervals. A
            key is among the returned columns, and rows without a number for it are left out.

    Raises:
        ValueError: `samples` is less than 1.
    """
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be at least 1, or None for every row, not {samples}")
    asked = None if keys is None else list(dict.fromkeys(keys))
    table = _table(list(blocks), columns_for(asked, x))
    if asked is None:
        asked = list(table.columns)
    elif len(asked) < len(table.columns):  # x was added; rows that have nothing else are left out
        table.keep(table.present(asked))
    if samples is not None:
        table.keep_last(asked)
    if x != "step":
        table.sort_by(x)
    if samples is not None:
        table.keep(table.sample(asked, samples, x))
    columns: dict[str, list[Any]] = {"_step": table.steps, "_timestamp": table.times, "_label": table.labels}
    columns.update((key, table.columns[key]) for key in (*asked, x) if key in table.columns)
    return columns


class _Table:
    """Rows of a history in progress, as columns of the same length, with None where a value is absent."""

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
        """Return the rows that have any of the keys."""
        columns = [self.columns[key] for key in keys]
        if any(None not in column for column in columns):
            return range(len(self.steps))
        return [i for i, values in enumerate(_together(columns)) if any(value is not None for value in values)]

    def sort_by(self, x: str) -> None:
        """Sort by time or by the value of a key; rows without a number for it are left out."""
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
        """Keep only the last value of each key, step and writer, and only rows that still have a value."""
        if _increasing(self.steps):
            return
        groups = list(zip(self.steps, self.ordinals, strict=True))
        if len(set(groups)) == len(groups):
            return
        for key in keys:
            column = self.columns[key]
            last = {group: i for i, (group, value) in enumerate(zip(groups, column, strict=True)) if value is not None}
            self.columns[key] = [
                value if value is not None and last[group] == i else None
                for i, (group, value) in enumerate(zip(groups, column, strict=True))
            ]
        self.keep(self.present(keys))

    def sample(self, keys: Sequence[str], samples: int, x: str) -> Sequence[int]:
        """Choose at most `samples` rows, with the smallest and the largest value of each key in each interval of x."""
        total = len(self.steps)
        if total <= samples:
            return range(total)
        values: Sequence[Any] = self.steps if x == "step" else self.times if x == "time" else self.columns[x]
        intervals = max(1, samples // (2 * max(1, len(keys))))
        chosen: set[int] = set()
        for start, end in _intervals(values, intervals):
            for key in keys:
                chosen.update(_extremes(self.columns[key], start, end))
        indexes = sorted(chosen)
        if len(indexes) <= samples:
            return indexes
        return [indexes[i * len(indexes) // samples] for i in range(samples)]  # two for each key were too many


def _intervals(values: Sequence[Any], count: int) -> Iterator[tuple[int, int]]:
    """Divide ascending values into intervals of equal width; yield start and end index of each that is not empty."""
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
    """Return the rows of the smallest and the largest number in an interval; without numbers, of the first value."""
    part = column[start:end]
    numbers: Sequence[int] = range(len(part))
    if not (set(map(type, part)) <= _NUMBERS and all(map(eq, part, part))):
        numbers = [i for i, value in enumerate(part) if type(value) in _NUMBERS and value == value]
    if not numbers:
        return {start + i for i in islice((i for i, value in enumerate(part) if value is not None), 1)}
    get = part.__getitem__
    return {start + min(numbers, key=get), start + max(numbers, key=get)}


def _table(blocks: Sequence[Block], keys: Sequence[str] | None) -> _Table:
    """Join the blocks: rows by step, writer and arrival, with the points of one writer and step in one row."""
    in_order = sorted(blocks, key=lambda block: (block.ordinal, block.first))
    if keys is None:  # in an order that does not depend on where one block ends and the next begins
        keys = list(dict.fromkeys(key for block in in_order for key in block.columns))
    table = _Table(keys)
    for block in in_order:
        _add(table, block)
    if not _increasing(table.steps):
        if not ascending(table.steps):
            table.keep(sorted(range(len(table.steps)), key=table.steps.__getitem__))
        _merge(table)
    return table


def _add(table: _Table, block: Block) -> None:
    """Add the rows of a block that have any of the table's keys."""
    columns = {key: block.columns[key] for key in table.columns if key in block.columns}
    if not columns:
        return
    count = len(block.steps)
    chosen: Sequence[int] = range(count)
    if all(present is not None for present, _ in columns.values()):
        chosen = sorted(set().union(*(present for present, _ in columns.values() if present is not None)))
    whole = len(chosen) == count
    index_of: dict[int, int] | Sequence[int] = chosen if whole else {row: index for index, row in enumerate(chosen)}
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
            spread[index_of[row]] = value
        column.extend(spread)


def _merge(table: _Table) -> None:
    """Merge neighbouring rows of the same step and writer whose keys differ."""
    steps, ordinals, times = table.steps, table.ordinals, table.times
    columns = list(table.columns.values())
    remaining: list[int] = []
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
        remaining.append(index)
    if len(remaining) < len(steps):
        table.keep(remaining)


__all__ = ["columns_for", "history", "rows"]
