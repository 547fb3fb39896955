"""Summary: one value or several per metric, computed by the sidecar; keys set by hand are records. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tracker.errors import MissingKeyError
from tracker.sdk.plain import plain_mapping

Publish = Callable[[str, dict[str, Any]], None]
Lock = Callable[[], AbstractContextManager[Any]]
Fetch = Callable[[], "dict[str, Any] | None"]


class Summary(MutableMapping[str, Any]):
    """The last value of every metric, or what `define_metric` asks for, and what was set by hand.

    `log` does not touch it: reading asks the sidecar, behind everything that was logged before. A key that was set by
    hand and is not a metric is known without asking.

    Args:
        publish: sends a record.
        lock: returns the lock to hold for a change; a forked child has another.
        fetch: asks for the summary; None without an answer.
        is_metric: whether a key was ever logged here.
        values: the summary to begin with.
    """

    def __init__(
        self,
        publish: Publish,
        lock: Lock,
        fetch: Fetch,
        is_metric: Callable[[str], bool],
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self._publish = publish
        self._lock = lock
        self._fetch = fetch
        self._is_metric = is_metric
        self._known: dict[str, Any] = dict(values or {})
        self._set: dict[str, Any] = {}

    def _all(self) -> dict[str, Any]:
        fetched = self._fetch()
        if fetched is not None:
            self._known = fetched
            return fetched
        return {**self._known, **self._set}

    def as_dict(self) -> dict[str, Any]:
        """Return a copy, as plain data."""
        return dict(self._all())

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several keys at once.

        Args:
            args: one mapping, or object with values in it; `kwargs` are set as well.

        Raises:
            TypeError: the argument has no values in it, or one that cannot be recorded; it is named.
        """
        if len(args) > 1:
            raise TypeError(f"summary.update() takes one mapping, not {len(args)}")
        values = plain_mapping(args[0] if args else None, "summary", kwargs)
        if values:
            self._publish("summary", {"set": values})
            with self._lock():
                self._set.update(values)

    def __getitem__(self, key: str) -> Any:
        if key in self._set and not self._is_metric(key):
            return self._set[key]
        values = self._all()
        try:
            return values[key]
        except KeyError:
            raise MissingKeyError(
                f"the summary has no key {key!r}; it has {', '.join(sorted(values)[:20]) or 'none'}"
            ) from None

    def __setitem__(self, key: str, value: Any) -> None:
        if not key or not isinstance(key, str):
            raise TypeError(f"summary key must be a non-empty string, not {key!r}")
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        self[key]  # raises if there is none
        with self._lock():
            self._set.pop(key, None)
            self._known.pop(key, None)
        self._publish("summary", {"delete": [key]})

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Summary({self._all()!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self.as_dict(),)


def _copied(values: dict[str, Any]) -> Summary:
    """Return a copy of a summary: its changes are not recorded."""
    return Summary(lambda kind, body: None, nullcontext, lambda: None, lambda key: False, values)
