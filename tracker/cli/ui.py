"""``tracker ui``: the dashboard, served on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.cli.common import CommandError, Commands, UsageError, is_address, say, whole_number

if TYPE_CHECKING:
    from tracker.reading.api import Api

_ABOUT = """\
Serves a page with all runs, their charts and comparisons, live while they train, and opens it in the browser. Over ssh
it prints the address and the 'ssh -L' command that makes it reachable from your own machine. Ctrl-C stops it.

The address has a token, without which other users of this machine cannot open it. --host and --auth let other machines
connect."""

_EXAMPLES = """\
  tracker ui                                     the nearest .tracker
  tracker ui --dir a/.tracker --dir b/.tracker   several directories in one page
  tracker ui --dir clickhouse+http://host:8123/database
  tracker ui --dir sidecar+tcp://host:5757       runs that a sidecar keeps
  tracker ui --host 0.0.0.0 --auth password.txt  for other machines (add TLS)
  tracker ui --frontend my-page/                 a page of your own"""

_MISSING = "the dashboard needs two more packages: pip install starlette uvicorn"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("ui", run, about=_ABOUT, examples=_EXAMPLES, several_dirs=True)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", metavar="N", type=whole_number(1, 65535), help="the port (default: 7117, or the next free one)"
    )
    parser.add_argument(
        "--auth",
        metavar="FILE",
        type=Path,
        help="a file (chmod 600) with the token or password that users must enter",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--frontend", metavar="DIR", type=Path, help="serve the page in DIR instead of the dashboard's")


def run(args: argparse.Namespace) -> int:
    """Serve the dashboard."""
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        raise CommandError(_MISSING)
    from tracker.reading import dashboards
    from tracker.ui import serving
    from tracker.ui.security import is_loopback

    if args.auth is None and not is_loopback(args.host):
        raise UsageError(
            f"--host {args.host} lets other machines connect; it needs --auth FILE, a file with a token or password"
        )
    if args.frontend is not None and not (args.frontend / "index.html").is_file():
        raise CommandError(f"{args.frontend} has no index.html")
    apis = _apis(args)
    token = dashboards.read_token() if args.auth is None else _secret(args.auth)
    as_usual = args.port is None and args.auth is None and args.frontend is None and args.host == "127.0.0.1"
    other = dashboards.showing(serving.place_names(apis), usual=True) if as_usual else None
    if other is not None:
        say(f"tracker ui: already running (process {other.pid})")
        _show(serving.with_token(other.address, token), args, other.port)
        return 0
    bound = serving.listen(args.host, args.port)
    port: int = bound.getsockname()[1]
    address = serving.address_of(args.host, port)
    for api in apis:
        if "://" not in api.place and not os.path.isdir(api.place):
            say(f"tracker ui: there is no directory {api.place} yet; runs appear when the first is logged")
    if not is_loopback(args.host):
        say("tracker ui: warning: without TLS, the token and the data can be read on the way; use a proxy with TLS")
    _show(address if args.auth else serving.with_token(address, token), args, port)
    usual = args.auth is None and args.frontend is None
    serving.serve(bound, apis, token, args.host, args.frontend, usual=usual)
    return 0


def _secret(path: Path) -> str:
    from tracker.reading import dashboards

    try:
        return dashboards.read_secret(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _apis(args: argparse.Namespace) -> list[Api]:
    from tracker.reading.api import Api

    named = [*([args.dir] if getattr(args, "dir", None) else []), *(args.dirs or ())]
    for path in named:
        if not is_address(path) and Path(path).expanduser().exists() and not Path(path).expanduser().is_dir():
            raise CommandError(f"{path} is not a directory")
    try:
        return [Api(path) for path in dict.fromkeys(named)] or [Api()]
    except ValueError as error:
        raise UsageError(str(error)) from error


def _show(address: str, args: argparse.Namespace, port: int) -> None:
    """Print the address, and open it in a browser where there is one."""
    from tracker.ui import serving

    print(address, flush=True)
    if args.no_browser:
        return
    if serving.has_desktop():
        serving.open_browser(address)
    hint = serving.ssh_hint(port)
    if hint:
        say(f"tracker ui: from your own machine: {hint}")
