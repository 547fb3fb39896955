"""Taking time: quantiles, busy work, pauses that are no sleep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple


class Quantiles(NamedTuple):
    """In the unit of what they were made from."""

    median: float
    p99: float
    p999: float


def quantiles(values: Sequence[float], scale: float = 1.0) -> Quantiles:
    """Return the quantiles of `values` times `scale`; values that were taken, none in between."""
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
    """Do a fixed amount of pure-Python work: its time is what is measured."""
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total


def turns_for(seconds: float) -> int:
    """Return how many turns of `spin` take about `seconds` here and now."""
    turns = 1000
    while True:
        begin = time.perf_counter()
        spin(turns)
        taken = time.perf_counter() - begin
        if taken > 0.02:
            return max(1, round(turns * seconds / taken))
        turns *= 2
