"""Aggregation of a group of lines on a common grid. Pure functions; ``js/chart/aggregate.js`` is the same.

The range [low, high] is cut into `count` intervals of equal width (of equal ratio on a logarithmic axis). A line counts
in the intervals in which it has a bucket with a finite value; nothing is interpolated. Of several buckets of a line in
one interval, the means are averaged, weighted by n. Over the lines with a mean in an interval, with n their number::

    x     the mean of the middles of their buckets
    mean  sum(m) / n                              each line counts the same, however many points it has
    std   sqrt(sum((m - mean) ** 2) / (n - 1))    of the sample; NaN if n = 1
    sem   std / sqrt(n)                           standard error of the mean
    ci95  t(n - 1) * sem                          half width of the 95 % confidence interval of the mean
    low   the smallest value of any line          not of the means: no spike is lost
    high  the largest value of any line

t(f) is the 0.975 quantile of Student's t distribution with f degrees of freedom: a table for f <= 12, and for more,
with z = 1.959964, ::

    z + (z**3 + z) / (4 * f) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
      + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.projections.store.buckets import Buckets, checked_grid
from tracker.reading.smoothing import middles

_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788)
_Z = 1.959964


class Aggregate(NamedTuple):
    """A group of lines in the intervals in which at least one of them has a value; see the module's documentation.

    Attributes:
        x: position of each.
        mean, std, sem, ci95: over the lines; `std`, `sem` and `ci95` are NaN where there is one line.
        low, high: smallest and largest value of any line.
        n: number of lines.
    """

    x: list[float]
    mean: list[float]
    std: list[float]
    sem: list[float]
    ci95: list[float]
    low: list[float]
    high: list[float]
    n: list[int]


class _Cell:
    """A line in one interval."""

    __slots__ = ("high", "low", "mean", "n", "x")

    def __init__(self, x: float, mean: float, low: float, high: float, n: int) -> None:
        self.x, self.mean, self.low, self.high, self.n = x, mean, low, high, n

    def add(self, x: float, mean: float, low: float, high: float, n: int) -> None:
        self.n += n
        self.x += (x - self.x) * (n / self.n)
        self.mean += (mean - self.mean) * (n / self.n)
        self.low, self.high = min(self.low, low), max(self.high, high)


def aggregate(
    lines: Sequence[Buckets | Sequence[Buckets]], low: float, high: float, count: int, *, log_x: bool = False
) -> Aggregate:
    """Return a group of lines as one.

    Args:
        lines: each the buckets of a run, or the series of several writers that count as one line, all made with the
            same `low`, `high`, `count` and `log_x`.
        low, high, count, log_x: the common grid; see `StoredRun.buckets`.

    Raises:
        ValueError: an invalid range or count.
    """
    edges = checked_grid(low, high, count, log_x).edges(low, high)
    intervals: dict[int, list[_Cell]] = {}
    for line in lines:
        cells: dict[int, _Cell] = {}
        for series in (line,) if isinstance(line, Buckets) else line:
            columns = zip(middles(series), series.mean, series.low, series.high, series.n, strict=True)
            for x, mean, smallest, largest, n in columns:
                interval = bisect_right(edges, x)
                if not n:
                    continue
                if interval in cells:
                    cells[interval].add(x, mean, smallest, largest, n)
                else:
                    cells[interval] = _Cell(x, mean, smallest, largest, n)
        for interval, cell in cells.items():
            intervals.setdefault(interval, []).append(cell)
    result = Aggregate([], [], [], [], [], [], [], [])
    for _, present in sorted(intervals.items()):
        _add(result, present)
    return result


def _add(result: Aggregate, cells: Sequence[_Cell]) -> None:
    n = len(cells)
    mean = math.fsum(cell.mean / n for cell in cells)
    std = math.sqrt(math.fsum((cell.mean - mean) ** 2 for cell in cells) / (n - 1)) if n > 1 else math.nan
    sem = std / math.sqrt(n)
    row = (
        math.fsum(cell.x / n for cell in cells),
        mean,
        std,
        sem,
        t_quantile(n - 1) * sem if n > 1 else math.nan,
        min(cell.low for cell in cells),
        max(cell.high for cell in cells),
    )
    for column, value in zip(result[:7], row, strict=True):
        column.append(value)
    result.n.append(n)


def t_quantile(freedom: int) -> float:
    """Return the 0.975 quantile of Student's t distribution, within 0.0002.

    Args:
        freedom: degrees of freedom, at least 1.
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


__all__ = ["Aggregate", "aggregate", "t_quantile"]
