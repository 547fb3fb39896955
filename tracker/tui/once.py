"""One frame of the terminal view as plain text, for logs and scripts. Needs no terminal and no extra."""

from __future__ import annotations

import time

from tracker.terminal.style import Style
from tracker.terminal.text import fit
from tracker.tui.chart import Spans, grid
from tracker.tui.model import Model

_MOST_RUNS = 10
_MOST_CHARTS = 12
_CHART_COLUMNS = 38
_CHART_ROWS = 8


def frame(model: Model, columns: int, style: Style) -> str:
    """Return the newest runs, and the charts of those that are shown, as lines of at most `columns` columns."""
    model.refresh()
    now = time.time()
    across = max(1, columns // _CHART_COLUMNS)
    charts = model.charts(columns // across)
    lines: list[Spans] = [model.header(columns), []]
    listed = model.runs[:_MOST_RUNS] + [run for run in model.drawn() if run not in model.runs[:_MOST_RUNS]]
    lines += [model.run_line(run, columns, now) for run in listed]
    if len(model.runs) > len(listed):
        lines.append([(f"{len(model.runs) - len(listed):,} more", "dim")])
    lines.append([])
    if charts:
        lines += grid(charts[:_MOST_CHARTS], columns, min(across, len(charts)), _CHART_ROWS)
        if len(charts) > _MOST_CHARTS:
            lines.append([(f"{len(charts) - _MOST_CHARTS} more metrics; name some with --metrics", "dim")])
    else:
        lines.append([(fit(model.nothing(), columns), "")])
    return "\n".join(_painted(spans, style).rstrip() for spans in lines).rstrip("\n") + "\n"


def _painted(spans: Spans, style: Style) -> str:
    return "".join(style.paint(text, colour) if colour not in ("", "reverse") else text for text, colour in spans)
