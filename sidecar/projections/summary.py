"""A run's summary: one or more values per metric, as defined. Pure data, no I/O; a part of `RunState`.

By default the summary of a metric is the last value that arrived. A definition may ask for other aggregates: a single
one is stored under the metric's key, several under "key.min", "key.max" and so on. NaN loses against every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from sidecar.protocol.patterns import resolve
from sidecar.protocol.records import SUMMARIES

_NUMBERS = (float, int, bool)


class SummaryAggregates:
    """The values of a summary, and the aggregates that they continue from.

    Args:
        metrics: pattern -> definition; call `redefined` after changing it.

    Attributes:
        values: the summary as users see it.
        plain: whether the summary of every metric is its last value, so that ``values.update`` is sufficient.
        aggregates: metric key -> option -> aggregate so far, for metrics with a definition.
    """

    def __init__(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        self.values: dict[str, Any] = {}
        self.aggregates: dict[str, dict[str, Any]] = {}
        self._metrics = metrics
        self.plain = True
        self._options: dict[str, list[str] | None] = {}

    def redefined(self) -> None:
        """Look up the definitions again."""
        self.plain = not any(definition.get("summary") for definition in self._metrics.values())
        self._options = {}

    def log(self, data: Mapping[str, Any]) -> None:
        """Take the values of one ``log`` record."""
        if self.plain:
            self.values.update(data)
            return
        known = self._options
        for key, value in data.items():
            options = known[key] if key in known else self._look_up(key)
            if options is None:
                self.values[key] = value
            else:
                self._aggregate(key, value, options)

    def log_columns(self, keys: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        """Take the values of ``log`` records with the same keys, at least one: the values of each key in order."""
        if self.plain:
            self.values.update(zip(keys, [column[-1] for column in columns], strict=True))
            return
        known = self._options
        for key, column in zip(keys, columns, strict=True):
            options = known[key] if key in known else self._look_up(key)
            if options is None:
                self.values[key] = column[-1]
                continue
            self._aggregate(key, column[0], options)
            if len(column) > 2:
                self._fold(key, column[1:-1], options)
            if len(column) > 1:
                self._aggregate(key, column[-1], options)

    def _look_up(self, key: str) -> list[str] | None:
        """Return the options of a metric, "best" by its meaning; None for the last value only."""
        definition = resolve(self._metrics, key)
        options = [option for option in dict.fromkeys(definition.get("summary", ())) if option in SUMMARIES]
        if "none" in options:
            options = []
        elif not options or options == ["last"]:
            self._options[key] = None
            return None
        if definition.get("goal") == "maximize":
            options = ["best max" if option == "best" else option for option in options]
        self._options[key] = options
        return options

    def _fold(self, key: str, column: Sequence[Any], options: list[str]) -> None:
        """Add values to the aggregates of a metric, all at once; what is shown follows with the next `_aggregate`."""
        numbers = [value for value in column if value == value]
        aggregates = self.aggregates.get(key)
        if not numbers or aggregates is None:
            return
        for option in options:
            if option == "mean":
                total, count = aggregates[option]
                aggregates[option] = [reduce(add, map(float, numbers), total), count + len(numbers)]
            else:
                for value in (min(numbers), max(numbers)):
                    aggregates[option], _ = _ADD[option](aggregates[option], value)

    def _aggregate(self, key: str, value: Any, options: list[str]) -> None:
        if not options:
            return
        aggregates = self.aggregates.setdefault(key, {})
        several = len(options) > 1
        if several:
            self.values.pop(key, None)
        for option in options:
            aggregate, shown = _ADD[option](aggregates.get(option), value)
            if aggregate is not None:
                aggregates[option] = aggregate
                self.values[f"{key}.{option.split()[0]}" if several else key] = shown


def _last(_: Any, value: Any) -> tuple[Any, Any]:
    return value, value


def _first(seen: Any, value: Any) -> tuple[Any, Any]:
    first = value if seen is None else seen
    return first, first


def _least(seen: Any, value: Any) -> tuple[Any, Any]:
    if type(value) in _NUMBERS and (seen is None or seen != seen or value < seen):
        seen = value
    return seen, seen


def _greatest(seen: Any, value: Any) -> tuple[Any, Any]:
    if type(value) in _NUMBERS and (seen is None or seen != seen or value > seen):
        seen = value
    return seen, seen


def _mean(seen: Any, value: Any) -> tuple[Any, Any]:
    if type(value) in _NUMBERS:
        total, count = seen or (0.0, 0)
        seen = [total + float(value), count + 1] if value == value else [total, count]
    if seen is None:
        return None, None
    total, count = seen
    return seen, total / count if count else math.nan


_ADD: Mapping[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "last": _last,
    "first": _first,
    "min": _least,
    "max": _greatest,
    "best": _least,
    "best max": _greatest,
    "mean": _mean,
}
