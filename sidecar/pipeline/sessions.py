"""Sessions: which clients are attached to which runs. Attaches and detaches clients, opens and closes runs.

Runs on the HandlerThread. Knows nothing of sockets or processes: what the server must do is emitted as events.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from sidecar import __version__
from sidecar.pipeline.held_run import HeldRun, Session, crash_body
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.ledger import ClientLedger
from sidecar.pipeline.messages import (
    Append,
    Attached,
    Closing,
    Detached,
    Done,
    Emit,
    Opened,
    Question,
    Released,
    SinksChosen,
    WriterItem,
)
from sidecar.pipeline.oom import killed_since, read_oom_kills
from sidecar.pipeline.run_sinks import note_sinks, noted_sinks, parse_client_sinks
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.codec import encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.frames import frame
from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.orphans import Orphan
from sidecar.protocol.records import Body, Record
from sidecar.protocol.rows import Schema
from sidecar.protocol.segments import OWNER_NAME, is_owned, read_owner, window_directories

_log = logging.getLogger("sidecar")

STALE_SECONDS = 60.0
"""Timeout after which a silent client whose process cannot be watched from here counts as gone, in seconds."""

_IDLE_SECONDS = 0.2
"""Interval between two looks at the windows of clients that are gone, or that never attached, in seconds."""

_UNLOCK_SECONDS = 5.0
"""Maximum time that a client which has detached may still hold its window, in seconds."""

_MAX_DETACHED = 4096
"""Maximum number of detached clients whose late records are recognized."""

_MAX_LATE_WORDS = 65536
"""Maximum number of forgotten schemas whose late rows are recognized."""

_OUT_OF_MEMORY = "out of memory: the kernel killed a process of its cgroup"


class Sessions:
    """The runs that are open here, and the clients attached to them.

    Args:
        root: the directory that holds ``runs/``.
        holder: path of this sidecar's connection file.
        to_writer: takes items for the Writer.
        intake: takes the records of orphaned windows.
        emit: takes events; `Released` from any thread, and it must be answered by `forget` on this one.
        sync: whether a run's log must be on the disk before a client is told what is in it.
        local: whether only this machine reaches the sidecar, so that processes and paths that a client names are
            valid here.

    Attributes:
        runs: the open runs, by id.
        schemas: word -> schema, of the rows that may come.
        by_client: the sessions of attached and expected clients, by client id.
        draining: whether no more clients are attached, since the sidecar is about to exit.
    """

    def __init__(
        self,
        root: Path,
        holder: str,
        to_writer: Callable[[WriterItem], None],
        intake: Intake,
        emit: Emit,
        *,
        sync: bool = False,
        local: bool = True,
    ) -> None:
        self._root = root
        self._holder = holder
        self._to_writer = to_writer
        self._intake = intake
        self._emit = emit
        self._sync = sync
        self._local = local
        self._machine = machine_id()
        self._looked_at = 0.0
        self._detaching: dict[Session, float] = {}
        self._detached: dict[str, ClientLedger] = {}
        self._late_words: dict[int, None] = {}
        self._editing: dict[str, int] = {}
        self._reopen_later: set[str] = set()
        self.draining = False
        self.runs: dict[str, HeldRun] = {}
        self.schemas: dict[int, Schema] = {}
        self.by_client: dict[str, Session] = {}

    # -- attach -------------------------------------------------------------------------------------------------

    def attach(self, request: Record, answer: Callable[[Session, Body], None], key: str = "") -> Session:
        """Attach a client to a run.

        Args:
            request: the client's ``attach``.
            answer: called once, on any thread, with the run's state when it is known.
            key: the client's public key, "" without encryption; its records must come with the same.

        Raises:
            RefusedError: why the client cannot attach.
        """
        body = request.body
        self._check_client(request)
        sinks = parse_client_sinks(body.get("sinks") or [], local=self._local)
        session = self._attached_session(request, key)
        if session is not None:
            session.seen = time.monotonic()
            self._detaching.pop(session, None)
            answer(session, {})
            return session
        run = self._open(request.run, body)
        session = self._add_session(run, request, key)
        self._detach_replaced(session)
        note_sinks(run, sinks, offline=bool(body.get("offline")))
        if not body.get("offline"):
            self._emit(SinksChosen(run, sinks))
        self._emit(Attached(session))
        if not session.resumed or body.get("again"):
            answer(session, {})
        else:
            self._to_writer(Question(run, session, "state", lambda state: answer(session, dict(state))))
        return session

    def _check_client(self, request: Record) -> None:
        version = request.body["protocol"]
        if version != PROTOCOL_VERSION:
            raise RefusedError("protocol", f"protocol {version}; this sidecar {__version__} speaks {PROTOCOL_VERSION}")
        if not valid_name(request.client):
            raise RefusedError("client", f"client id {request.client!r}: {NAME_RULE}")
        if self.draining:
            raise RefusedError("closing", "this sidecar is about to exit")

    def _attached_session(self, request: Record, key: str) -> Session | None:
        """Return the session of a client that is attached to this run already; one that is expected is not."""
        session = self.by_client.get(request.client)
        if session is None:
            return None
        same_run = session.run.id == request.run
        if session.ledger.expected and same_run:
            return None
        if session.key != key:
            raise RefusedError("client", f"client {request.client!r} is attached with another key")
        if not same_run:
            raise RefusedError("client", f"client {request.client!r} is attached to another run")
        return session

    def _add_session(self, run: HeldRun, request: Record, key: str) -> Session:
        body = request.body
        resumed = run.existed
        session = Session(
            run,
            run.ledger(request.client),
            label=body.get("label"),
            parent=body.get("parent"),
            resumed=resumed,
            key=key,
            relay=bool(body.get("relay")),
        )
        if self._local and body.get("place") == self._machine:
            session.pid = body.get("pid")
            session.oom_kills_before = read_oom_kills(session.pid) if session.pid else None
            session.window = _window_of(run, request.client, body.get("window"))
        session.ledger.attach(again=bool(body.get("again")))
        self._add(session)
        label = f" ({session.label})" if session.label else ""
        _log.info("run %s: client %s%s attached", run.id, session.client, label)
        return session

    def _detach_replaced(self, session: Session) -> None:
        """Detach the clients of a process that has replaced its program by another (``exec``): they are gone, too.

        The windows that a program had open are unlocked when it is replaced.
        """
        for other in list(self.by_client.values()) if session.pid is not None else ():
            same_process = other is not session and other.pid == session.pid
            if same_process and other.window is not None and not is_owned(other.window):
                self.detach(other)

    def _add(self, session: Session) -> None:
        session.run.sessions[session.client] = self.by_client[session.client] = session

    def _remove(self, session: Session) -> None:
        del self.by_client[session.client], session.run.sessions[session.client]

    # -- runs ---------------------------------------------------------------------------------------------------

    def reopen(self, run_id: str) -> None:
        """Open a run that an earlier sidecar left: its clients may attach again, and the others get crash records."""
        if run_id in self._editing:
            self._reopen_later.add(run_id)
            return
        try:
            run = self._open(run_id, {"again": True})
        except RefusedError as error:
            _log.info("run %s is not reopened: %s", run_id, error)
            return
        self._emit(SinksChosen(run, noted_sinks(run)))

    def _open(self, run_id: str, body: Body) -> HeldRun:
        """Return the open run, opened now if it is not; `body` is of the ``attach`` that asks for it."""
        run = self.runs.get(run_id)
        if run is not None:
            if run.closing:
                run.awaited = True
                raise RefusedError("closing", f"run {run_id!r} is being closed; try again")
            _check_resume(run, body, opened=False)
            return run
        if run_id in self._editing:
            raise RefusedError("closing", f"run {run_id!r} is being edited; try again")
        run = HeldRun.open(self._root, run_id, self._holder, sync=self._sync, patient=True, schemas=self.schemas)
        try:
            _check_resume(run, body, opened=True)
        except RefusedError:
            run.forget_schemas()
            run.give_back()
            raise
        self.runs[run_id] = run
        self._to_writer(Opened(run))
        for ledger in run.clients.values():
            if ledger.expected:
                self._add(Session(run, ledger))
        return run

    def _maybe_close(self, run: HeldRun) -> None:
        """Close a run that has no sessions and no windows."""
        if run.sessions or run.closing:
            return
        if self._take_orphans(run) or run.sessions or run.closing:
            return
        if run.losses_changed:
            self._append_own(run, "losses", {"source": "sidecar", "counts": dict(run.losses)})
        self._close_run(run, ended=True)

    def _close_run(self, run: HeldRun, *, ended: bool) -> None:
        """Close a run once everything is projected; if it has not `ended`, its lock file stays for a recovery."""
        run.closing = True

        def then(clean: bool) -> None:
            run.release(clean=clean and ended)
            self._emit(Released(run))

        self._to_writer(Closing(run, then))

    @property
    def edits_pending(self) -> int:
        """Number of edits of runs that are not held here."""
        return sum(self._editing.values())

    def begin_edit(self, run_id: str) -> None:
        """Attach no client to a run that is not held, until `end_edit`."""
        self._editing[run_id] = self._editing.get(run_id, 0) + 1

    def end_edit(self, run_id: str, count: int) -> None:
        """Note that `count` edits of a run are done."""
        self._editing[run_id] -= count
        if not self._editing[run_id]:
            del self._editing[run_id]
            if run_id in self._reopen_later:
                self._reopen_later.discard(run_id)
                self.reopen(run_id)

    def forget(self, run: HeldRun) -> None:
        """Forget a run that was released."""
        self.runs.pop(run.id, None)
        self._forget_words(run.forget_schemas())

    def _forget_words(self, words: list[int]) -> None:
        """Remember the schemas whose rows may still be on their way, by the words that name them."""
        self._late_words.update(dict.fromkeys(words))
        while len(self._late_words) > _MAX_LATE_WORDS:
            del self._late_words[next(iter(self._late_words))]

    def drained(self) -> bool:
        """Whether every run is closed."""
        return not self.runs

    def _append_own(self, run: HeldRun, kind: str, body: Body) -> None:
        self._to_writer(Append(run, frame(encode(run.own_record(kind, body))), ()))

    # -- detach -------------------------------------------------------------------------------------------------

    def detach(self, session: Session) -> None:
        """End the session of a client that detached or died: take its window, and close its run if it was the last."""
        if self.by_client.get(session.client) is not session:
            return  # it has detached before
        orphan = None
        if session.window is not None and session.window.is_dir():
            orphan = Orphan.take(session.window)
            if orphan is None and self._waits_for_window(session):
                return
        self._detach(session, orphan)

    def _waits_for_window(self, session: Session) -> bool:
        """Whether a detaching client, which still holds its window, is given more time; `idle` tries again."""
        now = time.monotonic()
        return now - self._detaching.setdefault(session, now) < _UNLOCK_SECONDS

    def _detach(self, session: Session, orphan: Orphan | None) -> None:
        run, ledger = session.run, session.ledger
        self._detaching.pop(session, None)
        if orphan is not None:
            self._intake.take_orphan(session, orphan)
            self._to_writer(Done(run, orphan.remove))
        if ledger.detach(independent=not session.relay and session.parent is None):
            self._append_own(run, "exit", _crash_record(session))
        self._detached.pop(session.client, None)
        self._detached[session.client] = ledger
        if len(self._detached) > _MAX_DETACHED:
            forgotten = next(iter(self._detached))
            del self._detached[forgotten]
            if forgotten not in self.by_client:  # it has not attached again
                for other in self.runs.values():
                    self._forget_words(other.forget_schemas(forgotten))
        self._end_session(session)
        _log.info("run %s: client %s detached, %d records", run.id, session.client, ledger.accepted)
        self._maybe_close(run)

    def give_up(self, session: Session) -> None:
        """End the session of a client that could not be answered. Nothing is logged of it; it may try again."""
        session.ledger.detach()
        self._end_session(session)
        self._maybe_close(session.run)

    def _end_session(self, session: Session) -> None:
        self._remove(session)
        self._emit(Detached(session))

    def is_late(self, client: str, seq: int) -> bool:
        """Whether a record of a detached client was on its way while its window was taken."""
        ledger = self._detached.get(client)
        return ledger is not None and ledger.is_late(seq)

    def is_late_row(self, word: int | None) -> bool:
        """Whether `word` names a schema of clients that are gone, so that its rows were on their way meanwhile."""
        return word in self._late_words

    def detach_gone(self, run: HeldRun, *, but: Session) -> None:
        """Take the windows of all clients of a run that are gone by now, attached or not, except those of `but`."""
        for session in list(run.sessions.values()):
            if session is not but and session.window is not None and not is_owned(session.window):
                self.detach(session)
        self._take_orphans(run)

    def _take_orphans(self, run: HeldRun) -> bool:
        """Take the windows of clients that died before they attached; return whether there are windows in use."""
        in_use = False
        for directory in window_directories(run.directory):
            client = directory.name
            if client in run.sessions or not valid_name(client):
                continue
            orphan = Orphan.take(directory)
            if orphan is None:
                in_use = in_use or (directory / OWNER_NAME).exists()
                continue
            session = Session(run, run.ledger(client), parent=orphan.info.get("parent"), window=directory)
            self._add(session)
            self._detach(session, orphan)
        return in_use

    # -- time ---------------------------------------------------------------------------------------------------

    def idle(self, now: float) -> float:
        """Look after detaching and stale clients, and runs without any; return when to be called again, in seconds."""
        if now - self._looked_at < _IDLE_SECONDS:
            return _IDLE_SECONDS
        self._looked_at = now
        for session in list(self._detaching):
            self.detach(session)
        for session in self._stale(now):
            _log.warning("run %s: client %s is stale: silent for %.0f s", session.run.id, session.client, STALE_SECONDS)
            self.detach(session)
        for run in list(self.runs.values()):
            self._maybe_close(run)
        return _IDLE_SECONDS

    def _stale(self, now: float) -> list[Session]:
        return [
            session for session in self.by_client.values() if session.pid is None and now - session.seen > STALE_SECONDS
        ]

    def all_seen(self, now: float) -> None:
        """Let no client count as silent before `now`: no records were read."""
        for session in self.by_client.values():
            session.seen = now

    def close(self, deadline: Deadline) -> None:
        """Attach no more clients, and close all runs; they stay open elsewhere, since nothing says that they ended."""
        self.draining = True
        for run in list(self.runs.values()):
            run.awaited = True
            if not run.closing:
                self._close_run(run, ended=False)


def _check_resume(run: HeldRun, body: Body, *, opened: bool) -> None:
    """Check that a client may attach to a run.

    Args:
        run: the run.
        body: of the client's ``attach``.
        opened: whether the run was opened for it.

    Raises:
        RefusedError: what it asks of the run is not so.
    """
    if body.get("again"):
        return
    resume = body.get("resume")
    if resume == "must" and opened and not run.existed:
        raise RefusedError("missing", f"run {run.id!r} does not exist, and resume is 'must'")
    if resume == "never" and (run.existed or not opened):
        raise RefusedError("exists", f"run {run.id!r} exists, and resume is 'never'")
    if resume is None and run.ended and not body.get("label") and not body.get("parent"):
        raise RefusedError("exists", f"run {run.id!r} exists and has ended; pass resume='allow' to continue it")


def _window_of(run: HeldRun, client: str, path: str | bytes | None) -> Path | None:
    """Return the window that a client names, if its owner file names this run and client: no other may be taken."""
    if not path:
        return None
    try:
        directory = Path(os.fsdecode(path)).resolve(
            strict=True
        )  # now: a link may lead somewhere else when the client is gone
    except (OSError, ValueError):
        return None
    owner = read_owner(directory)
    own = directory.name == client and owner.get("run") == run.id and owner.get("client") == client
    return directory if own else None


def _crash_record(session: Session) -> Body:
    if killed_since(session.oom_kills_before):
        return crash_body(session.client, _OUT_OF_MEMORY)
    return crash_body(session.client)
