"""The commands that keep runs in order: verify, rebuild, rm."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import is_held
from tracker.cli.common import CommandError, Commands, UsageError, directory_api_of, print_json, say
from tracker.cli.table import Column, clean, counted, size, some, table
from tracker.reading.api import Api, StoredRun, recover, run_directories
from tracker.terminal.progress import Progress

_VERIFY_ABOUT = """\
Reads each run's transaction log: every checksum, and every client's numbers, which must have no gap and no repeat.
Compares the store with it. Names the damaged bytes and the missing numbers; exits with 1 if anything is wrong."""

_REBUILD_ABOUT = """\
The log is the truth and the store a projection of it, so nothing is lost by this. The new store replaces the old one
when it is whole. A run that is going on is refused."""


def add_to(commands: Commands) -> None:
    """Add verify, rebuild and rm."""
    verify = commands.add(
        "verify",
        run_verify,
        "Check the logs and stores of runs.",
        about=_VERIFY_ABOUT,
        examples="  tracker verify\n  tracker verify 7f3k2m9q\n  tracker verify --json | jq '.[] | select(.ok | not)'",
        json_data=True,
    )
    verify.add_argument("id", metavar="RUN", nargs="?", help="the run's id (default: all runs)")
    rebuild = commands.add(
        "rebuild",
        run_rebuild,
        "Make the store anew from the log alone.",
        about=_REBUILD_ABOUT,
        examples="  tracker rebuild 7f3k2m9q\n  tracker rebuild",
        json_data=True,
    )
    rebuild.add_argument("id", metavar="RUN", nargs="?", help="the run's id (default: all runs)")
    rm = commands.add(
        "rm",
        run_rm,
        "Remove runs: log, store and files, for good.",
        examples="  tracker rm 7f3k2m9q\n  tracker rm --yes 7f3k2m9q 9q2m7f3k",
    )
    rm.add_argument("ids", metavar="RUN", nargs="+", help="the ids of the runs")
    rm.add_argument("-y", "--yes", action="store_true", help="do not ask")
    rm.add_argument("--force", action="store_true", help="remove it also while it goes on; what it still logs is lost")


def _directories(api: Api, run_id: str | None) -> list[Path]:
    """Return the directory of one run, or of all."""
    if run_id is not None:
        return [api.run(run_id).dir]
    recover(api.dir)
    return run_directories(api.dir)


def run_verify(args: argparse.Namespace) -> int:
    """Check runs."""
    from sidecar.projections.rebuild import verify

    api = directory_api_of(args)
    found = []
    for directory in _directories(api, args.id):
        with Progress(f"verify {directory.name}") as progress:
            found.append(verify(directory, progress))
    wrong = [one for one in found if one.problems]
    if args.json:
        print_json([one.to_map() for one in found])
    elif found:
        heads = [Column("RUN", least=8), *(Column(head, right=True) for head in ("RECORDS", "VALUES", "LOG"))]
        rows = [
            [
                one.run,
                f"{one.log.records:,}",
                f"{one.log.points:,}",
                size(one.log.size),
                counted(len(one.problems), "problem") if one.problems else "good",
            ]
            for one in found
        ]
        print("\n".join(table([*heads, Column("FOUND")], rows)))
        for one in found:
            for line in [*one.problems, *(f"note: {note}" for note in one.store.notes)]:
                print(f"{one.run}: {clean(line)}")
    else:
        say(f"no runs in {api.dir}")
    if wrong:
        raise CommandError(
            f"{len(wrong)} of {counted(len(found), 'run')} not as it should be: {some([one.run for one in wrong])}"
        )
    return 0


def run_rebuild(args: argparse.Namespace) -> int:
    """Rebuild stores."""
    from sidecar.projections.rebuild import Rebuilt, RunHeldError, rebuild

    api = directory_api_of(args)
    done: list[Rebuilt] = []
    failed: list[str] = []
    for directory in _directories(api, args.id):
        try:
            with Progress(f"rebuild {directory.name}") as progress:
                rebuilt = rebuild(directory, progress)
        except RunHeldError as error:
            failed.append(str(error))
            continue
        except (SidecarError, OSError) as error:
            failed.append(f"run {directory.name!r}: {error}")
            continue
        done.append(rebuilt)
        if not args.json:
            print(
                f"{rebuilt.run}: {counted(rebuilt.records, 'record')}, {counted(rebuilt.points, 'value')}, "
                f"{size(rebuilt.size)}"
            )
            _say_damage(rebuilt.run, rebuilt.damage, rebuilt.kept)
    if args.json:
        print_json(
            [
                {
                    "run": one.run,
                    "records": one.records,
                    "points": one.points,
                    "bytes": one.size,
                    "damage": [list(stretch) for stretch in one.damage],
                    "kept": None if one.kept is None else str(one.kept),
                }
                for one in done
            ]
        )
    if failed:
        raise CommandError("; ".join(failed))
    if not done:
        say(f"no runs in {api.dir}")
    return 0


def _say_damage(run_id: str, damage: list[tuple[int, int]], kept: Path | None) -> None:
    if damage:
        lost = counted(sum(end - start for start, end in damage), "byte")
        say(f"{run_id}: {lost} of its log are damaged and were left out; `tracker verify {run_id}` says which")
    if kept is not None:
        say(f"{run_id}: the old store held more than the damaged log, and was kept as {kept.name}")


def run_rm(args: argparse.Namespace) -> int:
    """Remove runs."""
    from sidecar.projections.rebuild import RunHeldError, hold

    api = directory_api_of(args)
    runs = [api.run(run_id) for run_id in dict.fromkeys(args.ids)]
    if not args.force:
        for run in runs:
            where = is_held(run.dir)
            if where is not None:
                raise RunHeldError(run.id, where)
    if not args.yes and not _agreed(runs):
        return 1
    for run in runs:
        if args.force and is_held(run.dir) is not None:
            _remove(run.dir)
            continue
        with hold(run.dir):
            _remove(run.dir)
    return 0


def _agreed(runs: list[StoredRun]) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here; say --yes to remove without a question")
    for run in runs:
        name = "" if run.name == run.id else f"  {clean(run.name)}"
        say(f"{run.id}{name}  {run.state}  {size(_bytes(run.dir))}")
    noun = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    sys.stderr.write(f"Remove {noun} for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was removed")
    return False


def _bytes(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


def _remove(directory: Path) -> None:
    """Take the run away in one step, then delete what was taken."""
    gone = directory.with_name(f".removed-{directory.name}-{os.getpid()}")
    os.rename(directory, gone)
    shutil.rmtree(gone)
