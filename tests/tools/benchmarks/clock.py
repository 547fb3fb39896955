"""Helpers for timing: quantiles and busy work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple


class Quantiles(NamedTuple):
    """Quantiles of some values, in their unit."""

    median: float
    p99: float
    p999: float


def quantiles(values: Sequence[float], scale: float = 1.0) -> Quantiles:
    """Return the quantiles of `values`, multiplied by `scale`. They are not interpolated."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return Quantiles(*(ordered[min(last, int(len(ordered) * share))] * scale for share in (0.5, 0.99, 0.999)))


def median(values: Sequence[float]) -> float:
    return quantiles(values).median


def busy(seconds: float) -> int:
    """Keep the processor and the interpreter busy with pure Python for `seconds`, as a training loop does."""
    end = time.perf_counter() + seconds
    turns = 0
    while time.perf_counter() < end:
        turns += 1
    return turns


def spin(turns: int) -> int:
    """Do a fixed amount of pure Python work, to be timed."""
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total


def turns_for(seconds: float) -> int:
    """Return the number of turns of `spin` that take about `seconds` on this machine."""
    turns = 1000
    while True:
        begin = time.perf_counter()
        spin(turns)
        elapsed = time.perf_counter() - begin
        if elapsed > 0.02:
            return max(1, round(turns * seconds / elapsed))
        turns *= 2
