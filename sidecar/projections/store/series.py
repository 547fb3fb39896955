"""SeriesReader: reads one series from a store in pieces as fine as a chart needs: from its pyramid where it can.

Works inside a transaction of a reader; knows nothing of buckets. What the pyramid does not cover (the last rows, blocks
with few values, stores that were made without it) is read point by point, as is what lies at the ends of the range or
where pieces would be wider than asked for. Blocks of one writer whose steps overlap are read together, point by point,
since a later point replaces an earlier one with the same step.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import sub, truediv
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import ascending, decode_column, decode_floats, decode_steps
from sidecar.projections.store.buckets import SMALLEST, Buckets, Grid, bucketed
from sidecar.projections.store.cache import BucketCache
from sidecar.projections.store.database import Database
from sidecar.projections.store.pieces import Line
from sidecar.projections.store.pyramid import (
    ROW_COLUMNS,
    TOP_LEVEL,
    Pieces,
    Row,
    decode_pieces,
    has_pyramid,
    last_of_each,
    numbers_of,
)

_RAW = -1
"""Level of a block that is read point by point."""

_FIRST_POSITIVE = 1.0
_FURTHER = 1024.0
"""Ends of the ranges in which the smallest positive x is looked for: the first, and the ratio from one to the next."""

Intervals = list[tuple[int, int]] | None
"""Ranges of steps, both ends included, ascending; None for all."""


class Wanted(NamedTuple):
    """What is to be read of a series.

    Attributes:
        low, high: the range of x; no piece reaches beyond it.
        width: maximum width of a piece that is not a point: a difference of x, or of its logarithm.
        log: whether `width` is that of the logarithm; if so, `low` must be positive.
        coarsest: coarsest level of the pyramid to use.
        bad_apart: whether what has NaN or infinities in it is read point by point.
    """

    low: float
    high: float
    width: float
    log: bool = False
    coarsest: int = TOP_LEVEL
    bad_apart: bool = False


class _Points:
    """Points of a series, with times if they were asked for."""

    __slots__ = ("steps", "times", "values")

    def __init__(self) -> None:
        self.steps: array[int] = array("q")
        self.times: array[float] = array("d")
        self.values: array[float] = array("d")

    def chosen(self, indexes: Sequence[int]) -> _Points:
        result = _Points()
        result.steps.extend([self.steps[i] for i in indexes])
        result.values.extend([self.values[i] for i in indexes])
        if self.times:
            result.times.extend([self.times[i] for i in indexes])
        return result


class SeriesReader:
    """Reads the series of one key and writer.

    Args:
        database: the store, in a transaction.
        key, writer: their ids in the store.
        x: ``"step"``, ``"time"`` or ``"relative"``.
        origin: what is subtracted from times: the start of the run for ``"relative"``, else 0.
        cache: for decoded pieces; None for none.
        store: what identifies the store in the cache.
    """

    def __init__(
        self,
        database: Database,
        key: int,
        writer: int,
        x: str,
        origin: float = 0.0,
        cache: BucketCache | None = None,
        store: str = "",
    ) -> None:
        self._database = database
        self._key, self._writer = key, writer
        self._timed = x != "step"
        self._origin = origin
        self._cache = cache
        self._store = store
        self.total = 0
        rows, raw = self._cover() if has_pyramid(database) else ([], self._blocks(0, None))
        self.total = sum(row.values for row in rows) + sum(row.values for row in raw)
        self._rows, self._raw = self._separated(rows, raw)
        self._points = self._read_points(self._raw) if self._timed else None

    def extent(self) -> tuple[float, float] | None:
        """Return the smallest and the largest x of the series; None if it has no numbers."""
        points = self._all_points()
        ends = [end for row in self._rows for end in self._x_of(row)]
        xs = self._xs(points)
        if len(xs):
            ends += [min(xs), max(xs)]
        return (min(ends), max(ends)) if ends else None

    def least_positive(self, high: float) -> float:
        """Return the smallest positive x up to `high`; NaN if no x is positive."""
        end = min(_FIRST_POSITIVE, high)
        while True:
            found = self.read(Wanted(SMALLEST, end, math.inf)).x_first
            if found or not end < high:
                return min(found, default=math.nan)
            end = min(end * _FURTHER, high)

    def read(self, wanted: Wanted) -> Line:
        """Return the pieces in a range of x, by step."""
        low, high = wanted.low, wanted.high
        parts: list[Line] = []
        self._descend(parts, wanted)
        points = (
            self._all_points()
            if self._points is not None
            else self._read_points([row for row in self._raw if row.step_last >= low and row.step_first <= high])
        )
        self._add_points(parts, points, low, high)
        return Line.joined(parts)

    # Which rows of the pyramid and which blocks make up the series

    def _cover(self) -> tuple[list[Row], list[Row]]:
        """Return the coarsest rows of the pyramid, and the blocks that it does not cover."""
        rows: list[Row] = []
        start = 0
        for level in range(TOP_LEVEL, 0, -1):
            found = self._find(level, start, None)
            rows += found
            start = found[-1].end if found else start
        raw: list[Row] = []
        at = 0
        for row in rows:
            if row.first > at:
                raw += self._blocks(at, row.first)
            at = row.end
        raw += self._blocks(at, None)
        return rows, raw

    def _find(self, level: int, first: int, end: int | None) -> list[Row]:
        """Return the rows of a level that begin in a range of the writer's rows."""
        limit, values = ("", ()) if end is None else (" AND first < ?", (end,))
        found = self._database.run(
            f"SELECT {ROW_COLUMNS} FROM pyramid WHERE key = ? AND writer = ? AND level = ? AND first >= ?{limit}"
            " ORDER BY first",
            (self._key, self._writer, level, first, *values),
        )
        return [Row(*row) for row in found]

    def _blocks(self, first: int, end: int | None) -> list[Row]:
        """Return the blocks that have the key in a range of the writer's rows."""
        limit, values = ("", ()) if end is None else (" AND block.first < ?", (end,))
        found = self._database.run(
            "SELECT block.first, block.rows, step_min, step_max, type, substr(column.rows, 1, 4),"
            " CASE type WHEN 'm' THEN data END FROM block JOIN column ON block = block.id AND key = ?"
            f" WHERE writer = ? AND block.first >= ?{limit} ORDER BY block.first",
            (self._key, self._writer, first, *values),
        )
        rows = []
        for start, count, step_min, step_max, type_, present, data in found:
            values_there = count if present is None else int.from_bytes(present, "little")
            if type_ == "m":
                column = decode_column(type_, None, data, values_there)
                values_there = len(numbers_of(*column)[1])
            if values_there:
                row = Row(_RAW, start, start + count, 0, values_there, step_min, step_max, math.nan, math.nan)
                rows.append(row)
        return rows

    def _separated(self, rows: list[Row], raw: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return rows and blocks so that no row overlaps anything else in its steps, or is out of order in time."""
        while True:
            dirty = _overlapping([*rows, *raw])
            if self._timed:
                dirty |= {row for row in rows if row.time_first == -math.inf}
            mixed = [row for row in rows if row in dirty]
            if not mixed:
                break  # if blocks overlap, they are read together
            rows = [row for row in rows if row not in dirty]
            raw += [row for row in mixed if not row.level]
            for row in mixed:
                if row.level:
                    rows += self._find(row.level - 1, row.first, row.end)
        raw.sort(key=lambda row: row.first)
        return rows, raw

    # From coarse to fine

    def _descend(self, parts: list[Line], wanted: Wanted) -> None:
        low, high = wanted.low, wanted.high
        work: list[tuple[Row, Intervals]] = [(row, None) for row in self._rows]
        for level in range(TOP_LEVEL, -1, -1):
            finer: list[tuple[Row, Intervals]] = []
            for row, steps in [one for one in work if one[0].level == level]:
                first, last = self._x_of(row)
                if last < low or first > high:
                    continue
                if level > wanted.coarsest or _width_of_last(row, first, last, wanted.log) > wanted.width:
                    finer.append((row, steps))
                    continue
                wide = self._take(parts, row, steps, wanted)
                if wide:
                    finer.append((row, wide))
            work = [one for one in work if one[0].level != level]
            if level:
                for row, steps in finer:
                    work += _within(self._find(level - 1, row.first, row.end), steps)
            elif finer:
                for row, steps in finer:
                    self._add_points(parts, _between(self._read_points([row]), steps), low, high)

    def _take(self, parts: list[Line], row: Row, steps: Intervals, wanted: Wanted) -> Intervals:
        """Add the pieces of a row that fit; return the ranges of steps of those that do not."""
        low, high, width, log = wanted[:4]
        pieces = self._pieces(row)
        bad_apart = wanted.bad_apart and any(pieces.figures.bad)
        firsts, lasts = self._ends(pieces)
        inside = steps is None and not bad_apart and low <= min(firsts) and max(lasts) <= high
        if inside and _fit(firsts, lasts, width, log):
            parts.append(_summed(pieces.step_first, firsts, lasts, pieces.figures))
            return None
        fitting: list[int] = []
        wide: list[tuple[int, int]] = []
        ends = 0  # number of the piece after the last wide one
        for i, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
            if last < low or first > high or (steps is not None and not _holds(steps, pieces.step_first[i])):
                continue
            if bad_apart and pieces.figures.bad[i]:
                fits = False
            else:
                fits = low <= first and last <= high and _width(first, last, log) <= width
            if fits:
                fitting.append(i)
            elif wide and ends == i:
                wide[-1] = (wide[-1][0], pieces.step_last[i])
                ends = i + 1
            else:
                wide.append((pieces.step_first[i], pieces.step_last[i]))
                ends = i + 1
        if fitting:
            figures = [[column[i] for i in fitting] for column in pieces.figures]
            line = _summed(
                [pieces.step_first[i] for i in fitting],
                [firsts[i] for i in fitting],
                [lasts[i] for i in fitting],
                figures,
            )
            parts.append(line)
        return wide

    def _pieces(self, row: Row) -> Pieces:
        place = (self._store, self._key, self._writer, row.level, row.first, row.end)
        pieces = self._cache.get(place) if self._cache is not None else None
        if pieces is None:
            data = self._database.run(
                "SELECT data FROM pyramid WHERE key = ? AND writer = ? AND level = ? AND first = ?",
                (self._key, self._writer, row.level, row.first),
            )[0][0]
            pieces = decode_pieces(data, row.pieces)
            if self._cache is not None:
                self._cache.put(place, pieces, 88 * row.pieces)
        return pieces

    def _ends(self, pieces: Pieces) -> tuple[Sequence[float], Sequence[float]]:
        if not self._timed:
            return array("d", pieces.step_first), array("d", pieces.step_last)
        if not self._origin:
            return pieces.time_first, pieces.time_last
        origin = self._origin
        return [time - origin for time in pieces.time_first], [time - origin for time in pieces.time_last]

    def _x_of(self, row: Row) -> tuple[float, float]:
        if self._timed:
            return row.time_first - self._origin, row.time_last - self._origin
        return float(row.step_first), float(row.step_last)

    # Points

    def _all_points(self) -> _Points:
        if self._points is None:
            self._points = self._read_points(self._raw)
        return self._points

    def _read_points(self, blocks: Sequence[Row]) -> _Points:
        """Return the points of blocks, which are in the order of arrival: the last of each step, by step."""
        points = _Points()
        times_column = "times" if self._timed else "NULL"
        for block in blocks:
            count, steps, times, type_, present, data = self._database.run(
                f"SELECT block.rows, steps, {times_column}, type, column.rows, data FROM block"
                " JOIN column ON block = block.id AND key = ? WHERE writer = ? AND first = ?",
                (self._key, self._writer, block.first),
            )[0]
            rows, values = numbers_of(*decode_column(type_, present, data, count))
            all_steps = decode_steps(steps, count)
            points.values.extend(values)
            points.steps.extend(all_steps if rows is None else [all_steps[row] for row in rows])
            if self._timed:
                all_times = decode_floats(times, count)
                points.times.extend(all_times if rows is None else [all_times[row] for row in rows])
        order = last_of_each(points.steps)
        return points if order is None else points.chosen(order)

    def _xs(self, points: _Points) -> Sequence[float]:
        if not self._timed:
            return array("d", points.steps)
        return array("d", [time - self._origin for time in points.times]) if self._origin else points.times

    def _add_points(self, parts: list[Line], points: _Points, low: float, high: float) -> None:
        xs = self._xs(points)
        if not len(xs):
            return
        line = Line()
        if low <= min(xs) and max(xs) <= high:
            line.add_points(points.steps, xs, points.values)
        elif ascending(xs):
            start, end = bisect_left(xs, low), bisect_right(xs, high)
            line.add_points(points.steps[start:end], xs[start:end], points.values[start:end])
        else:
            inside = [i for i, x in enumerate(xs) if low <= x <= high]
            chosen = points.chosen(inside)
            line.add_points(chosen.steps, [xs[i] for i in inside], chosen.values)
        if line.steps:
            parts.append(line)


def series_buckets(series: SeriesReader, key: str, writer: str, label: str | None, grid: Grid) -> Buckets:
    """Return a series in buckets; `key`, `writer` and `label` are those of `Buckets`."""
    low, high = grid.low, grid.high
    if low is None or high is None:
        first, last = series.extent() or (math.nan, math.nan)
        low, high = first if low is None else low, last if high is None else high
    line = Line()
    if grid.log and low <= 0:
        low = series.least_positive(high)
    if low <= high:
        width = math.log(high / low) / grid.count if grid.log else high / grid.count - low / grid.count
        line = series.read(Wanted(low, high, width, grid.log))
        if not line.whole and sum(line.n) + sum(line.bad) <= grid.count:
            line = series.read(Wanted(low, high, -1.0, grid.log))
    return bucketed(key, writer, label, line, series.total, grid)


def _summed(steps: Sequence[int], x_first: Sequence[float], x_last: Sequence[float], figures: Any) -> Line:
    line = Line()
    line.add(steps, x_first, x_last, figures)
    line.whole = False
    return line


def _overlapping(rows: Sequence[Row]) -> set[Row]:
    """Return the rows whose steps overlap those of another."""
    in_order = sorted(rows, key=lambda row: row.step_first)
    found: set[Row] = set()
    before: Row | None = None  # the one that reaches furthest
    for row in in_order:
        if before is not None and row.step_first <= before.step_last:
            found |= {before, row}
        if before is None or row.step_last > before.step_last:
            before = row
    return found


def _fit(firsts: Sequence[float], lasts: Sequence[float], width: float, log: bool) -> bool:
    """Whether all of some pieces are at most so wide; on a logarithmic axis all are positive."""
    widest = max(map(truediv, lasts, firsts)) if log else max(map(sub, lasts, firsts))
    return (math.log(widest) if log else widest) <= width


def _width(first: float, last: float, log: bool) -> float:
    if not log:
        return last - first
    return math.log(last / first) if first > 0 else math.inf


def _width_of_last(row: Row, first: float, last: float, log: bool) -> float:
    """Return the width of a row's last piece if all have the same number of x: on a logarithmic axis the narrowest."""
    share = last / row.pieces - first / row.pieces  # last - first may overflow
    return _width(last - share, last, log) if log else share


def _holds(intervals: Sequence[tuple[int, int]], step: int) -> bool:
    return any(low <= step <= high for low, high in intervals)


def _within(rows: Sequence[Row], intervals: Intervals) -> list[tuple[Row, Intervals]]:
    """Return the rows that have steps in the intervals, each with the intervals that are in it."""
    if intervals is None:
        return [(row, None) for row in rows]
    found: list[tuple[Row, Intervals]] = []
    for row in rows:
        mine = [(low, high) for low, high in intervals if high >= row.step_first and low <= row.step_last]
        if mine:
            whole = any(low <= row.step_first and row.step_last <= high for low, high in mine)
            found.append((row, None if whole else mine))
    return found


def _between(points: _Points, intervals: Intervals) -> _Points:
    """Return the points, which are in the order of steps, whose steps are in the intervals."""
    if intervals is None:
        return points
    result = _Points()
    for low, high in intervals:
        start, end = bisect_left(points.steps, low), bisect_right(points.steps, high)
        result.steps.extend(points.steps[start:end])
        result.times.extend(points.times[start:end])
        result.values.extend(points.values[start:end])
    return result


__all__ = ["SeriesReader", "Wanted", "series_buckets"]
