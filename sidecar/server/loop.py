"""The HandlerThread's loop: owns every socket of the sidecar, and passes what arrives to the Handler.

The control socket (ROUTER), the record socket (PULL) and one result socket (PUSH) per attached client are opened, used
and closed on this thread. Other threads reach it by `call`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from sidecar import __version__
from sidecar.pipeline.editor import Edit, Editing, Editor
from sidecar.pipeline.handler import Handler
from sidecar.pipeline.held_run import Session
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.messages import (
    Append,
    Attached,
    Detached,
    Edited,
    Event,
    Released,
    SenderItem,
    SinksChosen,
    WriterItem,
)
from sidecar.pipeline.sender import Sender
from sidecar.pipeline.sessions import Sessions
from sidecar.pipeline.stage import StageThread
from sidecar.pipeline.writer import Writer
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol import channels
from sidecar.protocol.codec import encode
from sidecar.protocol.connection import Connection, machine_id, write_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.endpoints import reached
from sidecar.protocol.layout import RUNS_NAME
from sidecar.protocol.records import Body, Record
from sidecar.protocol.sink_address import SinkAddress, parse_sink
from sidecar.protocol.sink_progress import all_progress
from sidecar.server.access import OpenAccess
from sidecar.server.call_queue import CallQueue
from sidecar.server.control import ControlSocket
from sidecar.server.endpoints import Endpoints
from sidecar.server.process_watch import ProcessWatch
from sidecar.server.reading import Reading
from sidecar.server.results import RETRY_SECONDS, ResultSockets
from sidecar.server.run_reads import RunReads
from sidecar.server.status import Status
from sidecar.sinks.senders import SinkSenders

_log = logging.getLogger("sidecar")

_BACKLOG_BYTES = 8 * 1024 * 1024
"""Maximum number of bytes queued for the log while the record socket is read; the clients' windows hold the rest."""

_RECORDS_QUEUED = 8
"""Messages that ZeroMQ queues for each client; they may be large."""

_SINK_SECONDS = 5.0
"""Maximum time to wait, at a stop, for requests that are on their way to a server, in seconds. They are resent."""

_SHUTDOWN_SECONDS = 30.0

_LAST_ANSWER_SECONDS = 1.0
"""Maximum time for which the answer to ``stop`` may still be on its way when the sockets are closed, in seconds."""

_BURST_SECONDS = 0.02
"""Maximum time for which records are read before the loop looks after everything else, in seconds."""

_PARENT = "parent"

RELEASE_SIGNAL = signal.SIGUSR1
"""Signal by which the parent of a launched sidecar says that it has no more runs for it."""


