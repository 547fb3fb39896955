"""``tracker show``: one run on a page."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from sidecar.protocol.errors import SidecarError
from tracker.cli.common import RUN_HELP, Commands, api_of, print_json
from tracker.cli.ls import add_stalled_after, length
from tracker.cli.table import GAP, Column, facts, flat, screen_width, table, table_width
from tracker.reading.curves import Curve, read_curves
from tracker.reading.metrics import aggregate, aggregates, aggregates_text, short
from tracker.terminal.sparkline import shows_blocks
from tracker.terminal.style import Style
from tracker.terminal.text import ago, clean_lines, counted, number, size

if TYPE_CHECKING:
    from tracker.reading.api import StoredRun

_ABOUT = """\
For each metric: a small chart of all its points, the first and the last value, the smallest and the largest."""

_EXAMPLES = """\
  tracker show last
  tracker show 7f3k2m9q
  tracker show 7f3k                       a unique prefix of its id
  tracker show lr=0.1                     its name
  tracker show last --json | jq .summary"""

_LEAST_SPARK, _SPARK_WIDTH = 8, 24
_MAX_CHARACTERS = 1000
"""Maximum length of one value of the config, in characters."""

_MOST_SERVED_POINTS = 1_000_000
"""Maximum number of values fetched from a server for the charts."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("show", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_ref", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--no-curves", action="store_true", help="do not draw the metrics, which is slow for a long run"
    )
    add_stalled_after(parser)


def run(args: argparse.Namespace) -> int:
    """Show one run."""
    run = api_of(args).run(args.run_ref)
    if args.json:
        files = [{"name": file.name, "size": file.size} for file in run.files()]
        print_json(run.to_map() | {"files": files})
        return 0
    print("\n".join(_page(run, curves=not args.no_curves)))
    return 0


def _page(run: StoredRun, *, curves: bool) -> list[str]:
    now, style, total = time.time(), Style.of(sys.stdout), screen_width()
    head = facts(_head(run, now), total=total)
    lines = [line.replace(run.state, style.state(run.state), 1) if line.startswith("state ") else line for line in head]

    def section(title: str, content: list[str]) -> None:
        if content:
            lines.extend(["", style.paint(title, "bold"), *("  " + line for line in content)])

    room = None if total is None else total - 2
    section("config", _config(run, room))
    drawn, note = _curves(run) if curves else ({}, "")
    section("metrics", [*_metrics(run, drawn, room), *([note] if note else [])])
    section("summary", facts(_other_summary(run, drawn), total=room))
    if len(run.writers) > 1:
        section("writers", _writers(run, now, style, room))
    section("sinks", facts({address: sink_text(sink) for address, sink in run.sinks.items()}, total=room))
    files = run.files()
    title = f"files ({len(files)}, {size(sum(file.size for file in files))})"
    section(title, facts({file.name: size(file.size) for file in files}, total=room))
    section("lost records", facts({reason: f"{n:,}" for reason, n in run.losses.items()}, total=room))
    section("traceback", clean_lines(run.traceback).rstrip().split("\n") if run.traceback else [])
    return lines


def _head(run: StoredRun, now: float) -> dict[str, str]:
    from tracker.reading.api import RemoteRun

    state = run.state
    if run.exit_code:
        state += f", exit code {run.exit_code}"
    if run.signal:
        state += f", signal {run.signal}"
    if run.reason:
        state += f": {run.reason}"
    values = {
        "run": run.id,
        "name": "" if run.name == run.id else run.name,
        "project": run.project,
        "group": run.group,
        "job type": run.job_type,
        "tags": ", ".join(run.tags),
        "notes": run.notes,
        "color": run.color,
        "edited": ", ".join(run.edits["fields"]),
        "state": f"{state}, deleted" if run.deleted else state,
        "started": _moment(run.start_time, now),
        "duration": length(run, now),
        "last data": _moment(run.last_time, now) if run.state in ("running", "stalled") else None,
        "step": None if run.step is None else f"{run.step:,}",
        "logged": f"{counted(run.records, 'row')}, {counted(run.points, 'value')}",
        "program": _program(run) if len(run.writers) == 1 else None,
        "server" if isinstance(run, RemoteRun) else "directory": run.place,
    }
    return {name: text for name, text in values.items() if text}


