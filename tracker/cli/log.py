"""``tracker log``: metrics into a run from a shell, a cron job, or any program that prints lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sidecar.protocol.limits import MIN_STEP, valid_name
from tracker.cli.common import CommandError, Commands, UsageError, refuse_server, say, whole_number
from tracker.errors import AmbiguousRunError, RunNotFoundError
from tracker.reading.query import read_value

if TYPE_CHECKING:
    from tracker.reading.api import Api

_ABOUT = """\
Creates the run if none has this id, and resumes it if it has ended; while other processes write to it, this one is
another writer. A value is a number (nan and inf too), true, false or a text; "…" makes a number a text. With --jsonl
each line of standard input is an object of metrics, with the step in "_step" if it has one."""

_EXAMPLES = """\
  tracker log nightly build.seconds=312 tests.failed=0
  tracker log 7f3k2m9q --step 1000 val.acc=0.93
  tracker log last --must-exist note='looks good'
  my-simulation | tracker log sim-42 --jsonl
  tracker export 7f3k2m9q --format jsonl | tracker log copy --jsonl"""

_FLUSH_SECONDS = 60.0
"""Maximum time to wait until all is in the run's log, in seconds."""

_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("log", run, about=_ABOUT, examples=_EXAMPLES)
    parser.add_argument("run_ref", metavar="RUN", help="the id of a new run, or id, prefix, name of one that exists")
    parser.add_argument("values", metavar="key=value", nargs="*", help="metrics, logged at one step")
    parser.overflow = "values"
    parser.add_argument("--must-exist", action="store_true", help="fail if there is no such run, do not create it")
    parser.add_argument("--jsonl", action="store_true", help="read objects of metrics from standard input, one a line")
    parser.add_argument("--step", metavar="N", type=whole_number(MIN_STEP), help="the step (default: the next one)")
    parser.add_argument("--project", metavar="NAME", help="the project of a new run")
    parser.add_argument("--label", metavar="LABEL", help="names this writer among several of the run")


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
            metrics = json.loads(line)
        except ValueError as error:
            raise CommandError(f"line {count} is not valid JSON: {error}") from error
        if not isinstance(metrics, dict):
            raise CommandError(f"line {count} must be an object of metrics, not {line.strip()[:40]!r}")
        step = metrics.pop("_step", None)
        if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
            raise CommandError(f"line {count}: _step must be an integer, not {step!r}")
        metrics.pop("_timestamp", None)
        metrics.pop("_label", None)
        yield count, step, {key: _number(value) for key, value in metrics.items()}


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def run(args: argparse.Namespace) -> int:
    """Log to a run."""
    if args.jsonl and (args.values or args.step is not None):
        raise UsageError("--jsonl reads metrics and steps from standard input; give no others")
    if not args.jsonl and not args.values:
        raise UsageError("nothing to log; give key=value, or --jsonl to read standard input")
    metrics = _checked(read_pairs(args.values))
    refuse_server(args)
    import tracker
    from tracker.reading.api import Api

    api = Api(getattr(args, "dir", None))
    try:
        run = tracker.init(
            id=_run_id(api, args),
            resume="must" if args.must_exist else "allow",
            project=args.project,
            label=args.label,
            dir=api.dir,
            settings={"silent": True},
            strict=True,
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    with run:
        say(f"{'resumed' if run.resumed else 'made'} run {run.id}")
        try:
            if args.jsonl:
                _log_lines(run)
            else:
                run.log(metrics, step=args.step)
        except CommandError:
            run.finish(exit_code=1)
            raise
        durable = run.flush(_FLUSH_SECONDS)
    if not durable:
        raise CommandError(f"not everything is in the log of run {run.id!r} after {_FLUSH_SECONDS:.0f} s")
    return 0


def _run_id(api: Api, args: argparse.Namespace) -> str:
    """Return the id of the run to log to: of one that exists, or a new one.

    Without ``--must-exist`` the beginning of an id is a new id, so that "exp1" is never taken for "exp10".
    """
    ref = str(args.run_ref)
    try:
        run = api.run(ref)
    except RunNotFoundError:
        if args.must_exist or not valid_name(ref):
            raise
        return ref
    except AmbiguousRunError:
        if args.must_exist or any(run.name == ref for run in api.runs()):
            raise
        return ref
    return run.id if args.must_exist or ref in (run.id, run.name, "last") or not valid_name(ref) else ref


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
