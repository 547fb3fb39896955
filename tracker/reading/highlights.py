"""Highlights: the few metrics that say most about a run, each with a sampled curve and what its definition asks for.

Reads a run's store on the caller's thread, in milliseconds whatever its length. Knows nothing of terminals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.protocol.patterns import resolve
from tracker.reading.curves import Curve, is_sampled, read_curves
from tracker.reading.metrics import Aggregates, aggregates, direction, options
from tracker.reading.reader import ReadableRun

MAX_HIGHLIGHTS = 8
_MAX_CANDIDATES = 24
"""Maximum number of metrics that are read to choose from."""

_MAX_POINTS = 512
"""Maximum number of points read per metric, about."""

_COUNTERS = frozenset({"epoch", "step", "global_step", "iteration", "iter", "time"})
"""Last parts of keys that are an x axis rather than a result."""


class Highlight(NamedTuple):
    """One metric of a run.

    Attributes:
        key: its name.
        curve: its points; of a long run a sample, which may be empty.
        last: the value at the largest step.
        aggregates: what its definition asks for besides the last value.
    """

    key: str
    curve: Curve
    last: float
    aggregates: Aggregates


def highlights(run: ReadableRun, keys: Iterable[str] | None = None, most: int = MAX_HIGHLIGHTS) -> list[Highlight]:
    """Return a run's main metrics: those with a definition first, then those logged most often.

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
    with_goal = {key for key in candidates if _needs_bounds(key, metrics)}
    curves = read_curves(run, candidates, most=_MAX_POINTS, exact=() if is_sampled(run) else with_goal)
    made = [_highlight(key, curves.get(key), is_sampled(run), metrics, summary) for key in candidates]
    shown = [highlight for highlight in made if highlight is not None]
    if keys is not None:
        return shown
    ranks = {highlight.key: _rank(highlight, metrics) for highlight in shown}
    chosen = sorted(shown, key=lambda highlight: ranks[highlight.key])[:most]
    chosen_keys = {highlight.key for highlight in chosen}
    defined = [highlight for highlight in chosen if ranks[highlight.key][1] == 0]
    return defined + [one for one in shown if one.key in chosen_keys and ranks[one.key][1] > 0]


def _candidates(keys: Sequence[str], metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Return the metrics to read: numbers that are not x axes; those with a definition first."""
    axes = {definition.get("step_metric") for definition in metrics.values()}
    numeric = [key for key in keys if key not in axes and not isinstance(summary.get(key), str | dict | list)]
    defined = [key for key in numeric if _is_defined(key, metrics)]
    return list(dict.fromkeys([*defined, *numeric]))[:_MAX_CANDIDATES]


def _is_defined(key: str, metrics: Mapping[str, Any]) -> bool:
    asked = options(metrics, key)
    return bool(asked or resolve(metrics, key).get("goal")) and "none" not in asked


def _needs_bounds(key: str, metrics: Mapping[str, Any]) -> bool:
    """Whether a metric has a goal and no aggregate, so that the best value is found among its points."""
    return direction(metrics, key) != 0 and not options(metrics, key)


def _rank(highlight: Highlight, metrics: Mapping[str, Any]) -> tuple[bool, int, int]:
    """Return the sort key of the choice."""
    defined = _is_defined(highlight.key, metrics)
    counter = re.split(r"[./]", highlight.key)[-1].lower() in _COUNTERS
    curve = highlight.curve
    constant = curve.count > 1 and curve.low is not None and curve.low == curve.high
    return (counter or constant) and not defined, 0 if defined else 1, -curve.count


def _highlight(
    key: str, curve: Curve | None, sampled: bool, metrics: Mapping[str, Any], summary: Mapping[str, Any]
) -> Highlight | None:
    asked = aggregates(metrics, summary, key)
    if curve is None or curve.last is None:
        last = summary.get(key)
        return Highlight(key, Curve(), last, asked) if sampled and isinstance(last, int | float) else None
    if not sampled and _needs_bounds(key, metrics):
        name, best = ("max", curve.high) if direction(metrics, key) > 0 else ("min", curve.low)
        asked = ((name, best),) if best is not None else ()
    return Highlight(key, curve, curve.last, asked)
