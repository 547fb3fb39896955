"""The live terminal view, made with Textual: a list of runs, their charts, one query line.

Reading happens on one worker thread at a time; the screen is Textual's thread.
"""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from tracker.errors import FilterError
from tracker.terminal.text import clean, counted
from tracker.tui.chart import Chart, write_csv
from tracker.tui.compare import comparison
from tracker.tui.model import Model, config_lines
from tracker.tui.widgets import STYLES, Charts, Comparison, Help, RunsList

POLL_SECONDS = 1.0
"""Polling interval, in seconds."""


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
    Help, Comparison { align: center middle; }
    #comparison { width: 96%; height: 92%; border: round ansi_cyan; padding: 0 1; background: ansi_default; }
    #help { width: 84; max-width: 100%; height: auto; max-height: 90%; border: round ansi_cyan; padding: 0 1;
            background: ansi_default; }
    .folded #side { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit"),
        Binding("slash,ctrl+k", "ask('query')", "query"),
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
        Binding("left_square_bracket", "pan(-0.25)", show=False),
        Binding("right_square_bracket", "pan(0.25)", show=False),
        Binding("l", "follow", "follow"),
        Binding("c", "compare", "compare"),
        Binding("b", "baseline", "baseline"),
        Binding("z", "undo", "undo"),
        Binding("Z", "redo", "redo"),
        Binding("e", "export", "export"),
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
        self.query_one("#header", Static).update(Text.assemble(*((text, STYLES[colour]) for text, colour in spans)))

    def _show_config(self) -> None:
        from rich.text import Text

        run = self.query_one(RunsList).current()
        lines = [] if run is None else config_lines(run, 44, 12)
        text = Text("\n").join(Text.assemble(*((part, STYLES[colour]) for part, colour in line)) for line in lines)
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
            self._model.remember()
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
            self._model.remember()
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
        self._model.remember()
        self._model.next_x()
        self.read()

    def action_log(self) -> None:
        self._model.remember()
        self._model.log_y = not self._model.log_y
        self.read()

    def action_smooth(self) -> None:
        self._model.remember()
        self._model.next_smoothing()
        self.read()

    def action_group(self) -> None:
        self._model.remember()
        self._model.grouped = not self._model.grouped
        self.read()

    def action_zoom(self, factor: float) -> None:
        self._model.remember()
        self._model.zoom_by(factor)
        self.read()

    def action_pan(self, part: float) -> None:
        self._model.remember()
        self._model.move_by(part)
        self.read()

    def action_follow(self) -> None:
        self._model.follow = not self._model.follow
        self.read()

    def action_compare(self) -> None:
        self.push_screen(
            Comparison(comparison(self._model.drawn(), self._model.baseline, int(self.size.width * 0.96) - 6))
        )

    def action_baseline(self) -> None:
        run = self.query_one(RunsList).current()
        if run is not None:
            self._model.baseline = run.id
            self._say(f"Runs are compared with {clean(run.name)}.")

    def action_undo(self) -> None:
        self._model.undo()
        self.read()

    def action_redo(self) -> None:
        self._model.redo()
        self.read()

    def action_export(self) -> None:
        name = time.strftime("tracker-%Y%m%d-%H%M%S.csv")
        try:
            with open(name, "x", encoding="utf-8", newline="") as file:
                count = write_csv(file, self.query_one(Charts).charts)
        except OSError as error:
            self._say(f"The curves cannot be written to {name}: {error.strerror or error}.")
        else:
            self._say(f"{counted(count, 'row')} written to {name}.")

    def _say(self, text: str) -> None:
        self.query_one("#message", Static).update(text)

    def action_reset(self) -> None:
        self._model.remember()
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
                self._model.remember()
                self._model.set_query(event.value)
            except FilterError as error:
                message.update(str(error))
                return
        else:
            self._model.remember()
            self._model.search = event.value
        message.update("")
        self._stop_asking()
        self.read()
