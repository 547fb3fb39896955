"""The console script ``tracker``: reads the command line, runs one command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from sidecar.protocol.errors import SidecarError
from tracker.cli import exporting, keeping, log_command, reading, sending, tail
from tracker.cli.common import CommandError, Commands, UsageError, add_dir
from tracker.cli.table import clean
from tracker.errors import TrackerError

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

_ABOUT = """\
Look at, follow, export, check and keep the runs that were tracked on this machine.
Runs are in the directory ./.tracker, or where TRACKER_DIR or --dir says."""

_EXAMPLES = """\
examples:
  tracker ls                         all runs, newest first
  tracker show 7f3k2m9q              one run: config, summary, how it ended
  tracker tail 7f3k2m9q              follow a run that is going on
  tracker export 7f3k2m9q > run.csv  its history as a table
  tracker COMMAND --help             more about a command, with examples
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="tracker", description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"tracker {_version()}")
    add_dir(parser)
    commands = Commands(parser)
    reading.add_to(commands)
    tail.add_to(commands)
    exporting.add_to(commands)
    log_command.add_to(commands)
    keeping.add_to(commands)
    sending.add_to(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("tracker-sidecar")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code: 0, 1 for a failure, 2 for bad usage, 130 for Ctrl-C."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if args.command == "log" and not any(text.startswith("-") for text in rest):
        args.values += rest  # argparse takes no more of a list of arguments once an option stood in between
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if args.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        _drop_stdout()
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except UsageError as error:
        return _fail(args.command, error, EXIT_USAGE)
    except (CommandError, SidecarError, TrackerError, OSError) as error:
        return _fail(args.command, error, EXIT_FAILURE)


def _fail(command: str, error: Exception, code: int) -> int:
    line = clean(" ".join(str(error).split()))
    print(f"tracker {command}: {line}", file=sys.stderr)
    return code


def _drop_stdout() -> None:
    """Let nothing more be written to a pipe that is gone, not even by the interpreter when it ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is no file, or is closed
        return
    finally:
        os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
