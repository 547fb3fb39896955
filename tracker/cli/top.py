"""``tracker top``: runs and their charts in the terminal, live."""

from __future__ import annotations

import argparse
import sys

from tracker.cli.common import RUN_HELP, CommandError, Commands, UsageError, api_of
from tracker.terminal.messages import terminal_width

_ABOUT = """\
The newest runs are listed and the first three are drawn; RUN names others. '?' lists the keys. The live view needs the
extra tui (pip install 'tracker-sidecar[tui]'); --once does not."""

_EXAMPLES = """\
  tracker top                                   all runs, live
  tracker top last                              the newest run
  tracker top --where 'config.lr > 0.01'        only runs that match
  tracker top --once --metrics loss             one frame, for scripts
  ssh host tracker top                          works over ssh and in tmux"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("top", run, about=_ABOUT, examples=_EXAMPLES)
    parser.add_argument("run_refs", metavar="RUN", nargs="*", help=RUN_HELP)
    parser.add_argument("-p", "--project", metavar="NAME", help="only runs of this project")
    parser.add_argument("-w", "--where", metavar="QUERY", default="", help="only runs that match this query")
    parser.add_argument("-m", "--metrics", metavar="WORDS", default="", help="only metrics that contain these words")
    parser.add_argument("--once", action="store_true", help="print one frame and exit")


def run(args: argparse.Namespace) -> int:
    """Show runs and charts."""
    from tracker.tui.model import Model

    model = Model(api_of(args), args.project, refs=args.run_refs)
    model.search = args.metrics
    try:
        model.set_query(args.where)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.once:
        from tracker.terminal.style import Style
        from tracker.tui.once import frame

        sys.stdout.write(frame(model, terminal_width(), Style.of(sys.stdout)))
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("tracker top needs a terminal; --once prints one frame without one")
    try:
        from tracker.tui.app import Top
    except ImportError as error:
        raise CommandError(
            f"the live view needs Textual, which cannot be imported ({error}); "
            "pip install 'tracker-sidecar[tui]', or use --once"
        ) from error
    Top(model).run()
    return 0
