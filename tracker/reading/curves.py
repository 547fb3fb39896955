"""Curves: the few metrics that say most about a run, each small enough to draw as one line.

Reads a run's store on the caller's thread. A long run is sampled, so that reading takes milliseconds whatever its
length. Knows nothing of terminals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import le
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import BLOCK_ROWS, Block, Column
from sidecar.protocol.patterns import resolve
from tracker.reading.reader import ReadableRun

MAX_CURVES = 8
_MAX_CANDIDATES = 24
"""Metrics that are looked at to choose from."""

_MAX_BLOCKS = 16
"""Blocks that are read of a run; of a longer one, evenly spaced ones."""

_MAX_POINTS = 1_000
"""Points per metric, about; the rest are skipped evenly."""

_EXTREMES = ("min", "max", "best", "mean")
_COUNTERS = frozenset({"epoch", "step", "global_step", "iteration", "iter", "time"})
"""Last parts of keys that are an x axis rather than a result."""


class Curve(NamedTuple):
    """One metric of a run.

    Attributes:
        key: its name.
        values: its points by step, finite or not; of a long run a sample, which may be empty.
        last: the value at the largest step.
        extremes: what `define_metric` asks for besides the last value, such as ``(("max", 0.97),)``.
    """

    key: str
    values: Sequence[float]
    last: float
    extremes: tuple[tuple[str, float], ...]


def curves(run: ReadableRun, keys: Iterable[str] | None = None, most: int = MAX_CURVES) -> list[Curve]:
    """Return the curves of a run's main metrics: those with a definition first, then those logged most often.

    Args:
        run: the run.
        keys: only these, in this order; None to choose. Metrics that never change and counters such as ``epoch``
            are chosen last.
        most: how many to choose.

    Raises:
        sidecar.protocol.errors.StoreError: the store cannot be read.
    """
    metrics, summary = run.metrics, run.summary
    candidates = list(keys) if keys is not None else _candidates(run.keys(), metrics, summary)
    points = _read(run, candidates)
    whole = _is_whole(run)
    made = [_curve(key, points[key], whole, metrics, summary) for key in candidates]
    found = [curve for curve in made if curve is not None]
    if keys is not None:
        return found
    ranks = {curve.key: _rank(curve, metrics) for curve in found}
    chosen = sorted(found, key=lambda curve: ranks[curve.key])[:most]
    chosen_keys = {curve.key for curve in chosen}
    defined = [curve for curve in chosen if ranks[curve.key][1] == 0]
    return defined + [curve for curve in found if curve.key in chosen_keys and ranks[curve.key][1] > 0]


def _is_whole(run: ReadableRun) -> bool:
    """Whether every block of the run is read."""
    return run.records <= _MAX_BLOCKS * BLOCK_ROWS


def _candidates(keys: Sequence[str], metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Return the metrics to look at: no x axes, nothing but numbers; those with a definition first."""
    axes = {definition.get("step_metric") for definition in metrics.values()}
    numeric = [key for key in keys if key not in axes and not isinstance(summary.get(key), str | dict | list)]
    defined = [key for key in numeric if _is_defined(key, metrics)]
    return list(dict.fromkeys([*defined, *numeric]))[:_MAX_CANDIDATES]


def _definition(key: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return resolve(metrics, key) if metrics else {}


def _is_defined(key: str, metrics: Mapping[str, Any]) -> bool:
    definition = _definition(key, metrics)
    options = definition.get("summary") or ()
    return bool(options or definition.get("goal")) and "none" not in options


def _rank(curve: Curve, metrics: Mapping[str, Any]) -> tuple[bool, int, int]:
    """Return the sort key of the choice."""
    defined = _is_defined(curve.key, metrics)
    counter = re.split(r"[./]", curve.key)[-1].lower() in _COUNTERS
    constant = len(curve.values) > 1 and min(curve.values) == max(curve.values)
    return (counter or constant) and not defined, 0 if defined else 1, -len(curve.values)


def _curve(
    key: str, points: _Points, whole: bool, metrics: Mapping[str, Any], summary: Mapping[str, Any]
) -> Curve | None:
    definition = _definition(key, metrics)
    options = list(definition.get("summary") or ())
    extremes: list[tuple[str, float]] = []
    for option in options:
        value = summary.get(key if len(options) == 1 else f"{key}.{option}")
        if option in _EXTREMES and isinstance(value, int | float):
            extremes.append((option, value))
    goal = definition.get("goal")
    if not options and goal and whole and points.low <= points.high:
        extremes.append(("max", points.high) if goal == "maximize" else ("min", points.low))
    values = points.by_step()
    if values:
        return Curve(key, values, values[-1], tuple(extremes))
    last = summary.get(key)
    if whole or not isinstance(last, int | float):
        return None
    return Curve(key, [], last, tuple(extremes))


class _Points:
    """The points of one metric while they are read; `low` and `high` are of all that were read, kept or skipped."""

    def __init__(self, extremes: bool) -> None:
        self.low, self.high = math.inf, -math.inf
        self._extremes = extremes
        self._steps: list[int] = []
        self._values: list[float] = []

    def add(self, block: Block, column: Column, stride: int) -> None:
        """Add every `stride`-th point of a block, and its last."""
        present, values = column
        count = len(values)
        for index in range(count) if stride == 1 else (*range(0, count - 1, stride), count - 1):
            value = values[index]
            if isinstance(value, int | float):
                self._steps.append(block.steps[index if present is None else present[index]])
                self._values.append(value)
        if self._extremes:
            finite = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
            self.low, self.high = min([self.low, *finite]), max([self.high, *finite])

    def by_step(self) -> list[float]:
        steps = self._steps
        if all(map(le, steps, islice(steps, 1, None))):
            return self._values
        return [self._values[index] for index in sorted(range(len(steps)), key=steps.__getitem__)]


def _read(run: ReadableRun, keys: Sequence[str]) -> dict[str, _Points]:
    """Read the metrics; points that would be too many are skipped evenly."""
    goals = {key for key in keys if "goal" in _definition(key, run.metrics)}
    points = {key: _Points(key in goals) for key in keys}
    whole = _is_whole(run)
    stride = max(1, min(run.records, _MAX_BLOCKS * BLOCK_ROWS) // _MAX_POINTS)
    for block in run.store().columns(keys, most=None if whole else _MAX_BLOCKS) if keys else ():
        for key, column in block.columns.items():
            # A metric that is logged now and then keeps its points where others have too many.
            points[key].add(block, column, max(1, stride * len(column[1]) // max(1, len(block.steps))))
    return points
