"""Rows of figures, and the table they are printed as. Pure functions on plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bar:
    """Something a row must reach.

    Attributes:
        text: what, and what was found, such as ``"p50 at most 2.5 x bare: 1.6"``.
        reached: whether it was; None where it could not be judged.
    """

    text: str
    reached: bool | None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        measure: the name of the measure it belongs to.
        what: who did what.
        unit: of the figures.
        median, p99, p999: the figures; where a single one was taken it is `median`.
        bare: the median of the least that any implementation must do, taken in the same run and unit.
        bars: what it must reach; empty for a row that is only there to compare with.
        note: how to read it.
        failed: the measure could not be made, the note says why.
    """

    measure: str
    what: str
    unit: str = ""
    median: float | None = None
    p99: float | None = None
    p999: float | None = None
    bare: float | None = None
    bars: Sequence[Bar] = field(default_factory=list)
    note: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        """`median` over `bare`."""
        return self.median / self.bare if self.median is not None and self.bare else None

    def to_map(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


def at_most(name: str, value: float, limit: float, unit: str = "") -> Bar:
    """Return the bar `value` <= `limit`."""
    return Bar(f"{name} <= {number(limit)}{unit}: {number(value)}", value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Bar:
    """Return the bar `value` >= `limit`."""
    return Bar(f"{name} >= {number(limit)}{unit}: {number(value)}", value >= limit)


def below(name: str, value: float, limit: float, unit: str = "") -> Bar:
    """Return the bar `value` < `limit`."""
    return Bar(f"{name} < {number(limit)}{unit}: {number(value)}", value < limit)


def number(value: float | None) -> str:
    """Return `value` for people: three figures, thousands apart, nothing for None."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100 or (value == int(value) and size < 100):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or not size else f"{value:.4f}"


HEADINGS = ("measure", "what", "unit", "median", "p99", "p99.9", "bare", "ratio", "must reach: found", "reached")


def render(rows: Sequence[Row]) -> str:
    """Return the table as text: a line for each row, one more for each further bar and for each note."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        figures = [number(value) for value in (row.median, row.p99, row.p999, row.bare, row.ratio)]
        bars = [(bar.text, {True: "yes", False: "NO", None: "?"}[bar.reached]) for bar in row.bars] or [("", "")]
        lines.append((row.measure, row.what, row.unit, *figures, *bars[0]))
        lines.extend(("",) * 8 + bar for bar in bars[1:])
    widths = [max(len(line[i]) for line in [HEADINGS, *lines]) for i in range(len(HEADINGS))]
    right = range(3, 8)

    def one(line: Sequence[str]) -> str:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "  ".join(cells).rstrip()

    notes = [f"  {row.measure}, {row.what}: {row.note}" for row in rows if row.note]
    return "\n".join(
        [one(HEADINGS), one(["-" * width for width in widths]), *map(one, lines), *(["", *notes] if notes else [])]
    )
