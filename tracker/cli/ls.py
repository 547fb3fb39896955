"""``tracker ls``: a table of runs, newest first."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from tracker.cli.common import Commands, UsageError, api_of, key_list, print_json, say, seconds, whole_number
from tracker.cli.select import WHERE_HELP, add_deleted, add_selection, nothing_selected, selected
from tracker.cli.table import Column, screen_width, short_heads, table, table_width
from tracker.reading.metrics import short
from tracker.terminal.messages import is_terminal
from tracker.terminal.sparkline import shows_blocks
from tracker.terminal.style import Style
from tracker.terminal.text import ago, counted, duration, fit, number, size

if TYPE_CHECKING:
    from tracker.reading.api import StoredRun

_ABOUT = f"""\
{WHERE_HELP}

The field that orders the runs is shown, too. On a terminal, the newest 20 runs are listed, with the most common summary
keys if there is room; to a file or a pipe, all runs, without other summary keys."""

_EXAMPLES = """\
  tracker ls
  tracker ls --project digits --where 'state = finished and val.acc > 0.9'
  tracker ls --where 'start_time > 7d'            of the last seven days
  tracker ls --where 'tags has baseline'
  tracker ls --columns lr,val.acc --order -val.acc -n 10
  tracker ls --spark loss                         with a small chart of the loss
  tracker ls --json | jq '.[].id'
  tracker ls --dir clickhouse+http://host:8123/database"""

_SCREENFUL = 20
"""Runs shown on a terminal unless ``-n`` asks for more."""

_SHOWN = ("id", "name", "project", "state", "start_time", "duration", "step")
"""Fields that are always shown."""

