"""The metrics of a run in one pass over its history: first, last, lowest, highest, and a thinned series to draw.

Memory does not grow with the run. On the caller's thread.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.projections.store.blocks import Block
from tracker.terminal.sparkline import shows_blocks, sparkline

_SLICES = 64
"""Points that a block of rows contributes to a drawn series, at most."""

_MOST_POINTS = 4096
"""Points of a series at which it is thinned to half."""

_DENSE = 4
"""Points per character from which on they are drawn where their steps are, and not evenly spaced."""


@dataclass
class Series:
    """What a metric's numbers were.

    Attributes:
        count: how many numbers, NaN and infinities included.
        first, last: the numbers at the lowest and the highest step.
        low, high: the lowest and the highest number; NaN does not count. None if there is none.
        points: (step, mean of a few numbers), thinned, in no order.
    """

    count: int = 0
    first: float | None = None
    last: float | None = None
    low: float | None = None
    high: float | None = None
    points: list[tuple[float, float]] = field(default_factory=list)
    _first_step: float = math.inf
    _last_step: float = -math.inf

    def add(self, steps: Sequence[int], values: Sequence[Any]) -> None:
        """Take the values of one block, and the step of each."""
        if not isinstance(values, array) or not math.isfinite(sum(values)):
            numeric = [i for i, value in enumerate(values) if type(value) in (int, float)]
            steps, values = [steps[i] for i in numeric], [values[i] for i in numeric]
        if not values:
            return
        self.count += len(values)
        least, most = min(steps), max(steps)
        if least < self._first_step:
            self._first_step, self.first = least, values[steps.index(least)]
        if most >= self._last_step:
            last = len(steps) - 1 if steps[-1] == most else max(i for i, step in enumerate(steps) if step == most)
            self._last_step, self.last = most, values[last]
        numbers = values if isinstance(values, array) else [value for value in values if value == value]
        if numbers:
            low, high = min(numbers), max(numbers)
            self.low = low if self.low is None or low < self.low else self.low
            self.high = high if self.high is None or high > self.high else self.high
        self._draw(steps, values)

    def _draw(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Add to the series the mean of every few numbers; the few are more, the more rows there are."""
        few = max(1, len(values) // _SLICES)
        for at in range(0, len(values), few):
            self.points.append((steps[at], _mean(values[at : at + few])))
        if len(self.points) > _MOST_POINTS:
            self.points.sort()
            self.points = self.points[::2]

    def numbers(self) -> list[float]:
        """Return the numbers to draw, by step."""
        self.points.sort(key=_step_of)
        return [value for _, value in self.points]

    def draw(self, width: int, *, low: float | None = None, high: float | None = None) -> str:
        """Return the metric as at most `width` characters for standard output.

        Args:
            width: most characters.
            low, high: the scale; None for the metric's own.
        """
        values = self.numbers()
        # With few points a character, an even spacing by step would leave characters empty.
        at = [step for step, _ in self.points] if len(values) >= _DENSE * width else None
        return sparkline(values, width, at=at, low=low, high=high, ascii_only=not shows_blocks(sys.stdout))


def _step_of(pair: tuple[float, float]) -> float:
    return pair[0]


def _mean(values: Sequence[float]) -> float:
    try:
        mean = sum(values) / len(values)
    except OverflowError:
        return float(values[0])
    if math.isfinite(mean):
        return mean
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else float(values[0])


def read_series(blocks: Iterable[Block], keys: Iterable[str] | None = None) -> dict[str, Series]:
    """Return the series of each metric that has numbers.

    Args:
        blocks: as `RunReader.columns` yields them.
        keys: only these metrics; None for all.
    """
    wanted = None if keys is None else set(keys)
    series: dict[str, Series] = {}
    for block in blocks:
        for key, (rows, values) in block.columns.items():
            if wanted is not None and key not in wanted:
                continue
            steps = block.steps if rows is None else [block.steps[row] for row in rows]
            series.setdefault(key, Series()).add(steps, values)
    return {key: one for key, one in series.items() if one.count}
