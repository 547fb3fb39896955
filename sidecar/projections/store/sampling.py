"""Sampling: some rows of a long history that keep the extremes of each metric, found by the pyramid.

Memory is bounded by the number of rows asked for and by a few blocks, whatever the length of the run. Works inside a
transaction of a reader. Only for runs in which each writer's steps never decrease, as almost all do; for others, and
for other x than steps and times, `rows.history` samples all rows.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add, itemgetter
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import (
    BLOCK_ROWS,
    Column,
    ascending,
    decode_column,
    decode_floats,
    decode_ints,
    decode_steps,
)
from sidecar.projections.store.cells import Cells, UnorderedError, indexes_of
from sidecar.projections.store.database import Database
from sidecar.projections.store.pieces import Line
from sidecar.projections.store.pyramid import has_pyramid
from sidecar.projections.store.series import SeriesReader, Wanted

MIN_ROWS = 4 * BLOCK_ROWS
"""Minimum number of rows for which sampling by the pyramid is worth it."""

_KEPT_BLOCKS = 3
"""Number of decoded blocks in memory: one, and its neighbours, which may hold more rows of the same step."""

_ONE_BLOCK = 1
"""Coarsest level of the pyramid whose pieces lie within one block, so that their extremes are found there."""


_Values = tuple[Any, ...]
"""The values of all keys in a row; None for a key without a value."""

_Extreme = tuple[float, int, int]
"""Value, number of the writer, first step of the piece that has it."""


class _Choice(NamedTuple):
    """A value to be included in the sample: the first that equals `value` at or after `step`, None: any value."""

    step: int
    key: str
    value: float | None


class _Block(NamedTuple):
    """Where a block is."""

    id: int
    first: int
    rows: int
    step_min: int
    step_max: int


class _Content(NamedTuple):
    steps: Sequence[int]
    times: array[float]
    columns: Mapping[str, Column]


def sample(
    database: Database, keys: Sequence[str], samples: int, x: str, labels: Mapping[str, str | None]
) -> dict[str, list[Any]] | None:
    """Return at most `samples` rows as `rows.history` does; None if that must be used.

    Args:
        database: in a transaction.
        keys: the metrics.
        samples: maximum number of rows, at least 1.
        x: ``"step"`` or ``"time"``.
        labels: client id -> name of the writer.

    Raises:
        UnorderedError: all rows must be read.
    """
    writers = database.run("SELECT id, client, rows FROM writer ORDER BY id")
    if sum(rows for _, _, rows in writers) < MIN_ROWS or not has_pyramid(database):
        return None
    known: dict[str, int] = dict(database.run("SELECT name, id FROM key"))
    ids = {key: known[key] for key in keys if key in known}
    readers = [_Writer(database, id_, client, ids) for id_, client, _ in writers]
    chosen = _choose(readers, list(ids), max(1, samples // (2 * max(1, len(ids)))), x)
    found: list[tuple[float, int, int, float, str | None, _Values]] = []
    for ordinal, reader in enumerate(readers):
        label = labels.get(reader.client)
        for step, (time, row) in reader.rows(chosen[ordinal]).items():
            found.append((time if x == "time" else step, ordinal, step, time, label, row))
    found.sort(key=itemgetter(0, 1, 2))
    if len(found) > samples:  # two for each key were too many
        found = [found[i * len(found) // samples] for i in range(samples)]
    columns: dict[str, list[Any]] = {
        "_step": [one[2] for one in found],
        "_timestamp": [one[3] for one in found],
        "_label": [one[4] for one in found],
    }
    columns.update((key, [None] * len(found)) for key in keys)
    columns.update(zip(ids, map(list, zip(*[one[5] for one in found], strict=True)), strict=False))
    return columns


def _choose(readers: Sequence[_Writer], keys: Sequence[str], count: int, x: str) -> list[list[_Choice]]:
    """Return what the sample must include, for each writer: the extremes of each key in `count` intervals of x."""
    chosen: list[list[_Choice]] = [[] for _ in readers]
    series = {(key, number): reader.series(key, x) for key in keys for number, reader in enumerate(readers)}
    texts = {
        key: [one for number, reader in enumerate(readers) for one in reader.texts(key, number, x)] for key in keys
    }
    ends = [end for one in series.values() for end in one.extent() or ()]
    ends += [x_ for found in texts.values() for x_, _, _ in found]
    if not ends:
        return chosen
    low, high = min(ends), max(ends)
    width = high / count - low / count
    edges = [low + width * number for number in range(1, count)] if width > 0 else []
    for key in keys:
        extremes: dict[int, list[_Extreme]] = {}
        others = [(bisect_right(edges, x_), number, step) for x_, number, step in texts[key]]
        for number in range(len(readers)):
            line = series[key, number].read(Wanted(low, high, width, coarsest=_ONE_BLOCK, bad_apart=True))
            others += _add_extremes(extremes, line, number, edges)
        for found in extremes.values():
            for value, number, step in {min(found), max(found)}:
                chosen[number].append(_Choice(step, key, value))
        for interval, number, step in sorted(others, key=itemgetter(0, 2)):
            if interval not in extremes:
                extremes[interval] = []
                chosen[number].append(_Choice(step, key, None))
    return chosen


def _add_extremes(
    extremes: dict[int, list[_Extreme]], line: Line, number: int, edges: Sequence[float]
) -> list[tuple[int, int, int]]:
    """Add the smallest and the largest value of a line in each interval.

    Returns:
        interval, writer and step of the first piece in each interval without numbers.
    """
    ends = list(map(add, line.x_first, line.x_last))  # their halves are the middles
    if not ascending(ends):
        line, ends = line.ordered(ends), sorted(ends)
    low: Sequence[float] = line.low
    high: Sequence[float] = line.high
    bad = any(line.bad)
    if bad:  # these are points; infinities are extremes, too
        low = [low_ if n else last for low_, n, last in zip(low, line.n, line.last, strict=True)]
        high = [high_ if n else last for high_, n, last in zip(high, line.n, line.last, strict=True)]
    without: list[tuple[int, int, int]] = []
    start = 0
    for interval, end in enumerate([*(bisect_left(ends, 2 * edge) for edge in edges), len(ends)]):
        if start == end:
            continue
        used: Sequence[int] = range(start, end)
        lows, highs = low[start:end], high[start:end]
        if bad:
            used = [i for i in used if low[i] == low[i]]
            lows, highs = [low[i] for i in used], [high[i] for i in used]
        if used:
            lowest, highest = min(lows), max(highs)
            at_lowest, at_highest = used[lows.index(lowest)], used[highs.index(highest)]
            extremes.setdefault(interval, []).extend(
                [(lowest, number, line.steps[at_lowest]), (highest, number, line.steps[at_highest])]
            )
        else:
            without.append((interval, number, line.steps[start]))
        start = end
    return without


class _Writer:
    """The rows of one writer, by step.

    Raises:
        UnorderedError: its steps decrease from one block to the next.
    """

    def __init__(self, database: Database, id_: int, client: str, ids: Mapping[str, int]) -> None:
        self.client = client
        self._database, self._id, self._ids = database, id_, ids
        self._names = {id_: key for key, id_ in ids.items()}
        found = database.run(
            "SELECT id, first, rows, step_min, step_max FROM block WHERE writer = ? ORDER BY first", (id_,)
        )
        self._blocks = [_Block(*block) for block in found]
        self._first_steps = [block.step_min for block in self._blocks]
        if any(one.step_max > other.step_min for one, other in zip(self._blocks, self._blocks[1:], strict=False)):
            raise UnorderedError
        self._held: dict[int, _Content] = {}

    def series(self, key: str, x: str) -> SeriesReader:
        return SeriesReader(self._database, self._ids[key], self._id, x)

    def texts(self, key: str, number: int, x: str) -> Iterator[tuple[float, int, int]]:
        """Yield x, `number` and step of the values of a key that are not numbers."""
        for count, steps, times, rows, data in self._database.run(
            "SELECT block.rows, steps, times, column.rows, data FROM block JOIN column ON block = block.id AND key = ?"
            " WHERE writer = ? AND type = 'm' ORDER BY block.first",
            (self._ids[key], self._id),
        ):
            present, values = decode_column("m", rows, data, count)
            all_steps, all_times = decode_ints(steps, count), decode_floats(times, count)
            for row, value in zip(range(count) if present is None else present, values, strict=True):
                if type(value) not in (int, float, bool):
                    yield all_times[row] if x == "time" else float(all_steps[row]), number, all_steps[row]

    def rows(self, choices: Iterable[_Choice]) -> dict[int, tuple[float, _Values]]:
        """Return step -> time and row of the chosen values."""
        found: dict[int, tuple[float, _Values]] = {}
        by_block: dict[int, list[_Choice]] = {}
        for choice in sorted(choices, key=itemgetter(0)):  # so that each block is read about once
            by_block.setdefault(self._first_block(choice.step), []).append(choice)
        for at, chosen in by_block.items():
            for choice in self._add_rows(found, at, chosen):
                step = self._step_of(choice)
                if step not in found:
                    time, row = self._row(step)
                    found[step] = time, tuple(map(row.get, self._ids))
        return found

    def _add_rows(
        self, found: dict[int, tuple[float, _Values]], at: int, chosen: Sequence[_Choice]
    ) -> Sequence[_Choice]:
        """Add the rows of choices in a block; return those that are not found in this way.

        Decodes single values only. For blocks whose steps increase, and occur in no other block.
        """
        block = self._blocks[at]
        if self._continues(at, block.step_max):
            return chosen
        with Cells(self._database, block.id, block.rows, self._names) as cells:
            return chosen if cells.repeats else self._add_cells(found, cells, chosen)

    def _add_cells(
        self, found: dict[int, tuple[float, _Values]], cells: Cells, chosen: Sequence[_Choice]
    ) -> Sequence[_Choice]:
        rows: set[int] = set()
        others: list[_Choice] = []
        for choice in chosen:
            value = choice.value
            place = None if value is None else cells.find(self._ids[choice.key], choice.step, value)
            if place is None:
                others.append(choice)
            else:
                rows.add(place)
        if not rows:
            return others
        wanted = sorted(rows)
        columns, absent = dict(cells.columns(wanted)), [None] * len(wanted)
        values = zip(*[columns.get(id_, absent) for id_ in self._ids.values()], strict=True)
        steps = [cells.steps[place] for place in wanted]
        found.update(zip(steps, zip(cells.times(wanted), values, strict=True), strict=True))
        return others

    def _step_of(self, choice: _Choice) -> int:
        """Return the first step from `choice.step` on whose last value of the key is the chosen one."""
        for at in range(self._first_block(choice.step), len(self._blocks)):
            steps, _, columns = self._content(at)
            if choice.key not in columns:
                continue
            rows, values = columns[choice.key]
            place = (
                bisect_left(steps, choice.step) if rows is None else bisect_left(rows, bisect_left(steps, choice.step))
            )
            for index in indexes_of(values, choice.value, place):
                step = steps[index if rows is None else rows[index]]
                if choice.value is None or self._is_last(at, index, choice):
                    return step
        raise UnorderedError  # an integer that is no float64, for example

    def _first_block(self, step: int) -> int:
        """Return the number of the first block that may have a step."""
        number = max(0, bisect_right(self._first_steps, step) - 1)
        while number > 0 and self._blocks[number - 1].step_max >= step:
            number -= 1
        return number

    def _row(self, step: int) -> tuple[float, dict[str, Any]]:
        """Return time and values of all rows with a step; of several values of a key, the last."""
        at = self._first_block(step)
        content = self._content(at)
        start, end = bisect_left(content.steps, step), bisect_right(content.steps, step)
        if end - start == 1 and (end < len(content.steps) or not self._continues(at, step)):
            row = {key: values[start] for key, (rows, values) in content.columns.items() if rows is None}
            for key, (rows, values) in content.columns.items():
                if rows is not None:
                    place = bisect_left(rows, start)
                    if place < len(rows) and rows[place] == start:
                        row[key] = values[place]
            return content.times[start], row
        return self._joined_row(step)

    def _continues(self, at: int, step: int) -> bool:
        """Return whether the block after block `at` has a step, too."""
        return at + 1 < len(self._blocks) and self._blocks[at + 1].step_min <= step

    def _is_last(self, at: int, index: int, choice: _Choice) -> bool:
        """Return whether the value at `index` of the key's column in block `at` is the last of its step."""
        steps, _, columns = self._content(at)
        rows, _ = columns[choice.key]
        row = index if rows is None else rows[index]
        if row + 1 < len(steps) and steps[row + 1] > steps[row]:
            return True
        return bool(self._joined_row(steps[row])[1][choice.key] == choice.value)

    def _joined_row(self, step: int) -> tuple[float, dict[str, Any]]:
        row: dict[str, Any] = {}
        time = 0.0
        for at in range(self._first_block(step), len(self._blocks)):
            if self._blocks[at].step_min > step:
                break
            content = self._content(at)
            start, end = bisect_left(content.steps, step), bisect_right(content.steps, step)
            for key, (rows, values) in content.columns.items():
                if rows is None:
                    first, last = start, end
                else:
                    first, last = bisect_left(rows, start), bisect_left(rows, end)
                if first < last:
                    row[key] = values[last - 1]
                    time = max(time, content.times[last - 1 if rows is None else rows[last - 1]])
        return time, row

    def _content(self, number: int) -> _Content:
        content = self._held.pop(number, None) or self._read(self._blocks[number])
        self._held[number] = content
        if len(self._held) > _KEPT_BLOCKS:
            del self._held[next(iter(self._held))]
        return content

    def _read(self, block: _Block) -> _Content:
        steps, times = self._database.run("SELECT steps, times FROM block WHERE id = ?", (block.id,))[0]
        named = f" AND key IN ({','.join(map(str, self._names))})" if len(self._names) <= 500 else ""
        columns = {
            self._names[key]: decode_column(type_, rows, data, block.rows)
            for key, type_, rows, data in self._database.run(
                f"SELECT key, type, rows, data FROM column WHERE block = ?{named}", (block.id,)
            )
            if key in self._names
        }
        content = _Content(decode_steps(steps, block.rows), decode_floats(times, block.rows), columns)
        if not ascending(content.steps):
            raise UnorderedError
        return content


__all__ = ["UnorderedError", "sample"]
