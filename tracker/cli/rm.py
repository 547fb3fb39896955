"""``tracker rm``: removes runs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.protocol.layout import is_held
from tracker.cli.common import RUN_HELP, CommandError, Commands, UsageError, directory_api_of, directory_bytes, say
from tracker.cli.select import WHERE_HELP, add_deleted, add_selection, is_selected, nothing_selected, selected
from tracker.cli.table import Column, table
from tracker.reading.references import LAST
from tracker.terminal.style import Style
from tracker.terminal.text import counted, size

if TYPE_CHECKING:
    from tracker.reading.api import Api, StoredRun

_ABOUT = f"""\
Lists the runs and their size, and asks before it removes them. With --yes, a prefix of an id is not enough.

{WHERE_HELP}"""

_EXAMPLES = """\
  tracker rm 7f3k2m9q
  tracker rm --yes 7f3k2m9q 9q2m7f3k
  tracker rm --where state=failed --where 'start_time<30d'
  tracker rm --deleted                                       what 'tracker edit --delete' hid"""

_LISTED = 20
"""Runs that are listed before the question, at most."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("rm", run, about=_ABOUT, examples=_EXAMPLES)
    parser.add_argument("run_refs", metavar="RUN", nargs="*", help=RUN_HELP)
    add_selection(parser)
    add_deleted(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument(
        "--force", action="store_true", help="remove runs that are still written to, too; what they log next is lost"
    )


def run(args: argparse.Namespace) -> int:
    """Remove runs."""
    from sidecar.projections.rebuild import RunHeldError, hold

    api = directory_api_of(args)
    runs = _chosen(api, args)
    if not runs:
        say(nothing_selected(api, args))
        return 0
    if not args.force:
        for run in runs:
            holder = is_held(run.dir)
            if holder is not None:
                raise CommandError(f"{RunHeldError(run.id, holder)}, or pass --force")
    total = sum(directory_bytes(run.dir) for run in runs)
    if not args.yes and not _confirmed(runs, total):
        return 1
    for run in runs:
        if args.force and is_held(run.dir) is not None:
            _remove(run.dir)
            continue
        with hold(run.dir):
            _remove(run.dir)
    say(f"removed {counted(len(runs), 'run')}, {size(total)}")
    return 0


def _chosen(api: Api, args: argparse.Namespace) -> list[StoredRun]:
    if bool(args.run_refs) == is_selected(args):
        raise UsageError("give either RUN or --where, --project and --deleted; nothing was removed")
    if is_selected(args):
        return list(selected(api, args))
    runs = {run.id: run for run in (_named(api, str(ref), whole=args.yes) for ref in args.run_refs)}
    return list(runs.values())


def _named(api: Api, ref: str, *, whole: bool) -> StoredRun:
    """Return the run that `ref` names; if `whole`, a prefix of its id is not enough.

    Otherwise ``rm --yes exp1``, run a second time, would remove exp10.
    """
    run = api.run(ref)
    if whole and ref != run.name and ref.rpartition("/")[2] not in (run.id, run.name, LAST):
        raise UsageError(f"{ref!r} is a prefix; with --yes give the whole id: {run.id}")
    return run


def _confirmed(runs: list[StoredRun], total: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("standard input is not a terminal; pass --yes to remove without confirmation")
    heads = [
        Column("ID"),
        Column("NAME"),
        Column("STATE", paint=Style.of(sys.stderr).state),
        Column("SIZE", right=True),
    ]
    rows = [
        [run.id, "" if run.name == run.id else run.name, run.state, size(directory_bytes(run.dir))]
        for run in runs[:_LISTED]
    ]
    say("\n".join(table(heads, rows)))
    if len(runs) > _LISTED:
        say(f"and {len(runs) - _LISTED} more")
    noun = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    sys.stderr.write(f"Remove {noun} ({size(total)}) for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was removed")
    return False


def _remove(directory: Path) -> None:
    """Move the run out of sight in one step, then delete it."""
    removed = directory.with_name(f".removed-{directory.name}-{os.getpid()}")
    os.rename(directory, removed)
    shutil.rmtree(removed)
