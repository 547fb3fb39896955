"""``tracker verify``: checks logs and stores."""

from __future__ import annotations

import argparse
import sys

from tracker.cli.common import RUN_HELP, CommandError, Commands, directories, directory_api_of, print_json, say
from tracker.cli.table import Column, screen_width, table
from tracker.terminal.progress import Progress
from tracker.terminal.style import Style
from tracker.terminal.text import clean, counted, size, some

_ABOUT = """\
Reads the transaction log of each run: every checksum, and the numbers of every client's records, which must have no
gap and no repeat; then compares the store with the log. Names the damaged bytes and the missing numbers. Changes
nothing; exits with 1 if anything is wrong."""

_EXAMPLES = """\
  tracker verify
  tracker verify last
  tracker verify --json | jq '.[] | select(.ok | not)'"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("verify", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_ref", metavar="RUN", nargs="?", help=f"{RUN_HELP} (default: all runs)")


def run(args: argparse.Namespace) -> int:
    """Check runs."""
    from sidecar.projections.rebuild import verify

    api = directory_api_of(args)
    checked = []
    for directory in directories(api, args.run_ref):
        with Progress(f"verify {directory.name}") as progress:
            checked.append(verify(directory, progress))
    if args.json:
        print_json([check.to_map() for check in checked])
    elif checked:
        style = Style.of(sys.stdout)
        heads = [
            Column("RUN", least=8),
            *(Column(head, right=True) for head in ("RECORDS", "VALUES", "LOG")),
            Column("STATUS", paint=lambda text, shown: style.paint(shown, "green" if text == "ok" else "red")),
        ]
        rows = [
            [
                check.run,
                f"{check.log.records:,}",
                f"{check.log.points:,}",
                size(check.log.size),
                counted(len(check.problems), "problem") if check.problems else "ok",
            ]
            for check in checked
        ]
        print("\n".join(table(heads, rows, screen_width())))
        for check in checked:
            for line in [*check.problems, *(f"note: {note}" for note in check.store.notes)]:
                print(f"{check.run}: {clean(line)}")
    else:
        say(f"no runs in {api.place}")
    bad = [check.run for check in checked if check.problems]
    if bad:
        raise CommandError(f"{counted(len(bad), 'run')} {'has' if len(bad) == 1 else 'have'} problems: {some(bad)}")
    return 0
