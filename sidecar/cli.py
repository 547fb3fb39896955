"""The ``sidecar`` command: serve, status, drain, stop, keygen; and for ``tracker`` launch, recover, deliver, check."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
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
Runs one sidecar for many processes, containers and machines. It accepts runs from all clients and keeps them in --dir,
where `tracker ls --dir` finds them. Clients only make outbound connections: to the control socket (--listen), to the
record socket, and to one result socket per attached client (--ports). On SIGTERM it writes what it has received and
exits; clients keep the rest, and continue when it is back."""

_SERVE_EXAMPLES = """\
examples:
  sidecar serve --dir /data/tracked                                   this machine only
  sidecar keygen server                                               makes server.key and server.pub
  sidecar serve --dir /data/tracked --listen tcp://0.0.0.0:5757 --key server.key
  sidecar serve --dir /data/tracked --listen tcp://0.0.0.0:5757 --key server.key --clients clients.txt
  TRACKER_SIDECAR=tcp://host:5757 TRACKER_SIDECAR_KEY=server.pub python train.py       a client"""

_STATUS = """\
Shows what a sidecar is doing. Exit status 0 if it answers and can write its logs, else 1, so that it can serve as a
health probe. Without ADDRESS: the sidecar that serves --dir; without both: $TRACKER_SIDECAR, else the one that serves
$TRACKER_DIR or ./.tracker."""

_DRAIN = """\
Waits until no client is attached and everything received is in the logs, in the stores and with the servers. The
sidecar keeps serving: use this in a hook before its SIGTERM, such as preStop in Kubernetes. Exit status 1 after
--within seconds; it prints what is pending, which is sent after the next start."""

_STOP = """\
Stops a sidecar: it writes what it has received to the logs and exits. Its clients keep the rest, and continue when a
sidecar is back at the same address."""

_KEYGEN = """\
Makes a key pair: NAME.key (readable only by you) and NAME.pub. For a sidecar: `serve --key NAME.key`, and NAME.pub for
its clients (TRACKER_SIDECAR_KEY). For a client: TRACKER_CLIENT_KEY=NAME.key, and the printed line for the sidecar's
list (--clients), with the word 'reader' after the key if the client must not write."""

_EXAMPLES = """\
examples:
  sidecar serve --dir /data/tracked        keep the runs of this machine
  sidecar status                           is it healthy? what is it doing?
  sidecar COMMAND --help                   explains a command, with examples"""

_DRAIN_INTERVAL = 0.1
"""Interval between two questions for the status while draining, in seconds."""

_LAUNCHING_VARIABLE = "TRACKER_LAUNCHING"
"""Set by a launcher: a program that finds it was started where a Python interpreter was meant to be."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 success, 1 failure (one line on standard error), 2 bad usage."""
    os.environ.pop(_LAUNCHING_VARIABLE, None)  # it is for the launcher, not for what this process starts
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
    parser = argparse.ArgumentParser(
        prog="sidecar",
        description="The process that keeps what training processes log. tracker.init() launches one by itself.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sidecar {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_serve, _add_status, _add_drain, _add_stop, _add_keygen):
        add(commands)
    for add in (_add_launch, _add_deliver, _add_check, _add_recover):  # called by tracker, so not listed
        add(commands)
    return parser


_Commands = Any
"""What `add_subparsers` returns; argparse does not export its class."""


def _add(commands: _Commands, name: str, text: str | None, run: Callable[[Any], int], **more: str) -> Any:
    """Add a command. Without a `text` it is not listed in the help."""
    listed = {"help": text} if text is not None else {}
    parser = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter, **listed, **more)
    parser.set_defaults(run=run)
    return parser


def _add_serve(commands: _Commands) -> None:
    parser = _add(commands, "serve", "serve many clients", _serve, description=_SERVE, epilog=_SERVE_EXAMPLES)
    _add_dir(parser)
    parser.add_argument(
        "--listen",
        metavar="ENDPOINT",
        default="tcp://127.0.0.1:5757",
        help="the control socket: tcp://host:port (0.0.0.0: all addresses) or ipc:///path (default: %(default)s)",
    )
    parser.add_argument(
        "--ports",
        metavar="FIRST-LAST",
        help="ports for records (one) and results (one per client) (default: the 1000 after the control socket's)",
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="encrypt with this key file, made by 'sidecar keygen'")
    parser.add_argument(
        "--clients",
        type=Path,
        metavar="FILE",
        help="admit only clients whose public key is listed here; a line is KEY [reader|writer] [# comment]",
    )
    parser.add_argument("--insecure", action="store_true", help="let other machines attach without encryption")
    parser.add_argument(
        "--sinks",
        metavar="LIST",
        default=os.environ.get("TRACKER_SINKS"),
        help="servers to send every run to, such as mlflow+http://host:5000,... (default: $TRACKER_SINKS)",
    )
    _add_durability(parser)
    parser.add_argument(
        "--connection-file", type=Path, metavar="FILE", help="where to write the connection file (default: in --dir)"
    )
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)


