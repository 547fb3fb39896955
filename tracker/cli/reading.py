"""The commands that show what runs are: ls, show."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

from sidecar.protocol.plain import flatten
from tracker.cli.common import Commands, UsageError, api_of, key_list, print_json, say, whole_number
from tracker.cli.table import Column, ago, clean, clean_lines, counted, duration, fit, number, size, table
from tracker.reading.api import RemoteRun, StoredRun
from tracker.reading.filters import MISSING, fetcher
from tracker.settings import SETTINGS

_LS_ABOUT = """\
A condition is a field, one of = != < <= > >= ~ (a regular expression), and a value; quote it for the shell. Fields:
id, name, project, group, job_type, tags, notes, state, step, start_time, end_time, exit_code, config.KEY and
summary.KEY."""

_LS_EXAMPLES = """\
  tracker ls
  tracker ls --project digits --where state=finished --where 'summary.loss<0.1'
  tracker ls --columns config.lr,summary.loss --order +summary.loss -n 10
  tracker ls --json | jq '.[].id'
  tracker ls --dir clickhouse+http://host:8123/database"""

_SHOW_EXAMPLES = """\
  tracker show 7f3k2m9q
  tracker show 7f3k2m9q --json | jq .summary"""


_STALLED_AFTER = SETTINGS["stalled_after"]


def add_to(commands: Commands) -> None:
    """Add ls and show."""
    ls = commands.add("ls", run_ls, "List runs, newest first.", about=_LS_ABOUT, examples=_LS_EXAMPLES, json_data=True)
    ls.add_argument("--project", metavar="NAME", help="only runs of this project")
    ls.add_argument("--where", metavar="CONDITION", action="append", default=[], help="only runs for which it holds")
    ls.add_argument("--order", metavar="FIELD", help="sort by +FIELD or -FIELD (default: -start_time)")
    ls.add_argument("--columns", metavar="FIELDS", type=key_list, default=[], help="show these fields too")
    ls.add_argument("-n", metavar="N", type=whole_number(1), help="at most so many")
    show = commands.add(
        "show", run_show, "Show one run: config, summary, how it ended.", examples=_SHOW_EXAMPLES, json_data=True
    )
    show.add_argument("id", metavar="RUN", help="the run's id")
    for command in (ls, show):
        command.add_argument(
            "--stalled-after",
            metavar="SECONDS",
            type=float,
            help=f"mark a running run as stalled after this long without data (default: {_STALLED_AFTER.default_text})",
        )


