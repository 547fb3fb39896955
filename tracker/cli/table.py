"""Aligned tables for people. Pure functions, no I/O. Cells that come from a run are cleaned of control characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tracker.terminal.text import ago, clean, clean_lines, counted, duration, fit, number, size, some, width

WIDTH = 100
"""Columns that a table takes at most."""


class Column(NamedTuple):
    """A column of a table: its head, whether its cells stand to the right, how narrow it may become."""

    head: str
    right: bool = False
    least: int = 0


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


__all__ = [
    "Column",
    "ago",
    "clean",
    "clean_lines",
    "counted",
    "duration",
    "fit",
    "number",
    "size",
    "some",
    "table",
    "width",
]
