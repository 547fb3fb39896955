"""Paths in records: text, or bytes where the name of a file is not UTF-8."""

from __future__ import annotations

import os


def path_value(path: str | os.PathLike[str] | None) -> str | bytes | None:
    """Return `path` as it stands in a record."""
    if path is None:
        return None
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def path_of(value: str | bytes | None) -> str | None:
    """Return the path that stands in a record."""
    return None if value is None else os.fsdecode(value)
