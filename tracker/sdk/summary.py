"""The summary of a run: what stands for it in a table. Kept by the sidecar; set by hand through records. Any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from tracker.sdk.values import as_mapping, plain

Publish = Callable[[str, dict[str, Any]], None]
Fetch = Callable[[], "dict[str, Any] | None"]


class Summary(MutableMapping[str, Any]):
    """The last value of every metric, or what `define_metric` says, and what was set by hand.

    `log` does not touch it: reading asks the sidecar, behind everything that was logged before. What was set by hand
    and is no metric is known here.

    Args:
        publish: sends a record.
        fetch: asks for the summary; None where it cannot be had.
        is_metric: whether a key was ever logged.
    """

    def __init__(self, publish: Publish, fetch: Fetch, is_metric: Callable[[str], bool]) -> None:
        self._publish = publish
        self._fetch = fetch
        self._is_metric = is_metric
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._set: dict[str, Any] = {}

    def _load(self, values: dict[str, Any]) -> None:
        self._known = dict(values)

    def _all(self) -> dict[str, Any]:
        found = self._fetch()
        if found is not None:
            self._known = found
            return found
        return {**self._known, **self._set}

    def as_dict(self) -> dict[str, Any]:
        """Return a copy, as plain data."""
        return dict(self._all())

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set many keys at once."""
        if len(args) > 1:
            raise TypeError(f"summary.update() takes one mapping, not {len(args)}")
        changes = {**as_mapping(args[0] if args else None, "summary"), **kwargs}
        made = {key: plain(value) for key, value in changes.items()}
        if made:
            self._publish("summary", {"set": made})
            with self._lock:
                self._set.update(made)

    def __getitem__(self, key: str) -> Any:
        if key in self._set and not self._is_metric(key):
            return self._set[key]
        return self._all()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not key or not isinstance(key, str):
            raise TypeError(f"summary key {key!r}; keys are strings that are not empty")
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        with self._lock:
            self._set.pop(key, None)
            self._known.pop(key, None)
        self._publish("summary", {"delete": [key]})

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Summary({self._all()!r})"
