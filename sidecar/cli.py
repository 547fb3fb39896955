"""The ``sidecar`` command: serve, status, drain, stop, keygen; and what ``tracker`` calls: launch, recover, deliver,
check.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar import __version__
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError, SidecarError, UnreachableError
from sidecar.protocol.layout import SERVING_NAME, SIDECARS_NAME

if TYPE_CHECKING:
    from sidecar.protocol.connection import Connection
    from sidecar.server.endpoints import Endpoints

_SERVE = """\
A sidecar of its own, for many processes, containers and machines. It takes runs from whoever attaches and keeps them
below --dir, where `tracker ls --dir` finds them. Clients need outbound connections only: to the door (--listen), to
the record socket, and to one result socket for each attached client (--ports). SIGTERM lets it keep what it has taken
and exit; its clients keep the rest, and go on when it is there again."""

_SERVE_EXAMPLES = """\
examples:
  sidecar serve --dir /data/tracked                                   this machine only
  sidecar keygen server                                               makes server.key and server.pub
  sidecar serve --dir /data/tracked --listen tcp://0.0.0.0:5757 --key server.key
  sidecar serve --dir /data/tracked --listen tcp://0.0.0.0:5757 --key server.key --clients clients.txt
  TRACKER_SIDECAR=tcp://host:5757 TRACKER_SIDECAR_KEY=server.pub python train.py       a client"""

_STATUS = """\
Asks a sidecar how it is. Exit status 0 if it answers and can write its logs, 1 if not: so it serves as a health probe.
Without ADDRESS: the sidecar that serves --dir; without both: $TRACKER_SIDECAR, else the one that serves $TRACKER_DIR or
./.tracker."""

_DRAIN = """\
Waits until no client is attached, and all that was taken is in the logs, in the stores and with the servers. The
sidecar serves on, meanwhile and afterwards: this is for a hook before its SIGTERM, such as preStop in Kubernetes. Exit
status 1 if that is not so after --within; what is left is said, and is sent after the next start."""

_KEYGEN = """\
Makes a pair of keys: NAME.key (for its owner only) and NAME.pub. For a sidecar: `serve --key NAME.key`, and NAME.pub to
its clients (TRACKER_SIDECAR_KEY). For a client: TRACKER_CLIENT_KEY=NAME.key, and the printed line into the sidecar's
list (--clients)."""


_DRAIN_PAUSE = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 success, 1 failure (one line on standard error), 2 bad usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except (SidecarError, OSError) as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"sidecar {options.command}: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="sidecar",
        description="The process that keeps what training processes log. tracker.init() launches one by itself.",
    )
    parser.add_argument("--version", action="version", version=f"sidecar {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="serve whoever attaches", description=_SERVE, epilog=_SERVE_EXAMPLES, formatter_class=raw
    )
    _add_dir(serve)
    serve.add_argument(
        "--listen",
        metavar="ENDPOINT",
        default="tcp://127.0.0.1:5757",
        help="where the door is: tcp://host:port (0.0.0.0: all addresses) or ipc:///path (default: %(default)s)",
    )
    serve.add_argument(
        "--ports",
        metavar="FIRST-LAST",
        help="the ports for records (one) and results (one a client); default: the 1000 after the door's",
    )
    serve.add_argument("--key", type=Path, metavar="FILE", help="encrypt with this key file, made by 'sidecar keygen'")
    serve.add_argument(
        "--clients", type=Path, metavar="FILE", help="let in only clients with a public key in this list"
    )
    serve.add_argument("--insecure", action="store_true", help="let other machines attach without encryption")
    serve.add_argument(
        "--sinks",
        metavar="LIST",
        default=os.environ.get("TRACKER_SINKS"),
        help="servers to send every run to, such as mlflow+http://host:5000,… (default: $TRACKER_SINKS)",
    )
    serve.add_argument("--durability", choices=("os", "disk"), default="os", help="when to ack (default: os)")
    serve.add_argument(
        "--connection-file", type=Path, metavar="FILE", help="where to write how it is reached (default: in --dir)"
    )
    serve.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)

    status = commands.add_parser("status", help="what a sidecar is doing", description=_STATUS, formatter_class=raw)
    status.add_argument("--json", action="store_true", help="print all of it as JSON")
    _add_address(status)
    status.set_defaults(run=_status)

    drain = commands.add_parser(
        "drain", help="wait until nothing is left to do", description=_DRAIN, formatter_class=raw
    )
    drain.add_argument(
        "--within", type=float, default=30.0, metavar="SECONDS", help="give up after so long (default: 30)"
    )
    _add_address(drain)
    drain.set_defaults(run=_drain)

    stop = commands.add_parser("stop", help="have a sidecar keep what it has and exit")
    _add_address(stop)
    stop.set_defaults(run=_stop)

    keygen = commands.add_parser("keygen", help="make a pair of keys", description=_KEYGEN, formatter_class=raw)
    keygen.add_argument("name", metavar="NAME", type=Path, help="a path without its ending")
    keygen.set_defaults(run=_keygen)

    launch = commands.add_parser("launch", help="serve one process and its children (what tracker.init() calls)")
    launch.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")
    launch.add_argument("--connection-file", type=Path, required=True, help="where to write how it is reached")
    launch.add_argument("--parent", type=int, required=True, help="the process to outlive only until all is kept")
    launch.add_argument("--durability", choices=("os", "disk"), default="os", help="when to ack (default: os)")
    launch.add_argument("--ready-fd", type=int, default=-1, help="a pipe that is written to when it serves")
    launch.set_defaults(run=_launch)

    deliver = commands.add_parser("deliver", help="send runs to their servers (what tracker sync calls)")
    deliver.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")
    deliver.add_argument("--sink", action="append", default=[], help="a server, besides those noted with the runs")
    deliver.add_argument("--patience", type=float, default=30.0, help="seconds without progress to give up after (30)")
    deliver.add_argument("--again", action="store_true", help="send all of it once more")
    deliver.add_argument("--watch", action="store_true", help="go on, and send what comes")
    deliver.add_argument("ids", nargs="*", metavar="RUN", help="which runs (default: all)")
    deliver.set_defaults(run=_deliver)

    check = commands.add_parser("check", help="say whether servers can be reached (what tracker doctor calls)")
    check.add_argument("sinks", nargs="+", metavar="SINK", help="such as mlflow+http://host:5000")
    check.set_defaults(run=_check)

    recover = commands.add_parser("recover", help="finish the runs that a sidecar which died has left")
    recover.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")
    recover.add_argument("ids", nargs="*", metavar="RUN", help="which runs (default: all)")
    recover.set_defaults(run=_recover)
    return parser


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", type=Path, help="the root directory, which holds runs/ (default: $TRACKER_DIR, else ./.tracker)"
    )