_CONDITION = re.compile(r"(.+?)\s*(<=|>=|!=|==|=|~|<|>)\s*(.*)", re.DOTALL)
_OPERATORS = {"=": "$eq", "==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "~": "$regex"}


def read_value(text: str) -> Any:
    """Read what was typed as the number, the truth value or the text that it is; ``"…"`` makes it a text."""
    if text in ("true", "false"):
        return text == "true"
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def read_condition(text: str) -> dict[str, Any]:
    """Read ``"summary.loss<0.1"`` as a filter of `Api.runs`."""
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no condition; one is such as state=finished or 'summary.loss<0.1'")
    field, operator, value = found.groups()
    return {field: {_OPERATORS[operator]: value if operator == "~" else read_value(value)}}


def run_ls(args: argparse.Namespace) -> int:
    """List runs."""
    api = api_of(args)
    conditions = [read_condition(text) for text in args.where]
    try:
        runs = api.runs(args.project, {"$and": conditions} if conditions else None, args.order)
        columns = [(name, fetcher(name)) for name in args.columns]
    except ValueError as error:
        raise UsageError(str(error)) from error
    shown = runs[: args.n]
    if args.json:
        print_json([run.to_map() for run in shown])
        return 0
    if not runs:
        say(f"no runs in {api.place}" + (" for which that holds" if conditions or args.project else ""))
        return 0
    now = time.time()
    heads = [
        Column("ID", least=8),
        Column("NAME", least=10),
        Column("PROJECT", least=8),
        Column("STATE"),
        Column("STARTED"),
        Column("LASTED"),
        Column("STEP", right=True),
        *(Column(name.rpartition(".")[2].upper(), right=True, least=8) for name, _ in columns),
    ]
    rows = []
    waits = [waiting(run) for run in shown]
    for run, waits_for in zip(shown, waits, strict=True):
        values = (fetch(run) for _, fetch in columns)
        cells = ["" if value is MISSING or value is None else number(value) for value in values]
        rows.append([*_about(run, now), *cells, *([waits_for] if any(waits) else [])])
    if any(waits):
        heads.append(Column("WAITING", least=12))
    print("\n".join(table(heads, rows)))
    if len(shown) < len(runs):
        say(f"{len(shown)} of {counted(len(runs), 'run')}")
    return 0


def _about(run: StoredRun, now: float) -> list[str]:
    step = "" if run.step is None else str(run.step)
    name = "" if run.name == run.id else run.name
    return [run.id, name, run.project or "", run.state, ago(run.start_time, now), lasted(run, now), step]


def waiting(run: StoredRun) -> str:
    """Return what of a run is not yet at its servers: ``"12 KiB for mlflow"``; empty if nothing is."""
    behind = {address: said["behind_bytes"] for address, said in run.sinks.items() if said["behind_bytes"]}
    return ", ".join(f"{size(count)} for {address.partition('+')[0]}" for address, count in behind.items())


def lasted(run: StoredRun, now: float) -> str:
    """Return how long a run went, or has been going."""
    if run.start_time is None:
        return ""
    end = now if run.state in ("running", "stalled") else run.end_time or run.last_time or run.start_time
    return duration(end - run.start_time)


def run_show(args: argparse.Namespace) -> int:
    """Show one run."""
    run = api_of(args).run(args.id)
    if args.json:
        files = [{"name": file.name, "size": file.size} for file in run.files()]
        print_json(run.to_map() | {"files": files})
        return 0
    print("\n".join(_page(run, time.time())))
    return 0


def _page(run: StoredRun, now: float) -> list[str]:
    lines = _facts(_head(run, now), "")
    for title, values in (("config", _by_name(flatten(run.config))), ("summary", dict(sorted(run.summary.items())))):
        if values:
            lines += ["", title, *_facts({key: number(value) for key, value in values.items()}, "  ")]
    if len(run.writers) > 1:
        lines += ["", "writers", *("  " + line for line in _writers(run, now))]
    if run.sinks:
        lines += ["", "sinks", *_facts({address: _sink(said) for address, said in run.sinks.items()}, "  ")]
    files = run.files()
    if files:
        total = size(sum(file.size for file in files))
        lines += ["", f"files ({len(files)}, {total})"]
        lines += _facts({file.name: size(file.size) for file in files}, "  ")
    if run.losses:
        lines += ["", "lost records", *_facts({reason: f"{n:,}" for reason, n in run.losses.items()}, "  ")]
    if run.traceback:
        lines += ["", "traceback", *("  " + line for line in clean_lines(run.traceback).rstrip().split("\n"))]
    return lines


def _sink(said: dict[str, Any]) -> str:
    if not said["behind_bytes"]:
        return "all there"
    why = said["error"] or ("offline; 'tracker sync' sends it" if said["offline"] else "on its way")
    return f"{size(said['behind_bytes'])} wait: {why}"


def _head(run: StoredRun, now: float) -> dict[str, str]:
    state = run.state
    if run.exit_code:
        state += f", exit code {run.exit_code}"
    if run.signal:
        state += f", signal {run.signal}"
    if run.reason:
        state += f": {run.reason}"
    facts = {
        "run": run.id,
        "name": "" if run.name == run.id else run.name,
        "project": run.project,
        "group": run.group,
        "job type": run.job_type,
        "tags": ", ".join(run.tags),
        "notes": run.notes,
        "state": state,
        "started": _moment(run.start_time, now),
        "lasted": lasted(run, now),
        "last heard": _moment(run.last_time, now) if run.state in ("running", "stalled") else None,
        "step": None if run.step is None else f"{run.step:,}",
        "logged": f"{counted(run.records, 'row')}, {counted(run.points, 'value')}",
        "server" if isinstance(run, RemoteRun) else "directory": run.place,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _moment(moment: float | None, now: float) -> str | None:
    if moment is None:
        return None
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))} ({ago(moment, now)})"


def _facts(facts: dict[str, str], indent: str) -> list[str]:
    width = min(40, max((len(name) for name in facts), default=0))
    room = 100 - len(indent) - width - 2
    wide = not sys.stdout.isatty()
    lines = []
    for name, fact in facts.items():
        fact = clean(fact)
        lines.append(f"{indent}{clean(name):<{width}}  {fact if wide else fit(fact, room)}")
    return lines


def _writers(run: StoredRun, now: float) -> list[str]:
    heads = [
        Column("CLIENT"),
        Column("LABEL", least=8),
        Column("HOST", least=8),
        Column("PID", right=True),
        Column("STATE"),
        Column("STEP", right=True),
        Column("LAST HEARD"),
    ]
    rows = []
    for client, writer in run.writers.items():
        cells = [client, writer.get("label"), writer.get("host"), writer.get("pid"), writer.get("state")]
        cells += [writer.get("step"), ago(writer.get("last_time"), now)]
        rows.append(["" if cell is None else str(cell) for cell in cells])
    return table(heads, rows, 98)


def _by_name(leaves: Iterable[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Return the leaves of nested maps in the order of their paths, keys joined with dots."""
    return {".".join(path): value for path, value in sorted(leaves, key=lambda leaf: leaf[0])}
