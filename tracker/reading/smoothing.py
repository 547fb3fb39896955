"""Smoothing of a line, defined in units of x. Pure functions; the dashboard's ``js/chart/smooth.js`` is the same.

The result depends on the curve and on the width only, not on how densely it was logged, thinned or bucketed.

Input: points in ascending x, each with a mean `m` and a number of values `n`: buckets at their middles, or raw points
with ``n = 1``. Points with ``n = 0`` (only NaN or infinities) are ignored, and NaN in the result. A width that is not
positive leaves the means as they are.

1. **Cells.** Neighbouring points are merged, so that many points at one x, or a burst of them, count by their number: a
   cell begins at the first point that is in none, and takes the points after it as long as ``x < begin + width / 16``.
   The points at the smallest x are a cell of their own, and so are those at the largest x. The position ``t`` and the
   value ``f`` of a cell are the means of x and m, weighted by n.
2. **Curve.** The curve is linear between the cells: (t[0], f[0]) ... (t[k], f[k]).
3. **Kernel.** S[i] at t[i] is the weighted mean of the curve, the weight of a place at the distance d being

   - ``"ema"``, half-life h: ``0.5 ** (d / h)`` before t[i], 0 after it. The exact integral, with tau = h / ln 2, S[0] =
     f[0], N[0] = D[0] = 0, and for i > 0::

         a = (t[i] - t[i - 1]) / tau;  u = exp(-a);  v = (1 - u) / a
         N[i] = u * N[i - 1] + (v - u) * f[i - 1] + (1 - v) * f[i]
         D[i] = u * D[i - 1] + (1 - u)
         S[i] = N[i] / D[i]

   - ``"gaussian"``, half width h at half height: ``exp(-d**2 / (2 * sigma**2))`` on both sides, sigma = h / 1.1774. A
     sum over the cells with abs(d) <= 4 * sigma, each times the length of the curve that it stands for:
     ``(t[j + 1] - t[j - 1]) / 2``, at the ends the half distance to the one neighbour.
   - ``"mean"``, window h: 1 where abs(d) <= h / 2, 0 elsewhere. The exact integral of the curve from ``max(t[0], t[i] -
     h / 2)`` to ``min(t[k], t[i] + h / 2)``, divided by the distance between these two.

   A single cell is its own result.
4. **Result.** At each point's x, S is linear between the cells.

For the points at the left edge of a view to be right, the input must begin a few widths before it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Literal

from sidecar.projections.store.buckets import Buckets

Kind = Literal["ema", "gaussian", "mean"]

CELLS_PER_WIDTH = 16
"""Number of cells in a width: fine enough that merging is not visible, coarse enough to be fast."""

HALF_HEIGHT = 1.1774
"""Half width at half height of a Gaussian, in units of sigma."""

REACH = 4.0
"""Distance at which the Gaussian's weight is taken as 0, in units of sigma."""


def smooth(
    xs: Sequence[float], means: Sequence[float], counts: Sequence[int], width: float, kind: Kind = "ema"
) -> list[float]:
    """Return the smoothed value at each point; see the module's documentation for the formulas.

    Args:
        xs: positions, ascending.
        means: the mean at each.
        counts: the number of finite values that each mean is of.
        width: half-life, half width or window, in units of x; 0 returns the means.
        kind: ``"ema"``, ``"gaussian"`` or ``"mean"``.

    Raises:
        ValueError: an unknown kind.
    """
    kernels: dict[str, Callable[[list[float], list[float], float], list[float]]]
    kernels = {"ema": _ema, "gaussian": _gaussian, "mean": _running_mean}
    if kind not in kernels:
        raise ValueError(f"kind must be 'ema', 'gaussian' or 'mean', not {kind!r}")
    if not width > 0:
        return [mean if count else math.nan for mean, count in zip(means, counts, strict=True)]
    at, values = _cells(xs, means, counts, width / CELLS_PER_WIDTH)
    if not at:
        return [math.nan] * len(xs)
    smoothed = kernels[kind](at, values, width) if len(at) > 1 else values
    return [_interpolated(at, smoothed, x) if count else math.nan for x, count in zip(xs, counts, strict=True)]


def smooth_buckets(series: Buckets, width: float, kind: Kind = "ema") -> list[float]:
    """Return the smoothed mean at the middle of each bucket."""
    return smooth(middles(series), series.mean, series.n, width, kind)


def middles(series: Buckets) -> list[float]:
    """Return the middle of each bucket."""
    return [first + (last - first) / 2 for first, last in zip(series.x_first, series.x_last, strict=True)]


def _cells(
    xs: Sequence[float], means: Sequence[float], counts: Sequence[int], width: float
) -> tuple[list[float], list[float]]:
    """Return position and value of each cell."""
    points = [point for point in zip(xs, means, counts, strict=True) if point[2]]
    at: list[float] = []
    values: list[float] = []
    end, total = -math.inf, 0
    for x, mean, count in points:
        if at and (x == at[-1] or (x < end and x != points[-1][0])):
            total += count
            at[-1] += (x - at[-1]) * (count / total)
            values[-1] += (mean - values[-1]) * (count / total)
        else:
            end = x + width if at else x
            at.append(x)
            values.append(mean)
            total = count
    return at, values


def _interpolated(at: Sequence[float], values: Sequence[float], x: float) -> float:
    right = bisect_right(at, x)
    if right == 0:
        return values[0]
    if right == len(at):
        return values[-1]
    share = (x - at[right - 1]) / (at[right] - at[right - 1])
    return values[right - 1] * (1 - share) + values[right] * share


def _ema(at: list[float], values: list[float], half_life: float) -> list[float]:
    tau = half_life / math.log(2)
    result = [values[0]]
    weighted = weight = 0.0
    for i in range(1, len(at)):
        distance = (at[i] - at[i - 1]) / tau
        new = -math.expm1(-distance)  # 1 - u, exact for short distances too
        old = 1 - new
        share = new / distance
        weighted = old * weighted + (share - old) * values[i - 1] + (1 - share) * values[i]
        weight = old * weight + new
        result.append(weighted / weight)
    return result


def _gaussian(at: list[float], values: list[float], half_width: float) -> list[float]:
    sigma = half_width / HALF_HEIGHT
    last = len(at) - 1
    lengths = [(at[min(i + 1, last)] - at[max(i - 1, 0)]) / 2 for i in range(len(at))]
    result = []
    for center in at:
        start, end = bisect_left(at, center - REACH * sigma), bisect_right(at, center + REACH * sigma)
        weights = [math.exp(-(((at[j] - center) / sigma) ** 2) / 2) * lengths[j] for j in range(start, end)]
        products = (weight * value for weight, value in zip(weights, values[start:end], strict=True))
        result.append(sum(products) / sum(weights))
    return result


def _running_mean(at: list[float], values: list[float], window: float) -> list[float]:
    pairs = range(1, len(at))
    integral = [0.0, *accumulate((at[i] - at[i - 1]) * (values[i] + values[i - 1]) / 2 for i in pairs)]

    def until(x: float) -> float:
        i = max(1, min(bisect_right(at, x), len(at) - 1))
        return integral[i - 1] + (x - at[i - 1]) * (values[i - 1] + _interpolated(at, values, x)) / 2

    result = []
    for center in at:
        low, high = max(at[0], center - window / 2), min(at[-1], center + window / 2)
        result.append((until(high) - until(low)) / (high - low))
    return result


__all__ = ["Kind", "middles", "smooth", "smooth_buckets"]
