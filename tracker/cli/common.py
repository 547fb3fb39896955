"""What the commands share: their errors, their common options, JSON that every program can read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from sidecar.protocol.limits import MAX_STEP
from sidecar.protocol.plain import json_value
from tracker.reading.api import Api

Command: TypeAlias = Callable[[argparse.Namespace], int]
"""Runs a command and returns its exit code."""


class CommandError(Exception):
    """A command cannot do what it was asked: one clear line, exit code 1."""


class UsageError(Exception):
    """A command was asked in a way it does not understand: one clear line, exit code 2."""


class Commands:
    """Adds commands to a parser, all in the same form."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")

    def add(
        self, name: str, run: Command, line: str, *, about: str = "", examples: str = "", json_data: bool = False
    ) -> argparse.ArgumentParser:
        """Add a command; return its parser, for its own arguments.

        Args:
            name: as it is typed.
            run: what it does.
            line: what it is for, in one line.
            about: more about it.
            examples: command lines with what they do.
            json_data: whether it prints data, and so has ``--json``.
        """
        parser = self._commands.add_parser(
            name,
            help=line[0].lower() + line[1:].rstrip("."),
            description=f"{line}\n\n{about}".rstrip(),
            epilog=f"examples:\n{examples}".rstrip() if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(run=run)
        if json_data:
            parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        add_dir(parser)
        return parser


def add_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--dir``; it may stand before or after the command's name."""
    parser.add_argument(
        "--dir",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the directory that holds the runs (default: $TRACKER_DIR, else ./.tracker); to look at runs also "
        "clickhouse+http://HOST:8123/DATABASE",
    )


def api_of(args: argparse.Namespace) -> Api:
    """Return the Api for the directory, or the server, that the command line names."""
    try:
        return Api(getattr(args, "dir", None), getattr(args, "stalled_after", None))
    except ValueError as error:
        raise UsageError(str(error)) from error


def directory_api_of(args: argparse.Namespace) -> Api:
    """Return the Api for a directory, for a command that needs what lies in one.

    Raises:
        CommandError: the command line names a server.
    """
    refuse_server(args)
    return api_of(args)


def refuse_server(args: argparse.Namespace) -> None:
    """Raise `CommandError` where the command line names a server in the place of a directory."""
    place = getattr(args, "dir", None)
    if isinstance(place, str) and "://" in place:
        raise CommandError(f"it works on a directory of runs, and {place} is a server")


def key_list(text: str) -> list[str]:
    """Read ``"a,b"`` as the list of names that it is."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_number(least: int, most: int = MAX_STEP) -> Callable[[str], int]:
    """Return a reader of integers from `least` to `most`, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{value} is too large; at most {most}")
        return value

    return read


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False, default=str)


def print_json(value: Any) -> None:
    """Print `value` as JSON for people and programs."""
    print(json.dumps(json_value(value), ensure_ascii=False, allow_nan=False, default=str, indent=2))


def say(line: str) -> None:
    """Print a line for people on standard error, where it does not get into the data."""
    print(line, file=sys.stderr)
