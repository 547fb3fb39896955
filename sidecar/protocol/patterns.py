"""Patterns of metric names, and the definition that applies to a metric. Pure, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(pattern: str, key: str) -> bool:
    """Whether `key` fits `pattern`, in which "*" stands for any characters. Linear in time, whatever the pattern."""
    head, *parts = pattern.split("*")
    if not parts:
        return pattern == key
    tail = parts.pop()
    if len(key) < len(head) + len(tail) or not (key.startswith(head) and key.endswith(tail)):
        return False
    position, end = len(head), len(key) - len(tail)
    for part in parts:
        position = key.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def resolve(definitions: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Return what is defined for `key`: by its own name, then by the patterns that it fits, the longest first.

    Args:
        definitions: pattern -> options. One that is None or an empty list is left to the next definition.
    """
    fitting = [pattern for pattern in definitions if pattern == key or ("*" in pattern and matches(pattern, key))]
    fitting.sort(key=lambda pattern: (pattern == key, len(pattern)))
    options: dict[str, Any] = {}
    for pattern in fitting:
        definition = definitions[pattern]
        options.update({name: value for name, value in definition.items() if value is not None and value != []})
    return options
