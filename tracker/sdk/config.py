"""Config: a dict whose keys are attributes too, and whose changes are records. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tracker.errors import ConfigChangeError, MissingKeyError
from tracker.sdk.plain import plain_mapping

Publish = Callable[[str, dict[str, Any]], None]
Lock = Callable[[], AbstractContextManager[Any]]


class Config(MutableMapping[str, Any]):
    """The configuration that a run was started with.

    ``config["lr"]`` and ``config.lr`` are the same, and so are ``config["sgd"]["lr"]`` and ``config.sgd.lr``. Values
    are plain data (numbers, strings, lists, dicts). Objects with settings in them become dicts, at any depth: mappings,
    dataclasses, attrs classes, pydantic models, namespaces, absl flags, OmegaConf and ml_collections configs, classes
    with attributes. Arrays and tensors become lists, sets sorted lists, functions and classes their names; a value
    without a plain form is kept as its text. What is handed out is a copy: to change a nested value, set the key that
    holds it. A copy of the config itself, also by `pickle`, is one whose changes are not recorded.

    Args:
        publish: sends a record.
        lock: returns the lock to hold while a change is published; a forked child has another.
        values: the config to begin with.
    """

    def __init__(self, publish: Publish, lock: Lock, values: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update(_publish=publish, _lock=lock, _values=dict(values or {}))

    def update(self, *args: Any, allow_val_change: bool = False, **kwargs: Any) -> None:
        """Set several keys at once.

        Args:
            args: one mapping, or object with settings in it; `kwargs` are set as well.
            allow_val_change: whether a key may get another value than it has.

        Raises:
            ConfigChangeError: a key has another value already. TypeError: the argument has no settings in it, or one
            that cannot be recorded; it is named. ValueError: a value that is too large.
        """
        if len(args) > 1:
            raise TypeError(f"config.update() takes one mapping, not {len(args)}")
        values = plain_mapping(args[0] if args else None, "config", kwargs)
        self._set(values, allow_val_change=allow_val_change)

    def setdefaults(self, values: Any) -> None:
        """Set those keys of a mapping, or object with settings in it, that have no value yet."""
        given = plain_mapping(values, "config")
        with self._lock():
            new = {key: value for key, value in given.items() if key not in self._values}
            self._set(new, allow_val_change=False)

    def _set(self, values: dict[str, Any], *, allow_val_change: bool) -> None:
        with self._lock():
            new = {
                key: value
                for key, value in values.items()
                if key not in self._values or not _same(self._values[key], value)
            }
            for key in () if allow_val_change else new:
                if key in self._values:
                    raise ConfigChangeError(
                        f"config key {key!r} is already {self._values[key]!r}; to change it to {new[key]!r}, "
                        "use config.update({...}, allow_val_change=True)"
                    )
            if new:
                try:
                    self._publish("config", {"set": new})
                except (ValueError, OverflowError) as error:
                    largest = max(new, key=lambda key: len(repr(new[key])))
                    raise ValueError(f"config key {largest!r} cannot be recorded: {error}") from None
                self._values.update(new)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy, as plain data."""
        with self._lock():
            values = dict(self._values)
        return {key: _copy(value, dict) for key, value in values.items()}

    def __getitem__(self, key: str) -> Any:
        try:
            return _copy(self._values[key], Section)
        except KeyError:
            raise MissingKeyError(f"the config has no key {key!r}; it has {_names(self._values)}") from None

    def __setitem__(self, key: str, value: Any) -> None:
        if not key or not isinstance(key, str):
            raise TypeError(f"config key must be a non-empty string, not {key!r}")
        self._set(plain_mapping({key: value}, "config"), allow_val_change=False)

    def __delitem__(self, key: str) -> None:
        with self._lock():
            if key not in self._values:
                raise MissingKeyError(f"the config has no key {key!r}; it has {_names(self._values)}")
            self._publish("config", {"delete": [key]})
            del self._values[key]

    def __getattr__(self, key: str) -> Any:
        if "_values" not in self.__dict__:  # `copy` and `pickle` look before there is anything
            raise AttributeError(key)
        return self[key]

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self.as_dict(),)


def _copied(values: dict[str, Any]) -> Config:
    """Return a copy of a config: its changes are not recorded."""
    return Config(lambda kind, body: None, nullcontext, values)


class Section(dict[str, Any]):
    """A dict inside a config, whose keys are attributes too: a copy, changes of which are not recorded."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise MissingKeyError(f"this part of the config has no key {key!r}; it has {_names(self)}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(
            f"{key!r} cannot be set in a part of the config; set the whole part: "
            "config.update({...}, allow_val_change=True)"
        )


def _copy(value: Any, kind: type[dict[str, Any]]) -> Any:
    if isinstance(value, dict):
        return kind({key: _copy(item, kind) for key, item in value.items()})
    return [_copy(item, kind) for item in value] if isinstance(value, list) else value


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(values) or "none"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))
