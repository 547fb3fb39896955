"""What the terminal view shows: which runs, which of them are drawn, which axis. Reads runs; knows no terminal.

Not safe for several threads at once: the live view reads on one worker thread, and shows what it returned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from sidecar.protocol.errors import SidecarError
from tracker.errors import TrackerError
from tracker.reading.aggregation import aggregate
from tracker.reading.api import Api, StoredRun
from tracker.reading.query import parse_query
from tracker.reading.smoothing import smooth
from tracker.terminal.text import ago, clean, counted, duration, fit, number, pad
from tracker.tui.chart import Chart, Curve, Spans

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
"""Colours of curves; a seventh run has the first again."""

STATE_MARKS = {"running": "●", "finished": "✓", "failed": "✕", "crashed": "◌", "stalled": "‖"}
DEFAULT_SHOWN = 3
"""Number of runs that are drawn at the start."""

MAX_SHOWN = 20
"""Maximum number of runs that are drawn."""

X_KINDS = ("step", "relative", "time")
SMOOTHINGS = (0.0, 0.005, 0.02, 0.08)
"""Half-lives of the smoothing, as parts of the x axis; 0 for none."""


class Model:
    """The state of the view.

    Args:
        api: where the runs are.
        project: only this project's runs.
        query: only runs that match; see `tracker.reading.query`.
        refs: the runs that are drawn at the start; empty for the newest.

    Attributes:
        runs: those that match, newest first.
        shown: ids of those that are drawn, in the order in which they were chosen.
        x: ``"step"``, ``"relative"``, ``"time"`` or a metric.
        log_y: whether y axes are logarithmic.
        smoothing: half-life as a part of the x axis, one of `SMOOTHINGS`.
        zoom: bounds of the x axis; None for all.
        grouped: whether the runs shown are folded into their mean, with the range of the runs behind it.
        search: only metrics that contain all of these words.
        follow: whether a zoomed view keeps the newest points at its right edge.
        problem: what could not be read, "" if nothing.
    """

    def __init__(self, api: Api, project: str | None = None, query: str = "", refs: Sequence[str] = ()) -> None:
        self.api = api
        self.project = project
        self.query = query
        self.runs: list[StoredRun] = []
        self.shown: list[str] = [api.run(ref).id for ref in refs]
        self.x = "step"
        self.log_y = False
        self.smoothing = 0.0
        self.zoom: tuple[float, float] | None = None
        self.grouped = False
        self.search = ""
        self.follow = True
        self.problem = ""
        self._chosen = bool(refs)

    def set_query(self, query: str) -> None:
        """Show only the runs that match.

        Raises:
            tracker.errors.FilterError: the query cannot be read.
        """
        parse_query(query)
        self.query = query

    def refresh(self) -> None:
        """Read the list of runs again."""
        try:
            filters = parse_query(self.query) if self.query.strip() else None
            self.runs = list(self.api.runs(self.project, filters))
            self.problem = ""
        except (TrackerError, SidecarError, OSError) as error:
            self.problem = str(error)
            return
        if not self._chosen:
            self.shown = [run.id for run in self.runs[:DEFAULT_SHOWN]]

    def toggle(self, run_id: str) -> None:
        """Draw a run, or draw it no longer."""
        self._chosen = True
        if run_id in self.shown:
            self.shown.remove(run_id)
        elif len(self.shown) < MAX_SHOWN:
            self.shown.append(run_id)

    def only(self, run_id: str) -> None:
        """Draw one run only."""
        self._chosen = True
        self.shown = [run_id]

    def next_x(self) -> None:
        """Change to the next kind of x axis."""
        self.x = X_KINDS[(X_KINDS.index(self.x) + 1) % len(X_KINDS)] if self.x in X_KINDS else "step"
        self.zoom = None

    def next_smoothing(self) -> None:
        """Change to the next half-life."""
        self.smoothing = SMOOTHINGS[(SMOOTHINGS.index(self.smoothing) + 1) % len(SMOOTHINGS)]

    def zoom_by(self, factor: float, charts: Sequence[Chart]) -> None:
        """Show `factor` as much of the x axis, its right end kept; move beyond the data shows all."""
        whole = _range(charts)
        left, right = self.zoom or whole
        length = (right - left) * factor
        self.zoom = None if length >= whole[1] - whole[0] else (right - length, right)

    def move_by(self, part: float, charts: Sequence[Chart]) -> None:
        """Move a zoomed view to the right by a part of its length."""
        if self.zoom is not None:
            left, right = self.zoom
            low, high = _range(charts)
            by = min(max((right - left) * part, low - left), high - right) if high > low else 0.0
            self.zoom = (left + by, right + by)
            self.follow = right + by >= high

    def colour_of(self, run_id: str) -> str:
        """Return the colour of a run that is drawn."""
        return COLOURS[self.shown.index(run_id) % len(COLOURS)] if run_id in self.shown else ""

    def drawn(self) -> list[StoredRun]:
        """Return the runs that are drawn."""
        by_id = {run.id: run for run in self.runs}
        return [by_id[id] for id in self.shown if id in by_id]

    def charts(self, columns: int) -> list[Chart]:
        """Read the curves of the runs that are drawn: a chart per metric, by name.

        Args:
            columns: width of a chart, in characters; a curve has two buckets per column.
        """
        charts: dict[str, Chart] = {}
        words = self.search.lower().split()
        for run in self.drawn():
            try:
                keys = [key for key in list(run.keys()) if all(word in key.lower() for word in words)]
                low, high = self.zoom or (None, None)
                for series in run.buckets(keys, x=self.x, low=low, high=high, count=2 * columns):
                    if not series.n and not series.bad:
                        continue
                    chart = charts.setdefault(series.key, Chart(series.key, x=self.x, log_y=self.log_y))
                    chart.curves.append(self._curve(run, series))
            except (TrackerError, SidecarError, OSError) as error:
                self.problem = f"{run.id}: {error}"
        for chart in charts.values():
            chart.x_range = self.zoom
            self._finish(chart)
        return [charts[key] for key in sorted(charts)]

    def _curve(self, run: StoredRun, series: Any) -> Curve:
        xs = [(first + last) / 2 for first, last in zip(series.x_first, series.x_last, strict=True)]
        bad = [(x, count) for x, count in zip(xs, series.bad, strict=True) if count]
        last = series.last[-1] if len(series.last) else None
        name = f"{run.name} {series.label}" if series.label else run.name
        colour = self.colour_of(run.id)
        return Curve(name, colour, xs, series.low, series.high, series.mean, bad, last, series.total)

    def _finish(self, chart: Chart) -> None:
        """Fold and smooth the curves of a chart, if that is asked for."""
        if self.grouped and len(chart.curves) > 1:
            chart.curves = [_folded(chart)]
            chart.note = f"mean of {counted(len(self.shown), 'run')}"
        if self.smoothing:
            left, right = _range([chart])
            half_life = (right - left) * self.smoothing
            for curve in chart.curves:
                curve.means = smooth(curve.xs, curve.means, [1.0] * len(curve.xs), half_life)
                curve.lows = curve.highs = curve.means
            chart.note = "smoothed"

    # -- text -----------------------------------------------------------------------------------------------------

    def header(self, columns: int) -> Spans:
        """Return the line above all."""
        now = time.strftime("%H:%M:%S")
        about = f"{counted(len(self.runs), 'run')}, {len(self.shown)} shown"
        axis = f"x: {self.x}" + ("  log y" if self.log_y else "") + ("  smoothed" if self.smoothing else "")
        if self.zoom:
            axis += "  zoomed" + ("" if self.follow else ", not following")
        left = f"tracker  {fit(clean(self.api.place), 40)}  {about}  {axis}"
        left = fit(left, max(10, columns - 12))
        return [(pad(left, columns - 10), "bold"), (f"● {now}", "green")]

    def run_line(self, run: StoredRun, columns: int, now: float) -> Spans:
        """Return a run as one line of the list."""
        colour = self.colour_of(run.id)
        state = run.state
        end = run.end_time or (now if state in ("running", "stalled") else run.last_time)
        lasted = "" if run.start_time is None or end is None else duration(end - run.start_time)
        step = "" if run.step is None else f"{run.step:,}"
        facts = f"{pad(step, 9, right=True)}  {pad(fit(lasted, 12), 12)}" if columns >= 50 else ""
        started = pad(fit(ago(run.start_time, now), 10), 10) if columns >= 64 else ""
        name_columns = max(6, columns - len(facts) - len(started) - 7)
        name = pad(fit(clean(run.name), name_columns), name_columns)
        return [
            ("■ " if colour else "□ ", colour or "dim"),
            (f"{STATE_MARKS.get(state, '✕')} ", _STATE_COLOURS.get(state, "red")),
            (f"{name}  ", "bold" if colour else ""),
            (facts, ""),
            (started, "dim"),
        ]

    def nothing(self) -> str:
        """Return why there are no charts."""
        if self.problem:
            return self.problem
        if not self.runs:
            return f"No runs match {self.query}." if self.query else f"No runs in {self.api.place} yet."
        if not self.shown:
            return "No run is selected. Select one with space."
        if self.search:
            return f"No metric of these runs matches {self.search!r}."
        return "No metrics yet. They appear here within two seconds of run.log."


_STATE_COLOURS = {
    "running": "cyan",
    "finished": "green",
    "killed": "yellow",
    "preempted": "yellow",
    "stalled": "yellow",
}


def _range(charts: Sequence[Chart]) -> tuple[float, float]:
    ends = [end for chart in charts for curve in chart.curves for end in (*curve.xs[:1], *curve.xs[-1:])]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _folded(chart: Chart) -> Curve:
    """Return the mean of the curves of a chart, with their range as the band."""
    curves = chart.curves
    left, right = _range([chart])
    count = max(len(curve.xs) for curve in curves)
    width = (right - left) / count or 1.0
    cells: list[list[float]] = [[] for _ in range(count)]
    for curve in curves:
        for x, mean in zip(curve.xs, curve.means, strict=True):
            if math.isfinite(mean):
                cells[min(count - 1, int((x - left) / width))].append(mean)
    used = [(left + (at + 0.5) * width, values) for at, values in enumerate(cells) if values]
    rows = [aggregate(values) for _, values in used]
    return Curve(
        "mean",
        "cyan",
        [x for x, _ in used],
        [row.low for row in rows],
        [row.high for row in rows],
        [row.mean for row in rows],
        [pair for curve in curves for pair in curve.bad],
        rows[-1].mean if rows else None,
        sum(curve.total for curve in curves),
    )


def config_lines(run: StoredRun, columns: int, most: int) -> list[Spans]:
    """Return the beginning of a run's config as lines."""
    from sidecar.protocol.plain import flatten

    pairs = [(".".join(path), number(value)) for path, value in flatten(dict(run.config))]
    lines: list[Spans] = [
        [(pad(fit(clean(k), 20), 20), "dim"), (" " + fit(v, columns - 21), "")] for k, v in pairs[:most]
    ]
    if len(pairs) > most:
        lines.append([(f"{len(pairs) - most} more", "dim")])
    return lines