class Server:
    """The sidecar: three stages on their threads, wired to sockets.

    Args:
        root: the directory that holds ``runs/``.
        connection_file: path of the connection file to write.
        endpoints: where to bind.
        parent: process id; the sidecar exits when that process has ended and no run is open. None: it serves until it
            is stopped.
        durability: ``"os"`` or ``"disk"``.
        access: which clients may connect, and the sidecar's keys; None: connections are not encrypted.
        sinks: servers that every run is sent to.
        idle_exit: time with nothing to do after which it exits while `parent` lives, in seconds; None: it does not.

    Attributes:
        signals_fd: a byte written here stops it, as `stop` does; for `signal.set_wakeup_fd`.
        ended: set when it has stopped.
        failed: the exception that ended it, or None.
    """

    def __init__(
        self,
        root: Path,
        connection_file: Path,
        endpoints: Endpoints,
        parent: int | None = None,
        durability: str = "os",
        access: OpenAccess | None = None,
        sinks: Iterable[SinkAddress] = (),
        *,
        idle_exit: float | None = None,
    ) -> None:
        self._connection_file = connection_file
        self._endpoints = endpoints
        self._access = access or OpenAccess()
        self._parent = parent
        self._pressed_until = 0.0
        self._parent_lives = parent is not None
        self._idle_exit = math.inf if idle_exit is None else idle_exit
        self._busy_at = time.monotonic()
        self._sink_senders = SinkSenders(sinks)
        self._sender = Sender(StoreSink, self._pressed, others=self._sink_senders.progress)
        self._sender_thread: StageThread[SenderItem] = StageThread("SenderThread", self._sender)
        self._writer = Writer(self._sender_thread.put, self._post, durability)
        self._writer_thread: StageThread[WriterItem] = StageThread("WriterThread", self._writer)
        sync = durability == "disk"
        self._intake = Intake(self._to_writer, self._post)
        self._sessions = Sessions(
            root,
            str(connection_file),
            self._to_writer,
            self._intake,
            self._emit,
            sync=sync,
            local=endpoints.local,
        )
        editor = Editor(root, str(connection_file), self._emit, sync=sync)
        self._editor_thread: StageThread[Edit] = StageThread("EditorThread", editor)
        self._editing = Editing(self._sessions, self._to_writer, self._editor_thread.put)
        self._run_reading = Reading(RunReads(root).values)
        self._handler = Handler(self._sessions, self._intake, self._to_writer)
        self._thread = threading.Thread(target=self._run, name="HandlerThread", daemon=True)
        self._calls = CallQueue()
        self._signals_read, self.signals_fd = os.pipe()
        os.set_blocking(self.signals_fd, False)
        self._stopping = False
        self._status = Status(root, self._intake, self._sessions, self._writer, self._sender, self._sink_senders)
        self._ready: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._results = ResultSockets(endpoints, self._access.keys)
        self._resources = contextlib.ExitStack()
        self._watch = ProcessWatch()
        self._watched: dict[str, Session] = {}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._on_event: dict[type, Callable[[Any], None]] = {
            Attached: self._on_attached,
            Detached: self._on_detached,
            SinksChosen: self._on_sinks_chosen,
            Released: self._on_released,
            Edited: self._on_edited,
        }
        self.ended = threading.Event()
        self.failed: BaseException | None = None

    # -- from any thread ----------------------------------------------------------------------------------------

    def call(self, function: Callable[[], None]) -> None:
        """Queue a call of `function` on the HandlerThread."""
        self._calls.put(function)

    def _post(self, client: str, result: Record) -> None:
        message = encode(result)
        self.call(lambda: self._results.send(client, message))

    def _to_writer(self, item: WriterItem) -> None:
        if isinstance(item, Append):
            self._writer.handed_bytes += len(item.frames)
            item.run.handed_bytes += len(item.frames)
        self._writer_thread.put(item)

    def _emit(self, event: Event) -> None:
        self._events.put(event)
        self.call(lambda: None)  # wakes the loop

    @property
    def serves_all(self) -> bool:
        """Whether it serves all clients, not only one process and its children."""
        return self._parent is None

    def reopen(self, run_ids: Iterable[str]) -> None:
        """Open runs of an earlier sidecar: their clients may be on other machines, and attach again."""
        for run_id in run_ids:
            self.call(partial(self._sessions.reopen, run_id))

    def resume_sinks(self, root: Path) -> None:
        """Continue sending the runs that earlier sidecars had not sent completely, while this one is running."""
        for directory in sorted((root / RUNS_NAME).glob("*")):
            for progress in all_progress(directory):
                if not progress.offline and progress.behind_bytes(directory):
                    begin = partial(self._sink_senders.add, directory, [parse_sink(progress.address)], held=False)
                    self.call(begin)

    def _pressed(self) -> bool:
        return time.monotonic() < self._pressed_until

    def start(self) -> None:
        """Bind, write the connection file, and start serving.

        Raises:
            ChannelError: an address cannot be bound. OSError: the connection file cannot be written.
        """
        self._sender_thread.start()
        self._writer_thread.start()
        self._editor_thread.start()
        self._thread.start()
        error = self._ready.get()
        if error is not None:
            raise error

    def stop(self) -> None:
        """Start to drain; `ended` is set when that is done. May be called twice, and from any thread."""
        self._stopping = True
        self.call(lambda: None)

    def close(self, deadline: Deadline) -> None:
        """Stop, and wait until the deadline at most."""
        self.stop()
        self._thread.join(deadline.left())

    # -- on the HandlerThread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._open()
        except BaseException as error:
            self._resources.close()
            self._ready.put(error)
            return
        self._ready.put(None)
        try:
            self._loop()
            self._shut_down(Deadline(_SHUTDOWN_SECONDS))
        except BaseException as error:
            self.failed = error
            _log.exception("the HandlerThread failed; the sidecar stops, and its clients will launch another")
        finally:
            self._release()
            self.ended.set()

    def _open(self) -> None:
        self._resources.callback(self._watch.close)
        self._poll = channels.Poll()
        keys = self._access.keys
        self._resources.callback(self._access.close)
        self._records = channels.pull(_RECORDS_QUEUED, keys)
        self._resources.callback(self._records.close)
        control = channels.router(keys)
        self._resources.callback(control.close, _LAST_ANSWER_SECONDS)
        self._resources.callback(self._results.close)
        self._special: dict[channels.Channel, Callable[[], None]] = {}
        self._watch_handshakes(control)
        endpoint = self._endpoints.bind_control(control)
        self._records_endpoint = self._endpoints.bind(self._records, "records")
        self._special[control] = ControlSocket(
            control,
            self._records_endpoint,
            self._endpoints,
            self._access,
            self._sessions,
            self._editing,
            self._run_reading,
            self._results,
            self.call,
            self.status,
            self.stop,
        ).answer_all
        self._reading = True
        for channel in (*self._special, self._records):
            self._poll.add(channel)
        self._poll.add(self._calls.fd)
        self._poll.add(self._signals_read)
        if self._parent is not None:
            self._watch_process(self._parent, _PARENT)
        connection = Connection(
            reached(endpoint, "tcp://127.0.0.1:0"),  # the file is read on this machine
            os.getpid(),
            machine_id(),
            platform.node(),
            __version__,
            self._status.started,
            keys.public if keys is not None else None,
        )
        write_connection(self._connection_file, connection)

    def _watch_handshakes(self, control: channels.Channel) -> None:
        """Answer the handshakes of an encrypting sidecar, and learn of those that fail."""
        gate = self._access.open()
        watched = [control] if self._endpoints.control.startswith("tcp://") else []
        if gate is not None:
            self._special[gate.channel] = gate.answer
            watched = [control, self._records]
        for channel in watched:
            handshakes = channel.watch_handshakes()
            self._special[handshakes] = partial(self._on_handshakes, handshakes)

    def _loop(self) -> None:
        wait = 0.0
        while not self._done():
            for source in self._poll.wait(wait, [*self._special, self._records]):
                if source == self._calls.fd:
                    self._calls.run_all()
                elif source == self._signals_read:
                    self._on_signals(os.read(self._signals_read, 64))
                elif source is self._records:
                    self._on_records()
                elif isinstance(source, int):
                    self._on_process_end(source)
                else:
                    self._special[source]()
            now = time.monotonic()
            if not self._reading:  # then no client can be considered silent
                self._sessions.all_seen(now)
            wait = min(self._handler.idle(now), self._editing.idle(now), self._run_reading.idle(now))
            if self._results.send_unsent(now):
                wait = min(wait, RETRY_SECONDS)
            for key in self._watch.gone():
                self._on_gone(key)
            self._handle_events()
            self._regulate()
            failed = self._writer_thread.failed or self._sender_thread.failed or self._sink_senders.failed()
            failed = failed or self._editor_thread.failed
            if failed is not None:
                raise failed

    def _on_signals(self, numbers: bytes) -> None:
        """Act on the signals that the interpreter wrote, a byte each; `stop` writes 0."""
        if any(number != RELEASE_SIGNAL for number in numbers):
            self._stopping = True
        else:
            self._parent_lives = False

    def _done(self) -> bool:
        if self._stopping:
            return True
        if self._parent is None or (self._parent_lives and self._idle_exit == math.inf):
            return False
        now = time.monotonic()
        if (
            self._sessions.by_client
            or not self._sessions.drained()
            or self._sessions.edits_pending
            or self._sink_senders.pending()
        ):
            self._busy_at = now
            return False
        return not self._parent_lives or now - self._busy_at >= self._idle_exit

    def _shut_down(self, deadline: Deadline) -> None:
        """Stop in order: no new records, then the logs, the stores, the sinks; the sockets are closed last."""
        self._handler.close(deadline)
        self._run_reading.close()
        self._connection_file.unlink(missing_ok=True)
        self._editor_thread.close(deadline)
        self._writer_thread.close(deadline)
        self._sender_thread.close(deadline)
        self._calls.run_all()  # the last acks and answers
        self._handle_events()  # the sinks learn that no more comes for the runs
        self._sink_senders.close(Deadline(deadline.left(_SINK_SECONDS)))

    def _release(self) -> None:
        self._connection_file.unlink(missing_ok=True)
        self._resources.close()

    def _on_records(self) -> None:
        until = time.monotonic() + _BURST_SECONDS
        while (received := self._receive()) is not None:
            message, key = received
            self._handler.process(message, key)
            now = time.monotonic()
            if now > until or self._writer.moving_bytes > _BACKLOG_BYTES:
                self._pressed_until = now + 2 * _BURST_SECONDS
                return

    def _receive(self) -> tuple[bytes, str | None] | None:
        """Return the next message and the public key it came with (None without encryption), or None."""
        if self._access.keys is not None:
            return self._records.receive_from()
        message = self._records.receive()
        return (message, None) if message is not None else None

    def _on_handshakes(self, handshakes: channels.Channel) -> None:
        for refusal in handshakes.refusals():
            self._access.failed(refusal)

    def _regulate(self) -> None:
        """Stop reading records while the log is behind; resume when it has caught up."""
        reading = self._writer.moving_bytes < (_BACKLOG_BYTES if self._reading else _BACKLOG_BYTES // 2)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._poll.add(self._records)
            else:
                self._poll.remove(self._records)

    # -- events -------------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        """Handle what the stages have emitted.

        Not while the sources of one poll are handled: a descriptor that is closed then may be one of them.
        """
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            self._on_event[type(event)](event)

    def _on_attached(self, event: Attached) -> None:
        session = event.session
        if session.pid is not None:
            self._watched[session.client] = session
            self._watch_process(session.pid, session)

    def _on_detached(self, event: Detached) -> None:
        session = event.session
        if session.client not in self._sessions.by_client:  # otherwise it has attached again, and may know the socket
            self._results.forget(session.client)
        if self._watched.get(session.client) is session:
            fd = self._watch.forget(self._watched.pop(session.client))
            if fd is not None:
                self._poll.remove(fd)

    def _on_sinks_chosen(self, event: SinksChosen) -> None:
        self._sink_senders.add(event.run.directory, event.sinks)

    def _on_released(self, event: Released) -> None:
        self._sink_senders.closed(event.run.id)
        self._sessions.forget(event.run)

    def _on_edited(self, event: Edited) -> None:
        self._sessions.end_edit(event.run, event.edits)
        self._sink_senders.send_rest(event.directory, event.sinks)

    # -- processes ----------------------------------------------------------------------------------------------

    def _watch_process(self, pid: int, key: str | Session) -> None:
        fd = self._watch.add(pid, key)
        if fd is not None:
            self._poll.add(fd)

    def _on_process_end(self, fd: int) -> None:
        self._poll.remove(fd)
        self._on_gone(self._watch.ended(fd))

    def _on_gone(self, key: object) -> None:
        if key == _PARENT:
            self._parent_lives = False
        elif isinstance(key, Session):
            self._sessions.detach(key)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes that were received and are not in a log yet."""
        return self._writer.backlog_bytes

    def status(self) -> Body:
        """Return the body of the answer to ``status``."""
        encrypted = self._access.keys is not None
        return self._status.body(self._records_endpoint, dict(self._access.refused), encrypted=encrypted)
