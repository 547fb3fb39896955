"""Attendance: who is attached to which run. Lets clients in, takes what the dead leave, opens and closes runs.

Runs on the HandlerThread. Knows nothing of sockets, and of records only what a window holds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sidecar import __version__
from sidecar.pipeline.held_run import UNSEEN_SECONDS, Run, Session, crashed
from sidecar.pipeline.messages import Append, Closing, Done, Opened, Question, WriterItem
from sidecar.pipeline.oom import oom_count, oom_since
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.codec import encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.frames import frame
from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.records import Body, Record
from sidecar.protocol.segments import (
    OWNER_NAME,
    OwnerLock,
    is_owned,
    read_owner,
    read_window,
    remove_window,
    window_directories,
)
from sidecar.protocol.sink_address import SinkAddress, parse_sink, parse_sinks
from sidecar.protocol.sink_progress import all_progress, read_progress, write_progress

_log = logging.getLogger("sidecar")

_SEARCH_SECONDS = 0.2
"""How often the windows of clients that are gone, or that never attached, are looked for."""

_LEAVE_SECONDS = 5.0
"""A client that is gone is not waited for longer to let go of its window."""

_TAKE_BYTES = 1 << 20
_LEFT = 4096
"""So many clients that left are remembered, with their last number."""


class Attendance:
    """The runs that are open here, and their clients.

    Args:
        root: the directory that holds ``runs/``.
        holder: the path of this sidecar's connection file.
        to_writer: takes items for the Writer.
        on_sinks: called when a client attached, with the servers that it wants the run sent to.
        on_closed: called, on any thread, when a run is closed and released: it must call `forget` on this thread.
        sync: whether a run's log is to be on the disk before a client is told what is in it.
        local: whether only this machine reaches the sidecar, so that what a client says of processes and paths is
            believed.

    Attributes:
        runs: the open runs, by id.
        sessions: the attached clients, by id.
        left: the last numbers of clients that have left, by id.
        take: takes a message of records, as from the record socket: the Handler's `process`.
    """

    def __init__(
        self,
        root: Path,
        holder: str,
        to_writer: Callable[[WriterItem], None],
        on_closed: Callable[[Run], None],
        on_sinks: Callable[[Run, tuple[SinkAddress, ...]], None] = lambda run, sinks: None,
        *,
        sync: bool = False,
        local: bool = True,
    ) -> None:
        self._root = root
        self._holder = holder
        self._to_writer = to_writer
        self._on_closed = on_closed
        self._on_sinks = on_sinks
        self._sync = sync
        self._local = local
        self._place = machine_id()
        self._searched = 0.0
        self._leaving: dict[Session, float] = {}
        self._draining = False
        self.runs: dict[str, Run] = {}
        self.sessions: dict[str, Session] = {}
        self.left: dict[str, int] = {}
        self.take: Callable[[bytes], None]

    # -- coming -------------------------------------------------------------------------------------------------

    def attach(self, request: Record, answer: Callable[[Session, Body], None], key: str = "") -> Session:
        """Let a client in to a run; `answer` gets the run's state when it is known, on any thread.

        Args:
            request: what it asked at the door.
            answer: called once.
            key: its public key, "" where nothing is encrypted; its records must come with the same.

        Raises:
            RefusedError: why it is not let in.
        """
        body = request.body
        if body["protocol"] != PROTOCOL_VERSION:
            raise RefusedError(
                "protocol", f"protocol {body['protocol']}; this sidecar {__version__} speaks {PROTOCOL_VERSION}"
            )
        if not valid_name(request.client):
            raise RefusedError("client", f"client id {request.client!r}: {NAME_RULE}")
        if self._draining:
            raise RefusedError("closing", "this sidecar is about to exit")
        sinks = self._sinks(body.get("sinks") or [])
        held = self.sessions.get(request.client)
        if held is not None and held.expected and held.run.id == request.run:
            del self.sessions[held.client], held.run.sessions[held.client]
            held = None
        if held is not None and held.key != key:
            raise RefusedError("client", f"client {request.client!r} is attached with another key")
        if held is not None and held.run.id == request.run:
            held.seen = time.monotonic()
            self._leaving.pop(held, None)
            answer(held, {})
            return held
        if held is not None:
            raise RefusedError("client", f"client {request.client!r} is attached to another run")
        label = body.get("label")
        run = self._open(request.run, body.get("resume"), body)
        last = run.last.get(request.client, 0)
        session = run.unwritten.pop(request.client, None) or Session(run, request.client, last, last, keys=run.keys)
        session.label, session.parent, session.relay = label, body.get("parent"), bool(body.get("relay"))
        session.key, session.seen, session.exited, session.watched = key, time.monotonic(), False, False
        session.pid = session.window = None
        if self._local and body.get("place") == self._place:
            session.pid = body.get("pid")
            session.oom = oom_count(session.pid) if session.pid else None
            session.window = self._window(run, request.client, body.get("window"))
        run.sessions[session.client] = self.sessions[session.client] = session
        _log.info("run %s: client %s%s attached", run.id, session.client, f" ({label})" if label else "")
        session.resumed = run.existed
        run.existed = True
        self._note_sinks(run, sinks, offline=bool(body.get("offline")))
        if not body.get("offline"):
            self._on_sinks(run, sinks)
        if not session.resumed or body.get("again"):
            answer(session, {})
        else:
            self._to_writer(Question(run, session, "state", lambda found: answer(session, dict(found))))
        return session

    def take_up(self, run_id: str) -> None:
        """Open a run that a sidecar before this one left, so that it is finished here: its clients may attach again,
        and those that do not are said to be gone in the end."""
        try:
            run = self._open(run_id, None, {"again": True})
        except RefusedError as error:
            _log.info("run %s is left as it is: %s", run_id, error)
            return
        noted = [parse_sink(found.address) for found in all_progress(run.directory) if not found.offline]
        self._on_sinks(run, tuple(noted))

    def _sinks(self, given: list[str]) -> tuple[SinkAddress, ...]:
        """Return the servers that a client wants its run sent to."""
        if given and not self._local:
            raise RefusedError("sinks", "this sidecar takes no sinks from its clients: it has its own")
        try:
            return parse_sinks(given)
        except ValueError as error:
            raise RefusedError("sinks", str(error)) from error

    @staticmethod
    def _note_sinks(run: Run, sinks: tuple[SinkAddress, ...], *, offline: bool) -> None:
        """Write down where a run is to be sent only by ``tracker sync``, and where it no longer is."""
        for address in sinks:
            progress = read_progress(run.directory, address)
            if progress.offline == offline:
                continue
            progress.offline = offline
            try:
                write_progress(run.directory, progress)
            except OSError as error:
                _log.error("run %s: that it goes to %s cannot be noted: %s", run.id, address.text, error)

    def _open(self, run_id: str, resume: str | None, body: Body) -> Run:
        run = self.runs.get(run_id)
        if run is not None and run.closing:
            raise RefusedError("closing", f"run {run_id!r} is being closed; try again")
        fresh = run is None
        if run is None:
            run = Run.open(self._root, run_id, self._holder, sync=self._sync, patient=True)
        try:
            if not body.get("again"):
                self._check_resume(run, resume, fresh, body)
        except RefusedError:
            if fresh:
                run.give_back()
            raise
        if fresh:
            self.runs[run_id] = run
            self._to_writer(Opened(run))
            for client in run.unseen:  # on another machine it may live, and attach again soon
                last = run.last.get(client, 0)
                expected = Session(run, client, last, last, keys=run.keys, expected=True)
                run.sessions[client] = self.sessions[client] = expected
        return run

    @staticmethod
    def _check_resume(run: Run, resume: str | None, fresh: bool, body: Body) -> None:
        if resume == "must" and not run.existed and fresh:
            raise RefusedError("missing", f"run {run.id!r} does not exist, and resume is 'must'")
        if resume == "never" and (run.existed or not fresh):
            raise RefusedError("exists", f"run {run.id!r} exists, and resume is 'never'")
        ended = run.ended if fresh else all(session.exited for session in run.sessions.values())
        if resume is None and ended and not body.get("label") and not body.get("parent"):
            raise RefusedError("exists", f"run {run.id!r} exists and has ended; resume='allow' goes on with it")

    @staticmethod
    def _window(run: Run, client: str, named: str | None) -> Path | None:
        """Return the window the sidecar may take: only one whose owner file names this run and client."""
        if not named:
            return None
        try:
            path = Path(named).resolve(strict=True)  # now: a link may lead somewhere else when the client is gone
        except (OSError, ValueError):
            return None
        owner = read_owner(path)
        mine = path.name == client and owner.get("run") == run.id and owner.get("client") == client
        return path if mine else None

    # -- leaving ------------------------------------------------------------------------------------------------

    def leave(self, session: Session) -> None:
        """A client said that it goes (its process lives on), or is gone: take what it left, and close its run if it
        was the last."""
        if self.sessions.get(session.client) is not session:
            return  # it has left before
        if session.window is not None and session.window.is_dir() and not self._take_window(session.window, session):
            if session not in self._leaving:
                self._leaving[session] = time.monotonic()
            if time.monotonic() - self._leaving[session] < _LEAVE_SECONDS:
                return  # its owner has not let go of it yet: `idle` tries again
        self._leaving.pop(session, None)
        if not (session.exited or session.relay or session.parent is not None) and session.accepted > 0:
            self._append_own(session.run, "exit", self._obituary(session))
        self.left[session.client] = session.accepted
        if len(self.left) > _LEFT:
            del self.left[next(iter(self.left))]
        self._forget(session)
        _log.info("run %s: client %s left, %d records", session.run.id, session.client, session.accepted)
        self._maybe_close(session.run)

    def _forget(self, session: Session) -> None:
        run = session.run
        run.last[session.client] = session.accepted
        if session.durable < session.accepted:
            run.unwritten[session.client] = session
        else:
            run.unwritten.pop(session.client, None)  # one of before, which has accepted less
        del self.sessions[session.client]
        del run.sessions[session.client]

    @staticmethod
    def _obituary(session: Session) -> Body:
        """Return the ``exit`` of a client that could not say one."""
        if oom_since(session.oom):
            return crashed(session.client, "out of memory: the kernel killed a process of its cgroup")
        return crashed(session.client)

    def give_up(self, session: Session) -> None:
        """A client could not be let in after all: forget it. Nothing is said of it in the log; it may try again."""
        self._forget(session)
        self._maybe_close(session.run)

    def gone(self, session: Session) -> None:
        """The process of a client is gone."""
        self.leave(session)

    def _take_window(self, directory: Path, session: Session | None) -> bool:
        """Hand on what the window of a dead client holds; return False while its owner lives."""
        lock = OwnerLock.take(directory)
        if lock is None:
            return False
        taken: list[bytes] = []
        size = 0
        after = session.accepted if session else 0
        for kept in read_window(directory, after):
            taken.append(kept.frame)
            size += len(kept.frame)
            if size > _TAKE_BYTES:
                self.take(b"".join(taken))
                taken, size = [], 0
        if taken:
            self.take(b"".join(taken))

        def remove() -> None:
            remove_window(directory)
            lock.release()

        self._to_writer(Done(remove))
        return True

    def take_gone(self, run: Run, *, but: Session) -> None:
        """Take the windows of all clients of a run that are gone by now, attached or not: `but` is about to ask."""
        for session in list(run.sessions.values()):
            if session is not but and session.window is not None and not is_owned(session.window):
                self.leave(session)
        self._search_windows(run)

    def _append_own(self, run: Run, kind: str, body: Body) -> None:
        self._to_writer(Append(run, frame(encode(run.own_record(kind, body))), ()))

    def _search_windows(self, run: Run) -> bool:
        """Take the windows of clients that died before they attached; return whether living ones are left."""
        alive = False
        for directory in window_directories(run.directory):
            client = directory.name
            if client in run.sessions or not valid_name(client):
                continue
            lock = OwnerLock.take(directory)
            if lock is None:
                alive = alive or (directory / OWNER_NAME).exists()
                continue
            lock.release()
            session = Session(run, client, run.last.get(client, 0), run.last.get(client, 0), keys=run.keys)
            session.parent = lock.info.get("parent")
            session.window = directory
            run.sessions[client] = self.sessions[client] = session
            self.leave(session)
        return alive

    def _maybe_close(self, run: Run) -> None:
        if run.sessions or run.closing:
            return
        if self._search_windows(run) or run.sessions or run.closing:
            return
        run.closing = True
        if run.losses_changed:
            self._append_own(run, "losses", {"source": "sidecar", "counts": dict(run.losses)})

        def then(clean: bool) -> None:
            run.release(clean=clean)
            self._on_closed(run)

        self._to_writer(Closing(run, then))

    def forget(self, run: Run) -> None:
        """A run was closed and released."""
        self.runs.pop(run.id, None)

    # -- time ---------------------------------------------------------------------------------------------------

    def idle(self, now: float) -> float:
        """Look after those who are leaving, who were not seen for long, and runs that nobody is attached to."""
        if now - self._searched < _SEARCH_SECONDS:
            return _SEARCH_SECONDS
        self._searched = now
        for session in list(self._leaving):
            self.leave(session)
        for session in self._unseen(now):
            _log.warning("run %s: client %s was not seen for %.0f s", session.run.id, session.client, UNSEEN_SECONDS)
            self.leave(session)
        for run in list(self.runs.values()):
            self._maybe_close(run)
        return _SEARCH_SECONDS

    def _unseen(self, now: float) -> Iterable[Session]:
        return [s for s in self.sessions.values() if not s.watched and now - s.seen > UNSEEN_SECONDS]

    def all_seen(self, now: float) -> None:
        """Take no client for silent before `now`: nobody was listened to."""
        for session in self.sessions.values():
            session.seen = now

    def drained(self) -> bool:
        """Whether every run is closed."""
        return not self.runs

    def close(self, deadline: Deadline) -> None:
        """Let everybody go: their runs stay open for them elsewhere, since nothing says that they ended."""
        self._draining = True
        for run in list(self.runs.values()):
            if not run.closing:
                run.closing = True

                def then(clean: bool, run: Run = run) -> None:
                    run.release(clean=False)
                    self._on_closed(run)

                self._to_writer(Closing(run, then))
