"""A sidecar's process from its begin to its end: its log, its signals, its server. `launch` serves one process and its
children, `serve` whoever attaches. Runs on the main thread, which only waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sidecar import __version__
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import SERVING_NAME, SIDECARS_NAME, make_root
from sidecar.protocol.sink_address import parse_sinks
from sidecar.server.endpoints import Endpoints
from sidecar.server.loop import Server

_log = logging.getLogger("sidecar")


class ServingError(SidecarError):
    """A sidecar cannot serve as it was asked to; the message says what would be right."""


class _OneLine(logging.Formatter):
    """What clients say (ids, labels) goes into the log, too: no character of it may end a line or move a cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        said = super().formatMessage(record)
        return said if said.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


class _Worst(logging.Handler):
    """Remembers whether anything was said that somebody should read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = True


def set_up_log() -> _Worst:
    """Have everything worth saying go to standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _OneLine("%(asctime)s.%(msecs)03d %(levelname)-7s %(threadName)-13s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    worst = _Worst()
    logging.getLogger("sidecar").addHandler(worst)
    return worst


def launch(root: Path, connection_file: Path, parent: int, durability: str, ready_fd: int) -> int:
    """Serve the process `parent` and its children until all of it is kept; return the exit status."""
    from sidecar.protocol.channels import has_ipc
    from sidecar.protocol.layout import SOCKETS_PREFIX, sockets_in

    worst = set_up_log()
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=sockets_in()))
    try:
        endpoints = Endpoints.private(sockets) if has_ipc() else Endpoints.loopback()
        server = Server(root, connection_file, endpoints, parent, durability)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which says when to stop
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _run(server, root, connection_file, ready_fd, (signal.SIGTERM,))
        if server.failed is not None:
            return 1
        if not worst.seen:
            connection_file.with_suffix(".log").unlink(missing_ok=True)
        return 0
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def serve(
    root: Path,
    endpoints: Endpoints,
    *,
    connection_file: Path | None = None,
    durability: str = "os",
    key: Path | None = None,
    clients: Path | None = None,
    insecure: bool = False,
    sinks: str | None = None,
    ready_fd: int = -1,
) -> int:
    """Serve whoever attaches, until SIGTERM or SIGINT; return the exit status.

    Args:
        root: the directory that holds ``runs/``; made if it is not there.
        endpoints: where to listen.
        connection_file: default ``<root>/sidecars/serve.json``.
        durability: ``"os"`` or ``"disk"``.
        key: the key file of this sidecar; None: nothing is encrypted.
        clients: the list of the clients that may attach; None: all who know the public key.
        insecure: whether other machines may attach without encryption.
        ready_fd: a descriptor that is written to when it serves.
        sinks: addresses of servers that every run is sent to, with commas between.

    Raises:
        ValueError: an address in `sinks` is none.
        ServingError: not so; the message says why. KeyFileError: a file of keys is none. ChannelError: an address
        cannot be bound. OSError: the root cannot be written.
    """
    from sidecar.protocol.keys import read_key_pair
    from sidecar.server.access import Guard

    set_up_log()
    if key is None and clients is not None:
        raise ServingError("--clients lists public keys, so it needs --key")
    if key is None and not endpoints.local and not insecure:
        raise ServingError(
            f"{endpoints.door} can be reached from other machines: give --key (made by 'sidecar keygen'), "
            "or say --insecure"
        )
    guard = Guard(read_key_pair(key), clients) if key is not None else None
    addresses = parse_sinks(sinks)
    make_root(root)
    directory = root / SIDECARS_NAME
    directory.mkdir(exist_ok=True)
    file = connection_file or directory / SERVING_NAME
    with _alone(directory, root):
        server = Server(root, file, endpoints, None, durability, guard, addresses)
        _log.info("sidecar %s, process %d, keeps runs in %s", __version__, os.getpid(), root)
        if guard is None and not endpoints.local:
            _log.warning("INSECURE: nothing is encrypted, and whoever reaches %s can write and read", endpoints.door)
        _run(
            server, root, file, ready_fd, (signal.SIGTERM, signal.SIGINT),
            lambda: f"listening at {endpoints.door}, {endpoints.about()}, {_who(guard, clients)}",
        )  # fmt: skip
        left = server.unwritten_bytes
        if left:
            _log.error("stopped: %d bytes could not be written; they are still with their clients", left)
        else:
            _log.info("stopped: what was taken is in the logs")
    return 1 if server.failed is not None or left else 0


def _who(guard: object, clients: Path | None) -> str:
    if guard is None:
        return "not encrypted"
    return f"encrypted, for the clients in {clients}" if clients is not None else "encrypted"


def _run(
    server: Server,
    root: Path,
    connection_file: Path,
    ready_fd: int,
    stop_signals: Iterable[signal.Signals],
    about: Callable[[], str] | None = None,
) -> None:
    """Start the server, say so, and wait for its end."""
    # Python hands the interpreter lock over every 5 ms by default; with three busy threads the one that waits for
    # sockets would get it too late.
    sys.setswitchinterval(0.001)
    # Records are many objects and no cycles: the collector would look at them again and again (5 % of the time).
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # A client takes five descriptors, a run five more; the usual soft limit of 1024 is for programs that call select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _stop_on(server, stop_signals)
    server.start()
    if about is not None:
        _log.info("%s", about())
    if ready_fd >= 0:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
    tidying = threading.Thread(target=_tidy, args=(root, connection_file, server), name="RecoveryThread", daemon=True)
    tidying.start()
    server.ended.wait()
    tidying.join()


def _stop_on(server: Server, signals: Iterable[signal.Signals]) -> None:
    """Have the signals stop the server.

    Not by a handler in Python: one that comes just before the main thread begins to wait runs when the wait is over.
    The byte that the interpreter writes as soon as the system delivers the signal wakes the HandlerThread.
    """
    signal.set_wakeup_fd(server.signals_fd, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda number, frame: None)


def _tidy(root: Path, connection_file: Path, server: Server) -> None:
    """Finish, in the background, what sidecars that died in this root have left."""
    from sidecar.pipeline.recovery import orphaned_runs, recover
    from sidecar.server.cleanup import remove_leftovers

    remove_leftovers(connection_file.parent)
    if server.serves_all:
        server.take_up(orphaned_runs(root))
    else:
        recover(root, None, Deadline(None))
    server.send_leftovers(root)


@contextlib.contextmanager
def _alone(directory: Path, root: Path) -> Iterator[None]:
    """Hold the lock of the one sidecar that serves a root; the system lets go of it however that ends."""
    fd = os.open(directory / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServingError(f"another sidecar serves {root} already; 'sidecar status --dir {root}'") from error
        yield
    finally:
        os.close(fd)