def _root(options: argparse.Namespace) -> Path:
    named: Path = options.dir or Path(os.environ.get("TRACKER_DIR") or ".tracker")
    return named.expanduser().absolute()


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="a connection file, or the door's endpoint")
    _add_dir(parser)
    parser.add_argument(
        "--key", metavar="KEY", default=os.environ.get("TRACKER_SIDECAR_KEY"),
        help="the sidecar's public key, or a file with it (default: the connection file's, or $TRACKER_SIDECAR_KEY)",
    )  # fmt: skip
    parser.add_argument(
        "--client-key", metavar="FILE", default=os.environ.get("TRACKER_CLIENT_KEY"),
        help="a key file to be known by, where the sidecar lists its clients (default: $TRACKER_CLIENT_KEY)",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for the answer (default: 5)")


def _serve(options: argparse.Namespace) -> int:
    from sidecar.server.endpoints import Endpoints

    endpoints = Endpoints.listening(options.listen, _ports(options.ports))
    try:
        return _serve_at(endpoints, options)
    finally:
        endpoints.remove()


def _serve_at(endpoints: Endpoints, options: argparse.Namespace) -> int:
    from sidecar.process import serve

    return serve(
        _root(options),
        endpoints,
        connection_file=options.connection_file,
        durability=options.durability,
        key=options.key,
        clients=options.clients,
        insecure=options.insecure,
        sinks=options.sinks,
        ready_fd=options.ready_fd,
    )


def _ports(text: str | None) -> range | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not text.isascii() or not (first.isdigit() and (last.isdigit() if dash else True)):
        raise ValueError(f"--ports {text!r}; two numbers such as 5758-5999")
    found = range(int(first), int(last or first) + 1)
    if len(found) < 2 or found[0] < 1 or found[-1] > 65535:
        raise ValueError(f"--ports {text!r}; at least two ports, from 1 to 65535: one for records, one for each client")
    return found


def _launch(options: argparse.Namespace) -> int:
    from sidecar.process import launch

    return launch(options.dir, options.connection_file, options.parent, options.durability, options.ready_fd)


def _recover(options: argparse.Namespace) -> int:
    from sidecar.pipeline.recovery import recover
    from sidecar.process import set_up_log

    set_up_log()
    recover(options.dir, options.ids or None, Deadline(None))
    return 0


def _deliver(options: argparse.Namespace) -> int:
    from sidecar.process import set_up_log
    from sidecar.protocol.sink_address import parse_sinks
    from sidecar.sinks.sync import sync

    sinks = parse_sinks(options.sink)
    set_up_log()
    return sync(options.dir, options.ids or None, sinks, options.patience, watch=options.watch, again=options.again)


def _check(options: argparse.Namespace) -> int:
    from sidecar.protocol.sink_address import parse_sinks
    from sidecar.sinks.sync import check

    status = 0
    for said in check(parse_sinks(options.sinks)):
        print(json.dumps(said), flush=True)
        status = status if said["error"] is None else 1
    return status


def _keygen(options: argparse.Namespace) -> int:
    from sidecar.protocol.channels import new_key_pair
    from sidecar.protocol.keys import write_key_pair

    pair = new_key_pair()
    secret, public = write_key_pair(options.name, pair)
    print(f"{secret} and {public} were made; the line for a list of clients:", file=sys.stderr)
    print(f"{pair.public} {options.name.name}")
    return 0


def _connection(options: argparse.Namespace) -> tuple[str, str | None, Connection | None]:
    """Return the door, its public key or None, and the connection file's content if one was named."""
    from sidecar.protocol.connection import read_connection
    from sidecar.protocol.keys import read_public_key

    address = options.address or (None if options.dir else os.environ.get("TRACKER_SIDECAR"))
    if not address:
        address = str(_root(options) / SIDECARS_NAME / SERVING_NAME)
    key = read_public_key(options.key) if options.key else None
    if "://" in address:
        return address, key, None
    connection = read_connection(address)
    return connection.control, key or connection.public_key, connection


def _ask(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    from sidecar.protocol.ask import ask
    from sidecar.protocol.channels import new_key_pair
    from sidecar.protocol.keys import Security, read_key_pair
    from sidecar.protocol.records import Record

    door, key, _ = _connection(options)
    security = None
    if key is not None:
        own = read_key_pair(options.client_key) if options.client_key else new_key_pair()
        security = Security(key, own)
    return ask(door, Record(kind, "", "", 0, time.time(), {}), Deadline(options.timeout), security).body


def _status(options: argparse.Namespace) -> int:
    found = _ask(options, "status")
    healthy = not found["log_error"]
    if options.json:
        print(json.dumps(found, indent=1))
        return 0 if healthy else 1
    print(f"sidecar {found['version']} on {found['host']}, process {found['pid']}, up {found['uptime']:.0f} s")
    print(f"connections: {'encrypted' if found['encrypted'] else 'not encrypted'}")
    print(f"clients: {found['clients']}   runs: {', '.join(found['runs']) or 'none'}")
    print(f"records: {found['records']} ({found['records_per_second']:.0f}/s)")
    print(f"not yet in a log: {found['unwritten_bytes']} B")
    for line in _behind(found):
        print(line)
    for what in ("refused", "handshakes_refused"):
        if found[what]:
            told = ", ".join(f"{count} ({reason})" for reason, count in sorted(found[what].items()))
            print(f"{what.replace('_', ' ')}: {told}")
    if not healthy:
        print(f"log: {found['log_error']}")
    return 0 if healthy else 1


def _behind(status: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each run and server with something on the way, or in trouble."""
    for run, sinks in sorted(status["sinks"].items()):
        for name, said in sorted(sinks.items()):
            if said["behind_bytes"] or said["error"]:
                trouble = f": {said['error']}" if said["error"] else ""
                yield f"run {run}: {name} is {said['behind_bytes']} B behind{trouble}"


def _left(status: dict[str, Any]) -> list[str]:
    """Return what a sidecar still has to do, a line each."""
    clients, unwritten = status["clients"], status["unwritten_bytes"]
    left = [f"{clients} client{' is' if clients == 1 else 's are'} attached"] if clients else []
    if unwritten:
        left.append(f"{unwritten} B are not yet in a log")
    return [*left, *_behind(status)]


def _drain(options: argparse.Namespace) -> int:
    deadline = Deadline(options.within)
    begin = "\r\x1b[K" if sys.stderr.isatty() else ""
    while left := _left(_ask(options, "status")):
        if deadline.over():
            print(f"{begin}sidecar drain: not within {options.within:g} s: {'; '.join(left)}", file=sys.stderr)
            return 1
        if begin:
            print(f"{begin}waiting: {left[0]}", end="", file=sys.stderr, flush=True)
        time.sleep(_DRAIN_PAUSE)
    print(begin, end="", file=sys.stderr)
    return 0


def _stop(options: argparse.Namespace) -> int:
    from sidecar.protocol.connection import machine_id, process_lives

    _, _, connection = _connection(options)
    if connection is None or connection.machine_id != machine_id():
        _ask(options, "stop")
        return 0
    if not process_lives(connection) or not _is_sidecar(connection.pid):
        raise ConnectionFileError(f"process {connection.pid} is gone; it has left its connection file")
    os.kill(connection.pid, signal.SIGTERM)
    deadline = Deadline(options.timeout)
    while process_lives(connection):
        if deadline.over():
            raise UnreachableError(f"process {connection.pid} still keeps what it has taken; it goes on by itself")
        time.sleep(0.02)
    return 0


def _is_sidecar(pid: int) -> bool:
    """Whether a process is a sidecar, and none that was given the id of one that was killed."""
    import psutil

    try:
        return any("sidecar" in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