def _add_status(commands: _Commands) -> None:
    parser = _add(commands, "status", "show what a sidecar is doing", _status, description=_STATUS)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    _add_address(parser)


def _add_drain(commands: _Commands) -> None:
    parser = _add(commands, "drain", "wait until nothing is pending", _drain, description=_DRAIN)
    parser.add_argument(
        "--within", type=float, default=30.0, metavar="SECONDS", help="give up after this (default: 30)"
    )
    _add_address(parser)


def _add_stop(commands: _Commands) -> None:
    _add_address(_add(commands, "stop", "stop a sidecar; nothing is lost", _stop, description=_STOP))


def _add_keygen(commands: _Commands) -> None:
    parser = _add(commands, "keygen", "make a key pair", _keygen, description=_KEYGEN)
    parser.add_argument("name", metavar="NAME", type=Path, help="path of the files, without a suffix")


def _add_launch(commands: _Commands) -> None:
    parser = _add(commands, "launch", None, _launch, description="Serves one process and its children.")
    _add_required_dir(parser)
    parser.add_argument("--connection-file", type=Path, required=True, help="where to write the connection file")
    parser.add_argument("--parent", type=int, required=True, help="exit when this process is gone and all is kept")
    parser.add_argument("--idle-exit", type=float, help="exit after this many seconds without a client or an edit")
    _add_durability(parser)
    parser.add_argument("--ready-fd", type=int, default=-1, help="a pipe that is written to when it is ready")


def _add_deliver(commands: _Commands) -> None:
    parser = _add(commands, "deliver", None, _deliver, description="Sends runs to their servers.")
    _add_required_dir(parser)
    parser.add_argument("--sink", action="append", default=[], help="a server, besides those noted with the runs")
    parser.add_argument(
        "--patience", type=float, default=30.0, help="give up after this without progress (default: 30)"
    )
    parser.add_argument("--again", action="store_true", help="send everything again")
    parser.add_argument("--watch", action="store_true", help="keep running and send new data")
    parser.add_argument("ids", nargs="*", metavar="RUN", help="runs (default: all)")


def _add_check(commands: _Commands) -> None:
    parser = _add(commands, "check", None, _check, description="Checks whether servers can be reached.")
    parser.add_argument("sinks", nargs="+", metavar="SINK", help="such as mlflow+http://host:5000")


def _add_recover(commands: _Commands) -> None:
    parser = _add(commands, "recover", None, _recover, description="Recovers the runs of a sidecar that died.")
    _add_required_dir(parser)
    parser.add_argument("ids", nargs="*", metavar="RUN", help="runs (default: all)")


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", type=Path, help="the root directory, which holds runs/ (default: $TRACKER_DIR, else ./.tracker)"
    )


def _add_required_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")


