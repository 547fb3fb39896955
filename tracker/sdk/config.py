"""The config of a run: a dict whose keys are attributes too, and whose changes are records. Any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from tracker.errors import ConfigChangeError
from tracker.sdk.values import as_mapping, plain

Publish = Callable[[str, dict[str, Any]], None]


class Config(MutableMapping[str, Any]):
    """What a run was started with.

    ``config["lr"]`` and ``config.lr`` are the same. A value is kept as plain data (numbers, strings, lists, dicts);
    what has no plain form is kept as its text.
    """

    def __init__(self, publish: Publish) -> None:
        self.__dict__["_publish"] = publish
        self.__dict__["_values"] = {}
        self.__dict__["_lock"] = threading.RLock()  # a signal handler may set a key too

    def update(self, *args: Any, allow_val_change: bool = False, **kwargs: Any) -> None:
        """Set many keys at once.

        Args:
            args: one mapping, dataclass or ``argparse.Namespace``; `kwargs` are set besides.
            allow_val_change: whether a key may get another value than it has.

        Raises:
            ConfigChangeError: a key has another value already. TypeError: not of these types.
        """
        if len(args) > 1:
            raise TypeError(f"config.update() takes one mapping, not {len(args)}")
        changes = {**as_mapping(args[0] if args else None, "config"), **kwargs}
        self._set(changes, allow_val_change=allow_val_change)

    def _set(self, changes: dict[str, Any], *, allow_val_change: bool) -> None:
        made = {key: plain(value) for key, value in changes.items()}
        with self._lock:
            for key, value in made.items():
                if not allow_val_change and key in self._values and not _same(self._values[key], value):
                    raise ConfigChangeError(
                        f"config key {key!r} is {self._values[key]!r} already; to make it {value!r}, "
                        "use config.update({...}, allow_val_change=True)"
                    )
            new = {
                key: value
                for key, value in made.items()
                if key not in self._values or not _same(self._values[key], value)
            }
            if new:
                self._publish("config", {"set": new})
                self._values.update(new)

    def _load(self, values: dict[str, Any]) -> None:
        """Take what a resumed run had."""
        self._values.update(values)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy, as plain data."""
        with self._lock:
            return dict(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not key or not isinstance(key, str):
            raise TypeError(f"config key {key!r}; keys are strings that are not empty")
        self._set({key: value}, allow_val_change=False)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            if key not in self._values:
                raise KeyError(key)
            self._publish("config", {"delete": [key]})
            del self._values[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f"the config has no {key!r}; it has {', '.join(self._values) or 'nothing'}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))
