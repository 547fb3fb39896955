"""Text for people: aligned tables, relative times, short numbers. Pure functions, no I/O.

What comes from a run (a name, a note) is cleaned of control characters before it reaches a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH = 100
"""Columns that a table takes at most."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Column(NamedTuple):
    """A column of a table: its head, whether its cells stand to the right, how narrow it may become."""

    head: str
    right: bool = False
    least: int = 0


def clean(text: str) -> str:
    """Return `text` on one line and without control characters."""
    return _CONTROL.sub(" ", text)


def clean_lines(text: str) -> str:
    """Return `text` without control characters, its line breaks kept."""
    return "\n".join(clean(line) for line in text.split("\n"))


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """Return `text`, cut with '…' if it takes more than `columns`."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…" if columns > 0 else ""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: int = WIDTH) -> list[str]:
    """Return the lines of a table, its head first, each at most `total` wide.

    Columns with a `least` give way, the widest first, until the table fits.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([width(column.head), *(width(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    over = sum(widths) + 2 * (len(columns) - 1) - total
    while over > 0:
        shrinkable = [i for i, column in enumerate(columns) if column.least and widths[i] > column.least]
        if not shrinkable:
            break
        widest = max(shrinkable, key=lambda i: widths[i])
        widths[widest] -= 1
        over -= 1
    lines = []
    for row in [[column.head for column in columns], *cells]:
        padded = []
        for i, column in enumerate(columns):
            cell = fit(row[i], widths[i])
            space = " " * (widths[i] - width(cell))
            padded.append(space + cell if column.right else cell + space)
        lines.append(fit("  ".join(padded).rstrip(), total))
    return lines


def duration(seconds: float) -> str:
    """Return a length of time in one or two units: ``"45 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``, ``"4 d 3 h"``."""
    seconds = max(0.0, seconds)
    if seconds < 10:
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
    for length, unit in ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 10 else "just now"


def number(value: Any) -> str:
    """Return one value of a config, a summary or a row, short and on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict) and isinstance(value.get("_type"), str):
        return f"<{clean(value['_type'])}>"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value))


def size(count: float) -> str:
    """Return bytes in the unit that makes them short: ``"512 B"``, ``"1.5 MiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """Return ``"1 run"``, ``"3 runs"``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def some(names: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
