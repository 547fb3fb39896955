"""A sidecar's process from start to end: its log, its signals, its server. `launch` serves one process and its
children, `serve` all clients. Runs on the main thread, which only waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import platform
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
from sidecar.server.loop import RELEASE_SIGNAL, Server

_log = logging.getLogger("sidecar")


class ServingError(SidecarError):
    """The sidecar cannot serve with these options; the message says what to change."""


class _OneLine(logging.Formatter):
    """Escapes control characters: text from clients (ids, labels) must not end a line or move the cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        message = super().formatMessage(record)
        return message if message.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


class _WarningSeen(logging.Handler):
    """Remembers whether anything from WARNING on was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = True


def set_up_log() -> _WarningSeen:
    """Log to standard error, one line per message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _OneLine("%(asctime)s.%(msecs)03d %(levelname)-7s %(threadName)-13s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    warnings = _WarningSeen()
    logging.getLogger("sidecar").addHandler(warnings)
    return warnings


def launch(
    root: Path,
    connection_file: Path,
    parent: int,
    durability: str,
    ready_fd: int,
    *,
    idle_exit: float | None = None,
) -> int:
    """Serve the process `parent` and its children until all their records are kept; return the exit status.

    Args:
        root, connection_file, durability, ready_fd: see `serve`.
        parent: the process.
        idle_exit: time without a client or an edit after which it exits earlier, in seconds; None: it does not.
    """
    from sidecar.protocol.channels import has_ipc
    from sidecar.protocol.layout import SOCKETS_PREFIX, sockets_in

    warnings = set_up_log()
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=sockets_in()))
    try:
        endpoints = Endpoints.private(sockets) if has_ipc() else Endpoints.loopback()
        server = Server(root, connection_file, endpoints, parent, durability, idle_exit=idle_exit)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _run(server, root, connection_file, ready_fd, (signal.SIGTERM, RELEASE_SIGNAL))
        if server.failed is not None:
            return 1
        if not warnings.seen:
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
    """Serve all clients until SIGTERM or SIGINT; return the exit status.

    Args:
        root: the directory that holds ``runs/``; created if it does not exist.
        endpoints: where to listen.
        connection_file: path of the connection file; None: ``<root>/sidecars/serve.json``.
        durability: ``"os"`` or ``"disk"``.
        key: this sidecar's key file; None: connections are not encrypted.
        clients: path of the list of clients that may attach; None: all that know the public key.
        insecure: whether other machines may attach without encryption.
        sinks: addresses of servers that every run is sent to, separated by commas.
        ready_fd: a descriptor to which ``ready`` is written when the sidecar is ready; -1: none.

    Raises:
        ValueError: an address in `sinks` is not valid.
        ServingError: the options do not go together. KeyFileError: a key file is not valid. ChannelError: an address
        cannot be bound. OSError: the root cannot be written.
    """
    from sidecar.protocol.keys import read_key_pair
    from sidecar.server.access import CurveAccess

    set_up_log()
    if key is None and clients is not None:
        raise ServingError("--clients lists public keys, so it needs --key")
    if key is None and not endpoints.local and not insecure:
        raise ServingError(
            f"{endpoints.control} can be reached from other machines: give --key (made by 'sidecar keygen'), "
            "or say --insecure"
        )
    access = CurveAccess(read_key_pair(key), clients) if key is not None else None
    addresses = parse_sinks(sinks)
    make_root(root)
    directory = root / SIDECARS_NAME
    directory.mkdir(exist_ok=True)
    file = connection_file or directory / SERVING_NAME
    with _alone(directory, root):
        server = Server(root, file, endpoints, None, durability, access, addresses)
        _log.info("sidecar %s, process %d, keeps runs in %s", __version__, os.getpid(), root)
        if access is None and not endpoints.local:
            _log.warning("INSECURE: not encrypted; everybody who reaches %s can write and read", endpoints.control)
        _run(
            server, root, file, ready_fd, (signal.SIGTERM, signal.SIGINT),
            lambda: _started(endpoints, key, clients),
        )  # fmt: skip
        unwritten = server.unwritten_bytes
        if unwritten:
            _log.error("stopped: %d bytes could not be written; their clients still have them", unwritten)
        else:
            _log.info("stopped: everything received is in the logs")
    return 1 if server.failed is not None or unwritten else 0


def _started(endpoints: Endpoints, key: Path | None, clients: Path | None) -> Iterator[str]:
    """Yield what an operator needs to know once the sidecar is ready: where it listens, and what clients must set."""
    secure = "not encrypted" if key is None else "encrypted"
    allowed = f", for the clients in {clients}" if clients is not None else ""
    yield f"listening at {endpoints.control}, {endpoints.about()}, {secure}{allowed}"
    address = endpoints.control.replace("tcp://0.0.0.0:", f"tcp://{platform.node()}:")
    public = f" TRACKER_SIDECAR_KEY={key.with_suffix('.pub').name}" if key is not None else ""
    own = " TRACKER_CLIENT_KEY=<its key file>" if clients is not None else ""
    yield f"clients: export TRACKER_SIDECAR={address}{public}{own}"


def _run(
    server: Server,
    root: Path,
    connection_file: Path,
    ready_fd: int,
    stop_signals: Iterable[signal.Signals],
    started: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Start the server, log the lines that `started` returns, and wait until the server has ended."""
    # Python switches threads every 5 ms by default; with three busy threads, the one that waits for sockets would get
    # the interpreter lock too late.
    sys.setswitchinterval(0.001)
    # Records are many objects without cycles: the collector would traverse them again and again (5 % of the time).
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # A client takes five descriptors, a run five more; the usual soft limit of 1024 is for programs that call select().
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _stop_on(server, stop_signals)
    server.start()
    for line in started():
        _log.info("%s", line)
    if ready_fd >= 0:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
    recovery = threading.Thread(
        target=_recover, args=(root, connection_file, server), name="RecoveryThread", daemon=True
    )
    recovery.start()
    server.ended.wait()
    recovery.join()


def _stop_on(server: Server, signals: Iterable[signal.Signals]) -> None:
    """Make the signals stop the server.

    `RELEASE_SIGNAL` lets it exit when nothing is left to do instead.

    Not by a handler in Python: a signal that arrives just before the main thread starts to wait would be handled only
    after the wait. The byte that the interpreter writes as soon as a signal is delivered wakes the HandlerThread.
    """
    signal.set_wakeup_fd(server.signals_fd, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda number, frame: None)


def _recover(root: Path, connection_file: Path, server: Server) -> None:
    """Recover, in the background, what sidecars that died in this root left behind."""
    from sidecar.pipeline.recovery import orphaned_runs, recover
    from sidecar.server.cleanup import clean_up

    clean_up(connection_file.parent)
    if server.serves_all:
        server.reopen(orphaned_runs(root))
    else:
        recover(root, None, Deadline(None))
    server.resume_sinks(root)


@contextlib.contextmanager
def _alone(directory: Path, root: Path) -> Iterator[None]:
    """Hold the lock of the one sidecar that serves a root; the system releases it however the process ends."""
    fd = os.open(directory / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServingError(f"a sidecar is already running for {root}; see 'sidecar status --dir {root}'") from error
        yield
    finally:
        os.close(fd)
