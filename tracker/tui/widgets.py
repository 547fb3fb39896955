"""Widgets of the live terminal view: the list of runs, the charts, the list of keys, a comparison.

They draw the lines that `tracker.tui.model`, `chart` and `compare` make, with the 16 colours that every terminal has.
"""

from __future__ import annotations

import time
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from tracker.reading.api import StoredRun
from tracker.tui.chart import Chart, Spans, grid
from tracker.tui.model import Model

CHART_COLUMNS, CHART_ROWS = 38, 10
"""Minimum width and height of a chart, in characters."""

KEYS = """\
/ ctrl+k query           only runs that match, such as config.lr > 0.01 and state == running
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
+ -      zoom            in, out; [ ] move; 0 reset
l        follow          a zoomed view keeps the newest points at its right edge
c        compare         what differs between the runs shown
b        baseline        compare with this run
z Z      undo, redo      of what is shown and how
e        export          the curves as a CSV file in this directory
tab      table           show or hide the list of runs
r        refresh
?        this list
q        quit"""

STYLES = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "reverse": Style(reverse=True),
    **{name: Style(color=name) for name in ("red", "green", "yellow", "blue", "magenta", "cyan")},
}


def strip_of(spans: Spans, columns: int, *, reverse: bool = False) -> Strip:
    """Return a line for the screen."""
    segments = [
        Segment(text, STYLES[colour] + Style(reverse=True) if reverse else STYLES[colour]) for text, colour in spans
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


class Comparison(ModalScreen[None]):
    """What differs between runs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,c,q,enter", "dismiss", "close")]

    def __init__(self, lines: list[Spans]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        from rich.text import Text

        lines = [Text.assemble(*((part, STYLES[colour]) for part, colour in line)) for line in self._lines]
        with VerticalScroll(id="comparison"):
            yield Static(Text("\n").join(lines))


class Help(ModalScreen[None]):
    """The list of keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(f"Keys\n\n{KEYS}\n\nesc closes this list", markup=False)
