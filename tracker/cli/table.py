"""Aligned tables for people, and the short texts that tables of runs have in common. Pure functions, no I/O but the
width of the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sidecar.protocol.plain import flatten
from tracker.terminal.messages import is_terminal, terminal_width
from tracker.terminal.text import clean, fit, pad, width

GAP = "  "
"""Space between two columns."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        head: its heading.
        right: whether its cells are aligned to the right.
        least: the width to which it may shrink; 0 if it may not.
        paint: colours a cell: takes its text and what is shown of that, as `Style.state` does; None for no colour.
    """

    head: str
    right: bool = False
    least: int = 0
    paint: Callable[[str, str], str] | None = None


def screen_width() -> int | None:
    """Return the width that tables on standard output must fit, in columns; None for a file or a pipe."""
    return terminal_width() if is_terminal(sys.stdout) else None


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: int | None = None) -> list[str]:
    """Return the lines of a table, its heading first, each at most `total` wide if that is given.

    Columns with a `least` shrink, the widest first, until the table fits.
    """
    columns = [column._replace(head=clean(column.head)) for column in columns]
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([width(column.head), *(width(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    if total is not None:
        _shrink(columns, widths, total)
    lines = [_line(columns, widths, [column.head for column in columns], total, heading=True)]
    return lines + [_line(columns, widths, row, total) for row in cells]


def table_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Return the width that a table takes if nothing shrinks."""
    widths = [max([width(column.head), *(width(row[i]) for row in rows)]) for i, column in enumerate(columns)]
    return sum(widths) + len(GAP) * (len(columns) - 1)


def _shrink(columns: Sequence[Column], widths: list[int], total: int) -> None:
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - total
    while excess > 0:
        shrinkable = [i for i, column in enumerate(columns) if column.least and widths[i] > column.least]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
        excess -= 1


def _line(
    columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str], total: int | None, heading: bool = False
) -> str:
    parts: list[str] = []
    room = total
    for column, cell, columns_wide in zip(columns, cells, widths, strict=True):
        shown_width = columns_wide if room is None else min(columns_wide, room)
        if shown_width <= 0:
            break
        text = fit(cell, shown_width)
        painted = column.paint(cell, text) if column.paint and text and not heading else text
        parts.append(pad(painted, shown_width, right=column.right))
        room = None if room is None else room - shown_width - len(GAP)
    return GAP.join(parts).rstrip()


def short_heads(names: Sequence[str]) -> list[str]:
    """Return the shortest dotted endings of `names` that differ: ``["TRAIN.LOSS", "VAL.LOSS", "LR"]``."""
    parts = [name.split(".") for name in names]
    taken = [1] * len(names)
    while True:
        heads = [".".join(part[-count:]) for part, count in zip(parts, taken, strict=True)]
        grown = False
        for i, head in enumerate(heads):
            if taken[i] < len(parts[i]) and heads.count(head) > 1:
                taken[i] += 1
                grown = True
        if not grown:
            return [head.upper() for head in heads]


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested maps as one, sorted, their keys joined with dots."""
    leaves = sorted(flatten(values), key=lambda leaf: leaf[0])
    return {".".join(path): value for path, value in leaves}


def facts(values: dict[str, str], indent: str = "", total: int | None = None) -> list[str]:
    """Return a line per fact: its name, then its text, aligned and at most `total` wide if that is given."""
    names = min(40, max((width(clean(name)) for name in values), default=0))
    lines = []
    for name, text in values.items():
        line = f"{indent}{pad(clean(name), names)}{GAP}{clean(text)}".rstrip()
        lines.append(line if total is None else fit(line, total))
    return lines


__all__ = ["GAP", "Column", "facts", "flat", "screen_width", "short_heads", "table", "table_width"]
