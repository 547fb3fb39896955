"""What users log, as plain data: checks it and names what is wrong. Writes nothing, uses no sockets; any thread."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from sidecar.protocol.bodies import check_key
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_DEPTH, MAX_KEYS, MAX_STEP, MAX_TEXT_BYTES, MIN_STEP
from tracker.media import HINT
from tracker.media.base import Media, MediaFile, logged

_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)
_SCALARS = frozenset({float, int, bool, str, type(None)})

_ARRAY_METHODS = ("tolist", "item", "numpy", "toarray", "__array__", "__float__")

_MAX_LOOKED_AT = 1000
"""Maximum length of a list whose items a message looks at."""

_SHOWN_CHARACTERS = 100
_REASON_CHARACTERS = 300


Refuse = Callable[[str, str, Exception], None]
"""Called for what cannot be logged, with the part that it is (``"value"``, ``"key"`` or ``"step"``), the key, and the
error, which says what is wrong and what it must be. If it returns, that part is left out."""


def raise_error(part: str, key: str, error: Exception) -> None:
    """Raise the error: the `Refuse` of a strict run."""
    raise error


class Row(NamedTuple):
    """The metrics of one `log` call.

    Attributes:
        data: flat and plain.
        files: key -> files of the media object under that key, with their names; to be stored before `data` is.
    """

    data: dict[str, Any]
    files: dict[str, list[tuple[MediaFile, str]]]


def metrics(data: Any) -> dict[str, Any]:
    """Return the metrics of one `log` call, flat and plain; see `row`.

    Raises:
        TypeError, ValueError: something in `data` cannot be logged.
    """
    return row(data).data


def row(data: Any, refuse: Refuse = raise_error) -> Row:
    """Return the metrics of one `log` call, and the files that belong to them.

    Args:
        data: a mapping from keys to numbers, strings, media, None (no value: the key is left out), or such mappings
            again, whose keys join with dots.
        refuse: told of everything that cannot be logged.
    """
    made = Row({}, {})
    if not is_mapping(data):
        error = TypeError(f"log() takes a dict of metrics, such as {{'loss': 0.3}}, not {described(data)}")
        refuse("value", "", error)
        return made
    _flatten(data, "", made, 1, refuse)
    if refuse is raise_error and len(made.data) > MAX_KEYS:
        raise ValueError(f"log() takes at most {MAX_KEYS} metrics at once, not {len(made.data)}")
    return made


def is_mapping(value: Any) -> bool:
    """Whether `value` is a mapping, or has keys and values as one."""
    kind: Any = type(value)  # not the object, whose attributes may be its keys
    return _is_mapping_type(kind)


@lru_cache(1024)
def _is_mapping_type(kind: Any) -> bool:
    if issubclass(kind, Mapping):
        return True
    return hasattr(kind, "keys") and hasattr(kind, "__getitem__") and not _is_array_type(kind)


def is_array(value: Any) -> bool:
    """Whether `value` is an array, a tensor or a table of some library; other objects may have a shape, too."""
    kind: Any = type(value)
    return _is_array_type(kind)


@lru_cache(1024)
def _is_array_type(kind: Any) -> bool:
    return any(callable(getattr(kind, name, None)) for name in _ARRAY_METHODS)


def items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys and values of what `is_mapping` takes, as they are now."""
    return list(value.items()) if isinstance(value, Mapping) else [(key, value[key]) for key in value.keys()]  # noqa: SIM118


def _flatten(data: Any, prefix: str, made: Row, depth: int, refuse: Refuse) -> None:
    if depth > MAX_DEPTH:
        name = prefix[:80]
        refuse("value", name, ValueError(f"metric {name!r} is nested deeper than {MAX_DEPTH} levels"))
        return
    try:
        pairs = items(data)
    except Exception as error:  # whatever the mapping raises
        refuse("value", prefix[:-1], TypeError(f"metrics {prefix[:-1]!r} cannot be read: {reason(error)}"))
        return
    for key, value in pairs:
        kind = type(value)
        try:
            text = key if type(key) is str else _key(key, prefix)
            name = prefix + text
            if kind not in _SCALARS and text and is_mapping(value):
                _flatten(value, name + ".", made, depth + 1, refuse)
                continue
            _check_name(name if text else text, made)
        except (TypeError, ValueError) as error:
            if refuse is raise_error:
                raise
            refuse("key", f"{prefix}{shown(key)}", error)
            continue
        if kind is float:
            made.data[name] = value
            continue
        try:
            if isinstance(value, Media):
                made.data[name], files = logged(value, name)
                if files:
                    made.files[name] = files
            elif value is not None:
                made.data[name] = metric(name, value)
        except (TypeError, ValueError, OSError) as error:
            if refuse is raise_error:
                raise
            refuse("value", name, error)
        except Exception as error:  # whatever a library raises
            refuse("value", name, TypeError(f"metric {name!r} cannot be read: {reason(error)}"))


