"""The live terminal view, made with Textual: a list of runs, their charts, one query line.

Widgets draw the lines that `tracker.tui.model` and `tracker.tui.chart` make. Reading happens on one worker thread at a
time; the screen is Textual's thread. Only the 16 colours that every terminal has are used.
"""

from __future__ import annotations

import time
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input, Static

from tracker.errors import FilterError
from tracker.reading.api import StoredRun
from tracker.tui.chart import Chart, Spans, grid
from tracker.tui.model import Model, config_lines

POLL_SECONDS = 1.0
"""Polling interval, in seconds."""

CHART_COLUMNS, CHART_ROWS = 38, 10
"""Minimum width and height of a chart, in characters."""

KEYS = """\
/        query           only runs that match, such as config.lr > 0.01 and state == running
m        metrics         only metrics that contain these words
j k      run             next, previous
space    select          show the run in charts, or hide it
enter    open            show only this run; again: back to the others
n p      chart           next, previous
f        full screen     one chart; again: all
x        x axis          step, relative time, wall time
y        log y
s        smoothing       next half-life
g        group           mean and range of the runs shown
+ -      zoom            in, out; h l move; 0 reset
tab      table           show or hide the list of runs
r        refresh
?        this list
q        quit"""

_STYLES = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "reverse": Style(reverse=True),
    **{name: Style(color=name) for name in ("red", "green", "yellow", "blue", "magenta", "cyan")},
}


def strip_of(spans: Spans, columns: int, *, reverse: bool = False) -> Strip:
    """Return a line for the screen."""
    segments = [
        Segment(text, _STYLES[colour] + Style(reverse=True) if reverse else _STYLES[colour]) for text, colour in spans
    ]
    return Strip(segments).adjust_cell_length(columns, Style(reverse=True) if reverse else Style())


class RunsList(ScrollView, can_focus=True):
    """The list of runs; draws only the lines on the screen, so that ten thousand cost no more than ten."""

    cursor: reactive[int] = reactive(0)

    def __init__(self, model: Model) -> None:
        super().__init__(id="runs")
        self._model = model
        self._now = time.time()

    def show(self) -> None:
        """Draw the list again; the cursor stays on its run."""
        self._now = time.time()
        self.virtual_size = Size(self.size.width, len(self._model.runs))
        self.cursor = max(0, min(self.cursor, len(self._model.runs) - 1))
        self.refresh()

    def move_to_run(self, run_id: str | None) -> None:
        """Put the cursor on a run, if it is listed."""
        for index, run in enumerate(self._model.runs):
            if run.id == run_id:
                self.cursor = index
                return

    def current(self) -> StoredRun | None:
        """Return the run under the cursor."""
        runs = self._model.runs
        return runs[self.cursor] if 0 <= self.cursor < len(runs) else None

    def watch_cursor(self) -> None:
        top, height = round(self.scroll_offset.y), max(1, self.size.height)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        index = y + round(self.scroll_offset.y)
        columns = self.size.width
        if index >= len(self._model.runs):
            return Strip.blank(columns)
        spans = self._model.run_line(self._model.runs[index], columns, self._now)
        return strip_of(spans, columns, reverse=index == self.cursor)

    def on_click(self, event: events.Click) -> None:
        self.cursor = max(0, min(event.y + round(self.scroll_offset.y), len(self._model.runs) - 1))
        self.post_message(self.Chosen())

    class Chosen(Message):
        """A run was clicked."""


