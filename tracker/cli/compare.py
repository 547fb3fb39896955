"""``tracker compare``: runs side by side: the config that differs, the summaries, the curves."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.protocol.errors import SidecarError
from tracker.cli.common import RUN_HELP, CommandError, Commands, UsageError, api_of, key_list, print_json, say
from tracker.cli.ls import length
from tracker.cli.select import add_selection, is_selected, nothing_selected, selected
from tracker.cli.table import GAP, flat, screen_width
from tracker.reading.curves import Curve, read_curves
from tracker.reading.metrics import aggregate, direction
from tracker.terminal.sparkline import shows_blocks
from tracker.terminal.style import Style
from tracker.terminal.text import ago, clean, counted, fit, number, pad, width

if TYPE_CHECKING:
    from tracker.reading.api import Api, StoredRun

_ABOUT = """\
Without RUN: the last two runs; with --project or --where, all runs that they select. Config keys are shown where they
differ. The best value of a metric is marked with * if it is known whether larger or smaller is better: from
define_metric's goal, its summary "max" or "min", or --max and --min."""

_EXAMPLES = """\
  tracker compare                           the last two runs
  tracker compare 7f3k 9q2m last
  tracker compare lr=0.1 lr=0.01 --min loss --max val.acc
  tracker compare --where group=sweep-3     all runs of a group
  tracker compare --json | jq .config"""

_MOST_RUNS = 50
_LEAST_SPARK, _SPARK_WIDTH = 8, 16
_LONGEST_LABEL = 32
_LEAST_CELL, _LONGEST_CELL = 20, 40

_MISSING: Any = object()


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("compare", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_refs", metavar="RUN", nargs="*", help=RUN_HELP)
    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="show all config keys, also those that do not differ")
    parser.add_argument(
        "--max", metavar="KEYS", type=key_list, default=[], help="metrics whose larger values are better"
    )
    parser.add_argument(
        "--min", metavar="KEYS", type=key_list, default=[], help="metrics whose smaller values are better"
    )
    parser.add_argument("--no-curves", action="store_true", help="do not draw the metrics, which is slow for long runs")


class Row(NamedTuple):
    """A line of the comparison: a label and a cell per run; `marks` are the indexes of the best runs."""

    label: str
    cells: list[str]
    marks: frozenset[int] = frozenset()


class Section(NamedTuple):
    """Lines under a title."""

    title: str
    rows: list[Row]


def run(args: argparse.Namespace) -> int:
    """Compare runs."""
    api = api_of(args)
    runs = _chosen(api, args)
    if not runs:
        if args.json:
            print_json({"runs": [], "config": {}, "summary": {}, "best": {}})
        else:
            say(nothing_selected(api, args))
        return 0
    configs = _configs(runs, everything=args.all)
    summaries = _side_by_side([run.summary for run in runs])
    best = {key: _best(values, _direction(runs, key, args)) for key, values in summaries.items()}
    if args.json:
        print_json(_to_map(runs, configs, summaries, best))
        return 0
    curves = [{} if args.no_curves else _curves(run) for run in runs]
    print("\n".join(_page(runs, configs, summaries, best, curves)))
    return 0


def _chosen(api: Api, args: argparse.Namespace) -> list[StoredRun]:
    """Return the runs to compare, in the order in which they were named, else the oldest first."""
    if args.run_refs:
        if is_selected(args):
            raise UsageError("give either RUN or --where and --project, not both")
        runs = [api.run(ref) for ref in args.run_refs]
        runs = list({run.id: run for run in runs}.values())
        if len(runs) < 2:
            raise UsageError("give two runs or more; none compares the last two")
    elif is_selected(args):
        runs = list(selected(api, args))[::-1]
    else:
        runs = api.runs()[:2][::-1]
        if len(runs) == 1:
            raise CommandError(f"there is only one run in {api.place}: {runs[0].id}")
    if len(runs) > _MOST_RUNS:
        raise CommandError(f"{len(runs)} runs are too many to compare; at most {_MOST_RUNS}; narrow --where down")
    return runs


