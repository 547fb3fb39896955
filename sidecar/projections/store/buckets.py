"""Buckets: a series cut into at most as many pieces as a chart has pixels. Pure functions over points, no I/O.

A series is the numbers that one writer logged under one key: booleans, text and other values are left out. Of several
values with the same step the last one counts. `x` is the step, the time (Unix seconds), the time relative to the start
of the run (seconds), or another metric: its value at the same step of the same writer; points where x is missing, NaN
or infinite are left out, and on a logarithmic axis those where it is not positive.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import Block, ascending
from sidecar.projections.store.pieces import Figures, Line, grouped, of_values
from sidecar.projections.store.pyramid import last_of_each, numbers_of

DEFAULT_COUNT = 400
"""Number of buckets if not given: about as many as a panel of a dashboard has pixels."""

SMALLEST = 5e-324
"""The smallest positive number."""


class Buckets(NamedTuple):
    """A series, or the part of it between two values of x, in buckets that ascend in x; empty ones are left out.

    The range is cut into intervals of equal width, or of equal ratio on a logarithmic axis. All arrays have the same
    length. Values are float64, so integers beyond 2**53 are rounded; booleans are 0 and 1.

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


def bucketed(key: str, writer: str, label: str | None, line: Line, total: int, grid: Grid) -> Buckets:
    """Return a series in buckets; a piece belongs to the interval of its middle.

    Args:
        key, writer, label, total: as in `Buckets`.
        line: the pieces inside the grid's range, by step; points if there are no more of them than buckets.
    """
    middles: Sequence[float] = line.x_first
    if not line.whole:
        middles = [first + (last - first) / 2 for first, last in zip(line.x_first, line.x_last, strict=True)]
    if not ascending(middles):
        line, middles = line.ordered(middles), sorted(middles)
    if line.whole and len(middles) <= grid.count:
        figures = Figures(line.low, line.high, line.mean, line.last, line.n, line.bad)
        return _buckets(key, writer, label, line.x_first, line.x_last, figures, total, raw=True)
    x_first, x_last = line.x_first, line.x_last
    cuts = _cuts(middles, grid.edges(min(x_first), max(x_last)))
    if line.whole:
        figures = of_values(line.last, cuts)
    else:
        figures = grouped(Figures(line.low, line.high, line.mean, line.last, line.n, line.bad), cuts)
    firsts = [x_first[a] for a, _ in cuts] if ascending(x_first) else [min(x_first[a:b]) for a, b in cuts]
    lasts = [x_last[b - 1] for _, b in cuts] if ascending(x_last) else [max(x_last[a:b]) for a, b in cuts]
    return _buckets(key, writer, label, firsts, lasts, figures, total, raw=False)


def _cuts(middles: Sequence[float], edges: Sequence[float]) -> list[tuple[int, int]]:
    """Return start and end of the pieces in each interval that has any."""
    ends = [*(bisect_left(middles, edge) for edge in edges), len(middles)]
    return [(start, end) for start, end in zip([0, *ends], ends, strict=False) if start < end]


def _buckets(
    key: str,
    writer: str,
    label: str | None,
    x_first: Sequence[float],
    x_last: Sequence[float],
    figures: Figures,
    total: int,
    *,
    raw: bool,
) -> Buckets:
    return Buckets(
        key,
        writer,
        label,
        array("d", x_first),
        array("d", x_last),
        array("d", figures.low),
        array("d", figures.high),
        array("d", figures.mean),
        array("d", figures.last),
        array("q", figures.n),
        array("q", figures.bad),
        total,
        raw,
    )


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
        rows, values = numbers_of(rows, values)
        self.values.extend(values)
        self.steps.extend(block.steps if rows is None else [block.steps[row] for row in rows])
        self.times.extend(block.times if rows is None else [block.times[row] for row in rows])

    def unique(self) -> Points:
        """Return the points in the order of steps, of each step the one that arrived last."""
        order = last_of_each(self.steps)
        if order is None:
            return self
        result = Points(self.label)
        result.steps.extend([self.steps[i] for i in order])
        result.times.extend([self.times[i] for i in order])
        result.values.extend([self.values[i] for i in order])
        return result


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
            line = _points_in(points.unique(), x, grid, start_time or 0.0, at)
            yield bucketed(key, writer, points.label, line, len(points.values), grid)


def _positions(
    x: str, writer: str, series: Mapping[tuple[str, str], Points], unique: dict[tuple[str, str], Points]
) -> Mapping[int, float]:
    if x in ("step", "time", "relative"):
        return {}
    if (x, writer) not in unique:
        unique[x, writer] = series.get((x, writer), Points(None)).unique()
    points = unique[x, writer]
    return dict(zip(points.steps, points.values, strict=True))


def _points_in(points: Points, x: str, grid: Grid, start_time: float, at: Mapping[int, float]) -> Line:
    """Return the points inside the grid's range, sorted by x.

    Args:
        points: with unique steps, ascending.
        x: as in `buckets`.
        grid: the range.
        start_time: as in `buckets`.
        at: step -> x, if x is a metric.
    """
    values: Sequence[float] = points.values
    steps: Sequence[int] = points.steps
    xs: Sequence[float]
    if x == "step":
        xs = array("d", points.steps)
    elif x == "time":
        xs = points.times
    elif x == "relative":
        xs = array("d", [time - start_time for time in points.times])
    else:
        chosen = [i for i, step in enumerate(points.steps) if math.isfinite(at.get(step, math.nan))]
        xs, values = [at[points.steps[i]] for i in chosen], [values[i] for i in chosen]
        steps = [steps[i] for i in chosen]
    if grid.low is not None or grid.high is not None or grid.log:
        low = -math.inf if grid.low is None else grid.low
        high = math.inf if grid.high is None else grid.high
        if grid.log:
            low = max(low, SMALLEST)
        inside = [i for i, x in enumerate(xs) if low <= x <= high]
        xs, values, steps = [xs[i] for i in inside], [values[i] for i in inside], [steps[i] for i in inside]
    line = Line()
    line.add_points(steps, xs, values)
    return line


__all__ = ["DEFAULT_COUNT", "SMALLEST", "Buckets", "Grid", "bucketed", "buckets", "checked_grid", "keys_to_read"]
