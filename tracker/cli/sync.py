"""``tracker sync``: finishes runs of dead processes, and sends runs to their servers with ``sidecar deliver``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.layout import RUNS_NAME, SINKS_NAME, is_held, needs_recovery
from sidecar.protocol.limits import valid_name
from sidecar.protocol.sink_address import SinkAddress, parse_sink
from sidecar.protocol.sink_progress import SinkLock, all_progress
from tracker.cli.common import (
    RUN_HELP,
    CommandError,
    Commands,
    UsageError,
    directory_api_of,
    print_json,
    say,
    seconds,
)
from tracker.cli.servers import add_sink, given_sinks, sidecar_lines
from tracker.cli.table import Column, screen_width, table
from tracker.errors import TrackerError
from tracker.terminal.progress import Progress
from tracker.terminal.style import Style
from tracker.terminal.text import counted, some

if TYPE_CHECKING:
    from tracker.reading.api import Api

_ABOUT = """\
First it recovers what dead processes left: it moves the rest of their windows into the logs and closes their runs (the
other commands do so too, before they read). Then it sends every run, also one that is running, to its servers: those
it was started with (offline runs, too), those of --sink, and those of $TRACKER_SINKS. It continues where it, or the
run's sidecar, stopped, so nothing is sent twice."""

_EXAMPLES = """\
  tracker sync                                           all runs
  tracker sync last --sink mlflow+http://host:5000       one run, to one more server
  tracker sync --watch                                   keep running and send new data; Ctrl-C ends it
  tracker sync --forget mlflow+http://gone:5000          a server that will not come back"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("sync", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_ref", metavar="RUN", nargs="?", help=f"{RUN_HELP} (default: all runs)")
    add_sink(parser)
    parser.add_argument("--watch", action="store_true", help="keep running and send new data")
    parser.add_argument("--again", action="store_true", help="send everything again, to a server that has lost it")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="give up on a server after this long without progress (default: 30)",
    )
    parser.add_argument(
        "--forget", metavar="ADDRESS", help="send nothing; remove this server from the run's, or from all runs' servers"
    )


def run(args: argparse.Namespace) -> int:
    """Finish runs that were left behind, then send."""
    from tracker.reading.api import run_directories
    from tracker.transport.launcher import recover

    api = directory_api_of(args)
    chosen = run_directories(api.dir) if args.run_ref is None else [_directory(api, args.run_ref)]
    if args.forget is not None:
        return _forget(api, args, chosen)
    sinks = given_sinks(args)
    orphaned = [directory.name for directory in chosen if needs_recovery(directory)]
    if orphaned:
        try:
            recover(api.dir, orphaned)
        except TrackerError as error:
            raise CommandError(str(error)) from error
    remaining = [run_id for run_id in orphaned if needs_recovery(api.dir / RUNS_NAME / run_id)]
    finished = [run_id for run_id in orphaned if run_id not in remaining]
    pairs = _send(api, args, sinks, [] if args.run_ref is None else [chosen[0].name])
    _report(args, finished, remaining, pairs, api)
    if remaining:
        raise CommandError(f"{counted(len(remaining), 'run')} could not be finished: {some(remaining)}")
    unsent = [pair for pair in pairs if pair["done_bytes"] < pair["all_bytes"]]
    if unsent:
        reasons = {f"{pair['sink']}: {pair['error'] or 'no progress'}" for pair in unsent}
        raise CommandError(f"{len(unsent)} of {len(pairs)} not sent: {some(sorted(reasons))}")
    return 0


def _directory(api: Api, ref: str) -> Path:
    """Return the directory of a run, also of one that only has windows of a dead process so far."""
    directory = api.dir / RUNS_NAME / ref
    if valid_name(ref) and needs_recovery(directory):
        return directory
    return api.run(ref).dir


def _send(
    api: Api, args: argparse.Namespace, sinks: tuple[SinkAddress, ...], run_ids: list[str]
) -> list[dict[str, Any]]:
    """Send, with one progress bar; return the last line about each run and server."""
    command = ["deliver", "--dir", str(api.dir), "--patience", str(args.patience)]
    for address in sinks:
        command += ["--sink", address.text]
    command += [f"--{flag}" for flag in ("watch", "again") if getattr(args, flag)]
    last: dict[tuple[str, str], dict[str, Any]] = {}
    with Progress("sync") as progress:
        for line in sidecar_lines([*command, *run_ids]):
            last[line["run"], line["sink"]] = line
            done, total = (sum(pair[key] for pair in last.values()) for key in ("done_bytes", "all_bytes"))
            progress(done, total)
    return [last[pair] for pair in sorted(last)]


def _report(
    args: argparse.Namespace, finished: list[str], remaining: list[str], pairs: list[dict[str, Any]], api: Api
) -> None:
    if args.json:
        sent = [{key: pair[key] for key in ("run", "sink", "done_bytes", "all_bytes", "error")} for pair in pairs]
        print_json({"finished": finished, "left": remaining, "sent": sent})
        return
    if finished:
        print(f"finished: {some(finished)}")
    if pairs:
        style = Style.of(sys.stdout)

        def paint(status: str, shown: str) -> str:
            return style.paint(shown, "green" if status == "sent" else "yellow")

        heads = [
            Column("RUN", least=8),
            Column("SINK", least=16),
            Column("SENT", right=True),
            Column(
                "STATUS",
                least=24,
                paint=paint,
            ),
        ]
        rows = []
        for pair in pairs:
            complete = pair["done_bytes"] >= pair["all_bytes"]
            status = "sent" if complete else pair["error"] or "being sent"
            share = min(1.0, pair["done_bytes"] / max(1, pair["all_bytes"]))
            rows.append([pair["run"], pair["sink"], f"{share:.0%}", status])
        print("\n".join(table(heads, rows, screen_width())))
    if not finished and not remaining and not pairs:
        say(f"nothing to finish in {api.place}, and no run there has a sink")


def _forget(api: Api, args: argparse.Namespace, chosen: list[Path]) -> int:
    """Remove a server from the servers of runs."""
    try:
        address = parse_sink(args.forget)
    except ValueError as error:
        raise UsageError(str(error)) from error
    known = {directory: [progress.address for progress in all_progress(directory)] for directory in chosen}
    affected = [directory for directory, addresses in known.items() if address.text in addresses]
    if not affected:
        others = sorted({text for addresses in known.values() for text in addresses})
        raise CommandError(f"no run in {api.place} is sent to {address.text}; their sinks: {some(others)}")
    busy = [directory.name for directory in affected if not _forgotten(directory, address)]
    forgotten = [directory.name for directory in affected if directory.name not in busy]
    if args.json:
        print_json({"forgotten": forgotten, "busy": busy})
    elif forgotten:
        print(f"{counted(len(forgotten), 'run')} will not be sent to {address.text} any more: {some(forgotten)}")
    if busy:
        raise CommandError(
            f"{counted(len(busy), 'run')} still running or being sent: {some(busy)}; try again later, or stop the "
            "sidecar: 'tracker doctor' shows its address, 'sidecar stop ADDRESS' stops it"
        )
    return 0


def _forgotten(directory: Path, address: SinkAddress) -> bool:
    """Remove a run's progress to a server; return False if a process writes or sends the run."""
    if is_held(directory) is not None:
        return False
    lock = SinkLock.take(directory, address)
    if lock is None:
        return False
    try:
        (directory / SINKS_NAME / address.name).unlink(missing_ok=True)
    finally:
        lock.release()
    return True
