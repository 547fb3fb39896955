"""What users log, as plain data: checks it and names what is wrong. Writes nothing, uses no sockets; any thread."""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import operator
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from sidecar.protocol.bodies import check_key
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_DEPTH, MAX_KEYS, MAX_STEP, MAX_TEXT_BYTES, MIN_STEP
from tracker.media import HINT
from tracker.media.base import Media, MediaFile, logged

_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)
_MAX_LOOKED_AT = 1000
"""Maximum length of a list whose items a message looks at."""


class Row(NamedTuple):
    """The metrics of one `log` call.

    Attributes:
        data: flat and plain.
        files: key -> files of the media object under that key, with their names; to be stored before `data` is.
    """

    data: dict[str, Any]
    files: dict[str, list[tuple[MediaFile, str]]]


def metrics(data: Any) -> dict[str, Any]:
    """Return the metrics of one `log` call, flat and plain; see `row`."""
    return row(data).data


def row(data: Any) -> Row:
    """Return the metrics of one `log` call, and the files that belong to them.

    Args:
        data: a mapping from keys to numbers, strings, media, None (no value: the key is left out), or such mappings
            again, whose keys join with dots.

    Raises:
        TypeError, ValueError: naming the key, what it is, and what it must be. OSError: a file that cannot be read.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"log() takes a dict of metrics, such as {{'loss': 0.3}}, not {described(data)}")
    made = Row({}, {})
    _flatten(data, "", made, 1)
    if len(made.data) > MAX_KEYS:
        raise ValueError(f"log() takes at most {MAX_KEYS} metrics at once, not {len(made.data)}")
    return made


def _flatten(data: Mapping[Any, Any], prefix: str, made: Row, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"metric {prefix[:80]!r} is nested deeper than {MAX_DEPTH} levels")
    for key, value in data.items():
        if not isinstance(key, str):
            where = f" in {prefix[:-1]!r}" if prefix else ""
            raise TypeError(f"metric key {key!r}{where} is {described(key)}; keys are strings")
        name = prefix + key
        if isinstance(value, Mapping) and key:
            _flatten(value, name + ".", made, depth + 1)
            continue
        try:
            check_key(name if key else key)
        except RecordError as error:
            raise ValueError(str(error)) from None
        if not name.isascii() and not _is_text(name):
            raise ValueError(f"metric key {name!r} contains a lone surrogate, which is not valid Unicode text")
        if name in made.data:
            raise ValueError(f"metric {name!r} is given twice: nested keys join with dots")
        if isinstance(value, Media):
            made.data[name], files = logged(value, name)
            if files:
                made.files[name] = files
        elif value is not None:
            made.data[name] = metric(name, value)


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
    if _has_one_element(value):
        scalar = _scalar(value)
        if isinstance(scalar, str | Decimal | numbers.Real):
            return metric(key, scalar)
    raise TypeError(f"metric {key!r} is {described(value)}; log a number, or {HINT}")


def _has_one_element(value: Any) -> bool:
    """Whether `value` is an array or a tensor of any library, with exactly one element."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return False
    try:
        return all(size == 1 for size in tuple(shape))
    except Exception:  # a shape that is not known, of a tensor without a value
        return False


def _scalar(value: Any) -> Any:
    """Return the element of an array or a tensor that has exactly one; None if it has no value."""
    reads = (lambda array: array.item(),) if callable(getattr(value, "item", None)) else (operator.index, float)
    for read in reads:
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


def step_number(step: Any) -> int:
    """Return a step that was given as any kind of integer.

    Raises:
        TypeError: it is not an integer. ValueError: it has more than 64 bits.
    """
    if isinstance(step, bool):
        raise TypeError(f"step must be an integer, not {step!r}")
    try:
        number = step.__index__()
    except AttributeError:
        raise TypeError(f"step must be an integer, not {step!r}, {described(step)}") from None
    except TypeError:
        raise TypeError(f"step must be an integer, not {step!r}") from None
    if not MIN_STEP <= number <= MAX_STEP:
        raise ValueError(f"step must be a signed 64-bit integer, not {number}")
    return int(number)


def as_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a dict of what `config` may be given: a mapping, a dataclass, an ``argparse.Namespace``, absl flags, …

    Raises:
        TypeError: it is not one of these.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        mapping = dict(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        mapping = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        mapping = {key: item for key, item in vars(value).items() if not key.startswith("_")}
    else:
        raise TypeError(f"{what} must be a dict, a dataclass or an argparse.Namespace, not {described(value)}")
    for key in mapping:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{what} has the key {key!r}; keys are non-empty strings")
    return mapping


def plain(value: Any, depth: int = 1) -> Any:
    """Return plain data for a value of the config or the summary. A value without a plain form becomes its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, depth)
    if isinstance(value, int):
        return int(value) if _MIN_INT <= value <= _MAX_INT else str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Media):
        if value.files():
            raise TypeError(f"a {type(value).__name__} has files and can only be logged, with run.log()")
        return value.to_map()
    if depth < MAX_DEPTH - 1:
        if isinstance(value, Mapping):
            return {str(key): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return plain(value.item(), depth)
    if isinstance(value, Decimal | numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(value)
    if depth < MAX_DEPTH - 1 and callable(getattr(value, "tolist", None)) and getattr(value, "size", 1001) <= 1000:
        return plain(value.tolist(), depth)
    text = str(value)
    return text if len(text) <= 10_000 else text[:10_000] + "…"
