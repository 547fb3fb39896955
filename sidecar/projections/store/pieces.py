"""Pieces: neighbouring points of a series summarized in figures, and groups of such pieces. Pure functions.

Called for each value that is stored, so loops run in C where they can: `map` over builtins, no Python function per
value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import mul, truediv
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import ascending

Cuts = Sequence[tuple[int, int]]
"""Start and end index of each group; no group is empty."""


class Figures(NamedTuple):
    """Figures of pieces, in columns of the same length.

    Attributes:
        low, high, mean: of the finite values; NaN in a piece that has none.
        last: the last value, which may be NaN or infinite.
        n: number of finite values.
        bad: number of NaN and infinite values.
    """

    low: Sequence[float]
    high: Sequence[float]
    mean: Sequence[float]
    last: Sequence[float]
    n: Sequence[int]
    bad: Sequence[int]


def single(values: Sequence[float]) -> Figures:
    """Return each value as a piece."""
    count = len(values)
    if math.isfinite(sum(values)):
        return Figures(values, values, values, values, [1] * count, [0] * count)
    finite = [value if math.isfinite(value) else math.nan for value in values]
    n = [1 if value == value else 0 for value in finite]
    return Figures(finite, finite, finite, values, n, [1 - one for one in n])


def of_values(values: Sequence[float], cuts: Cuts) -> Figures:
    """Return groups of values as pieces; a list is faster than an array."""
    parts = [values[start:end] for start, end in cuts]
    n = list(map(len, parts))
    mean = list(map(truediv, map(sum, parts), n))
    if not math.isfinite(sum(mean)):  # a value is not finite, or a sum is too large
        return grouped(single(values), cuts)
    low, high = list(map(min, parts)), list(map(max, parts))
    return Figures(low, high, _between(low, mean, high), [part[-1] for part in parts], n, [0] * len(n))


def grouped(pieces: Figures, cuts: Cuts) -> Figures:
    """Return groups of pieces as pieces."""
    low, high, mean, last, n, bad = pieces
    counts = [sum(n[start:end]) for start, end in cuts]
    lasts = [last[end - 1] for _, end in cuts]
    if any(bad):
        return _with_bad(pieces, cuts, counts, lasts)
    lows = [min(low[start:end]) for start, end in cuts]
    highs = [max(high[start:end]) for start, end in cuts]
    sums = list(map(mul, mean, n))
    means = [sum(sums[start:end]) / count for (start, end), count in zip(cuts, counts, strict=True)]
    if not math.isfinite(sum(means)):
        parts = zip(cuts, counts, strict=True)
        means = [_mean(mean[start:end], n[start:end], count) for (start, end), count in parts]
    return Figures(lows, highs, _between(lows, means, highs), lasts, counts, [0] * len(counts))


def _with_bad(pieces: Figures, cuts: Cuts, counts: list[int], lasts: list[float]) -> Figures:
    low, high, mean, _, n, bad = pieces
    lows, highs, means = [], [], []
    for (start, end), count in zip(cuts, counts, strict=True):
        used = [i for i in range(start, end) if n[i]]
        lows.append(min((low[i] for i in used), default=math.nan))
        highs.append(max((high[i] for i in used), default=math.nan))
        one = _mean([mean[i] for i in used], [n[i] for i in used], count)
        means.append(min(max(one, lows[-1]), highs[-1]))
    return Figures(lows, highs, means, lasts, counts, [sum(bad[start:end]) for start, end in cuts])


def _between(low: Sequence[float], mean: Sequence[float], high: Sequence[float]) -> Sequence[float]:
    """Return means that were rounded, but not beyond the extremes."""
    return list(map(max, low, map(min, mean, high)))


def _mean(means: Sequence[float], counts: Sequence[int], total: int) -> float:
    if not total:
        return math.nan
    mean: float = sum(map(mul, means, counts)) / total
    if math.isfinite(mean):
        return mean
    return math.fsum(mean * (count / total) for mean, count in zip(means, counts, strict=True))


class Line:
    """Pieces of a series over x, in columns; a point is a piece with ``n + bad == 1``.

    Attributes:
        steps: the smallest step of each piece.
        x_first, x_last: range of x of each.
        low, high, mean, last, n, bad: as in `Figures`.
        whole: whether every piece is a point.
    """

    __slots__ = ("bad", "high", "last", "low", "mean", "n", "steps", "whole", "x_first", "x_last")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.x_first: list[float] = []
        self.x_last: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.mean: list[float] = []
        self.last: list[float] = []
        self.n: list[int] = []
        self.bad: list[int] = []
        self.whole = True

    def add(
        self, steps: Iterable[int], x_first: Iterable[float], x_last: Iterable[float], figures: Iterable[Iterable[Any]]
    ) -> None:
        """Add pieces."""
        columns: tuple[list[Any], ...] = (self.low, self.high, self.mean, self.last, self.n, self.bad)
        for column, values in zip(columns, figures, strict=True):
            column.extend(values)
        self.steps.extend(steps)
        self.x_first.extend(x_first)
        self.x_last.extend(x_last)

    def add_points(self, steps: Sequence[int], xs: Sequence[float], values: Sequence[float]) -> None:
        """Add points."""
        self.add(steps, xs, xs, single(values))

    @classmethod
    def joined(cls, parts: Iterable[Line]) -> Line:
        """Return the pieces of several lines, none of them empty, by step."""
        result = cls()
        for part in sorted(parts, key=_first_step):
            for name in _COLUMNS:
                getattr(result, name).extend(getattr(part, name))
            result.whole = result.whole and part.whole
        return result if ascending(result.steps) else result.ordered(result.steps)

    def ordered(self, by: Sequence[Any]) -> Line:
        """Return the pieces in the order of `by`, which has a value for each."""
        order = sorted(range(len(by)), key=by.__getitem__)
        result = Line()
        result.whole = self.whole
        for name in _COLUMNS:
            column = getattr(self, name)
            setattr(result, name, [column[i] for i in order])
        return result


_COLUMNS = tuple(name for name in Line.__slots__ if name != "whole")


def _first_step(line: Line) -> int:
    return line.steps[0]


__all__ = ["Cuts", "Figures", "Line", "grouped", "of_values", "single"]
