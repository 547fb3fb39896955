"""The commands about servers: sync, doctor. A thin skin over ``sidecar deliver`` and ``sidecar check``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar import __version__
from sidecar.protocol.connection import process_lives, read_connection
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.filesystems import on_local_disk
from sidecar.protocol.layout import RUNS_NAME, SIDECARS_NAME, needs_recovery
from sidecar.protocol.sink_address import SinkAddress, parse_sink, parse_sinks
from sidecar.protocol.sink_progress import all_progress
from tracker.cli.common import CommandError, Commands, UsageError, directory_api_of, print_json, say
from tracker.cli.table import Column, clean, counted, size, some, table
from tracker.errors import TrackerError
from tracker.reading.api import Api, run_directories
from tracker.settings import resolve
from tracker.terminal.progress import Progress
from tracker.transport.backend import recover as finish_runs
from tracker.transport.backend import sidecar_environment

_SYNC_ABOUT = """\
First it finishes what processes that died have left: it takes the rest from their windows into the logs and closes
their runs (the other commands do so before they read, too). Then it sends every run, also one that is going on, to
its servers: those that it was started with (also offline), those of --sink, and those of $TRACKER_SINKS. It goes on
where it, or the run's sidecar, had come to, so nothing is sent twice."""

_SYNC_EXAMPLES = """\
  tracker sync                                             all runs
  tracker sync 7f3k2m9q --sink mlflow+http://host:5000     one run, to one more server
  tracker sync --watch                                     go on, and send what comes; Ctrl-C ends it"""

_DOCTOR_ABOUT = """\
Looks at the directory, at the sidecars that serve it, and at every server that runs go to: those of --sink, of
$TRACKER_SINKS, and those that the runs themselves name. Exits with 1 if something is not as it should be."""


def add_to(commands: Commands) -> None:
    """Add sync and doctor."""
    sync = commands.add(
        "sync",
        run_sync,
        "Finish what was left behind, and send runs to their servers.",
        about=_SYNC_ABOUT,
        examples=_SYNC_EXAMPLES,
        json_data=True,
    )
    sync.add_argument("id", metavar="RUN", nargs="?", help="the run's id (default: all runs)")
    sync.add_argument("--watch", action="store_true", help="go on, and send what comes")
    sync.add_argument("--again", action="store_true", help="send all once more, to a server that has lost it")
    sync.add_argument(
        "--patience", metavar="SECONDS", type=float, default=30.0, help="give a server up after so long (default: 30)"
    )
    doctor = commands.add(
        "doctor",
        run_doctor,
        "Say whether everything is as it should be, and what waits.",
        about=_DOCTOR_ABOUT,
        examples="  tracker doctor\n  tracker doctor --sink clickhouse+http://host:8123/runs",
        json_data=True,
    )
    for command in (sync, doctor):
        command.add_argument("--sink", metavar="ADDRESS", action="append", default=[], help="one more server")


def _given_sinks(args: argparse.Namespace) -> tuple[SinkAddress, ...]:
    """Return the servers that the command line and the settings name."""
    try:
        settings = resolve({"dir": getattr(args, "dir", None)})
        return parse_sinks([*args.sink, *settings.sinks])
    except ValueError as error:
        raise UsageError(str(error)) from error


# -- sync -----------------------------------------------------------------------------------------------------------


def run_sync(args: argparse.Namespace) -> int:
    """Finish runs that were left behind, then send."""
    api = directory_api_of(args)
    sinks = _given_sinks(args)
    wanted = run_directories(api.dir) if args.id is None else [api.dir / RUNS_NAME / args.id]
    left = [directory.name for directory in wanted if needs_recovery(directory)]
    if args.id is not None and not left:
        api.run(args.id)  # names those that are near, if there is none
    if left:
        try:
            finish_runs(api.dir, left)
        except TrackerError as error:
            raise CommandError(str(error)) from error
    still = [run_id for run_id in left if needs_recovery(api.dir / RUNS_NAME / run_id)]
    done = [run_id for run_id in left if run_id not in still]
    sent = _send(api, args, sinks, [] if args.id is None else [args.id])
    _tell(args, done, still, sent, api)
    waiting = [pair for pair in sent if pair["done_bytes"] < pair["all_bytes"]]
    if still:
        raise CommandError(f"{counted(len(still), 'run')} could not be finished: {some(still)}")
    if waiting:
        reasons = {f"{pair['sink']}: {pair['error'] or 'no progress'}" for pair in waiting}
        raise CommandError(f"{len(waiting)} of {len(sent)} not sent: {some(sorted(reasons))}")
    return 0


def _send(api: Api, args: argparse.Namespace, sinks: tuple[SinkAddress, ...], ids: list[str]) -> list[dict[str, Any]]:
    """Send, with a bar for all of it; return each pair's last line."""
    command = ["deliver", "--dir", str(api.dir), "--patience", str(args.patience)]
    for address in sinks:
        command += ["--sink", address.text]
    command += [f"--{flag}" for flag in ("watch", "again") if getattr(args, flag)]
    last: dict[tuple[str, str], dict[str, Any]] = {}
    with Progress("sync") as progress:
        for line in _lines([*command, *ids]):
            last[line["run"], line["sink"]] = line
            done, total = (sum(pair[key] for pair in last.values()) for key in ("done_bytes", "all_bytes"))
            progress(done, total)
    return [last[pair] for pair in sorted(last)]


