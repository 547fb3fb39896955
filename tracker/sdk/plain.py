"""Config and summary values as plain data, whatever library they come from. Imports none of these; any thread."""

from __future__ import annotations

import enum
import logging
import math
import numbers
import os
from collections import deque
from collections.abc import Collection, Iterable, KeysView, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from functools import partial
from typing import Any

from sidecar.protocol.limits import MAX_DEPTH
from tracker.media.base import Media
from tracker.sdk.settings_objects import has_address_as_text, is_function, name_of, settings_of
from tracker.sdk.values import described, is_array, reason, scalar

_log = logging.getLogger("tracker")

_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)

_MAX_LEVELS = MAX_DEPTH - 2
"""Maximum number of levels of one value; the body of its record has two above it."""

_MAX_ELEMENTS = 10_000
"""Maximum number of elements of an array that are kept."""

_MAX_VALUES = 1_000_000
"""Maximum number of values in one conversion, counted with those inside others; what follows is kept as text."""

_MAX_CHARACTERS = 10_000
"""Maximum length of the text of a value that has no plain form."""


def plain_mapping(value: Any, what: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a config or a summary is given, as plain data.

    At every depth arrays and tensors become lists, sets sorted lists, functions and classes their names, objects with
    settings in them dicts; other values become their text. A warning names what had to be cut.

    Args:
        value: see `settings_of`; None has no settings.
        what: ``"config"`` or ``"summary"``, for messages.
        more: further values, by key.

    Raises:
        TypeError: `value` has no settings, a key is not a non-empty string, or a value cannot be read; it is named.
    """
    conversion = _Conversion()
    plain: dict[str, Any] = {}
    for key, item in {**as_mapping(value, what), **(more or {})}.items():
        try:
            plain[_text(key)] = conversion.plain(item, key, 1)
        except Exception as error:  # whatever a library raises
            raise TypeError(f"{what} key {key!r} cannot be recorded: {reason(error)}") from error
    for path, remark in conversion.remarks.items():
        _log.warning("%s key %r %s", what, path, remark)
    return plain


def plain(value: Any) -> Any:
    """Return one value of a config or a summary as plain data; see `plain_mapping`."""
    return _Conversion().plain(value, "", 1)


def as_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return the settings that an object has, by name, their values as they are; see `settings_of`.

    Raises:
        TypeError: it has none, they cannot be read, or a key is not a non-empty string.
    """
    if value is None:
        return {}
    given = f"the class {value.__name__}" if isinstance(value, type) else described(value)
    try:
        settings = settings_of(value)
    except Exception as error:  # whatever a library raises
        raise TypeError(f"{what} cannot be read from {given}: {reason(error)}") from error
    if settings is None:
        raise TypeError(
            f"{what} must be a dict, or an object with settings in it, such as a dataclass or an argparse.Namespace, "
            f"not {given}"
        )
    for key in settings:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{what} has the key {key!r}; keys are non-empty strings")
    return settings


class _Conversion:
    """One conversion to plain data.

    Attributes:
        remarks: path of a value -> what was cut of it.
    """

    def __init__(self) -> None:
        self.remarks: dict[str, str] = {}
        self._above: set[int] = set()
        self._count = 0

    def plain(self, value: Any, path: str, depth: int) -> Any:
        """Return plain data for a value.

        Args:
            path: its keys, joined with dots.
            depth: the level that it is on; the first is 1.
        """
        self._count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.plain(value.value, path, depth)
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, numbers.Number):  # NumPy's too
            return _number(value)
        if isinstance(value, os.PathLike):
            return _text(os.fsdecode(value))
        if isinstance(value, Media):
            if value.files():
                raise TypeError(f"a {type(value).__name__} has files and can only be logged, with run.log()")
            return value.to_map()
        if isinstance(value, type) or is_function(value):
            return name_of(value)
        if isinstance(value, partial):
            return self._partial(value, path, depth)
        if depth > _MAX_LEVELS or id(value) in self._above or self._count > _MAX_VALUES:
            return self._too_much(value, path, depth)
        self._above.add(id(value))
        try:
            return self._inside(value, path, depth)
        finally:
            self._above.discard(id(value))

    def _inside(self, value: Any, path: str, depth: int) -> Any:
        """Return plain data for a value that may have others in it."""
        shape = _shape(value)
        if shape is not None or callable(getattr(type(value), "tolist", None)):
            return self._array(value, shape, path, depth)
        settings = settings_of(value, inside=True)
        if settings is not None:
            return {
                _text(str(key)): self.plain(item, f"{path}.{key}" if path else str(key), depth + 1)
                for key, item in settings.items()
            }
        if isinstance(value, Set) and not isinstance(value, KeysView):
            return _in_order([self.plain(item, path, depth + 1) for item in value])
        if isinstance(value, Sequence | deque | KeysView | ValuesView) and not isinstance(value, bytes | range):
            return [self.plain(item, path, depth + 1) for item in value]
        return _as_text(value)

    def _array(self, value: Any, shape: tuple[int, ...] | None, path: str, depth: int) -> Any:
        """Return the elements of an array or a tensor in lists; the element itself if it has no dimensions."""
        if shape == ():
            number = scalar(value)
            same = type(number) is type(value)  # an extended NumPy float is its own item
            return _as_text(value) if number is None or same else self.plain(number, path, depth)
        sizes = shape or (len(value),)
        count = math.prod(sizes)
        if count > _MAX_ELEMENTS:
            in_row = count // sizes[0]
            rows = _MAX_ELEMENTS // in_row
            if not rows:
                self.remarks[path] = f"is {described(value)}, which is too large to be kept; its shape is kept"
                return f"<{described(value)}>"
            self.remarks[path] = f"has {count:,} elements; only the first {rows * in_row:,} are kept"
            value = value[:rows]
        if not hasattr(value, "tolist") and callable(getattr(value, "numpy", None)):
            value = value.numpy()  # TensorFlow
        read = getattr(value, "tolist", None)
        return self.plain(read(), path, depth) if callable(read) else _as_text(value)

    def _partial(self, value: partial[Any], path: str, depth: int) -> str:
        """Return a call with arguments: the text that Python has for it names an address."""
        arguments = [repr(self.plain(item, path, depth)) for item in value.args]
        arguments += [f"{key}={self.plain(item, path, depth)!r}" for key, item in value.keywords.items()]
        return _as_text(f"{name_of(value.func)}({', '.join(arguments)})")

    def _too_much(self, value: Any, path: str, depth: int) -> str:
        if depth > _MAX_LEVELS:
            if not isinstance(value, Collection) or len(value):
                self.remarks.setdefault(path, f"is nested deeper than {_MAX_LEVELS} levels; it is kept as text")
        elif id(value) in self._above:
            self.remarks.setdefault(path, "holds itself; it is kept as text there")
        else:
            self.remarks.setdefault(path, f"is one of more than {_MAX_VALUES:,} values; it is kept as text")
            return f"<{name_of(type(value))}>"
        return _as_text(value)