def _program(run: StoredRun) -> str:
    """Return the program that logged the run, its process, host and Python version."""
    writer = next(iter(run.writers.values()))
    parts = [
        str(writer.get("program") or ""),
        f"process {writer['pid']}" if writer.get("pid") else "",
        f"on {writer['host']}" if writer.get("host") else "",
        f"Python {writer['python']}" if writer.get("python") else "",
    ]
    return ", ".join(part for part in parts if part).replace(", on ", " on ", 1)


def _moment(moment: float | None, now: float) -> str | None:
    if moment is None:
        return None
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))} ({ago(moment, now)})"


def _config(run: StoredRun, total: int | None) -> list[str]:
    values = flat(run.config)
    unset = [key for key, value in values.items() if value is None]
    texts = {key: number(value) or '""' for key, value in values.items() if value is not None}
    for key, text in texts.items():
        if len(text) > _MAX_CHARACTERS:
            texts[key] = f"{text[:_MAX_CHARACTERS]}… ({len(text):,} characters)"
    lines = facts(texts, total=total)
    return [*lines, *facts({"not set:": ", ".join(unset)}, total=total)] if unset else lines


def _curves(run: StoredRun) -> tuple[dict[str, Curve], str]:
    """Return the curve of each metric, and a note if they cannot be shown."""
    from tracker.reading.api import RemoteRun

    if isinstance(run, RemoteRun) and run.points > _MOST_SERVED_POINTS:
        return {}, f"no charts: {run.points:,} values are too many to fetch from a server"
    try:
        return read_curves(run), ""
    except SidecarError as error:
        return {}, f"no charts: {error}"


def _metrics(run: StoredRun, curves: dict[str, Curve], total: int | None) -> list[str]:
    if not curves:
        return []
    heads = [Column("METRIC", least=12)]
    heads += [Column(head, right=True) for head in ("FIRST", "LAST", "MIN", "MAX")]
    metrics, summary = run.metrics, run.summary
    rows = []
    for key, curve in sorted(curves.items()):
        numbers = (curve.first, curve.last, curve.low, curve.high)
        rows.append([key, *map(short, numbers), aggregates_text(aggregates(metrics, summary, key))])
    if any(row[-1] for row in rows):
        heads.append(Column("SUMMARY"))
    else:
        rows = [row[:-1] for row in rows]
    room = _SPARK_WIDTH if total is None else total - table_width(heads, rows) - len(GAP)
    spark = max(_LEAST_SPARK, min(_SPARK_WIDTH, room))
    ascii_only = not shows_blocks(sys.stdout)
    for row in rows:
        row.insert(1, curves[row[0]].draw(spark, ascii_only=ascii_only))
    style = Style.of(sys.stdout)
    drawing = Column("", paint=lambda _, shown: style.paint(shown, "cyan"))
    return table([heads[0], drawing, *heads[1:]], rows, total)


def _other_summary(run: StoredRun, curves: dict[str, Curve]) -> dict[str, str]:
    """Return the summary without what the table of metrics shows."""
    summary, metrics = run.summary, run.metrics
    in_table = set()
    for key, curve in curves.items():
        value, named = summary.get(key), aggregates(metrics, summary, key)
        one = aggregate(metrics, key)
        if (one and named) or value != value or value == (curve.first if one == "first" else curve.last):
            in_table.add(key)
        if not one:
            in_table |= {f"{key}.{option}" for option, _ in named}
    shown = {}
    for key, value in sorted(summary.items()):
        if key in in_table:
            continue
        kind = aggregate(metrics, key)
        shown[key] = number(value) + (f" ({kind})" if kind not in ("", "last") else "")
    return shown


def sink_text(sink: dict[str, Any]) -> str:
    """Return whether a run has been sent to a server, or how much is pending and why."""
    if not sink["behind_bytes"]:
        return "sent"
    why = sink["error"] or ("offline; 'tracker sync' sends it" if sink["offline"] else "being sent")
    return f"{size(sink['behind_bytes'])} pending: {why}"


def _writers(run: StoredRun, now: float, style: Style, total: int | None) -> list[str]:
    heads = [
        Column("CLIENT"),
        Column("LABEL", least=8),
        Column("HOST", least=8),
        Column("PID", right=True),
        Column("STATE", paint=style.state),
        Column("STEP", right=True),
        Column("LAST DATA"),
    ]
    rows = []
    for client, writer in run.writers.items():
        cells = [client, writer.get("label"), writer.get("host"), writer.get("pid"), writer.get("state")]
        cells += [writer.get("step"), ago(writer.get("last_time"), now)]
        rows.append(["" if cell is None else str(cell) for cell in cells])
    return table(heads, rows, total)
