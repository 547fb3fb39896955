"""StepSync: repeats the last value of a step metric in rows that lack it. Pure; called with no lock, by `Run.log`.

One thread may define while others log: what they read is replaced, never changed.
"""

from __future__ import annotations

from typing import Any

from sidecar.protocol.limits import MAX_KEYS
from sidecar.protocol.patterns import resolve


class StepSync:
    """The step metrics of a run, as defined, and their last values."""

    def __init__(self) -> None:
        self._definitions: dict[str, dict[str, Any]] = {}
        self._step_metrics: set[str] = set()
        self._last: dict[str, Any] = {}
        self._known: dict[str, str | None] = {}

    def define(self, pattern: str, step_metric: str | None, step_sync: bool | None) -> None:
        """Take a definition; see `Run.define_metric`."""
        definitions = dict(self._definitions)
        definition = {**definitions.pop(pattern, {}), "step_metric": step_metric}
        if step_sync is not None:
            definition["step_sync"] = step_sync
        definitions[pattern] = definition  # the last one, as for the sidecar
        self._definitions = definitions
        self._step_metrics = {one["step_metric"] for one in definitions.values() if one["step_metric"]}
        self._known = {}

    def concerns(self, key: str) -> bool:
        """Whether a row with this metric must be passed to `fill`."""
        return bool(self._definitions) and (key in self._step_metrics or self._step_metric_of(key) is not None)

    def fill(self, row: dict[str, Any]) -> None:
        """Add to a row the step metrics that its other metrics need, where they have had a value.

        A row that has `MAX_KEYS` metrics stays as it is: the sidecar would refuse a larger one.
        """
        if not self._definitions:
            return
        last = self._last
        for step_metric in self._step_metrics:
            if step_metric in row:
                last[step_metric] = row[step_metric]
        for key in list(row):
            needed = self._step_metric_of(key)
            if needed is not None and needed in last and len(row) < MAX_KEYS:
                row.setdefault(needed, last[needed])

    def _step_metric_of(self, key: str) -> str | None:
        """Return the step metric that rows with `key` repeat, or None."""
        known = self._known  # read before the definitions: of newer ones it is not used any more
        if key not in known:
            options = resolve(self._definitions, key)
            step_metric = options.get("step_metric") if options.get("step_sync") else None
            known[key] = step_metric if step_metric != key else None
        return known[key]