def _side_by_side(maps: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return each key with its value in every map, `_MISSING` where it has none."""
    keys = dict.fromkeys(sorted(key for one in maps for key in one))
    return {key: [one.get(key, _MISSING) for one in maps] for key in keys}


def _configs(runs: list[StoredRun], *, everything: bool) -> dict[str, list[Any]]:
    values = _side_by_side([flat(run.config) for run in runs])
    return {key: row for key, row in values.items() if everything or _differs(row)}


def _differs(values: list[Any]) -> bool:
    return any(type(value) is not type(values[0]) or repr(value) != repr(values[0]) for value in values[1:])


def _direction(runs: list[StoredRun], key: str, args: argparse.Namespace) -> int:
    """Return 1 if larger values of a metric are better, -1 if smaller ones are, 0 if that is not known."""
    if key in args.max or key in args.min:
        return 1 if key in args.max else -1
    return next(filter(None, (direction(run.metrics, key) for run in runs)), 0)


def _best(values: list[Any], direction: int) -> frozenset[int]:
    """Return the indexes of the best values; empty if the direction is not known or all are equal."""
    numbers = {i: value for i, value in enumerate(values) if type(value) in (int, float) and value == value}
    if not direction or len(set(numbers.values())) < 2:
        return frozenset()
    best = max(numbers.values()) if direction > 0 else min(numbers.values())
    return frozenset(i for i, value in numbers.items() if value == best)


def _to_map(
    runs: list[StoredRun],
    configs: dict[str, list[Any]],
    summaries: dict[str, list[Any]],
    best: dict[str, frozenset[int]],
) -> dict[str, Any]:
    def by_id(values: list[Any]) -> dict[str, Any]:
        return {run.id: value for run, value in zip(runs, values, strict=True) if value is not _MISSING}

    fields = ("id", "name", "project", "state", "start_time", "end_time", "step", "records")
    return {
        "runs": [{field: getattr(run, field) for field in fields} for run in runs],
        "config": {key: by_id(values) for key, values in configs.items()},
        "summary": {key: by_id(values) for key, values in summaries.items()},
        "best": {key: [runs[i].id for i in sorted(marks)] for key, marks in best.items() if marks},
    }


def _curves(run: StoredRun) -> dict[str, Curve]:
    try:
        return read_curves(run)
    except SidecarError as error:
        say(f"tracker compare: no charts of run {run.id}: {error}")
        return {}


# -- the page -------------------------------------------------------------------------------------------------------


def _page(
    runs: list[StoredRun],
    configs: dict[str, list[Any]],
    summaries: dict[str, list[Any]],
    best: dict[str, frozenset[int]],
    curves: list[dict[str, Curve]],
) -> list[str]:
    now = time.time()
    total = screen_width()
    longest = _LONGEST_CELL
    if total is not None:
        longest = max(_LEAST_CELL, min(longest, total // (len(runs) + 1) - len(GAP)))
    about = {
        "state": [run.state for run in runs],
        "started": [ago(run.start_time, now) for run in runs],
        "duration": [length(run, now) for run in runs],
        "step": ["" if run.step is None else f"{run.step:,}" for run in runs],
    }
    sections = [Section("", [Row(label, cells) for label, cells in about.items()])]
    keys = len({key for run in runs for key in flat(run.config)})
    if configs:
        title = "config" if len(configs) == keys else f"config ({len(configs)} of {keys} keys; --all shows all)"
        rows = [Row(key, _config_cells(values, longest)) for key, values in configs.items()]
        sections.append(Section(title, rows))
    elif keys:
        sections.append(Section(f"config (no differences in {counted(keys, 'key')})", []))
    if summaries:
        sections.append(Section("summary", _summary_rows(runs, summaries, best, curves, longest, total)))
    lines = _fold(runs, sections, longest, total)
    if any(best.values()):
        lines += ["", "* best"]
    return lines


def _config_cells(values: list[Any], longest: int) -> list[str]:
    return ["-" if value is _MISSING else shorten(number(value) or '""', longest) for value in values]


def shorten(text: str, columns: int) -> str:
    """Return `text`, with '…' in its middle if it is wider than `columns`: names often differ at their end."""
    if width(text) <= columns:
        return text
    end = columns // 2
    while width(text[-end:]) > columns // 2:
        end -= 1
    return fit(text, columns - width(text[-end:])) + text[-end:]


def _summary_rows(
    runs: list[StoredRun],
    summaries: dict[str, list[Any]],
    best: dict[str, frozenset[int]],
    curves: list[dict[str, Curve]],
    longest: int,
    total: int | None,
) -> list[Row]:
    texts = {key: ["-" if value is _MISSING else number(value, 5) for value in row] for key, row in summaries.items()}
    numeric = [
        texts[key][i] for key, row in summaries.items() for i, value in enumerate(row) if type(value) in (int, float)
    ]
    room = max(map(len, numeric), default=1)
    spark = _spark_width(summaries, room, len(runs), total)
    ascii_only = not shows_blocks(sys.stdout)
    rows = []
    for key, values in summaries.items():
        kinds = {aggregate(run.metrics, key) for run in runs} - {"", "last"}
        label = f"{key} ({kinds.pop()})" if len(kinds) == 1 else key
        bounds = _bounds([own[key] for own in curves if key in own])
        cells = []
        for i, (value, text) in enumerate(zip(values, texts[key], strict=True)):
            if value is not _MISSING and type(value) not in (int, float):
                cells.append(shorten(text, longest))
                continue
            mark = "*" if i in best[key] else " "
            line = curves[i][key].draw(spark, **bounds, ascii_only=ascii_only) if key in curves[i] else ""
            cells.append(f"{text:>{room}}{mark} {line}".rstrip())
        rows.append(Row(label, cells, best[key]))
    return rows


def _bounds(curves: list[Curve]) -> dict[str, float]:
    """Return the scale shared by the curves of a metric, so that they can be compared by eye."""
    values = [value for curve in curves for value in curve.numbers() if value - value == 0]
    return {"low": min(values), "high": max(values)} if values else {}


def _spark_width(keys: dict[str, Any], room: int, runs: int, total: int | None) -> int:
    """Return the width of the charts with which all runs fit side by side, within bounds."""
    if total is None:
        return _SPARK_WIDTH
    labels = min(_LONGEST_LABEL, max(map(width, keys)) + len(" (max)"))
    fair = (total - labels) // runs - len(GAP) - room - 2
    return max(_LEAST_SPARK, min(_SPARK_WIDTH, fair))


def _fold(runs: list[StoredRun], sections: list[Section], longest: int, total: int | None) -> list[str]:
    """Return the lines: as many runs side by side as fit, the others below."""
    style = Style.of(sys.stdout)
    labels = min(_LONGEST_LABEL, max(width(clean(row.label)) for section in sections for row in section.rows))
    names = [shorten(clean(run.name), longest) for run in runs]
    widths = []
    for i, run in enumerate(runs):
        cells = [row.cells[i] for section in sections for row in section.rows]
        widths.append(max([width(names[i]), width(run.id), *map(width, cells)]))
    lines: list[str] = []
    at = 0
    while at < len(runs):
        used, end = labels + len(GAP) + widths[at], at + 1
        while end < len(runs) and (total is None or used + len(GAP) + widths[end] <= total):
            used += len(GAP) + widths[end]
            end += 1
        lines += [*([""] if lines else []), *_block(runs, names, sections, range(at, end), labels, widths, style)]
        at = end
    return lines


def _block(
    runs: list[StoredRun],
    names: list[str],
    sections: list[Section],
    shown: range,
    labels: int,
    widths: list[int],
    style: Style,
) -> list[str]:
    def line(label: str, cells: list[str], paint: Any = None) -> str:
        parts = [pad(fit(clean(label), labels), labels)]
        for i, cell in zip(shown, cells, strict=True):
            parts.append(pad(cell if paint is None else paint(i, cell), widths[i]))
        return GAP.join(parts).rstrip()

    lines = [line("", [names[i] for i in shown], lambda _, cell: style.paint(cell, "bold"))]
    if any(runs[i].id != names[i] for i in shown):
        lines.append(line("", ["" if runs[i].id == names[i] else runs[i].id for i in shown]))
    for section in sections:
        if section.title:
            lines += ["", style.paint(section.title, "bold")]
        for row in section.rows:
            cells = [row.cells[i] for i in shown]
            lines.append(line(row.label, cells, _painter(style, row, is_state=not section.title)))
    return lines


def _painter(style: Style, row: Row, *, is_state: bool) -> Any:
    def paint(index: int, cell: str) -> str:
        if is_state and row.label == "state":
            return style.state(cell)
        return style.paint(cell, "green") if index in row.marks else cell

    return paint