def _add_durability(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--durability", choices=("os", "disk"), default="os", help="when to ack (default: os)")


def _root(options: argparse.Namespace) -> Path:
    root: Path = options.dir or Path(os.environ.get("TRACKER_DIR") or ".tracker")
    return root.expanduser().absolute()


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address", nargs="?", metavar="ADDRESS", help="a connection file, or a control socket's endpoint"
    )
    _add_dir(parser)
    parser.add_argument(
        "--key", metavar="KEY", default=os.environ.get("TRACKER_SIDECAR_KEY"),
        help="the sidecar's public key, or a file with it (default: the connection file's, or $TRACKER_SIDECAR_KEY)",
    )  # fmt: skip
    parser.add_argument(
        "--client-key", metavar="FILE", default=os.environ.get("TRACKER_CLIENT_KEY"),
        help="your key file, if the sidecar lists its clients (default: $TRACKER_CLIENT_KEY)",
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
        raise ValueError(f"--ports must be a range such as 5758-5999, not {text!r}")
    ports = range(int(first), int(last or first) + 1)
    if len(ports) < 2 or ports[0] < 1 or ports[-1] > 65535:
        raise ValueError(
            f"--ports must be at least two ports from 1 to 65535, one for records and one per client, not {text!r}"
        )
    return ports


def _launch(options: argparse.Namespace) -> int:
    from sidecar.process import launch

    return launch(
        options.dir,
        options.connection_file,
        options.parent,
        options.durability,
        options.ready_fd,
        idle_exit=options.idle_exit,
    )


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
    for answer in check(parse_sinks(options.sinks)):
        print(json.dumps(answer), flush=True)
        status = status if answer["error"] is None else 1
    return status


def _keygen(options: argparse.Namespace) -> int:
    from sidecar.protocol.channels import new_key_pair
    from sidecar.protocol.keys import write_key_pair

    pair = new_key_pair()
    secret, public = write_key_pair(options.name, pair)
    print(f"made {secret} and {public}; the line for a sidecar's list of clients:", file=sys.stderr)
    print(f"{pair.public} # {options.name.name}")
    return 0


def _connection(options: argparse.Namespace) -> tuple[str, str | None, Connection | None]:
    """Return the control socket, its public key or None, and the connection file's content if a file was named.

    Raises:
        ConnectionFileError: there is no connection file, so no sidecar is running.
    """
    from sidecar.protocol.connection import read_connection
    from sidecar.protocol.keys import read_public_key

    address = options.address or (None if options.dir else os.environ.get("TRACKER_SIDECAR"))
    key = read_public_key(options.key) if options.key else None
    if address and "://" in address:
        return address, key, None
    path = Path(address or _root(options) / SIDECARS_NAME / SERVING_NAME)
    if not path.exists():
        where = f"{path} does not exist" if address else f"start one with 'sidecar serve --dir {_root(options)}'"
        raise ConnectionFileError(f"no sidecar is serving {address or _root(options)}; {where}")
    connection = read_connection(path)
    return connection.control, key or connection.public_key, connection


def _ask(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    from sidecar.protocol.ask import ask
    from sidecar.protocol.channels import new_key_pair
    from sidecar.protocol.keys import Security, read_key_pair
    from sidecar.protocol.records import Record

    control, key, _ = _connection(options)
    security = None
    if key is not None:
        own = read_key_pair(options.client_key) if options.client_key else new_key_pair()
        security = Security(key, own)
    return ask(control, Record(kind, "", "", 0, time.time(), {}), Deadline(options.timeout), security).body


def _status(options: argparse.Namespace) -> int:
    status = _ask(options, "status")
    healthy = not status["log_error"]
    if options.json:
        print(json.dumps(status, indent=1))
        return 0 if healthy else 1
    print(f"sidecar {status['version']} on {status['host']}, process {status['pid']}, up {status['uptime']:.0f} s")
    print(f"connections: {'encrypted' if status['encrypted'] else 'not encrypted'}")
    print(f"clients: {status['clients']}   runs: {', '.join(status['runs']) or 'none'}")
    print(f"records: {status['records']} ({status['records_per_second']:.0f}/s)")
    print(f"not yet in a log: {status['unwritten_bytes']} B")
    for line in _pending_sinks(status):
        print(line)
    for what in ("refused", "handshakes_refused"):
        if status[what]:
            reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(status[what].items()))
            print(f"{what.replace('_', ' ')}: {reasons}")
    if not healthy:
        print(f"log: {status['log_error']}")
    return 0 if healthy else 1


def _pending_sinks(status: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each run and server with pending data or an error."""
    for run, sinks in sorted(status["sinks"].items()):
        for name, sink in sorted(sinks.items()):
            if sink["behind_bytes"] or sink["error"]:
                error = f": {sink['error']}" if sink["error"] else ""
                yield f"run {run}: {name} is {sink['behind_bytes']} B behind{error}"


def _pending(status: dict[str, Any]) -> list[str]:
    """Return what a sidecar still has to do, one line each."""
    clients, unwritten = status["clients"], status["unwritten_bytes"]
    pending = [f"{clients} client{' is' if clients == 1 else 's are'} attached"] if clients else []
    if unwritten:
        pending.append(f"{unwritten} B are not in a log yet")
    return [*pending, *_pending_sinks(status)]


def _drain(options: argparse.Namespace) -> int:
    deadline = Deadline(options.within)
    line_start = "\r\x1b[K" if sys.stderr.isatty() else ""
    while pending := _pending(_ask(options, "status")):
        if deadline.over():
            message = f"sidecar drain: still pending after {options.within:g} s: {'; '.join(pending)}"
            print(f"{line_start}{message}", file=sys.stderr)
            return 1
        if line_start:
            print(f"{line_start}waiting: {pending[0]}", end="", file=sys.stderr, flush=True)
        time.sleep(_DRAIN_INTERVAL)
    print(f"{line_start}drained: nothing is pending", file=sys.stderr)
    return 0


def _stop(options: argparse.Namespace) -> int:
    from sidecar.protocol.connection import machine_id, process_lives

    control, _, connection = _connection(options)
    if connection is None or connection.machine_id != machine_id():
        _ask(options, "stop")
        print(f"the sidecar at {control} is stopping", file=sys.stderr)
        return 0
    if not process_lives(connection) or not _is_sidecar(connection.pid):
        raise ConnectionFileError(f"process {connection.pid} is gone; it left its connection file behind")
    os.kill(connection.pid, signal.SIGTERM)
    deadline = Deadline(options.timeout)
    while process_lives(connection):
        if deadline.over():
            raise UnreachableError(f"process {connection.pid} is still writing what it received; it exits when done")
        time.sleep(0.02)
    print(f"stopped process {connection.pid}; everything it received is in the logs", file=sys.stderr)
    return 0


def _is_sidecar(pid: int) -> bool:
    """Whether a process is a sidecar, and not another one that got its id."""
    import psutil

    try:
        return any("sidecar" in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
