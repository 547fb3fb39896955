"""Runs as HTML tables for notebooks. Pure functions; every text is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Any

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.plain import flatten
from tracker.reading.highlights import highlights
from tracker.reading.metrics import short
from tracker.reading.reader import ReadableRun
from tracker.terminal.text import ago, clean, counted, duration, number

_MAX_RUNS = 20
_MAX_KEYS = 20
_MAX_CHARACTERS = 80
_SPARK_WIDTH = 24


def runs_html(runs: Sequence[ReadableRun]) -> str:
    """Return a table with a row per run; of a long list only the first ones."""
    now = time.time()
    heads = ("id", "name", "project", "state", "started", "duration", "steps")
    rows = []
    for run in runs[:_MAX_RUNS]:
        end = run.end_time or run.last_time
        lasted = "" if run.start_time is None or end is None else duration(end - run.start_time)
        name = "" if run.name == run.id else run.name
        step = "" if run.step is None else f"{run.step:,}"
        rows.append((run.id, name, run.project, run.state, ago(run.start_time, now), lasted, step))
    more = f" (first {_MAX_RUNS})" if len(runs) > _MAX_RUNS else ""
    return f"<div>{counted(len(runs), 'run')}{more}</div>{_table(heads, rows)}"


def run_html(run: ReadableRun) -> str:
    """Return tables of a run's identity, its config, and its main metrics with their curves."""
    rows = [("id", run.id), ("name", run.name), ("project", run.project), ("state", run.state)]
    rows.append(("started", ago(run.start_time, time.time())))
    config = [(".".join(path), number(value)) for path, value in flatten(dict(run.config))]
    parts = [_table((), rows), _titled("config", _table((), _shortened(config)))]
    parts.append(_titled("metrics", _table((), _shortened(_metrics(run)))))
    return "".join(parts)


def _metrics(run: ReadableRun) -> list[tuple[str, ...]]:
    try:
        shown = highlights(run)
    except (SidecarError, OSError):
        shown = []
    if shown:
        return [(key, curve.draw(_SPARK_WIDTH), short(last)) for key, curve, last, _ in shown]
    return [(key, number(value)) for key, value in run.summary.items()]


def _shortened(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    shown = list(rows[:_MAX_KEYS])
    return [*shown, (f"… {len(rows) - _MAX_KEYS} more",)] if len(rows) > _MAX_KEYS else shown


def _titled(title: str, table: str) -> str:
    return f"<div><b>{escape(title)}</b></div>{table}" if table else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows and not heads:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _cell(value: Any) -> str:
    text = "" if value is None else clean(str(value))
    if len(text) > _MAX_CHARACTERS:
        text = text[: _MAX_CHARACTERS - 1] + "…"
    return f'<td style="text-align:left;white-space:pre">{escape(text)}</td>'
