"""Text for people: widths of terminal columns, foreign text made harmless, numbers, durations, sizes.

Pure functions, any thread. Knows nothing of runs or streams.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    "|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\\\|\x9c)"  # strings: titles, links
    "|\x1b[ -/]*[0-~]"  # the rest: two or three characters
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_NO_WIDTH = frozenset({"Mn", "Me", "Cf"})
"""Unicode categories that take no column: combining marks, joiners, variation selectors."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_AGES = ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min"))


def clean(text: str) -> str:
    """Return foreign `text` on one line, safe to print: escape sequences removed, control characters as spaces."""
    if text.isascii() and text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", _ESCAPE.sub("", text)))


def clean_lines(text: str) -> str:
    """Return foreign `text` safe to print, its line breaks kept."""
    return "\n".join(clean(line) for line in text.split("\n"))


def width(text: str) -> int:
    """Return the number of terminal columns that `text` takes; colours take none, East Asian wide characters two."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    import unicodedata  # only for text beyond ASCII

    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Return `text` without colours, cut with '…' if it takes more than `columns`."""
    if len(text) <= columns and text.isascii():
        return text
    used = 0
    cut = 0  # where the text ends if '…' follows
    for index, character in enumerate(text):
        used += _columns(character)
        if used <= columns - 1:
            cut = index + 1
        elif used > columns:
            return text[:cut] + "…" if columns > 0 else ""
    return text


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Return `text` filled up with spaces to `columns`; `right` aligns it to the right."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def number(value: Any, digits: int = 6) -> str:
    """Return one value of a config, a summary or a row, short and on one line.

    Args:
        value: anything that a run holds.
        digits: significant digits of a float.
    """
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict) and isinstance(value.get("_type"), str):
        return f"<{clean(value['_type'])}>"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value))


def duration(seconds: float) -> str:
    """Return a length of time in one or two units: ``"45 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``, ``"4 d 3 h"``."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    hours = round(seconds / 3600)
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def ago(moment: float | None, now: float) -> str:
    """Return how long before `now` a `moment` was, in one unit; both in Unix seconds."""
    if moment is None:
        return ""
    seconds = now - moment
    if seconds < 0:
        return "just now" if seconds > -60 else "in the future"
    for length, unit in _AGES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 10 else "just now"


def size(count: float) -> str:
    """Return bytes in the unit that makes them short: ``"512 B"``, ``"1.5 MiB"``."""
    for unit in _UNITS[:-1]:
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def counted(count: int, noun: str) -> str:
    """Return ``"1 run"``, ``"3 runs"``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, and how many more there are; ``"nothing"`` if it is empty."""
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
