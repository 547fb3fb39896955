"""What `define_metric` says about a metric, and how its numbers are written. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.protocol.patterns import resolve
from sidecar.protocol.records import SUMMARIES
from tracker.terminal.text import number

Aggregates = tuple[tuple[str, float], ...]
"""Aggregates of a metric, such as ``(("max", 0.97),)``."""

_NAMED = frozenset({"min", "max", "best", "mean"})
"""Aggregates that are shown beside a metric's last value."""

_DIGITS = 4
"""Significant digits of a metric's number."""


def short(value: float | None) -> str:
    """Return a number of a metric for a line or a table; empty for None."""
    return "" if value is None else number(value, _DIGITS)


def options(definitions: Mapping[str, Any], key: str) -> list[str]:
    """Return the aggregates that a metric's summary is to have; empty if that is not defined."""
    return list(resolve(definitions, key).get("summary") or ())


def aggregate(definitions: Mapping[str, Any], key: str) -> str:
    """Return the one aggregate that a metric's summary is, such as ``"max"``; empty if none or several are defined."""
    defined = options(definitions, key)
    return defined[0] if len(defined) == 1 else ""


def direction(definitions: Mapping[str, Any], key: str) -> int:
    """Return 1 if larger values of a metric are better, -1 if smaller ones are, 0 if that is not known.

    Args:
        definitions: the run's metrics.
        key: a metric, or an entry of the summary such as ``"loss.min"``.
    """
    base, _, option = key.rpartition(".")
    for name in (key, base) if option in SUMMARIES else (key,):
        goal = resolve(definitions, name).get("goal")
        if goal in ("maximize", "minimize"):
            return 1 if goal == "maximize" else -1
    return {"max": 1, "min": -1}.get(aggregate(definitions, key), 0)


def aggregates(definitions: Mapping[str, Any], summary: Mapping[str, Any], key: str) -> Aggregates:
    """Return the aggregates of a metric that were asked for besides its first and last value."""
    defined = options(definitions, key)
    values = {option: summary.get(key if len(defined) == 1 else f"{key}.{option}") for option in defined}
    return tuple(
        (option, value) for option, value in values.items() if option in _NAMED and isinstance(value, int | float)
    )


def aggregates_text(values: Iterable[tuple[str, float]]) -> str:
    """Return aggregates as text, such as ``"min 0.1, max 0.97"``."""
    return ", ".join(f"{option} {short(value)}" for option, value in values)
