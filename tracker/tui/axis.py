"""Bounds and labels of axes. Pure functions, any thread."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def bounds(values: Iterable[float]) -> tuple[float, float]:
    """Return the lowest and the highest finite value; of equal ones, a range around them; (0, 1) if there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low == high:
        around = abs(low) * 0.05 or 0.5
        return low - around, high + around
    return (low, high) if math.isfinite(high - low) else (low / 2, high / 2)


def log_of(value: float) -> float:
    """Return the decimal logarithm; NaN where there is none."""
    return math.log10(value) if 0 < value < math.inf else math.nan


def label(value: float, spread: float) -> str:
    """Return a number as a label of an axis.

    Args:
        value: the number.
        spread: length of the axis: labels have the digits that tell its parts apart.
    """
    if not math.isfinite(value):
        return str(value)
    size = max(abs(value), spread / 1000)
    digits = 0 if spread <= 0 else max(0, 2 - math.floor(math.log10(spread)))
    apart = 0 < spread < size / 100  # three digits would not tell the ends apart
    if size and not 1e-4 <= size < 1e6 and not (apart and size < 1e13 and digits < 7):
        return f"{value:.12g}" if apart else f"{value:.3g}"
    return f"{value:,.{min(digits, 8)}f}"


def step_label(value: float) -> str:
    """Return a step, short: ``"750"``, ``"200k"``, ``"1.5M"``."""
    for size, suffix in _SUFFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}" if value != int(value) else f"{int(value)}"


def duration_label(seconds: float) -> str:
    """Return a length of time, short: ``"45s"``, ``"3m20s"``, ``"2h05m"``, ``"4d3h"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g}s" if seconds < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def moment_label(seconds: float, spread: float) -> str:
    """Return a moment in local time: with the date where the axis is longer than a day."""
    try:
        moment = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.6g}"
    if spread > 86400:
        return time.strftime("%d %b %H:%M", moment)
    return time.strftime("%H:%M" if spread > 300 else "%H:%M:%S", moment)


def x_label(value: float, kind: str, spread: float) -> str:
    """Return a label of the x axis; `kind` is ``"step"``, ``"relative"``, ``"time"`` or a metric's key."""
    if kind == "step":
        return step_label(value)
    if kind == "relative":
        return duration_label(value)
    if kind == "time":
        return moment_label(value, spread)
    return label(value, spread)
