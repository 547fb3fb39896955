"""``tracker edit``: changes what runs are called, tagged, noted and grouped as; deletes and undoes."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from sidecar.protocol.bodies import COLORS
from tracker.cli.common import RUN_HELP, CommandError, Commands, UsageError, api_of, print_json, say
from tracker.reading.query import read_value
from tracker.terminal.text import counted

if TYPE_CHECKING:
    from tracker.reading.stored_run import StoredRun

_ABOUT = f"""\
An edit is a record in the run's log. It takes precedence over what the run's own program logs, also later, and does not
resume the run. --undo takes the last edit back, up to 20 times. --delete hides a run from listings: 'tracker ls
--deleted' lists it, --undo restores it, 'tracker rm' removes it for good.

Colors are #rrggbb, {", ".join(COLORS)}, or none."""

_EXAMPLES = """\
  tracker edit last --name baseline --tag good --tag paper
  tracker edit 7f3k --untag good --note 'diverged after the warm-up'
  tracker edit 7f3k --group '' --color orange
  tracker edit 7f3k --set config.lr=0.01 --set summary.bleu=27.3
  tracker edit 7f3k 9q2m --delete                   hide two runs
  tracker edit 7f3k --undo"""

_CHANGES = ("name", "tag", "untag", "note", "group", "job_type", "color", "set")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("edit", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_refs", metavar="RUN", nargs="+", help=RUN_HELP)
    parser.overflow = "run_refs"
    parser.add_argument("--name", metavar="NAME", help="set the name")
    parser.add_argument("--tag", metavar="TAG", action="append", default=[], help="add a tag; may be repeated")
    parser.add_argument("--untag", metavar="TAG", action="append", default=[], help="remove a tag; may be repeated")
    parser.add_argument("--note", metavar="TEXT", help="set the notes; '' for none")
    parser.add_argument("--group", metavar="GROUP", help="set the group; '' for none")
    parser.add_argument("--job-type", metavar="TYPE", help="set the job type; '' for none")
    parser.add_argument("--color", metavar="COLOR", help="set the color of its curves")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a value of the config or the summary: config.lr=0.1, summary.best=3; may be repeated",
    )
    parser.add_argument("--undo", action="store_true", help="take the last edit back")
    parser.add_argument("--delete", action="store_true", help="hide the runs from listings, until --undo")
    parser.signed |= {"--note", "--name", "--group", "--tag", "--untag", "--job-type"}


def run(args: argparse.Namespace) -> int:
    """Edit runs."""
    from tracker.reading.editing import edit_runs

    chosen = [name for name in ("undo", "delete") if getattr(args, name)]
    if any(getattr(args, name) not in (None, []) for name in _CHANGES):
        chosen.append("changes")
    if len(chosen) != 1:
        raise UsageError("give either changes, such as --name or --tag, or --undo, or --delete; see --help")
    api = api_of(args)
    runs = list({run.id: run for run in (api.run(ref).refresh() for ref in args.run_refs)}.values())
    try:
        edits = [(run, _changes(run, args)) for run in runs]
        errors = edit_runs(edits)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    done = [run for run, error in zip(runs, errors, strict=True) if error is None]
    if args.json:
        print_json([run.to_map() for run in done])
    elif done:
        say(f"{'undone in' if args.undo else 'deleted' if args.delete else 'edited'} {counted(len(done), 'run')}")
    failed = [str(error) for error in errors if error is not None]
    if failed:
        raise CommandError("; ".join(failed))
    return 0


def _changes(run: StoredRun, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is to be changed in a run."""
    if args.undo:
        if not run.edits["undo"]:
            raise CommandError(f"run {run.id!r} has no edit that can be undone")
        return {"undo": True}
    if args.delete:
        return {"deleted": True}
    given = {"name": args.name, "notes": args.note, "group": args.group, "job_type": args.job_type}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if args.color is not None:
        changes["color"] = None if args.color in ("", "none") else args.color
    if args.tag or args.untag:
        changes["tags"] = [*(tag for tag in run.tags if tag not in args.untag), *args.tag]
    for text in args.set:
        part, path, value = _assignment(text)
        values = changes.setdefault(part, {})
        key, new = _nested({**(run.config if part == "config" else run.summary), **values}, path, value)
        values[key] = new
    return changes


def _assignment(text: str) -> tuple[str, str, Any]:
    """Read ``config.lr=0.1``."""
    name, equals, value = text.partition("=")
    part, dot, path = name.partition(".")
    if not equals or not dot or not path or part not in ("config", "summary"):
        raise UsageError(f"--set must be config.KEY=VALUE or summary.KEY=VALUE, not {text!r}")
    if value[:1] in ("[", "{"):
        try:
            return part, path, json.loads(value)
        except ValueError as error:
            raise UsageError(f"--set {text}: {value!r} is not valid JSON: {error}") from error
    return part, path, read_value(value)


def _nested(values: dict[str, Any], path: str, value: Any) -> tuple[str, Any]:
    """Return the key of `values` that `path` is in, and its new value: dots lead into nested maps that exist."""
    cut = len(path) if path in values else path.find(".")
    while 0 < cut < len(path):
        inner = values.get(path[:cut])
        if isinstance(inner, dict):
            key, new = _nested(dict(inner), path[cut + 1 :], value)
            return path[:cut], {**inner, key: new}
        cut = path.find(".", cut + 1)
    return path, value