def _lines(command: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what a ``sidecar`` command prints, read as JSON.

    Raises:
        CommandError: with the last line of its log; it failed before it said anything, or died.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # and no pipe, which nobody would read meanwhile
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=sidecar_environment(),
        )
        assert process.stdout is not None
        found = False
        with process:
            try:
                for text in process.stdout:
                    found = True
                    yield json.loads(text)
            except BaseException:
                process.terminate()
                raise
        log.seek(0)
        said = log.read().strip()
    # 1 after some lines: servers that do not have all of it, as the lines say.
    if process.returncode not in (0, 1) or (process.returncode and not found):
        raise CommandError(said.splitlines()[-1] if said else f"it ended with {process.returncode}")


def _tell(args: argparse.Namespace, done: list[str], still: list[str], sent: list[dict[str, Any]], api: Api) -> None:
    if args.json:
        pairs = [{key: pair[key] for key in ("run", "sink", "done_bytes", "all_bytes", "error")} for pair in sent]
        print_json({"finished": done, "left": still, "sent": pairs})
        return
    if done:
        print(f"finished: {some(done)}")
    if sent:
        heads = [
            Column("RUN", least=8),
            Column("SINK", least=16),
            Column("SENT", right=True),
            Column("STATE", least=12),
        ]
        rows = []
        for pair in sent:
            whole = pair["done_bytes"] >= pair["all_bytes"]
            state = "all there" if whole else pair["error"] or "on its way"
            rows.append([pair["run"], pair["sink"], f"{pair['done_bytes'] / max(1, pair['all_bytes']):.0%}", state])
        print("\n".join(table(heads, rows)))
    if not done and not still and not sent:
        say(f"nothing was left behind in {api.dir}, and no run there goes to a server")


# -- doctor ---------------------------------------------------------------------------------------------------------


def run_doctor(args: argparse.Namespace) -> int:
    """Look at everything."""
    api = directory_api_of(args)
    waiting = _waiting(api)
    addresses = {address.text: address for address in (*_given_sinks(args), *map(parse_sink, waiting))}
    checked = list(_lines(["check", *addresses])) if addresses else []
    facts = _facts(api)
    for said in checked:
        runs = waiting.get(said["sink"], {})
        said["waiting_runs"], said["waiting_bytes"] = len(runs), sum(runs.values())
    problems = [said["problem"] for said in facts if said["problem"]]
    problems += [f"{said['sink']}: {said['error']}" for said in checked if said["error"]]
    if args.json:
        print_json({"facts": facts, "sinks": checked, "problems": problems})
    else:
        for said in facts:
            print(f"{said['what']:<12} {clean(said['found'])}{'   <- ' + said['problem'] if said['problem'] else ''}")
        for said in checked:
            state = said["error"] or f"version {said['version']}"
            runs = said["waiting_runs"]
            waits = f"; {size(said['waiting_bytes'])} of {counted(runs, 'run')} wait, 'tracker sync' sends them"
            held = waits if runs else ""
            print(f"{'sink':<12} {said['sink']}: {clean(state)}{held}")
    if problems:
        raise CommandError(f"{counted(len(problems), 'problem')}: {'; '.join(problems)}")
    return 0


def _waiting(api: Api) -> dict[str, dict[str, int]]:
    """Return, for each server that a run goes to, which runs it lacks bytes of, and how many."""
    found: dict[str, dict[str, int]] = {}
    for directory in run_directories(api.dir):
        for progress in all_progress(directory):
            behind = progress.behind_bytes(directory)
            runs = found.setdefault(progress.address, {})
            if behind:
                runs[directory.name] = behind
    return found


def _facts(api: Api) -> list[dict[str, str]]:
    """Return what is found of this program and the directory, and what is wrong with each."""
    runs = run_directories(api.dir)
    left = [directory.name for directory in runs if needs_recovery(directory)]
    place = api.dir if api.dir.exists() else api.dir.parent
    writable = os.access(place, os.W_OK)
    local = on_local_disk(api.dir)
    serving = list(_sidecars(api.dir))
    return [
        _fact("tracker", f"{__version__}, Python {platform.python_version()} on {platform.system()}"),
        _fact("directory", str(api.dir), "" if writable else "it cannot be written"),
        _fact("disk", "local" if local else "on a network: windows are kept in this machine's temporary directory"),
        _fact("sidecars", ", ".join(serving) or "none is running here"),
        _fact("runs", f"{len(runs)}", f"{some(left)} left by a dead sidecar: 'tracker sync'" if left else ""),
    ]


def _fact(what: str, found: str, problem: str = "") -> dict[str, str]:
    return {"what": what, "found": found, "problem": problem}


def _sidecars(root: Path) -> Iterator[str]:
    for file in sorted((root / SIDECARS_NAME).glob("*.json")):
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            continue
        if process_lives(connection):
            yield f"process {connection.pid} at {connection.control}"
