"""What the commands share: their parsers, errors and common options, and JSON that every program can read."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from sidecar.protocol.limits import MAX_STEP
from sidecar.protocol.plain import json_value

if TYPE_CHECKING:
    from tracker.reading.api import Api

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""Runs a command and returns its exit code."""


class CommandError(Exception):
    """The command failed: one clear line, exit code 1."""


class UsageError(Exception):
    """The command line is not valid: one clear line, exit code 2."""


class Command(NamedTuple):
    """A row of the table of commands.

    Attributes:
        name: as it is typed, and the name of its module in ``tracker.cli``.
        line: what it does, in one sentence.
        aliases: other names for it.
    """

    name: str
    line: str
    aliases: tuple[str, ...] = ()


class HelpFormatter(argparse.HelpFormatter):
    """Fills the paragraphs of descriptions, and keeps lines that are indented, such as examples.

    Where an example and the remark beside it are too long for the terminal, the remark is below it.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for paragraph in text.split("\n\n"):
            written = paragraph.split("\n")
            if any(line.startswith(" ") for line in written):
                lines += [part for line in written for part in self._kept(line, width + 2)]
            else:
                lines += textwrap.wrap(" ".join(written), width, break_on_hyphens=False)
            lines.append("")
        return "\n".join(indent + line for line in lines).rstrip()

    @staticmethod
    def _kept(line: str, width: int) -> list[str]:
        command, gap, remark = line.strip().partition("  ") if len(line) > width else (line, "", "")
        return [f"  {command}", f"      {remark.strip()}"] if gap else [line]


class Parser(argparse.ArgumentParser):
    """The parser of one command. Unlike argparse's, it accepts values that begin with "-" where an option allows them,
    and suggests an option for one that does not exist.

    Attributes:
        signed: options whose value may begin with "-", such as ``--order -start_time``.
        overflow: the positional list that also takes the words after an option, which argparse leaves over.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **options)
        self.signed: set[str] = set()
        self.overflow: str | None = None

    def parse(self, words: Sequence[str], namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        """Parse the words of a command line; exit with code 2 and the usage if they are not valid."""
        args, rest = self.parse_known_args(self._joined(words), namespace)
        if self.overflow is not None and not any(word.startswith("-") for word in rest):
            getattr(args, self.overflow).extend(rest)
        elif rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}{self._suggestion(rest)}")
        return args

    def _joined(self, words: Sequence[str]) -> list[str]:
        """Return `words` with each signed option and its value as one word."""
        joined: list[str] = []
        for word in words:
            is_value = word.startswith("-") and word not in self._option_string_actions
            if joined and joined[-1] in self.signed and is_value:
                joined[-1] = f"{joined[-1]}={word}"
            else:
                joined.append(word)
        return joined

    def _suggestion(self, rest: Sequence[str]) -> str:
        for word in rest:
            near = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, 1)
            if word.startswith("--") and near:
                return f"; did you mean {near[0]}?"
        return ""

    def error(self, message: str) -> NoReturn:
        """Print the usage and `message` on standard error; exit with code 2."""
        super().error(" ".join(message.split()))


class Commands:
    """Makes the parsers of commands, all in the same form."""

    def __init__(self, table: Sequence[Command]) -> None:
        self._table = {command.name: command for command in table}
        self.parsers: dict[str, Parser] = {}

    def add(
        self,
        name: str,
        run: Run,
        *,
        about: str = "",
        examples: str = "",
        json_data: bool = False,
        several_dirs: bool = False,
    ) -> Parser:
        """Make the parser of the command `name`; return it, for its own arguments.

        Args:
            name: its name in the table, which has its one line.
            run: its body.
            about: more about it.
            examples: command lines, each with what it does.
            json_data: whether it prints data, and so has ``--json``.
            several_dirs: whether ``--dir`` may be repeated; ``dirs`` then has what stood after the command's name.
        """
        command = self._table[name]
        also = f"\n\nAlso: tracker {', tracker '.join(command.aliases)}" if command.aliases else ""
        parser = Parser(
            prog=f"tracker {name}",
            description=f"{command.line}\n\n{about}".rstrip() + also,
            epilog=f"examples:\n{examples}".rstrip() if examples else None,
        )
        parser.set_defaults(run=run, command=name)
        if json_data:
            parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        if several_dirs:
            help_text = (
                "a directory of runs, or a server's address; may be repeated "
                "(default: $TRACKER_DIR, else the nearest .tracker)"
            )
            parser.add_argument("--dir", dest="dirs", metavar="PATH", action="append", help=help_text)
        else:
            add_dir(parser)
        self.parsers[name] = parser
        return parser


def add_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--dir``, which may stand before or after the command's name."""
    parser.add_argument(
        "--dir",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the directory that holds the runs (default: $TRACKER_DIR, else the nearest .tracker)",
    )


RUN_HELP = "the run's id, a unique prefix of it, its name, or 'last'"


def api_of(args: argparse.Namespace) -> Api:
    """Return the Api for the directory, or the server, that the command line names.

    Raises:
        CommandError: it names a directory that does not exist.
    """
    from tracker.reading.api import Api

    named = getattr(args, "dir", None)
    if not is_address(named):
        _check_directory(named or os.environ.get("TRACKER_DIR"), "" if named else " (from TRACKER_DIR)")
    try:
        return Api(named, getattr(args, "stalled_after", None))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_directory(named: str | None, origin: str) -> None:
    path = Path(named).expanduser() if named else None
    if path is None or path.is_dir():
        return
    if path.exists():
        raise CommandError(f"{named} is not a directory{origin}")
    raise CommandError(f"there is no directory {named}{origin}")


def directory_api_of(args: argparse.Namespace) -> Api:
    """Return the Api for a directory, for a command that needs what lies in one.

    Raises:
        CommandError: the command line names a server, or a directory that does not exist.
    """
    refuse_server(args)
    return api_of(args)


def directories(api: Api, ref: str | None) -> list[Path]:
    """Return the directory of the run that `ref` names, or those of all runs, after what dead processes left of them
    was recovered.
    """
    from tracker.reading.api import recover, run_directories

    if ref is not None:
        return [api.run(ref).dir]
    recover(api.dir)
    return run_directories(api.dir)


def directory_bytes(directory: Path) -> int:
    """Return the size of all files below a directory; files that disappear meanwhile do not count."""
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def is_address(named: Any) -> bool:
    """Whether `named` is the address of a server, not a path."""
    return isinstance(named, str) and "://" in named


def refuse_server(args: argparse.Namespace) -> None:
    """Raise `CommandError` if the command line names a server instead of a directory."""
    named = getattr(args, "dir", None)
    if is_address(named):
        raise CommandError(f"needs a directory of runs, and {named} is a server")


def key_list(text: str) -> list[str]:
    """Read ``"a,b"`` as a list of names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_number(least: int, most: int = MAX_STEP) -> Callable[[str], int]:
    """Return a reader of integers from `least` to `most`, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{value} is too large; it must be at most {most}")
        return value

    return read


def seconds(text: str) -> float:
    """Read a positive number of seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds over 0")
    return value


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON."""
    from tracker.reading import exporting

    return exporting.json_line(value, ascii_only=not shows_unicode(sys.stdout))


def print_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    escaped = not shows_unicode(sys.stdout)
    print(json.dumps(json_value(value), ensure_ascii=escaped, allow_nan=False, default=str, indent=2))


def shows_unicode(stream: Any) -> bool:
    """Whether a stream's encoding has all characters."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")


def say(line: str) -> None:
    """Print a line for people on standard error, out of the way of the data."""
    print(line, file=sys.stderr)
