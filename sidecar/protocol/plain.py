"""Plain data (None, booleans, numbers, strings, bytes, lists, maps) in other forms: flat, or fit for JSON. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]


def flatten(values: dict[str, Any], *, open_media: bool = False) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the value of each leaf of nested maps, in order; an empty map is a leaf.

    Args:
        values: maps in maps.
        open_media: whether to descend into media objects (maps with ``_type``) too.
    """
    stack: list[tuple[Path, Any]] = [((key,), value) for key, value in reversed(values.items())]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict) and value and (open_media or "_type" not in value):
            stack += [((*path, key), item) for key, item in reversed(value.items())]
        else:
            yield path, value


def json_value(value: Any) -> Any:
    """Return `value` in a form that strict JSON allows.

    NaN and infinities become ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, bytes become hex digits.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def json_default(value: Any) -> str:
    """Return text for a value that JSON cannot hold, for the argument `default` of `json.dumps`: hex for bytes."""
    return value.hex() if isinstance(value, bytes) else str(value)