_SPARK_WIDTH = 16
_COMFORTABLE = {"NAME": 20, "PROJECT": 12}
"""Widths to which columns may shrink to make room for columns of the summary."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("ls", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    add_selection(parser)
    add_deleted(parser)
    parser.add_argument(
        "-o", "--order", metavar="FIELD", help="sort by FIELD, ascending, or -FIELD, descending (default: -start_time)"
    )
    parser.signed |= {"-o", "--order"}
    parser.add_argument(
        "-c", "--columns", metavar="FIELDS", type=key_list, default=[], help="show these fields too, comma-separated"
    )
    parser.add_argument(
        "--spark", metavar="KEYS", type=key_list, default=[], help="draw these metrics, comma-separated"
    )
    parser.add_argument("-n", metavar="N", type=whole_number(1), help="show at most N runs")
    add_stalled_after(parser)


def add_stalled_after(parser: argparse.ArgumentParser) -> None:
    """Add ``--stalled-after``."""
    from tracker.settings import SETTINGS

    default = SETTINGS["stalled_after"].default_text
    parser.add_argument(
        "--stalled-after",
        metavar="SECONDS",
        type=seconds,
        help=f"mark a running run as stalled after this long without data (default: {default})",
    )


def run(args: argparse.Namespace) -> int:
    """List runs."""
    api = api_of(args)
    runs = selected(api, args, args.order)
    on_terminal = is_terminal(sys.stdout) and not args.json
    shown = runs[: args.n or (_SCREENFUL if on_terminal else None)]
    if args.json:
        print_json([run.to_map() for run in shown])
        return 0
    if not shown:
        say(nothing_selected(api, args))
        return 0
    print("\n".join(_table(shown, args)))
    more = len(runs) - len(shown)
    if more and args.n is None:
        say(f"{more:,} more: -n {len(runs)}")
    elif more:
        say(f"{len(shown):,} of {counted(len(runs), 'run')}")
    return 0


def _table(runs: list[StoredRun], args: argparse.Namespace) -> list[str]:
    now = time.time()
    style = Style.of(sys.stdout)

    def cyan(_: str, shown: str) -> str:
        return style.paint(shown, "cyan")

    heads = [
        Column("ID", least=8),
        Column("NAME", least=10),
        Column("PROJECT", least=8),
        Column("STATE", paint=style.state),
        Column("STARTED"),
        Column("DURATION"),
        Column("STEP", right=True),
    ]
    rows = [_about(run, now) for run in runs]
    fields = args.columns or _ordering(args.order)
    for head, cells in zip(short_heads(fields), _fields(runs, fields), strict=True):
        _append(heads, rows, Column(head, right=True, least=8), cells)
    for head, key in zip(short_heads(args.spark), args.spark, strict=True):
        _append(heads, rows, Column(head, paint=cyan), [_spark(run, key) for run in runs])
    unsent = [pending(run) for run in runs]
    if any(unsent):
        _append(heads, rows, Column("PENDING", least=12), unsent)
    total = screen_width()
    if total is not None and not args.columns and not args.spark:
        _add_common(heads, rows, runs, total, without=fields)
    return table(heads, rows, total)


def _ordering(order: str | None) -> list[str]:
    """Return the field that the runs are sorted by, unless it has a column anyway."""
    field = (order or "").lstrip("+-")
    return [field] if field and field not in _SHOWN else []


def _append(heads: list[Column], rows: list[list[str]], head: Column, cells: list[str]) -> None:
    heads.append(head)
    for row, cell in zip(rows, cells, strict=True):
        row.append(cell)


def _fields(runs: list[StoredRun], names: list[str]) -> list[list[str]]:
    """Return the cells of each field that ``--columns`` names."""
    from tracker.reading.conditions import MISSING
    from tracker.reading.filters import fetcher, resolve_field

    try:
        fetchers = [fetcher(resolve_field(name, runs)) for name in names]
    except ValueError as error:
        raise UsageError(str(error)) from error
    return [
        ["" if (value := fetch(run)) is MISSING or value is None else number(value) for run in runs]
        for fetch in fetchers
    ]


def _spark(run: StoredRun, key: str) -> str:
    from tracker.reading.curves import read_curves

    curve = read_curves(run, [key]).get(key)
    return "" if curve is None else curve.draw(_SPARK_WIDTH, ascii_only=not shows_blocks(sys.stdout))


def _add_common(
    heads: list[Column], rows: list[list[str]], runs: list[StoredRun], total: int, without: list[str]
) -> None:
    """Add columns for the two most common numbers in the summaries, or for one, if they fit."""
    shown = {field.removeprefix("summary.") for field in without}
    keys = [key for key in common_keys(runs) if key not in shown]
    titles = short_heads(keys)
    for count in (2, 1):
        chosen = keys[:count]
        columns = [Column(head, right=True) for head in titles[:count]]
        cells = [[short(run.summary[key]) if key in run.summary else "" for key in chosen] for run in runs]
        wide = [
            [fit(cell, _COMFORTABLE.get(head.head, total)) for cell, head in zip(row, heads, strict=True)]
            for row in rows
        ]
        wide = [row + added for row, added in zip(wide, cells, strict=True)]
        if len(chosen) == count and table_width([*heads, *columns], wide) <= total:
            heads += columns
            for row, added in zip(rows, cells, strict=True):
                row += added
            return


def common_keys(runs: list[StoredRun]) -> list[str]:
    """Return the summary keys that hold numbers, the most common first.

    Equally common keys: those with a goal or an aggregate first, then those of a validation.
    """
    counts: Counter[str] = Counter()
    defined: set[str] = set()
    axes: set[str] = {"epoch", "step"}
    for run in runs:
        for options in run.metrics.values():
            axes |= {options["step_metric"]} if options.get("step_metric") else set()
        counts.update(key for key, value in run.summary.items() if type(value) in (int, float))
        defined |= {key for key, options in run.metrics.items() if options.get("goal") or options.get("summary")}

    def rank(key: str) -> tuple[int, bool, bool, str]:
        return -counts[key], key not in defined, not key.startswith(("val", "eval", "test")), key

    return sorted(counts.keys() - axes, key=rank)


def _about(run: StoredRun, now: float) -> list[str]:
    step = "" if run.step is None else str(run.step)
    name = "" if run.name == run.id else run.name
    return [run.id, name, run.project or "", run.state, ago(run.start_time, now), length(run, now), step]


def pending(run: StoredRun) -> str:
    """Return how much of a run is still to be sent to its servers: ``"12 KiB for mlflow"``; empty if nothing."""
    behind = {address: sink["behind_bytes"] for address, sink in run.sinks.items() if sink["behind_bytes"]}
    return ", ".join(f"{size(count)} for {address.partition('+')[0]}" for address, count in behind.items())


def length(run: StoredRun, now: float) -> str:
    """Return a run's duration; of a running one, its duration so far."""
    if run.start_time is None:
        return ""
    end = now if run.state in ("running", "stalled") else run.end_time or run.last_time or run.start_time
    return duration(end - run.start_time)
