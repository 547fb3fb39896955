"""Buckets: a series cut into at most as many pieces as a chart has pixels. Pure functions over points, no I/O.

A series is the numbers that one writer logged under one key: booleans, text and other values are left out. Of several
values with the same step the last one counts. `x` is the step, the time (Unix seconds), the time relative to the start
of the run (seconds), or another metric: its value at the same step of the same writer; points where x is missing, NaN
or infinite are left out, and on a logarithmic axis those where it is not positive.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import add, lt, mul
from typing import Any, NamedTuple, TypeAlias

from sidecar.projections.store.blocks import Block, ascending

DEFAULT_COUNT = 400
"""Number of buckets if not given: about as many as a panel of a dashboard has pixels."""

NAN = math.nan
_NUMBERS = {float, int}


class Buckets(NamedTuple):
    """A series, or the part of it between two values of x, in buckets that ascend in x; empty ones are left out.

    The range is cut into intervals of equal width, or of equal ratio on a logarithmic axis. All arrays have the same
    length. Values are float64, so integers beyond 2**53 are rounded.

    Attributes:
        key: the metric.
        writer: client id of the writer.
        label: name of the writer among several, None if it has none.
        x_first, x_last: smallest and largest x in each bucket.
        low, high, mean: of the finite values; NaN in a bucket that has none.
        last: value with the largest x, which may be NaN or infinite.
        n: number of finite values.
        bad: number of NaN and infinite values.
        total: number of values of the whole series, including those outside the range and those that were replaced by
            a later value of the same step.
        raw: whether each bucket is one point, because the range has no more points than buckets were asked for.
    """

    key: str
    writer: str
    label: str | None
    x_first: array[float]
    x_last: array[float]
    low: array[float]
    high: array[float]
    mean: array[float]
    last: array[float]
    n: array[int]
    bad: array[int]
    total: int
    raw: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """The requested range of x and its division.

    Attributes:
        low, high: the range, both ends included; None for the series' own.
        count: maximum number of buckets.
        log: whether buckets have equal ratios instead of equal widths.
    """

    low: float | None
    high: float | None
    count: int
    log: bool

    def edges(self, first: float, last: float) -> list[float]:
        """Return the inner boundaries between the intervals of a series whose x go from `first` to `last`."""
        low = first if self.low is None or (self.log and self.low <= 0) else self.low
        high = last if self.high is None else self.high
        if not low < high:
            return []
        if self.log:
            low, high = math.log(low), math.log(high)
        width = high / self.count - low / self.count  # high - low may overflow
        edges = [low + width * number for number in range(1, self.count)]
        return [math.exp(edge) for edge in edges] if self.log else edges


def checked_grid(low: float | None, high: float | None, count: int, log_x: bool) -> Grid:
    """Return the grid.

    Raises:
        ValueError: a bound is NaN or infinite, the range is empty, or `count` is less than 1.
    """
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and not math.isfinite(bound):
            raise ValueError(f"{name} must be a finite number or None, not {bound}")
    if low is not None and high is not None and low > high:
        raise ValueError(f"low must be at most high, but {low} > {high}")
    if log_x and high is not None and high <= 0:
        raise ValueError(f"high must be positive on a logarithmic axis, not {high}")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    return Grid(None if low is None else float(low), None if high is None else float(high), count, log_x)


_Floats: TypeAlias = "array[float]"
_Columns: TypeAlias = "tuple[_Floats, _Floats, _Floats, _Floats, _Floats, _Floats, array[int], array[int]]"


class Pieces:
    """Groups of neighbouring points of a series, as columns; a piece of one point is that point.

    Attributes:
        x_first, x_last, low, high, mean, last, n, bad: as those of `Buckets`.
    """

    __slots__ = ("bad", "high", "last", "low", "mean", "n", "x_first", "x_last")

    def __init__(self) -> None:
        self.x_first: array[float] = array("d")
        self.x_last: array[float] = array("d")
        self.low: array[float] = array("d")
        self.high: array[float] = array("d")
        self.mean: array[float] = array("d")
        self.last: array[float] = array("d")
        self.n: array[int] = array("q")
        self.bad: array[int] = array("q")

    def add_points(self, xs: Sequence[float], values: Sequence[float]) -> None:
        """Add points, each as a piece."""
        self.x_first.extend(xs)
        self.x_last.extend(xs)
        self.last.extend(values)
        count = len(values)
        if math.isfinite(sum(values)):
            for column in (self.low, self.high, self.mean):
                column.extend(values)
            self.n.extend([1] * count)
            self.bad.extend([0] * count)
            return
        finite = [value if math.isfinite(value) else NAN for value in values]
        for column in (self.low, self.high, self.mean):
            column.extend(finite)
        self.n.extend([1 if value == value else 0 for value in finite])
        self.bad.extend([0 if value == value else 1 for value in finite])

    def columns(self) -> _Columns:
        """Return all columns, in the order of `Buckets`."""
        return self.x_first, self.x_last, self.low, self.high, self.mean, self.last, self.n, self.bad

    def sorted(self, by: Sequence[float]) -> Pieces:
        """Return the pieces ordered by `by`, a value for each."""
        order = sorted(range(len(by)), key=by.__getitem__)
        result = Pieces()
        pairs: Iterable[tuple[array[Any], array[Any]]] = zip(result.columns(), self.columns(), strict=True)
        for column, source in pairs:
            column.extend([source[i] for i in order])
        return result

    def add_piece(self, pieces: Pieces, start: int, end: int) -> None:
        """Add the pieces from `start` to before `end` of others, which ascend in x, as one piece."""
        self.x_first.append(min(pieces.x_first[start:end]))
        self.x_last.append(max(pieces.x_last[start:end]))
        self.last.append(pieces.last[end - 1])
        counts, bad = pieces.n[start:end], sum(pieces.bad[start:end])
        total = sum(counts)
        self.n.append(total)
        self.bad.append(bad)
        lows, highs, means = pieces.low[start:end], pieces.high[start:end], pieces.mean[start:end]
        if bad:
            chosen = [i for i, count in enumerate(counts) if count]
            lows, highs, means = (array("d", [part[i] for i in chosen]) for part in (lows, highs, means))
            counts = array("q", [counts[i] for i in chosen])
        self.low.append(min(lows, default=NAN))
        self.high.append(max(highs, default=NAN))
        self.mean.append(_mean(means, counts, total))


def _mean(means: Sequence[float], counts: Sequence[int], total: int) -> float:
    if not total:
        return NAN
    mean: float = sum(map(mul, means, counts)) / total
    if math.isfinite(mean):
        return mean
    return math.fsum(mean * (count / total) for mean, count in zip(means, counts, strict=True))  # the sum overflowed


def bucketed(key: str, writer: str, label: str | None, pieces: Pieces, total: int, grid: Grid) -> Buckets:
    """Return a series in buckets; a piece belongs to the interval of its middle.

    Args:
        key, writer, label, total: as in `Buckets`.
        pieces: those inside the grid's range, in any order; of each x that occurs several times, in order of arrival.
    """
    middles: Sequence[float] = pieces.x_first
    if pieces.x_first != pieces.x_last:
        middles = [first + (last - first) / 2 for first, last in zip(pieces.x_first, pieces.x_last, strict=True)]
    if not ascending(middles):
        pieces = pieces.sorted(middles)
        middles = sorted(middles)
    size = len(middles)
    if sum(map(add, pieces.n, pieces.bad)) <= grid.count:
        return Buckets(key, writer, label, *pieces.columns(), total, True)
    result = Pieces()
    start = 0
    for edge in grid.edges(min(pieces.x_first), max(pieces.x_last)):
        end = bisect_left(middles, edge, start)
        if end > start:
            result.add_piece(pieces, start, end)
            start = end
    if start < size:
        result.add_piece(pieces, start, size)
    return Buckets(key, writer, label, *result.columns(), total, False)


class Points:
    """The numbers that one writer logged under one key, with their steps and times, in order of arrival."""

    __slots__ = ("label", "steps", "times", "values")

    def __init__(self, label: str | None) -> None:
        self.label = label
        self.steps: array[int] = array("q")
        self.times: array[float] = array("d")
        self.values: array[float] = array("d")

    def add(self, block: Block, rows: Sequence[int] | None, values: Sequence[Any]) -> None:
        """Add a column of a block; blocks come in order of arrival."""
        if not isinstance(values, array):
            chosen = [i for i, value in enumerate(values) if type(value) in _NUMBERS]
            if len(chosen) < len(values):
                values = [values[i] for i in chosen]
                rows = chosen if rows is None else [rows[i] for i in chosen]
        as_they_are = isinstance(values, array) and values.typecode == "d"
        self.values.extend(values if as_they_are else map(_float, values))
        self.steps.extend(block.steps if rows is None else [block.steps[row] for row in rows])
        self.times.extend(block.times if rows is None else [block.times[row] for row in rows])

    def unique(self) -> Points:
        """Return the points in the order of steps, of each step the one that arrived last."""
        steps = self.steps
        if all(map(lt, steps, islice(steps, 1, None))):
            return self
        last = {step: i for i, step in enumerate(steps)}
        order = [last[step] for step in sorted(last)]
        result = Points(self.label)
        result.steps.extend([steps[i] for i in order])
        result.times.extend([self.times[i] for i in order])
        result.values.extend([self.values[i] for i in order])
        return result


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def keys_to_read(keys: Iterable[str], x: str) -> list[str]:
    """Return the keys whose columns are needed for buckets of `keys` over `x`."""
    wanted = list(dict.fromkeys(keys))
    return wanted if x in ("step", "time", "relative") or x in wanted else [*wanted, x]


def buckets(
    blocks: Iterable[Block], keys: Iterable[str], x: str, grid: Grid, start_time: float | None
) -> Iterator[Buckets]:
    """Yield the buckets of each key and writer, by reading every point.

    Args:
        blocks: with the columns that `keys_to_read` names, in any order.
        keys: the metrics, in the order in which they are yielded; writers follow in the order of their first rows.
        x: ``"step"``, ``"time"``, ``"relative"`` or a metric.
        grid: the range and its division.
        start_time: start of the run, Unix seconds; the zero of ``"relative"``.
    """
    series: dict[tuple[str, str], Points] = {}
    writers: dict[str, None] = {}
    for block in sorted(blocks, key=lambda block: (block.ordinal, block.first)):
        writers.setdefault(block.writer)
        for key, (rows, values) in block.columns.items():
            series.setdefault((key, block.writer), Points(block.label)).add(block, rows, values)
    unique: dict[tuple[str, str], Points] = {}
    for key in dict.fromkeys(keys):
        for writer in writers:
            points = series.get((key, writer))
            if points is None or not points.values:
                continue
            at = _positions(x, writer, series, unique)
            pieces = points_in(points.unique(), x, grid, start_time or 0.0, at)
            yield bucketed(key, writer, points.label, pieces, len(points.values), grid)


def _positions(
    x: str, writer: str, series: Mapping[tuple[str, str], Points], unique: dict[tuple[str, str], Points]
) -> Mapping[int, float]:
    if x in ("step", "time", "relative"):
        return {}
    if (x, writer) not in unique:
        unique[x, writer] = series.get((x, writer), Points(None)).unique()
    points = unique[x, writer]
    return dict(zip(points.steps, points.values, strict=True))


def points_in(points: Points, x: str, grid: Grid, start_time: float, at: Mapping[int, float]) -> Pieces:
    """Return the points inside the grid's range, sorted by x.

    Args:
        points: with unique steps, ascending.
        x: as in `buckets`.
        grid: the range.
        start_time: as in `buckets`.
        at: step -> x, if x is a metric.
    """
    values: Sequence[float] = points.values
    xs: Sequence[float]
    if x == "step":
        xs = array("d", points.steps)
    elif x == "time":
        xs = points.times
    elif x == "relative":
        xs = array("d", [time - start_time for time in points.times])
    else:
        chosen = [i for i, step in enumerate(points.steps) if math.isfinite(at.get(step, NAN))]
        xs, values = [at[points.steps[i]] for i in chosen], [values[i] for i in chosen]
    if not ascending(xs):
        order = sorted(range(len(xs)), key=xs.__getitem__)
        xs, values = [xs[i] for i in order], [values[i] for i in order]
    start = 0 if grid.low is None else bisect_left(xs, grid.low)
    if grid.log:
        start = max(start, bisect_right(xs, 0.0))
    end = len(xs) if grid.high is None else bisect_right(xs, grid.high)
    pieces = Pieces()
    if start < end:
        pieces.add_points(xs[start:end], values[start:end])
    return pieces


__all__ = ["DEFAULT_COUNT", "Buckets", "Grid", "buckets", "checked_grid", "keys_to_read"]
