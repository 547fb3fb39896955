"""``tracker doctor``: checks the setup. Its check of servers is ``sidecar check``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar import __version__
from sidecar.protocol.connection import process_lives, read_connection
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.filesystems import on_local_disk
from sidecar.protocol.layout import SIDECARS_NAME, needs_recovery
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_progress import all_progress
from tracker.cli.common import CommandError, Commands, directory_api_of, directory_bytes, print_json
from tracker.cli.servers import add_sink, given_sinks, sidecar_lines
from tracker.terminal.style import Style
from tracker.terminal.text import clean, counted, size, some

if TYPE_CHECKING:
    from tracker.reading.api import Api

_ABOUT = """\
Checks the directory, the sidecars that serve it, and every server that runs are sent to: those of --sink, those of
$TRACKER_SINKS, and those of the runs themselves. Exits with 1 if there is a problem."""

_EXAMPLES = """\
  tracker doctor
  tracker doctor --sink clickhouse+http://host:8123/runs
  tracker doctor --json | jq .problems"""

_LOW_DISK_BYTES = 1 << 30
"""Free space below which the disk is a problem."""


class Fact(NamedTuple):
    """A line of the report: what was checked, what it is, and what is wrong with it, if anything."""

    what: str
    found: str
    problem: str = ""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("doctor", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    add_sink(parser)


def run(args: argparse.Namespace) -> int:
    """Check the setup."""
    api = directory_api_of(args)
    unsent = _unsent(api)
    addresses = {address.text: address for address in (*given_sinks(args), *map(parse_sink, unsent))}
    servers = list(sidecar_lines(["check", *addresses])) if addresses else []
    facts = list(_facts(api))
    for server in servers:
        runs = unsent.get(server["sink"], {})
        server["waiting_runs"], server["waiting_bytes"] = len(runs), sum(runs.values())
    problems = [fact.problem for fact in facts if fact.problem]
    problems += [f"{server['sink']}: {server['error']}" for server in servers if server["error"]]
    if args.json:
        print_json({"facts": [fact._asdict() for fact in facts], "sinks": servers, "problems": problems})
    else:
        _print(facts, servers)
    if problems:
        raise CommandError(f"{counted(len(problems), 'problem')}: {'; '.join(problems)}")
    return 0


def _print(facts: list[Fact], servers: list[dict[str, Any]]) -> None:
    style = Style.of(sys.stdout)
    for fact in facts:
        problem = style.paint(f"   <- {clean(fact.problem)}", "red") if fact.problem else ""
        print(f"{fact.what:<12} {clean(fact.found)}{problem}")
    for server in servers:
        state = style.paint(clean(server["error"]), "red") if server["error"] else f"version {clean(server['version'])}"
        amount = f"{size(server['waiting_bytes'])} of {counted(server['waiting_runs'], 'run')}"
        rest = f"; {amount} pending, 'tracker sync' sends them" if server["waiting_runs"] else ""
        print(f"{'sink':<12} {server['sink']}: {state}{rest}")
    if not any(fact.problem for fact in facts) and not any(server["error"] for server in servers):
        print(style.paint("no problems found", "green"))


def _unsent(api: Api) -> dict[str, dict[str, int]]:
    """Return, for each server that runs are sent to, the runs that are not complete there and the bytes they lack."""
    from tracker.reading.api import run_directories

    unsent: dict[str, dict[str, int]] = {}
    for directory in run_directories(api.dir):
        for progress in all_progress(directory):
            behind = progress.behind_bytes(directory)
            runs = unsent.setdefault(progress.address, {})
            if behind:
                runs[directory.name] = behind
    return unsent


def _facts(api: Api) -> Iterator[Fact]:
    """Yield the facts about this program and the directory."""
    from tracker.reading.api import run_directories
    from tracker.reading.catalog_file import catalog_paths
    from tracker.reading.stores import read_state

    yield Fact("tracker", f"{__version__}, Python {platform.python_version()} on {platform.system()}")
    exists = api.dir.is_dir()
    parent = api.dir if exists else api.dir.parent
    writable = os.access(parent, os.W_OK)
    what = str(api.dir) if exists else f"{api.dir}, which the first run creates"
    yield Fact("directory", what, "" if writable else f"{parent} is not writable")
    yield Fact("disk", *_disk(api.dir, parent))
    serving = list(_sidecars(api.dir))
    yield Fact("sidecars", ", ".join(serving) or "none running")
    runs = run_directories(api.dir)
    orphaned = [directory.name for directory in runs if needs_recovery(directory)]
    unreadable = [directory.name for directory in runs if read_state(directory)["state"] == "unreadable"]
    problems = [f"{some(orphaned)} not finished by a sidecar that died: run 'tracker sync'"] if orphaned else []
    problems += [f"{some(unreadable)} cannot be read: 'tracker verify' says why"] if unreadable else []
    yield Fact("runs", f"{len(runs):,}, {size(directory_bytes(api.dir))}", "; ".join(problems))
    for path in catalog_paths(api.dir):
        if path.is_file():
            yield Fact("catalog", f"{path}, {size(path.stat().st_size)}; deleting it is safe")
            break


def _disk(root: Path, existing: Path) -> tuple[str, str]:
    kind = "local" if on_local_disk(root) else "on a network: windows are kept in this machine's temporary directory"
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return kind, ""
    problem = f"only {size(free)} free" if free < _LOW_DISK_BYTES else ""
    return f"{kind}, {size(free)} free", problem


def _sidecars(root: Path) -> Iterator[str]:
    for file in sorted((root / SIDECARS_NAME).glob("*.json")):
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            continue
        if process_lives(connection):
            yield f"process {connection.pid} at {connection.control}"
