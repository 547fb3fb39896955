"""Makes what users log into plain data: checks, names what is wrong, never touches a socket or a file. Any thread."""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sidecar.protocol.bodies import check_key
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_DEPTH, MAX_KEYS, MAX_STEP, MAX_TEXT_BYTES, MIN_STEP
from tracker.media.histogram import Media

_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)


def metrics(data: Any) -> dict[str, Any]:
    """Return the metrics of one `log` call, flat and plain.

    Args:
        data: a mapping from keys to numbers, strings, media, or such mappings again, whose keys join with dots.

    Raises:
        TypeError, ValueError: naming the key, what it is, and what would be right.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"log() takes a dict of metrics, such as {{'loss': 0.3}}, not a {type(data).__name__}")
    flat: dict[str, Any] = {}
    _flatten(data, "", flat, 1)
    if len(flat) > MAX_KEYS:
        raise ValueError(f"log() was given {len(flat)} metrics at once, at most {MAX_KEYS}")
    return flat


def _flatten(data: Mapping[Any, Any], prefix: str, flat: dict[str, Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"metric {prefix[:80]!r} is nested over {MAX_DEPTH} levels")
    for key, value in data.items():
        if not isinstance(key, str):
            where = f" in {prefix[:-1]!r}" if prefix else ""
            raise TypeError(f"metric key {key!r}{where} is a {type(key).__name__}; keys are strings")
        name = prefix + key
        if isinstance(value, Mapping) and key:
            _flatten(value, name + ".", flat, depth + 1)
            continue
        try:
            check_key(name if key else key)
        except RecordError as error:
            raise ValueError(str(error)) from None
        if not name.isascii() and not _is_text(name):
            raise ValueError(f"metric key {name!r} has half a character (a lone surrogate) in it; text is Unicode")
        if name in flat:
            raise ValueError(f"metric {name!r} is there twice: nested keys join with dots")
        flat[name] = metric(name, value)


def _is_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def metric(key: str, value: Any) -> Any:
    """Return one metric's value: bool, int, float, str, or a media object's map.

    Raises:
        TypeError, ValueError: naming the key.
    """
    if isinstance(value, bool | float):
        return bool(value) if isinstance(value, bool) else float(value)
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            raise ValueError(f"metric {key!r} is an integer of {value.bit_length()} bits, over 64; log it as a float")
        return int(value)
    if isinstance(value, str):
        if len(value) * 4 > MAX_TEXT_BYTES and len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise ValueError(f"metric {key!r} is a text of {len(value)} characters, at most {MAX_TEXT_BYTES} bytes")
        return value.encode(errors="replace").decode()
    if isinstance(value, Media):
        return value.to_map()
    if isinstance(value, numbers.Integral):  # NumPy's too
        return metric(key, int(value))
    if isinstance(value, Decimal | numbers.Real):
        return float(value)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        plain = value.item()
        if isinstance(plain, bool | int | float | str):
            return metric(key, plain)
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if shape:
        kind += f" of shape {tuple(shape)}"
    raise TypeError(f"metric {key!r} is a {kind}; log a number, a string, or tracker.Histogram")


def step_number(step: Any) -> int:
    """Return a step that was given as some kind of integer.

    Raises:
        TypeError: it is none. ValueError: it has over 64 bits.
    """
    if isinstance(step, bool):
        raise TypeError(f"step is {step!r}; an integer")
    try:
        number = step.__index__()
    except AttributeError:
        raise TypeError(f"step is {step!r}, a {type(step).__name__}; an integer") from None
    except TypeError:
        raise TypeError(f"step is {step!r}; an integer") from None
    if not MIN_STEP <= number <= MAX_STEP:
        raise ValueError(f"step is {number}; a signed 64-bit integer")
    return int(number)


def as_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a dict of what `config` was given: a mapping, a dataclass, an argparse Namespace, absl flags, …

    Raises:
        TypeError: it is none of these.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        found = dict(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        found = {key: item for key, item in vars(value).items() if not key.startswith("_")}
    else:
        raise TypeError(f"{what} is a {type(value).__name__}; a dict, a dataclass or an argparse.Namespace")
    for key in found:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{what} has the key {key!r}; keys are strings that are not empty")
    return found


def plain(value: Any, depth: int = 1) -> Any:
    """Return plain data for a value of the config or the summary: what has no plain form becomes its text."""
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
