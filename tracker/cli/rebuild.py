"""``tracker rebuild``: rebuilds stores from their logs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.errors import SidecarError
from tracker.cli.common import RUN_HELP, CommandError, Commands, directories, directory_api_of, print_json, say
from tracker.terminal.progress import Progress
from tracker.terminal.text import counted, size

if TYPE_CHECKING:
    from sidecar.projections.rebuild import Rebuilt

_ABOUT = """\
The log is the source of truth and the store a projection of it, so nothing is lost by this. The new store replaces the
old one when it is complete. A run that a sidecar still writes to is refused."""

_EXAMPLES = """\
  tracker rebuild 7f3k2m9q
  tracker rebuild              all runs"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("rebuild", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_ref", metavar="RUN", nargs="?", help=f"{RUN_HELP} (default: all runs)")


def run(args: argparse.Namespace) -> int:
    """Rebuild stores."""
    from sidecar.projections.rebuild import RunHeldError, rebuild

    api = directory_api_of(args)
    done: list[Rebuilt] = []
    errors: list[str] = []
    for directory in directories(api, args.run_ref):
        try:
            with Progress(f"rebuild {directory.name}") as progress:
                rebuilt = rebuild(directory, progress)
        except RunHeldError as error:
            errors.append(str(error))
            continue
        except (SidecarError, OSError) as error:
            errors.append(f"run {directory.name!r}: {error}")
            continue
        done.append(rebuilt)
        if not args.json:
            records, values = counted(rebuilt.records, "record"), counted(rebuilt.points, "value")
            print(f"{rebuilt.run}: {records}, {values}, {size(rebuilt.size)}")
            _report_damage(rebuilt.run, rebuilt.damage, rebuilt.old_store)
    if args.json:
        print_json([_to_map(rebuilt) for rebuilt in done])
    if errors:
        raise CommandError("; ".join(errors))
    if not done:
        say(f"no runs in {api.place}")
    return 0


def _to_map(rebuilt: Rebuilt) -> dict[str, Any]:
    return {
        "run": rebuilt.run,
        "records": rebuilt.records,
        "points": rebuilt.points,
        "bytes": rebuilt.size,
        "damage": [list(stretch) for stretch in rebuilt.damage],
        "kept": None if rebuilt.old_store is None else str(rebuilt.old_store),
    }


def _report_damage(run_id: str, damage: list[tuple[int, int]], old_store: Path | None) -> None:
    if damage:
        lost = counted(sum(end - start for start, end in damage), "byte")
        say(f"{run_id}: {lost} of the log are damaged and were skipped; 'tracker verify {run_id}' names them")
    if old_store is not None:
        say(f"{run_id}: the old store held more than the damaged log does, and was kept as {old_store.name}")
