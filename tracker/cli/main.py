"""The console script ``tracker``: reads the command line, runs one command, turns errors into exit codes.

Only the module of the command that was typed is imported, so that each starts quickly however many there are.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence

from sidecar import __version__
from sidecar.protocol.errors import SidecarError
from tracker.cli.common import Command, CommandError, Commands, Parser, UsageError, add_dir
from tracker.errors import TrackerError
from tracker.terminal.text import clean

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

_COLLECTION = (100_000, 20, 20)
"""Thresholds of the garbage collector, for commands that hold ten thousand runs and end soon."""

COMMANDS: dict[str, tuple[Command, ...]] = {
    "look at runs": (
        Command("ls", "List runs, newest first.", ("list",)),
        Command("show", "Show one run: config, metrics, how it ended."),
        Command("compare", "Compare runs: the config that differs, summaries side by side.", ("diff",)),
        Command("top", "Show runs and their charts in the terminal, live."),
        Command("tail", "Print the last rows of a run, and follow it until it ends."),
        Command("export", "Write the full history of a run as CSV, JSON lines or Parquet."),
        Command("ui", "Open the dashboard: all runs in the browser, with charts."),
    ),
    "change runs": (
        Command("log", "Log metrics to a run."),
        Command("edit", "Rename, tag, note, group, color or delete runs, and undo it."),
        Command("rm", "Remove runs for good: log, store and files."),
    ),
    "keep them in order": (
        Command("doctor", "Check the setup and list what is pending."),
        Command("sync", "Finish runs of processes that died, and send runs to their servers."),
        Command("verify", "Check the logs and stores of runs."),
        Command("rebuild", "Rebuild the store of a run from its log."),
    ),
}
"""Every command there is, by the heading under which ``tracker --help`` lists it."""

_ABOUT = """\
Look at, compare, follow, export and check the runs tracked on this machine. Runs are kept in the nearest .tracker, in
this directory or one above it; --dir or TRACKER_DIR names another."""

_EXAMPLES = """\
examples:
  tracker ls                         all runs, newest first
  tracker show last                  the newest run
  tracker compare                    the last two runs
  tracker tail 7f3k                  follow a run by the beginning of its id
  tracker export 7f3k > run.csv      its history as a table

RUN is an id, a unique prefix of one, a name, or 'last'.
'tracker COMMAND --help' explains a command, with examples.
"""


def _rows() -> list[Command]:
    return [command for group in COMMANDS.values() for command in group]


def make_parser() -> Parser:
    """Return the parser of what may stand before the command's name."""
    width = max(len(command.name) for command in _rows())
    lists = []
    for heading, group in COMMANDS.items():
        lists += [f"{heading}:", *(f"  {command.name:<{width}}  {_sentence(command.line)}" for command in group), ""]
    parser = Parser(
        prog="tracker",
        usage="tracker [--dir PATH] COMMAND ...",
        description=_ABOUT,
        epilog="\n".join([*lists, _EXAMPLES]),
    )
    version = f"tracker {__version__}"
    parser.add_argument("-V", "-v", "--version", action="version", version=version, help="print the version and exit")
    add_dir(parser)
    return parser


def _sentence(line: str) -> str:
    return line[0].lower() + line[1:].rstrip(".")


def command_parser(name: str) -> Parser:
    """Return the parser of a command, by its name or an alias.

    Raises:
        UsageError: there is no such command.
    """
    rows = _rows()
    for command in rows:
        if name == command.name or name in command.aliases:
            commands = Commands(rows)
            importlib.import_module(f"tracker.cli.{command.name}").add(commands)
            return commands.parsers[command.name]
    known = {word: command.name for command in rows for word in (command.name, *command.aliases)}
    near = difflib.get_close_matches(name, known, 1, 0.5)
    remedy = f"did you mean '{known[near[0]]}'?" if near else f"the commands are {', '.join(row.name for row in rows)}"
    raise UsageError(f"there is no command {name!r}; {remedy}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; ``command`` is None in what is returned if it names no command.

    Raises:
        UsageError: there is no such command. SystemExit: bad arguments (2), or help was asked for (0).
    """
    top = make_parser()
    at = _command_index(argv)
    args = top.parse(argv[:at])
    if at == len(argv):
        args.command = None
        return args
    return command_parser(argv[at]).parse(argv[at + 1 :], args)


def _command_index(argv: Sequence[str]) -> int:
    """Return where the command's name stands; only options and their values stand before it."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] == "--dir" else 1
    return min(at, len(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code: 0, 1 for a failure, 2 for bad usage, 130 for Ctrl-C."""
    _tolerate_encoding()
    if argv is None:  # the process is ours
        gc.set_threshold(*_COLLECTION)
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        return _fail("", error, EXIT_USAGE)
    if args.command is None:
        make_parser().print_help(sys.stderr)
        return EXIT_USAGE
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        _discard_stdout()
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except UsageError as error:
        return _fail(f" {args.command}", error, EXIT_USAGE)
    except (CommandError, SidecarError, TrackerError, OSError) as error:
        return _fail(f" {args.command}", error, EXIT_FAILURE)


def _tolerate_encoding() -> None:
    """Have characters that a terminal or a file cannot encode written as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(command: str, error: Exception, code: int) -> int:
    line = clean(" ".join(str(error).split()))
    print(f"tracker{command}: {line}", file=sys.stderr)
    return code


def _discard_stdout() -> None:
    """Keep everything, the interpreter's exit included, from writing to a pipe that is closed."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is not a file, or is closed
        return
    finally:
        os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
