"""What the terminal view shows: which runs, which of them are drawn, which axis. Reads runs. Knows nothing
of the terminal.

Not safe for several threads at once: the live view reads on one worker thread, and shows what it returned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.projections.store.buckets import Buckets
from sidecar.protocol.errors import SidecarError
from tracker.errors import TrackerError
from tracker.reading.aggregation import aggregate
from tracker.reading.api import Api, StoredRun
from tracker.reading.query import parse_query
from tracker.reading.smoothing import middles, smooth
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
"""Half-lives of the smoothing, as fractions of the x axis; 0 for none."""


MAX_UNDO = 100
"""Maximum number of changes of the view that can be taken back."""


class View(NamedTuple):
    """What is shown and how; see the attributes of `Model`."""

    shown: tuple[str, ...]
    query: str
    search: str
    x: str
    log_y: bool
    smoothing: float
    zoom: tuple[float, float] | None
    grouped: bool


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
        smoothing: half-life as a fraction of the x axis, one of `SMOOTHINGS`.
        zoom: bounds of the x axis; None for all.
        grouped: whether the runs shown are folded into their mean, with the range of the runs behind it.
        search: only metrics that contain all of these words.
        follow: whether a zoomed view keeps the newest points at its right edge.
        baseline: id of the run that others are compared with; "" for the first that is drawn.
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
        self.baseline = ""
        self.problem = ""
        self._undone: list[View] = []
        self._done: list[View] = []
        self._chosen = bool(refs)
        self._whole = (0.0, 1.0)

    @property
    def view(self) -> View:
        """What is shown and how, to be set again by undo."""
        shown = tuple(self.shown)
        return View(shown, self.query, self.search, self.x, self.log_y, self.smoothing, self.zoom, self.grouped)

    @view.setter
    def view(self, view: View) -> None:
        self.shown = list(view.shown)
        self.query, self.search, self.x, self.log_y = view.query, view.search, view.x, view.log_y
        self.smoothing, self.zoom, self.grouped = view.smoothing, view.zoom, view.grouped

    def remember(self) -> None:
        """Keep the view as it is now, before it changes."""
        self._done = [*self._done[1 - MAX_UNDO :], self.view]
        self._undone.clear()

    def undo(self) -> None:
        """Take back the last change of the view; without one, do nothing."""
        if self._done:
            self._undone.append(self.view)
            self.view = self._done.pop()

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        if self._undone:
            self._done.append(self.view)
            self.view = self._undone.pop()

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
        """Show a run in charts, or hide it."""
        self._chosen = True
        if run_id in self.shown:
            self.shown.remove(run_id)
        elif len(self.shown) < MAX_SHOWN:
            self.shown.append(run_id)

    def only(self, run_id: str) -> None:
        """Show only one run."""
        self._chosen = True
        self.shown = [run_id]

    def next_x(self) -> None:
        """Change to the next kind of x axis."""
        self.x = X_KINDS[(X_KINDS.index(self.x) + 1) % len(X_KINDS)] if self.x in X_KINDS else "step"
        self.zoom, self.follow = None, True

    def next_smoothing(self) -> None:
        """Change to the next half-life."""
        self.smoothing = SMOOTHINGS[(SMOOTHINGS.index(self.smoothing) + 1) % len(SMOOTHINGS)]

    def zoom_by(self, factor: float) -> None:
        """Show `factor` as much of the x axis, its right end kept; all of it if that is more than there is."""
        left, right = self.zoom or self._whole
        length = (right - left) * factor
        low, high = self._whole
        self.zoom = None if length >= high - low else (max(low, right - length), right)
        self.follow = right >= high

    def move_by(self, part: float) -> None:
        """Move a zoomed view to the right by a part of its length; at the right edge it follows new points."""
        if self.zoom is not None:
            left, right = self.zoom
            low, high = self._whole
            by = min(max((right - left) * part, low - left), high - right)
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
        self._follow()
        found: dict[str, list[tuple[StoredRun, Buckets]]] = {}
        words = self.search.lower().split()
        count = 2 * columns
        x = self.x
        for run in self.drawn():
            try:
                keys = [key for key in list(run.keys()) if all(word in key.lower() for word in words)]
                low, high = self.zoom or (None, None)
                for series in run.buckets(keys, x=x, low=low, high=high, count=count):
                    if len(series.n):
                        found.setdefault(series.key, []).append((run, series))
            except (TrackerError, SidecarError, OSError) as error:
                self.problem = f"{run.id}: {error}"
        ends = [end for series in found.values() for _, one in series for end in (one.x_first[0], one.x_last[-1])]
        if ends and self.zoom is None and self.x == x:  # a key may have changed the axis during this read
            self._whole = (min(ends), max(ends))
        return [self._chart(key, found[key], count) for key in sorted(found)]

    def _follow(self) -> None:
        """Move a zoomed view of steps to the newest step."""
        steps = [run.step for run in self.drawn() if run.step is not None]
        if self.zoom is None or self.x != "step" or not steps:
            return
        low, high = self._whole
        newest = float(max(steps))
        self._whole = (low, max(high, newest))
        if self.follow and newest > self.zoom[1]:
            self.zoom = (self.zoom[0] + newest - self.zoom[1], newest)

    def _chart(self, key: str, series: list[tuple[StoredRun, Buckets]], count: int) -> Chart:
        chart = Chart(key, x=self.x, log_y=self.log_y, x_range=self.zoom)
        ends = [end for _, one in series for end in (one.x_first[0], one.x_last[-1])]
        low, high = min(ends), max(ends)
        if self.grouped and len(series) > 1 and low < high:
            chart.curves = [_folded([one for _, one in series], low, high, count)]
            chart.note = f"mean of {counted(len(series), 'line')}"
        else:
            chart.curves = [self._curve(run, one) for run, one in series]
        if self.smoothing and low < high:
            for curve in chart.curves:
                curve.means = smooth(curve.xs, curve.means, curve.counts, (high - low) * self.smoothing)
                curve.lows = curve.highs = curve.means
            chart.note = "smoothed"
        return chart

    def _curve(self, run: StoredRun, series: Buckets) -> Curve:
        xs = middles(series)
        bad = [(x, count) for x, count in zip(xs, series.bad, strict=True) if count]
        name = f"{run.name} {series.label}" if series.label else run.name
        return Curve(
            name,
            self.colour_of(run.id),
            xs,
            series.low,
            series.high,
            series.mean,
            series.n,
            bad,
            series.last[-1],
            (series.x_first[0], series.x_last[-1]),
        )

    # -- text -----------------------------------------------------------------------------------------------------

    def header(self, columns: int) -> Spans:
        """Return the header line."""
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


def _folded(series: Sequence[Buckets], low: float, high: float, count: int) -> Curve:
    """Return the mean of the lines of a chart, with their range behind it."""
    group = aggregate(series, low, high, count)
    bad = [(x, bad) for one in series for x, bad in zip(middles(one), one.bad, strict=True) if bad]
    last = group.mean[-1] if group.mean else None
    return Curve("mean", "cyan", group.x, group.low, group.high, group.mean, group.n, bad, last, (low, high))


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