def _key(key: Any, prefix: str) -> str:
    """Return a key as text: a string, or an integer's digits.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(key, str):
        return key
    if isinstance(key, int | numbers.Integral):  # NumPy's too
        return str(int(key))
    where = f" in {prefix[:-1]!r}" if prefix else ""
    raise TypeError(f"metric key {shown(key)}{where} is {described(key)}; keys are strings or integers")


def _check_name(name: str, made: Row) -> None:
    """Check a metric's name, its keys joined.

    Raises:
        ValueError: it is not valid, or is there already.
    """
    try:
        check_key(name)
    except RecordError as error:
        raise ValueError(str(error)) from None
    if not name.isascii() and not _is_text(name):
        raise ValueError(f"metric key {name!r} contains a lone surrogate, which is not valid Unicode text")
    if name in made.data:
        raise ValueError(f"metric {name!r} is given twice: nested keys join with dots")


def _is_text(text: str) -> bool:
    """Whether `text` can be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def metric(key: str, value: Any) -> bool | int | float | str:
    """Return one metric's value, of exactly one of these types.

    Raises:
        TypeError, ValueError: naming the key.
    """
    if isinstance(value, bool | float):
        return bool(value) if isinstance(value, bool) else float(value)
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            raise ValueError(
                f"metric {key!r} is an integer of {value.bit_length()} bits, more than 64; log it as a float"
            )
        return int(value)
    if isinstance(value, str):
        if len(value) * 4 > MAX_TEXT_BYTES and len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise ValueError(
                f"metric {key!r} is a string of {len(value)} characters; at most {MAX_TEXT_BYTES} bytes are allowed"
            )
        return value.encode(errors="replace").decode()
    if isinstance(value, numbers.Integral):  # NumPy's too
        return metric(key, int(value))
    if isinstance(value, Decimal | numbers.Real):
        try:
            return float(value)
        except (OverflowError, ValueError):
            raise ValueError(f"metric {key!r} is {described(value)} that is not a 64-bit float") from None
    if _stands_for_number(value):
        number = scalar(value)
        if isinstance(number, str | Decimal | numbers.Real):
            return metric(key, number)
    raise TypeError(f"metric {key!r} is {described(value)}; log a number, or {HINT}")


def _stands_for_number(value: Any) -> bool:
    """Whether `value` is an array or a tensor with exactly one element, or of another class that has ``__float__``."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return hasattr(type(value), "__float__") and not isinstance(value, numbers.Complex)
    try:
        return all(size == 1 for size in tuple(shape))
    except Exception:  # a shape that is not known, of a tensor without a value
        return False


def scalar(value: Any) -> Any:
    """Return the number that an object stands for, or the string in an array of one; None if there is none."""
    for read in (lambda array: array.item(), operator.index, float):
        try:
            return read(value)
        except Exception:  # whatever a library raises
            continue
    return None


def described(value: Any) -> str:
    """Return what a value is, for a message: ``"an int"``, ``"a list of 3 numbers"``, ``"None"``."""
    if value is None:
        return "None"
    if isinstance(value, bytes | complex):
        return "bytes" if isinstance(value, bytes) else "a complex number"
    name = type(value).__name__
    text = f"{'an' if name[:1].lower() in 'aeio' or name == 'ndarray' else 'a'} {name}"
    try:
        shape = tuple(getattr(value, "shape", ()))
    except Exception:  # one that is not known
        shape = ()
    if shape:
        return f"{text} of shape {shape}"
    if isinstance(value, list | tuple | set | frozenset):
        short = len(value) <= _MAX_LOOKED_AT
        what = "number" if value and short and all(isinstance(item, numbers.Number) for item in value) else "item"
        return f"{text} of {len(value)} {what}{'' if len(value) == 1 else 's'}"
    return text


def shown(value: Any) -> str:
    """Return a short text of any value, for a message."""
    try:
        text = repr(value)
    except Exception:  # whatever a library raises
        return described(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def reason(error: Exception) -> str:
    """Return what an exception of another library says, for a message."""
    try:
        return f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
    except Exception:  # its own text
        return type(error).__name__


def step_number(step: Any) -> int:
    """Return a step that was given as any kind of integer: an array with one element, or a float that is whole, too.

    Raises:
        TypeError: it is not an integer. ValueError: it has more than 64 bits.
    """
    number = None if isinstance(step, bool | str) else _whole(step)
    if number is None:
        kind = "" if isinstance(step, bool | float | str) else f", {described(step)}"
        raise TypeError(f"step must be an integer, not {shown(step)}{kind}")
    if not MIN_STEP <= number <= MAX_STEP:
        raise ValueError(f"step must be a signed 64-bit integer, not {shown(number)}")
    return number


def _whole(value: Any) -> int | None:
    """Return the integer that `value` stands for, or None."""
    try:
        return int(operator.index(value))
    except Exception:  # whatever a library raises
        number = value
    try:
        if not isinstance(number, numbers.Real):
            number = scalar(value) if _stands_for_number(value) else None
        real = float(number) if isinstance(number, numbers.Real) else math.nan
        return int(real) if real.is_integer() else None
    except Exception:  # as above
        return None
