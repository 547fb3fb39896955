"""Choosing runs and metrics on a command line: conditions, projects, the keys of ``--keys``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracker.cli.common import CommandError, UsageError
from tracker.errors import QueryError
from tracker.reading.root import kept_elsewhere
from tracker.terminal.text import some

if TYPE_CHECKING:
    from tracker.reading.api import Api, Runs, StoredRun

WHERE_HELP = """\
A condition is a field, one of = != < <= > >= ~ (a regular expression), and a value; quote it for the shell. Several are
joined by "and", "or", "not" and parentheses; --where may be repeated. Also: FIELD in [a, b], tags has baseline, FIELD
exists; a word alone is looked for in id, name, tags, notes and group. Fields: id, name, project, group, job_type, tags,
notes, state, step, start_time, end_time, duration, points, exit_code, reason, and any key of the config or the summary:
lr, or config.lr where both have it. Times are dates (2026-05-01) or ages (7d: seven days ago); a duration is 90s or
1h30m."""


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add ``--project`` and ``--where``."""
    parser.add_argument("-p", "--project", metavar="NAME", help="only runs of this project")
    parser.add_argument(
        "-w", "--where", metavar="CONDITION", action="append", default=[], help="only runs that meet this condition"
    )


def add_deleted(parser: argparse.ArgumentParser) -> None:
    """Add ``--deleted``."""
    parser.add_argument(
        "--deleted", action="store_true", help="the runs that 'tracker edit --delete' hid, instead of the others"
    )


def is_selected(args: argparse.Namespace) -> bool:
    """Whether the command line narrows the runs down."""
    return bool(args.where or args.project or getattr(args, "deleted", False))


def selected(api: Api, args: argparse.Namespace, order: str | None = None) -> Runs:
    """Return the runs that ``--project``, ``--where`` and ``--deleted`` select.

    Raises:
        UsageError: a condition or an order that is not valid.
    """
    conditions = [read_condition(text) for text in args.where]
    deleted = getattr(args, "deleted", False)
    try:
        runs = api.runs(args.project, {"$and": conditions} if conditions else None, order, deleted=deleted)
        len(runs)  # compares the values, and so finds conditions that do not fit them
    except ValueError as error:
        raise UsageError(str(error)) from error
    return runs


def nothing_selected(api: Api, args: argparse.Namespace) -> str:
    """Return the message for an empty list of runs."""
    if getattr(args, "deleted", False) and not (args.where or args.project):
        return f"no deleted runs in {api.place}"
    if is_selected(args):
        return f"no runs match ({len(api.runs())} in {api.place})"
    return f"no runs in {api.place}{kept_elsewhere(api.place)}"


def read_condition(text: str) -> dict[str, Any]:
    """Read ``"summary.loss<0.1 and config.lr=0.1"`` as a filter of `Api.runs`."""
    from tracker.reading.query import parse_query

    if not text.strip():
        raise UsageError(f"{text!r} is not a condition; try state=finished or 'summary.loss<0.1'")
    try:
        return parse_query(text)
    except QueryError as error:
        at = f" (at character {error.position + 1} of {text!r})" if error.position else ""
        raise UsageError(f"{error}{at}") from error


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add ``--keys``."""
    parser.add_argument(
        "--keys", metavar="KEYS", action="append", help="only these metrics, separated by commas; may be repeated"
    )


def read_keys(texts: Sequence[str], logged: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the metrics that ``--keys`` names, in its order, and those of them that are not among `logged`.

    A metric whose name contains commas is recognized.
    """
    known = set(logged)
    keys: list[str] = []
    for text in texts:
        parts = text.split(",")
        at = 0
        while at < len(parts):
            ends = range(len(parts), at, -1)
            names = (",".join(parts[at:end]).strip() for end in ends)
            end, name = next(
                ((end, name) for end, name in zip(ends, names, strict=True) if name in known),
                (at + 1, parts[at].strip()),
            )
            keys += [name] if name else []
            at = end
    keys = list(dict.fromkeys(keys))
    return keys, [key for key in keys if key not in known]


def never_logged(run: StoredRun, unknown: Sequence[str], logged: Sequence[str]) -> CommandError:
    """Return the error for metrics that a run does not have."""
    return CommandError(f"run {run.id!r} never logged {', '.join(unknown)}; it logged {some(logged, 10)}")
