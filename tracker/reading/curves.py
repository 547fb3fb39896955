"""Curves: the numbers of each metric in one pass over a run: first, last, lowest, highest, and points to draw.

Reads every point, or a sample that takes milliseconds whatever the length of the run. Memory does not grow with the
run. On the caller's thread. Knows nothing of terminals.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sidecar.projections.store.blocks import BLOCK_ROWS, Block
from tracker.reading.reader import ReadableRun
from tracker.terminal.sparkline import sparkline

MAX_SAMPLED_BLOCKS = 16
"""Maximum number of blocks read for a sample; of a longer run, evenly spaced ones."""

_WHOLE_BLOCK = BLOCK_ROWS // 4
"""Maximum number of points of a block that are all kept; of more, means of a few."""

_SLICES = 64
"""Points kept of a larger block, about."""

_MAX_POINTS = 4096
"""Number of points of a curve at which it is thinned to half."""

_DENSE = 4
"""Points per character from which they are drawn where their steps are instead of evenly spaced."""

_Items = TypeVar("_Items", bound=Sequence[Any])


@dataclass
class Curve:
    """The numbers of one metric.

    Attributes:
        count: how many there are in the blocks that were read, NaN and infinities included.
        first, last: the numbers at the lowest and the highest step.
        low, high: the lowest and the highest number, NaN not counted; None if there is none. Of a sample, those of the
            points in it.
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

    def add(self, steps: Sequence[int], values: Sequence[Any], skipped: int = 0) -> None:
        """Add values of one block.

        Args:
            steps: the step of each value.
            values: the values; those that are not numbers are ignored.
            skipped: how many more values the block has.
        """
        if not isinstance(values, array):
            numeric = [i for i, value in enumerate(values) if type(value) in (int, float)]
            steps, values = [steps[i] for i in numeric], [values[i] for i in numeric]
        if not values:
            return
        self.count += len(values) + skipped
        lowest, highest = min(steps), max(steps)
        if lowest < self._first_step:
            self._first_step, self.first = lowest, values[steps.index(lowest)]
        if highest >= self._last_step:
            last = len(steps) - 1 if steps[-1] == highest else max(i for i, step in enumerate(steps) if step == highest)
            self._last_step, self.last = highest, values[last]
        without_nan = isinstance(values, array) and math.isfinite(sum(values))
        numbers = values if without_nan else [value for value in values if value == value]
        if numbers:
            low, high = min(numbers), max(numbers)
            self.low = low if self.low is None or low < self.low else self.low
            self.high = high if self.high is None or high > self.high else self.high
        self._keep(steps, values)

    def _keep(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Add points to draw."""
        if len(values) <= _WHOLE_BLOCK:
            self.points.extend(zip(steps, values, strict=True))
        else:
            few = len(values) // _SLICES
            self.points.extend((steps[at], _mean(values[at : at + few])) for at in range(0, len(values), few))
        if len(self.points) > _MAX_POINTS:
            self.points.sort(key=_step_of)
            self.points = self.points[::2]

    def numbers(self) -> list[float]:
        """Return the numbers to draw, by step."""
        self.points.sort(key=_step_of)
        return [value for _, value in self.points]

    def draw(self, width: int, *, low: float | None = None, high: float | None = None, ascii_only: bool = False) -> str:
        """Return the curve as at most `width` characters.

        Args:
            width: maximum number of characters.
            low, high: the scale; None for the curve's own.
            ascii_only: use ASCII characters only.
        """
        values = self.numbers()
        # With few points a character, an even spacing by step would leave characters empty.
        at = [step for step, _ in self.points] if len(values) >= _DENSE * width else None
        return sparkline(values, width, at=at, low=low, high=high, ascii_only=ascii_only)


def read_curves(
    run: ReadableRun, keys: Sequence[str] | None = None, *, most: int | None = None, exact: Collection[str] = ()
) -> dict[str, Curve]:
    """Return the curve of each metric that has numbers.

    Args:
        run: the run.
        keys: only these metrics; None for all.
        most: maximum number of points per metric, about: others are skipped evenly, and a long run is read in part,
            see `is_sampled`. None: read every point.
        exact: metrics of which no point is skipped in the blocks that are read, so that `low` and `high` are theirs.

    Raises:
        sidecar.protocol.errors.StoreError: the store cannot be read.
    """
    if most is None:
        return curves_of(run.store().columns(keys))
    blocks = run.store().columns(keys, most=MAX_SAMPLED_BLOCKS if is_sampled(run) else None)
    return curves_of(blocks, max(1, min(run.records, MAX_SAMPLED_BLOCKS * BLOCK_ROWS) // most), exact)


def is_sampled(run: ReadableRun) -> bool:
    """Whether the run is so long that a sample does not read all of its blocks."""
    return run.records > MAX_SAMPLED_BLOCKS * BLOCK_ROWS


def curves_of(blocks: Iterable[Block], stride: int = 1, exact: Collection[str] = ()) -> dict[str, Curve]:
    """Return the curve of each metric in `blocks` that has numbers.

    Args:
        blocks: as `RunReader.columns` yields them.
        stride: of a metric with a value in every row, use every `stride`-th and the last of each block; of one that is
            logged less often, proportionally more.
        exact: metrics of which every value is used.
    """
    curves: dict[str, Curve] = {}
    for block in blocks:
        for key, (rows, values) in block.columns.items():
            count = len(values)
            step = 1 if key in exact else max(1, stride * count // max(1, len(block.steps)))
            used = _every(values, step)
            steps = _every(block.steps, step) if rows is None else [block.steps[row] for row in _every(rows, step)]
            curves.setdefault(key, Curve()).add(steps, used, count - len(used))
    return {key: curve for key, curve in curves.items() if curve.count}


def _every(items: _Items, stride: int) -> _Items:
    """Return every `stride`-th item and the last."""
    if stride == 1:
        return items
    every: Any = items[::stride]
    every += items[-1:] if (len(items) - 1) % stride else items[:0]
    return cast(_Items, every)


def _step_of(point: tuple[float, float]) -> float:
    return point[0]


def _mean(values: Sequence[float]) -> float:
    try:
        mean = sum(values) / len(values)
    except OverflowError:
        return float(values[0])
    if math.isfinite(mean):
        return mean
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else float(values[0])
