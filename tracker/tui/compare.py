"""What differs between runs, as lines of text: config, then summaries with differences from a baseline. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.protocol.plain import flatten
from tracker.reading.metrics import direction
from tracker.reading.stored_run import StoredRun
from tracker.terminal.text import clean, fit, number, pad
from tracker.tui.chart import Spans

MAX_RUNS = 6
"""Maximum number of runs side by side."""

_MISSING = object()


def comparison(runs: Sequence[StoredRun], baseline: str, columns: int) -> list[Spans]:
    """Return a table of the config that differs and of all summaries.

    Args:
        runs: the runs, of which the first `MAX_RUNS` are shown.
        baseline: id of the run that the others are compared with; of another run: the first.
        columns: width of the table.
    """
    runs = sorted(runs, key=lambda run: run.id != baseline)[:MAX_RUNS]
    if len(runs) < 2:
        return [[("Select two or more runs to compare them.", "")]]
    label = max(12, columns // (len(runs) + 2))
    cell = max(8, (columns - label) // len(runs) - 1)
    lines: list[Spans] = [
        [(" " * label, ""), *((" " + pad(fit(clean(run.name), cell), cell), "bold") for run in runs)],
        [("config", "dim")],
    ]
    configs = [{".".join(path): value for path, value in flatten(dict(run.config))} for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if len({repr(config.get(key, _MISSING)) for config in configs}) > 1]
    for key in differing:
        cells = [number(config[key]) if key in config else "" for config in configs]
        lines.append([_label(key, label), *((" " + pad(fit(text, cell), cell), "") for text in cells)])
    if not differing:
        lines.append([("  no differences", "dim")])
    lines += [[], [("summary", "dim")]]
    summaries = [dict(run.summary) for run in runs]
    for key in dict.fromkeys(key for summary in summaries for key in summary):
        goal = direction(runs[0].metrics, key)
        first = summaries[0].get(key)
        line: Spans = [_label(key, label)]
        for index, summary in enumerate(summaries):
            line.append(_cell(summary.get(key), first if index else None, goal, cell))
        lines.append(line)
    return lines


def _label(key: str, columns: int) -> tuple[str, str]:
    text = clean(key)
    return pad(text if len(text) <= columns else "…" + text[1 - columns :], columns), ""


def _cell(value: object, baseline: object, goal: int, columns: int) -> tuple[str, str]:
    """Return a value, with its difference from the baseline in green if it is better, in red if it is worse."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return " " + pad(fit("" if value is None else number(value), columns), columns), ""
    text, colour = number(value, 5), ""
    if isinstance(baseline, int | float) and value != baseline:
        difference = value - baseline
        text += f" ({difference:+.3g})"
        if goal and difference:
            colour = "green" if difference * goal > 0 else "red"
    return " " + pad(fit(text, columns), columns), colour
