"""A run's config as params and tags of MLflow. Pure functions: no I/O.

MLflow never changes a param. So a param keeps the first value of its key, and once the current value differs, it is in
the tag ``config.<key>``, which is ``(deleted)`` if the key is no longer in the config.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.sinks.mlflow.names import PARAM_CHARS, Fitted, fit, flatten, mlflow_name

DELETED = "(deleted)"


class ConfigUpdate(NamedTuple):
    """A run's config after a batch, and what the batch changed of it. Keys are flat: nested ones are joined with dots.

    Attributes:
        current: key -> value after the batch.
        first: key -> the first value that the batch sets; for keys that it does not set, the current one.
        touched: top-level keys that the batch sets or deletes.
    """

    current: dict[str, str]
    first: dict[str, str]
    touched: frozenset[str]

    @classmethod
    def of(cls, config: dict[str, Any], changes: Sequence[Mapping[str, Any]]) -> ConfigUpdate:
        """Return the update.

        Args:
            config: the config after the batch.
            changes: the bodies of the batch's ``config`` records.
        """
        set_first: dict[str, str] = {}
        for change in changes:
            for key, value in flatten(change.get("set", {})).items():
                set_first.setdefault(key, value)
        touched = {str(key) for change in changes for key in (*change.get("set", {}), *change.get("delete", ()))}
        current = flatten(config)
        return cls(current, {**current, **set_first}, frozenset(touched))

    def params(self) -> Fitted:
        """Return the params that the run has if MLflow has none yet."""
        return fit(self.first, PARAM_CHARS)

    def tags(self, params: Mapping[str, str], tags: Collection[str]) -> dict[str, str]:
        """Return the tag ``config.<key>`` of each key that has it already, or whose param is not the current value.

        Args:
            params: name -> value, all that MLflow has.
            tags: names of all tags that MLflow has.
        """
        key_of = {mlflow_name(key): key for key in self.first}
        deleted = [name for name in params if name in self.touched or name.partition(".")[0] in self.touched]
        newest = fit(self.current, PARAM_CHARS).values
        changed = {}
        for name in dict.fromkeys((*key_of, *deleted)):
            key = key_of.get(name, name)
            if params.get(name) != newest.get(name) or mlflow_name(f"config.{key}") in tags:
                changed[f"config.{key}"] = self.current.get(key, DELETED)
        return changed


__all__ = ["DELETED", "ConfigUpdate"]