class Charts(ScrollView, can_focus=False):
    """The charts, as many side by side as fit."""

    def __init__(self, model: Model) -> None:
        super().__init__(id="charts")
        self._model = model
        self._charts: list[Chart] = []
        self._lines: list[Spans] = []
        self.chosen = 0
        self.full = False

    @property
    def charts(self) -> list[Chart]:
        return self._charts

    def across(self) -> int:
        """Return how many charts fit side by side."""
        return 1 if self.full else max(1, (self.size.width + 2) // (CHART_COLUMNS + 2))

    def chart_columns(self) -> int:
        return max(12, self.size.width // self.across())

    def show(self, charts: list[Chart] | None = None) -> None:
        """Draw these charts, or the same ones again."""
        if charts is not None:
            self._charts = charts
        columns = max(12, self.size.width - 1)
        self.chosen = max(0, min(self.chosen, len(self._charts) - 1))
        if not self._charts:
            self._lines = [[(self._model.nothing(), "")]]
        elif self.full:
            self._lines = self._charts[self.chosen].render(columns, max(8, self.size.height), chosen=False)
        else:
            rows = max(CHART_ROWS, self.size.height // 3 - 1)
            self._lines = grid(self._charts, columns, self.across(), rows, self.chosen)
        self.virtual_size = Size(columns, len(self._lines))
        self.refresh()

    def choose(self, index: int) -> None:
        """Select another chart, and scroll to it."""
        self.chosen = max(0, min(index, len(self._charts) - 1))
        self.show()
        if not self.full and self._charts:
            rows = len(self._lines) // -(-len(self._charts) // self.across())
            top = self.chosen // self.across() * rows
            if not self.scroll_offset.y <= top <= self.scroll_offset.y + self.size.height - rows:
                self.scroll_to(y=top, animate=False)

    def render_line(self, y: int) -> Strip:
        index = y + round(self.scroll_offset.y)
        if index >= len(self._lines):
            return Strip.blank(self.size.width)
        return strip_of(self._lines[index], self.size.width)

    def on_resize(self) -> None:
        self.show()


class Help(ModalScreen[None]):
    """The list of keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(f"Keys\n\n{KEYS}\n\nesc closes this list", markup=False)


class Top(App[None]):
    """The application.

    Attributes:
        reads: number of times that the screen was updated with new data.
    """

    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #header, #message { height: 1; width: 100%; background: ansi_default; }
    #runs { width: 44; height: 1fr; background: ansi_default; scrollbar-size: 1 1; }
    #charts { width: 1fr; height: 100%; padding: 0 0 0 2; background: ansi_default; scrollbar-size: 1 1; }
    #side { width: 46; height: 100%; }
    #config { height: auto; max-height: 40%; border-top: ascii ansi_bright_black; background: ansi_default; }
    Input { height: 1; border: none; padding: 0; background: ansi_default; display: none; }
    Help { align: center middle; }
    #help { width: 84; max-width: 100%; height: auto; max-height: 90%; border: round ansi_cyan; padding: 0 1;
            background: ansi_default; }
    .folded #side { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit"),
        Binding("slash", "ask('query')", "query"),
        Binding("m", "ask('search')", "metrics"),
        Binding("j,down", "move(1)", "next run"),
        Binding("k,up", "move(-1)", "previous run"),
        Binding("pagedown", "move(20)", show=False),
        Binding("pageup", "move(-20)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("space", "select", "select"),
        Binding("enter", "alone", "open"),
        Binding("n,right", "chart(1)", "next chart"),
        Binding("p,left", "chart(-1)", "previous chart"),
        Binding("f", "full", "full screen"),
        Binding("x", "axis", "x axis"),
        Binding("y", "log", "log y"),
        Binding("s", "smooth", "smoothing"),
        Binding("g", "group", "group"),
        Binding("plus,equals_sign", "zoom(0.5)", "zoom in"),
        Binding("minus", "zoom(2.0)", "zoom out"),
        Binding("h", "pan(-0.25)", show=False),
        Binding("l", "pan(0.25)", show=False),
        Binding("0", "reset", "reset zoom"),
        Binding("tab", "fold", "table"),
        Binding("r", "read", "refresh"),
        Binding("question_mark", "help", "keys"),
    ]

    def __init__(self, model: Model) -> None:
        super().__init__(ansi_color=True)
        self._model = model
        self._before: list[str] | None = None
        self._asking = ""
        self.reads = 0

    def compose(self) -> ComposeResult:
        yield Static(id="header", markup=False)
        with Horizontal():
            with Vertical(id="side"):
                yield RunsList(self._model)
                yield Static(id="config", markup=False)
            yield Charts(self._model)
        yield Input(id="line")
        yield Static(
            "/ query   space select   enter open   f full screen   x axis   ? keys   q quit", id="message", markup=False
        )

    def on_mount(self) -> None:
        self.query_one(RunsList).focus()
        self.set_interval(POLL_SECONDS, self.read)
        self.call_after_refresh(self.read)

    @work(thread=True, exclusive=True, group="read")
    def read(self) -> None:
        """Read the runs and the curves, then show them."""
        charts = self.query_one(Charts)
        current = self.query_one(RunsList).current()
        self._model.refresh()
        curves = self._model.charts(charts.chart_columns())
        self.call_from_thread(self._show, curves, None if current is None else current.id)

    def _show(self, curves: list[Chart], current: str | None) -> None:
        runs = self.query_one(RunsList)
        runs.move_to_run(current)
        runs.show()
        self.query_one(Charts).show(curves)
        self._show_header()
        self._show_config()
        self.reads += 1

    def _show_header(self) -> None:
        from rich.text import Text

        spans = self._model.header(self.size.width)
        self.query_one("#header", Static).update(Text.assemble(*((text, _STYLES[colour]) for text, colour in spans)))

    def _show_config(self) -> None:
        from rich.text import Text

        run = self.query_one(RunsList).current()
        lines = [] if run is None else config_lines(run, 44, 12)
        text = Text("\n").join(Text.assemble(*((part, _STYLES[colour]) for part, colour in line)) for line in lines)
        self.query_one("#config", Static).update(text)

    # -- keys ---------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self.query_one(RunsList).cursor = max(0, min(self.query_one(RunsList).cursor + by, len(self._model.runs) - 1))
        self._show_config()

    @on(RunsList.Chosen)
    def action_select(self) -> None:
        run = self.query_one(RunsList).current()
        if run is not None:
            self._before = None
            self._model.toggle(run.id)
            self.read()

    def action_alone(self) -> None:
        run = self.query_one(RunsList).current()
        if run is None:
            return
        if self._before is not None and self._model.shown == [run.id]:
            self._model.shown, self._before = self._before, None
        else:
            self._before = self._before or list(self._model.shown)
            self._model.only(run.id)
        self.read()

    def action_chart(self, by: int) -> None:
        charts = self.query_one(Charts)
        charts.choose(charts.chosen + by)

    def action_full(self) -> None:
        charts = self.query_one(Charts)
        charts.full = not charts.full
        charts.scroll_to(y=0, animate=False)
        charts.show()
        self.read()

    def action_axis(self) -> None:
        self._model.next_x()
        self.read()

    def action_log(self) -> None:
        self._model.log_y = not self._model.log_y
        self.read()

    def action_smooth(self) -> None:
        self._model.next_smoothing()
        self.read()

    def action_group(self) -> None:
        self._model.grouped = not self._model.grouped
        self.read()

    def action_zoom(self, factor: float) -> None:
        self._model.zoom_by(factor)
        self.read()

    def action_pan(self, part: float) -> None:
        self._model.move_by(part)
        self.read()

    def action_reset(self) -> None:
        self._model.zoom, self._model.follow = None, True
        self.read()

    def action_fold(self) -> None:
        self.screen.toggle_class("folded")

    def action_read(self) -> None:
        self.read()

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_ask(self, what: str) -> None:
        line = self.query_one("#line", Input)
        self._asking = what
        line.value = self._model.query if what == "query" else self._model.search
        line.placeholder = "config.lr > 0.01 and state == running" if what == "query" else "words of a metric's name"
        line.display = True
        line.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.query_one("#line", Input).display:
            self._stop_asking()
            event.stop()

    def _stop_asking(self) -> None:
        self.query_one("#line", Input).display = False
        self.query_one(RunsList).focus()

    @on(Input.Submitted)
    def answered(self, event: Input.Submitted) -> None:
        """Apply the query or the words that were typed."""
        message = self.query_one("#message", Static)
        if self._asking == "query":
            try:
                self._model.set_query(event.value)
            except FilterError as error:
                message.update(str(error))
                return
        else:
            self._model.search = event.value
        message.update("")
        self._stop_asking()
        self.read()
