"""The ``sidecar`` command: serve, status, stop. ``launch`` and ``recover`` are what ``tracker`` calls it with."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from sidecar import __version__
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 success, 1 failure (one line on standard error), 2 bad usage."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (SidecarError, OSError) as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar",
        description="The process that keeps what training processes log. tracker.init() launches one by itself.",
    )
    parser.add_argument("--version", action="version", version=f"sidecar {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    launch = commands.add_parser("launch", help="serve one process and its children (what tracker.init() calls)")
    launch.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")
    launch.add_argument("--connection-file", type=Path, required=True, help="where to write how it is reached")
    launch.add_argument("--parent", type=int, required=True, help="the process to outlive only until all is kept")
    launch.add_argument("--durability", choices=("os", "disk"), default="os", help="when to ack (default: os)")
    launch.add_argument("--ready-fd", type=int, default=-1, help="a pipe that is written to when it serves")
    launch.set_defaults(run=_launch)

    recover = commands.add_parser("recover", help="finish the runs that a sidecar which died has left")
    recover.add_argument("--dir", type=Path, required=True, help="the root directory, which holds runs/")
    recover.add_argument("ids", nargs="*", metavar="RUN", help="which runs (default: all)")
    recover.set_defaults(run=_recover)

    status = commands.add_parser("status", help="what a sidecar is doing; exit status 0 if it answers")
    status.add_argument("address", help="a connection file, or the door's endpoint")
    status.add_argument("--json", action="store_true", help="print all of it as JSON")
    status.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for the answer (default: 5)")
    status.set_defaults(run=_status)

    stop = commands.add_parser("stop", help="have a sidecar keep what it has and exit")
    stop.add_argument("address", help="a connection file, or the door's endpoint")
    stop.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for the answer (default: 5)")
    stop.set_defaults(run=_stop)
    return parser


class _Worst(logging.Handler):
    """Remembers whether anything was said that somebody should read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = True


def _set_up_log() -> _Worst:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(threadName)-13s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    worst = _Worst()
    logging.getLogger("sidecar").addHandler(worst)
    return worst


def _launch(options: argparse.Namespace) -> int:
    from sidecar.leftovers import SOCKETS_PREFIX
    from sidecar.protocol.channels import has_ipc
    from sidecar.server import Endpoints, Server

    worst = _set_up_log()
    # Python hands the interpreter lock over every 5 ms by default; with three busy threads the one that waits for
    # sockets would get it too late.
    sys.setswitchinterval(0.001)
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX))
    try:
        endpoints = Endpoints.private(sockets) if has_ipc() else Endpoints.loopback()
        server = Server(options.dir, options.connection_file, endpoints, options.parent, options.durability)
        signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which says when to stop
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.start()
        if options.ready_fd >= 0:
            os.write(options.ready_fd, b"ready\n")
            os.close(options.ready_fd)
        tidying = threading.Thread(target=_tidy, args=(options,), name="RecoveryThread", daemon=True)
        tidying.start()
        while not server.ended.wait(60.0):
            pass
        tidying.join()
        if server.failed is not None:
            return 1
        if not worst.seen:
            options.connection_file.with_suffix(".log").unlink(missing_ok=True)
        return 0
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def _tidy(options: argparse.Namespace) -> None:
    """Finish, in the background, what sidecars that died in this root have left."""
    from sidecar.leftovers import remove_leftovers
    from sidecar.recovery import recover

    remove_leftovers(options.connection_file.parent)
    recover(options.dir, None, Deadline(None))


def _recover(options: argparse.Namespace) -> int:
    from sidecar.recovery import recover

    _set_up_log()
    recover(options.dir, options.ids or None, Deadline(None))
    return 0


def _ask(address: str, kind: str, timeout: float) -> dict[str, object]:
    from sidecar.protocol.connection import read_connection
    from sidecar.protocol.door import ask
    from sidecar.protocol.records import Record

    door = address if "://" in address else read_connection(address).door
    return ask(door, Record(kind, "", "", 0, time.time(), {}), Deadline(timeout)).body


def _status(options: argparse.Namespace) -> int:
    found = _ask(options.address, "status", options.timeout)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    runs = found["runs"]
    assert isinstance(runs, list)
    print(f"sidecar {found['version']} on {found['host']}, process {found['pid']}, up {found['uptime']:.0f} s")
    print(f"clients: {found['clients']}   runs: {', '.join(runs) or 'none'}")
    print(f"records: {found['records']} ({found['records_per_second']:.0f}/s)")
    print(f"not yet in a log: {found['unwritten_bytes']} B")
    if found["log_error"]:
        print(f"log: {found['log_error']}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    _ask(options.address, "stop", options.timeout)
    return 0