def _number(value: Any) -> Any:
    """Return a number as one of 64 bits, else as its text."""
    if isinstance(value, numbers.Integral):
        number = int(value)
        return number if _MIN_INT <= number <= _MAX_INT else str(number)
    if isinstance(value, Decimal | numbers.Real):
        try:
            real = float(value)
        except (OverflowError, ValueError):
            return str(value)
        return str(value) if isinstance(value, Decimal) and not math.isfinite(real) else real
    return str(value)


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or a tensor; None for anything else."""
    if not is_array(value):
        return None
    try:
        shape = getattr(value, "shape", None)
        return None if shape is None else tuple(int(size) for size in shape)
    except Exception:  # a shape that is not known
        return None


def _in_order(items: Iterable[Any]) -> list[Any]:
    """Return plain data in an order that does not depend on hashes."""
    return sorted(items, key=lambda item: (isinstance(item, str), _sortable(item), repr(item)))


def _sortable(item: Any) -> Any:
    if isinstance(item, int | float) and item == item:
        return (0, item, "")
    return (1, 0, item if isinstance(item, str) else repr(item))


def _text(text: str) -> str:
    """Return a string without lone surrogates, which are not valid Unicode text."""
    return text.encode(errors="replace").decode()


def _as_text(value: Any) -> str:
    """Return the text of a value, without its address in memory."""
    if has_address_as_text(value):
        return f"<{name_of(type(value))}>"
    text = _text(str(value))
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"
