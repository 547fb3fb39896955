"""The command log: metrics into a run from a shell, a cron job, or any program that can print lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from sidecar.protocol.limits import MIN_STEP
from tracker.cli.common import CommandError, Commands, UsageError, refuse_server, whole_number
from tracker.cli.reading import read_value

_ABOUT = """\
The run is made if there is none with this id, and resumed if it has ended; while other processes write to it, this one
is just another writer. A value is a number (nan and inf too), true, false or a text; "…" makes a number a text. With
--jsonl each line of standard input is a map of metrics, and may say its step in "_step"."""

_EXAMPLES = """\
  tracker log nightly build.seconds=312 tests.failed=0
  tracker log 7f3k2m9q --step 1000 val.acc=0.93
  my-simulation | tracker log sim-42 --jsonl
  tracker export 7f3k2m9q --format jsonl | tracker log copy --jsonl"""

_PATIENCE_SECONDS = 60.0
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def add_to(commands: Commands) -> None:
    """Add log."""
    log = commands.add("log", run_log, "Log metrics to a run.", about=_ABOUT, examples=_EXAMPLES)
    log.add_argument("id", metavar="RUN", help="the run's id, new or known")
    log.add_argument("values", metavar="key=value", nargs="*", help="metrics, logged at one step")
    log.add_argument("--jsonl", action="store_true", help="read maps of metrics from standard input, one a line")
    log.add_argument("--step", metavar="N", type=whole_number(MIN_STEP), help="the step (default: the next one)")
    log.add_argument("--project", metavar="NAME", help="the project of a new run")
    log.add_argument("--label", metavar="LABEL", help="names this writer among several of the run")


def read_pairs(texts: list[str]) -> dict[str, Any]:
    """Read ``["loss=0.1", …]`` as a map of metrics."""
    metrics = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r} is not of the form key=value")
        metrics[key] = read_value(value)
    return metrics


def read_lines(lines: Iterator[str]) -> Iterator[tuple[int, int | None, dict[str, Any]]]:
    """Yield the number, the step and the metrics of each line that is not empty."""
    for count, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise CommandError(f"line {count} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise CommandError(f"line {count} is no map of metrics, but {line.strip()[:40]!r}")
        step = found.pop("_step", None)
        if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
            raise CommandError(f"line {count}: _step is {step!r}; a step is an integer")
        found.pop("_timestamp", None)
        found.pop("_label", None)
        yield count, step, {key: _number(value) for key, value in found.items()}


def _number(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def run_log(args: argparse.Namespace) -> int:
    """Log to a run."""
    if args.jsonl and (args.values or args.step is not None):
        raise UsageError("--jsonl takes metrics and steps from standard input, and no others")
    if not args.jsonl and not args.values:
        raise UsageError("nothing to log; give key=value, or --jsonl to read standard input")
    metrics = _checked(read_pairs(args.values))
    refuse_server(args)
    import tracker

    try:
        run = tracker.init(
            id=args.id,
            resume="allow",
            project=args.project,
            label=args.label,
            dir=getattr(args, "dir", None),
            settings={"silent": True},
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    with run:
        try:
            if args.jsonl:
                _log_lines(run)
            else:
                run.log(metrics, step=args.step)
        except CommandError:
            run.finish(exit_code=1)
            raise
        kept = run.flush(_PATIENCE_SECONDS)
    if not kept:
        raise CommandError(f"not all is in the log of run {run.id!r} yet, after {_PATIENCE_SECONDS:.0f} s")
    return 0


def _checked(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return `metrics` if they can be logged, before a run is made for them."""
    from tracker.sdk import values

    try:
        return values.metrics(metrics)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _log_lines(run: Any) -> None:
    for count, step, metrics in read_lines(iter(sys.stdin)):
        try:
            run.log(metrics, step=step)
        except (TypeError, ValueError) as error:
            raise CommandError(f"line {count}: {error}") from error
