"""A chart as lines of text: title, plot, axis labels, marks of NaN and infinities. Pure, any thread."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TextIO

from tracker.terminal.text import clean, fit, width
from tracker.tui.axis import bounds, label, log_of, x_label
from tracker.tui.braille import Canvas, Cell, plot

Spans = list[tuple[str, str]]
"""A line of text in pieces, each with the name of its colour: see `tracker.terminal.style.COLOURS`; ``""`` for none."""

MIN_HEIGHT = 4
"""Minimum height of a chart, in lines: title, two lines of plot, x axis."""


@dataclass
class Curve:
    """A curve to draw.

    Attributes:
        name: of the run.
        colour: name of its colour.
        xs: middle of each bucket, ascending.
        lows, highs, means: of each bucket.
        counts: number of finite values of each bucket.
        bad: x of the buckets that have NaN or infinities, and how many.
        last: the last value, None for an empty curve.
        ends: x of the first and the last point; empty for an empty curve.
    """

    name: str
    colour: str
    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    means: Sequence[float]
    counts: Sequence[int]
    bad: Sequence[tuple[float, int]] = ()
    last: float | None = None
    ends: tuple[float, ...] = ()


@dataclass
class Chart:
    """The curves of one metric, and how they are drawn.

    Attributes:
        key: the metric.
        curves: what to draw; the first is drawn last, on top.
        x: ``"step"``, ``"relative"``, ``"time"`` or a metric's key.
        log_y: whether the y axis is logarithmic.
        x_range: bounds of the x axis; None for those of the curves.
        note: a remark shown in the title, such as ``"smoothed"``.
    """

    key: str
    curves: list[Curve] = field(default_factory=list)
    x: str = "step"
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    note: str = ""

    def render(self, columns: int, rows: int, *, chosen: bool = False) -> list[Spans]:
        """Return the chart as `rows` lines of `columns` columns."""
        columns, rows = max(12, columns), max(MIN_HEIGHT, rows)
        canvas = Canvas(columns, rows - 2)
        curves = [self._scaled(curve) for curve in self.curves]
        left, right = self.x_range or bounds(end for curve in curves for end in curve.ends)
        if left >= right:
            left, right = bounds([left])
        shown = [
            value
            for curve in curves
            for x, low, high in zip(curve.xs, curve.lows, curve.highs, strict=True)
            if left <= x <= right
            for value in (low, high)
        ]
        bottom, top = bounds(shown)
        for curve in reversed(curves):
            plot(canvas, curve.xs, curve.lows, curve.highs, curve.means, (left, right, bottom, top), curve.colour)
        cells = canvas.cells()
        if any(math.isfinite(value) for value in shown):
            spread = top - bottom
            _overlay(cells[0], self._y_label(top, spread))
            if len(cells) > 1:
                _overlay(cells[-1], self._y_label(bottom, spread))
        elif self.curves:
            _overlay(cells[len(cells) // 2], self._nothing())
        lines = [self._title(columns, chosen), *(_spans(row) for row in cells)]
        lines.append(self._x_axis(columns, left, right))
        return lines

    def _scaled(self, curve: Curve) -> Curve:
        if not self.log_y:
            return curve
        means = [log_of(value) for value in curve.means]
        highs = [log_of(value) for value in curve.highs]
        lows = [log_of(low) if low > 0 else mean for low, mean in zip(curve.lows, means, strict=True)]
        return replace(curve, lows=lows, highs=highs, means=means)

    def _y_label(self, value: float, spread: float) -> str:
        if self.log_y:
            return f"{10**value:.3g}" if abs(value) < 300 else f"1e{value:.0f}"
        return label(value, spread)

    @property
    def _bad(self) -> int:
        return sum(count for curve in self.curves for _, count in curve.bad)

    def _nothing(self) -> str:
        if self._bad:
            return "only NaN and infinities"
        return "no values above 0" if self.log_y else "no values here"

    def _title(self, columns: int, chosen: bool) -> Spans:
        lasts = [curve.last for curve in self.curves if curve.last is not None]
        right = fit(f"{lasts[0]:.5g}", columns // 2) if len(lasts) == 1 else ""
        if self.note:
            right = f"{self.note}  {right}".rstrip()
        bad = f"{self._bad:,} NaN/inf  " if self._bad else ""
        if width(bad) + width(right) > columns // 2:
            bad = ""
        key = _tail(clean(self.key) or "(empty name)", max(4, columns - width(bad) - width(right) - 2))
        space = " " * max(0, columns - width(key) - width(bad) - width(right))
        return [(key, "reverse" if chosen else "bold"), (space, ""), (bad, "red"), (right, "dim")]

    def _x_axis(self, columns: int, left: float, right: float) -> Spans:
        """Return the labels of both ends, with marks where there are NaN or infinities."""
        spread = right - left
        first, last = x_label(left, self.x, spread), x_label(right, self.x, spread)
        row: list[Cell] = [(" ", "")] * columns
        for at, text in ((0, first), (columns - width(last), last)):
            for offset, character in enumerate(text):
                if 0 <= at + offset < columns:
                    row[at + offset] = (character, "dim")
        for curve in self.curves:
            for x, _ in curve.bad:
                if left <= x <= right:
                    row[round((x - left) / spread * (columns - 1))] = ("×", "red")
        return _spans(row)


def _tail(text: str, columns: int) -> str:
    """Return the end of `text`, which is what tells metrics apart, cut with '…' if it takes more than `columns`."""
    if width(text) <= columns:
        return text
    start = len(text)
    while start and width(text[start - 1 :]) < columns:
        start -= 1
    return "…" + text[start:]


def _overlay(row: list[Cell], text: str) -> None:
    for offset, character in enumerate(text[: len(row)]):
        row[offset] = (character, "dim")


def _spans(row: Sequence[Cell]) -> Spans:
    """Return neighbouring characters of one colour as one piece."""
    spans: Spans = []
    for character, colour in row:
        if spans and spans[-1][1] == colour:
            spans[-1] = (spans[-1][0] + character, colour)
        else:
            spans.append((character, colour))
    return spans


def grid(charts: Sequence[Chart], columns: int, across: int, height: int, chosen: int | None = None) -> list[Spans]:
    """Return charts side by side, `across` in a row, as lines of `columns` columns, with an empty line between rows."""
    gap = 2
    each = (columns - gap * (across - 1)) // across
    lines: list[Spans] = []
    for start in range(0, len(charts), across):
        parts = [
            chart.render(each, height, chosen=chosen == start + at)
            for at, chart in enumerate(charts[start : start + across])
        ]
        for row in zip(*parts, strict=True):
            line: Spans = []
            for at, spans in enumerate(row):
                line += ([(" " * gap, "")] if at else []) + spans
            lines.append(line)
        lines.append([])
    return lines


def write_csv(file: TextIO, charts: Sequence[Chart]) -> int:
    """Write the curves as they are drawn: a row per bucket. Returns the number of rows."""
    writer = csv.writer(file)
    writer.writerow(("metric", "run", "x", "low", "high", "mean", "count"))
    count = 0
    for chart in charts:
        for curve in chart.curves:
            for row in zip(curve.xs, curve.lows, curve.highs, curve.means, curve.counts, strict=True):
                writer.writerow((chart.key, curve.name, *row))
                count += 1
    return count
