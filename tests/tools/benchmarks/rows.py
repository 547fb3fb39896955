"""Rows of figures, and the table that they are printed as. Pure functions on plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A condition that a row must meet.

    Attributes:
        text: the condition and the value, such as ``"p50 / bare <= 2.5: 1.6"``.
        reached: whether it was met; None if that could not be judged.
    """

    text: str
    reached: bool | None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        measure: name of the measurement.
        what: the measured operation.
        unit: unit of the figures.
        median, p99, p999: the figures; a single one is in `median`.
        bare: median for the least work that any implementation must do, taken in the same run and unit.
        bars: conditions for the figures; empty for a row that is only for comparison.
        note: how to read the row.
        failed: whether the measurement failed; the note says why.
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
    """Format `value` with about three digits and separated thousands; None gives an empty string."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100 or (value == int(value) and size < 100):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or not size else f"{value:.4f}"


HEADINGS = ("measure", "what", "unit", "median", "p99", "p99.9", "bare", "ratio", "bar: value", "reached")


def render(rows: Sequence[Row]) -> str:
    """Return the table as text: a line for each row and each further bar, followed by the notes."""
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
