"""``python -m tests.tools.conformance --command '<program>'``: plays the scenarios and reports the program's faults."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from tests.tools import conformance
from tests.tools.conformance.processes import NotServingError
from tests.tools.conformance.scenarios import SCENARIOS, Outcome, Size, play_all
from tests.tools.conformance.vectors import VECTORS, written


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 nothing wrong, 1 something wrong, 2 bad usage or no sidecar."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.conformance",
        description=conformance.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {one.name:<10}{one.about}" for one in SCENARIOS),
    )
    parser.add_argument("--command", help="the client's program, as in a shell; arguments are appended")
    parser.add_argument("--only", help="names of scenarios, such as plain,killed (default: all)")
    parser.add_argument("--steps", type=int, default=Size.steps, help="steps of each run (default: %(default)s)")
    parser.add_argument(
        "--interval", type=int, default=Size.interval, help="milliseconds per step (default: %(default)s)"
    )
    parser.add_argument("--kills", type=int, default=Size.kills, help="kills of the sidecar (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--without-rows", action="store_true", help="the client writes only 'log' records, no rows")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep runs and output in this new directory")
    parser.add_argument("--write-vectors", action="store_true", help=f"write {VECTORS.name} again, and exit")
    options = parser.parse_args(arguments)
    if options.write_vectors:
        VECTORS.write_text(written())
        return 0
    if not options.command or not shutil.which(shlex.split(options.command)[0]):
        parser.error(f"--command {options.command or ''!r}: program not found")
    if options.steps < 3 or options.interval < 1 or options.kills < 0:
        parser.error("--steps must be at least 3, --interval at least 1, --kills at least 0")
    names = [one.name for one in SCENARIOS]
    wanted = options.only.split(",") if options.only else names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"--only {','.join(unknown)}: unknown; the scenarios are {', '.join(names)}")
    if options.without_rows:
        without = [one.name for one in SCENARIOS if not one.rows]
        if options.only and (left_out := sorted(set(wanted) - set(without))):
            parser.error(f"--only {options.only}: {', '.join(left_out)} cannot be played with --without-rows")
        wanted = [name for name in wanted if name in without]
    if options.keep is not None and options.keep.exists():
        parser.error(f"--keep {options.keep}: already exists; name a new directory")
    size = Size(options.steps, options.interval, options.kills, options.seed)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        outcomes = play_all(
            [one for one in SCENARIOS if one.name in wanted],
            _absolute(options.command),
            directory.resolve(),
            size,
            (lambda outcome: None) if options.json else _tell,
        )
    except NotServingError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    holds = not any(outcome.wrong for outcome in outcomes)
    if options.json:
        print(json.dumps(_as_map(options.command, size, outcomes), indent=1, ensure_ascii=False))
    else:
        print("The client conforms to the protocol." if holds else f"To repeat it: --seed {size.seed}")
    return 0 if holds else 1


def _absolute(command: str) -> str:
    """Return `command` with the path of its program made absolute: it runs in another directory."""
    program, *rest = shlex.split(command)
    return shlex.join([str(Path(shutil.which(program) or program).absolute()), *rest])


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.scenario.name:<9}{'WRONG' if outcome.wrong else 'ok':<7}{outcome.seconds:5.1f} s", flush=True)
    for line in [*outcome.wrong, *(f"Note: {note}" for note in outcome.notes)]:
        print(f"    {line}", flush=True)


def _as_map(command: str, size: Size, outcomes: list[Outcome]) -> dict[str, object]:
    return {
        "command": command,
        "seed": size.seed,
        "holds": not any(outcome.wrong for outcome in outcomes),
        "scenarios": [
            {
                "name": one.scenario.name,
                "about": one.scenario.about,
                "seconds": round(one.seconds, 1),
                "wrong": one.wrong,
                "notes": one.notes,
            }
            for one in outcomes
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
