"""The lines that end a run on the terminal: how it ended, its main curves, the commands to type next.

Reads the run's store, on the caller's thread, in about 20 ms whatever its length; never raises.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.errors import StoreError
from sidecar.protocol.filesystems import on_local_disk
from sidecar.protocol.layout import RUNS_NAME, STORE_NAME
from tracker.reading.highlights import MAX_HIGHLIGHTS, Highlight, highlights
from tracker.reading.metrics import aggregates_text, short
from tracker.reading.root import find_root
from tracker.reading.sources import DirectorySource
from tracker.reading.stored_run import StoredRun
from tracker.terminal.messages import is_terminal, terminal_width
from tracker.terminal.sparkline import shows_blocks
from tracker.terminal.style import Style
from tracker.terminal.text import clean, counted, duration, fit, pad, width

_log = logging.getLogger("tracker")

_INDENT = " " * len("tracker: ")
_WIDTH = 100
"""Columns of a line if the stream is not a terminal."""

_SPARK = (6, 24)
"""Minimum and maximum width of a sparkline."""

_BUSY_SECONDS = 0.1
"""Maximum wait for a locked store, in seconds."""

_KEY_COLUMNS = 30
_MAX_RUNS = 300
"""Maximum number of runs in a root in which the previous run is looked for."""


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        id, name: the run's.
        state: ``"finished"``, ``"failed"``, …
        seconds: its duration.
        location: where it is stored, for people, such as ``"in .tracker/runs/abc"``.
        directory: the directory to read its curves from; None if they are not on this machine or not complete yet.
        project: the run's, or None.
        summary: its values, shown if there are no curves.
        step: the largest step; None if unknown.
    """

    id: str
    name: str
    state: str
    seconds: float
    location: str
    directory: Path | None = None
    project: str | None = None
    summary: Mapping[str, Any] = {}
    step: int | None = None


def closing_lines(ending: Ending, stream: TextIO | None = None) -> list[str]:
    """Return what to print at the end of a run, to `stream` (None: standard error). Never raises."""
    style = Style.of(stream)
    head = _head(ending, style)
    target = sys.stderr if stream is None else stream
    columns = terminal_width(_WIDTH) if is_terminal(target) else _WIDTH
    if ending.directory is not None:
        try:
            if on_local_disk(ending.directory):
                return _with_curves(ending, ending.directory, head, style, columns, not shows_blocks(target))
        except Exception as error:  # training must not fail because of a chart
            _log.debug("run %s: the curves cannot be drawn: %s", ending.id, error, exc_info=True)
    line = _with_steps(head, ending.step, None)
    return [f"{line}, kept {clean(ending.location)}", *_last_values(ending.summary, columns)]


def _head(ending: Ending, style: Style) -> str:
    name = clean(ending.name)
    who = ending.id if name in ("", ending.id) else f"{name} ({ending.id})"
    verb = "in" if ending.state == "finished" else "after"
    return f"tracker: run {who} {style.state(ending.state)} {verb} {duration(ending.seconds)}"


def _with_curves(ending: Ending, directory: Path, head: str, style: Style, columns: int, ascii_only: bool) -> list[str]:
    _reader(directory).checkpoint()  # raises if the store is damaged: rebuilding it takes too long
    run = _RunInStore(directory, math.inf)
    lines = [_with_steps(head, run.step, run.records)]
    drawn = _highlight_lines(highlights(run), columns - len(_INDENT), style, ascii_only)
    lines += [_INDENT + line for line in drawn]
    between = "  |  " if ascii_only else "  ·  "
    return [*lines, _INDENT + style.paint(between.join(_commands(ending, directory)), "dim")]


def _with_steps(head: str, step: int | None, records: int | None) -> str:
    """Return `head` with the number of steps; if steps were left out, with the number of rows."""
    if step is None:
        return f"{head}, nothing logged" if records == 0 else head
    if records is None or 0 <= step < records:
        return f"{head}, {counted(step + 1, 'step')}"
    return f"{head}, {counted(records, 'row')} up to step {step:,}"


def _highlight_lines(shown: Sequence[Highlight], columns: int, style: Style, ascii_only: bool) -> list[str]:
    """Return one line per metric: key, sparkline, last value and aggregates.

    Aggregates, then sparklines are left out if there is no room for them in `columns`.
    """
    if not shown:
        return []
    keys = [fit(clean(one.key), min(_KEY_COLUMNS, max(8, columns // 3))) for one in shown]
    lasts = [short(one.last) for one in shown]
    notes = [f"({aggregates_text(one.aggregates)})" if one.aggregates else "" for one in shown]
    least, most = _SPARK
    key_columns, last_columns, note_columns = (max(map(width, texts)) for texts in (keys, lasts, notes))
    room = columns - key_columns - last_columns - 4
    if room - note_columns - 2 < least:
        notes = [""] * len(shown)
    elif note_columns:
        room -= note_columns + 2
    spark = min(most, room)
    lines = []
    for one, key, last, note in zip(shown, keys, lasts, notes, strict=True):
        parts = [pad(key, key_columns)]
        if spark >= least:
            parts.append(style.paint(pad(one.curve.draw(spark, ascii_only=ascii_only), spark), "cyan"))
        parts += [pad(last, last_columns), style.paint(note, "dim")]
        lines.append("  ".join(parts).rstrip())
    return lines


def _last_values(summary: Mapping[str, Any], columns: int) -> list[str]:
    values = {key: value for key, value in summary.items() if isinstance(value, int | float)}
    keys = list(values)[:MAX_HIGHLIGHTS]
    room = max((width(clean(key)) for key in keys), default=0)
    return [fit(f"{_INDENT}{pad(clean(key), room)}  {short(values[key])}", columns) for key in keys]


def _commands(ending: Ending, directory: Path) -> Iterator[str]:
    """Yield the commands to type next."""
    root = directory.parent.parent
    where = "" if find_root() == root else f" --dir {shlex.quote(_shortest(root))}"
    yield f"tracker show {ending.id}{where}"
    previous = _previous(root, ending)
    if previous is not None:
        yield f"tracker compare {ending.id} {previous}{where}"


def _shortest(path: Path) -> str:
    relative = os.path.relpath(path)
    return clean(relative if len(relative) < len(str(path)) else str(path))


def _previous(root: Path, ending: Ending) -> str | None:
    """Return the id of the run of the same project started before; None without one, or in a root of too many runs."""
    with os.scandir(root / RUNS_NAME) as entries:
        if sum(1 for _ in entries) > _MAX_RUNS:
            return None
    is_earlier = False
    for run in _Stores(root, math.inf).newest_first(ending.project):
        if is_earlier:
            return None if run.start_time is None else run.id
        is_earlier = run.id == ending.id
    return None


def _reader(directory: Path) -> StoreReader:
    return StoreReader(directory / STORE_NAME, _BUSY_SECONDS)


class _RunInStore(StoredRun):
    """A run that is read from its store only: to read its log, or to rebuild the store from it, takes too long.

    If the store cannot be read, its state is empty.
    """

    def store(self) -> StoreReader:
        return _reader(self.dir)

    def _read_state(self) -> dict[str, Any]:
        try:
            return self.store().state()
        except StoreError:
            return {}


class _Stores(DirectorySource):
    """The runs below a root directory, of which only the stores are read."""

    def _stored(self, directory: Path) -> StoredRun:
        return _RunInStore(directory, math.inf)
