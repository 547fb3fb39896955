"""Handler: checks and orders records, drops what it has seen, lets clients in and out, answers what needs no log.

Runs on the HandlerThread. Knows nothing of sockets: messages come in by `process`, results leave by `post`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sidecar import __version__
from sidecar.items import Append, Closing, Done, Opened, Post, Question, WriterItem
from sidecar.memory_events import oom_count, oom_since
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.codec import Part, decode_envelope, decode_frames, encode, read_bare, read_framed
from sidecar.protocol.connection import place
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError, RefusedError
from sidecar.protocol.frames import frame
from sidecar.protocol.limits import MAX_MESSAGE_BYTES, MAX_RUN_KEYS, NAME_RULE, valid_name
from sidecar.protocol.records import KINDS, Body, Record, check, check_envelope, is_usual
from sidecar.protocol.segments import OwnerLock, is_owned, read_owner, read_window, remove_window, window_directories
from sidecar.runs import UNSEEN_SECONDS, Run, Session, crashed, reject

_log = logging.getLogger("sidecar")

_SEARCH_SECONDS = 0.2
"""How often the windows of clients that are gone, or that never attached, are looked for."""

_TAKE_BYTES = 1 << 20
_SLICE_BYTES = 1 << 16
_SAID_EACH = 100
_LEFT = 4096
"""So many clients that left are remembered, with their last number."""


class Handler:
    """The first stage.

    Args:
        root: the directory that holds ``runs/``.
        holder: the path of this sidecar's connection file.
        to_writer: takes items for the Writer.
        post: takes results for a client.
        on_closed: called, on any thread, when a run is closed and released: it must call `forget` on this thread.
        sync: whether a run's log is to be on the disk before a client is told what is in it.
    """

    def __init__(
        self,
        root: Path,
        holder: str,
        to_writer: Callable[[WriterItem], None],
        post: Post,
        on_closed: Callable[[Run], None],
        sync: bool = False,
    ) -> None:
        self._sync = sync
        self._root = root
        self._holder = holder
        self._to_writer = to_writer
        self._post = post
        self._on_closed = on_closed
        self._place = place()
        self._searched = 0.0
        self._leaving: dict[Session, float] = {}
        self._left: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.sessions: dict[str, Session] = {}
        self.losses: dict[str, int] = {}
        self.records = 0
        self.draining = False
        self._routes: dict[str, Callable[[Session, Record], None]] = {
            "request": self._on_request,
            "beat": lambda session, record: None,
            "detach": lambda session, record: self.leave(session),
        }

    # -- records ------------------------------------------------------------------------------------------------

    def process(self, message: bytes) -> None:
        """Take one message from the record socket: check each record, number by number, and hand on what is new."""
        if len(message) > MAX_MESSAGE_BYTES:
            error = RecordError("size", f"a message of {len(message)} bytes, at most {MAX_MESSAGE_BYTES}")
            self._refuse_bytes(error)
        elif message[:1] == b"\xc1":
            start = 0
            while start < len(message):
                taken = self._take_frames(message, start)
                if taken == start:
                    part = read_framed(message, start)
                    if not self._take_part(part):
                        return
                    taken = part.end
                start = taken
        else:
            for part in read_bare(message):
                if not self._take_part(part):
                    return

    def _take_frames(self, message: bytes, start: int) -> int:
        """Take good frames from `start` on, those of the usual records in whole stretches; return where to go on.

        It takes nothing where the frame at `start` is not good.
        """
        records, ends = decode_frames(message, start, _SLICE_BYTES)
        session: Session | None = None
        client = run = None
        keys: set[str] = set()
        expected = 0
        begun = start
        for record, end in zip(records, ends, strict=True):
            if (
                record[2] == client
                and record[3] == expected
                and record[0] == "log"
                and record[1] == run
                and type(record[3]) is int
                and type(record[4]) is float
                and type(record[5]) is dict
                and is_usual(record[5], keys)
            ):
                expected += 1
                start = end
                continue
            if session is not None and start > begun:
                self._hand_on(session, message[begun:start], expected - 1)
            try:
                check_envelope(record)
            except RecordError as error:
                self._refuse_bytes(error)
            else:
                if not self._take_one(record, message[start:end]):
                    return len(message)
                session = self.sessions.get(record.client)
                if session is not None:
                    client, run, keys, expected = session.client, session.run.id, session.keys, session.accepted + 1
            begun = start = end
        if session is not None and start > begun:
            self._hand_on(session, message[begun:start], expected - 1)
        return start

    def _take_part(self, part: Part) -> bool:
        if part.record is not None:
            return self._take_one(part.record, part.frame)
        error = part.error or RecordError("form", "no record")
        found = error.record
        session = self.sessions.get(found.client) if found is not None else None
        if found is None or session is None or found.run != session.run.id or found.seq != session.accepted + 1:
            self._refuse_bytes(error)
            return True
        session.seen = time.monotonic()  # its number is known: it is told of it, and the next may follow
        self._refuse(session, found, error)
        self._hand_on(session, reject(found, error), found.seq)
        return True

    def _take_one(self, record: Record, framed: bytes) -> bool:
        """Take any record; return False where the rest of its message is of no use."""
        session = self.sessions.get(record.client)
        if session is None:
            self._stranger(record, framed)
            return True
        session.seen = time.monotonic()
        if record.seq == 0:
            self._unnumbered(session, record)
        elif record.run != session.run.id:
            error = RecordError("run", f"client {record.client} is not attached to {record.run!r}")
            self._refuse(session, record, error)
        elif record.seq > session.accepted + 1:
            self._tell(session, "reattach", {"expected": session.accepted + 1})
            return False  # what follows has the same gap before it
        elif record.seq == session.accepted + 1:
            refused = self._check(session, record)
            if refused is not None:
                self._refuse(session, record, refused)
                framed = reject(record, refused)
            self._hand_on(session, framed, record.seq)
        return True

    def _check(self, session: Session, record: Record) -> RecordError | None:
        """Return what is wrong with a record's body, or None; note what it says of the session."""
        try:
            if record.kind in KINDS and KINDS[record.kind].way != "record":
                raise RecordError("kind", f"a {record.kind!r} is not numbered and not kept; send it with seq 0")
            if record.kind == "rejected":
                raise RecordError("kind", "a 'rejected' record comes from a sidecar only")
            check(record)
            if record.kind == "exit" and record.body.get("writer", session.client) != session.client:
                raise RecordError("value", f"an 'exit' of {session.client} says that {record.body['writer']!r} is gone")
            if record.kind == "log":
                keys = session.keys
                new = record.body["data"].keys() - keys
                if len(keys) + len(new) > MAX_RUN_KEYS:
                    raise RecordError("size", f"the run would have more than {MAX_RUN_KEYS} different keys")
                keys |= new
        except RecordError as error:
            return error
        if record.kind in ("exit", "run"):
            session.exited = record.kind == "exit"
        return None

    def _hand_on(self, session: Session, frames: bytes, seq: int) -> None:
        self.records += seq - session.accepted
        session.accepted = seq
        session.seen = time.monotonic()
        self._to_writer(Append(session.run, frames, ((session, seq),)))

    def _unnumbered(self, session: Session, record: Record) -> None:
        route = self._routes.get(record.kind)
        try:
            if route is None:
                raise RecordError("kind", f"a {record.kind!r} record of an attached client needs a number from 1 on")
            check(record)
        except RecordError as error:
            self._refuse(session, record, error)
            return
        route(session, record)

    def _stranger(self, record: Record, framed: bytes) -> None:
        """A record of nobody who is attached: fire-and-forget for an open run, or nothing."""
        if record.seq <= self._left.get(record.client, -1):
            return  # on its way while the rest was taken from the client's window
        run = self.runs.get(record.run)
        if record.client or record.seq or run is None or run.closing:
            if record.kind not in ("beat", "detach"):
                code = "client" if record.client else "run"
                self._count(f"refused: {code}")
                _log.debug("a record of %r for run %r, which is not attached here", record.client, record.run)
            return
        kind = KINDS.get(record.kind)
        try:
            if kind is not None and (kind.way != "record" or record.kind == "exit"):
                raise RecordError("kind", f"a {record.kind!r} record must come from an attached client")
            check(record)
        except RecordError as error:
            self._count(f"refused: {error.code}")
            reason = f"refused: {error.code}"
            run.losses[reason] = run.losses.get(reason, 0) + 1
            run.losses_changed = True
            _log.info("run %s: a record was refused: %s", run.id, error)
            return
        self.records += 1
        self._to_writer(Append(run, framed, ()))

    # -- what is wrong ------------------------------------------------------------------------------------------

    def _refuse_bytes(self, error: RecordError | None) -> None:
        code = error.code if error else "form"
        self._count(f"refused: {code}")
        self._say("bytes were refused: %s", error)

    def _refuse(self, session: Session, record: Record, error: RecordError) -> None:
        self._count(f"refused: {error.code}")
        self._say("run %s: a %r record of %s was refused: %s", session.run.id, record.kind, session.client, error)
        self._tell(session, "problem", {"code": error.code, "message": str(error), "seq": record.seq})

    def _say(self, message: str, *values: object) -> None:
        """Put it into the log; of very many only the first, and then every thousandth."""
        said = sum(self.losses.values())
        if said <= _SAID_EACH or said % 1000 == 0:
            _log.info(message, *values)

    def _count(self, reason: str) -> None:
        """Count what could not be used, for the status; the log of the run says it too."""
        self.losses[reason] = self.losses.get(reason, 0) + 1

    def _tell(self, session: Session, kind: str, body: Body) -> None:
        self._post(session.client, _result(session.run.id, session.client, kind, body))

    # -- questions ----------------------------------------------------------------------------------------------

    def _on_request(self, session: Session, record: Record) -> None:
        number = record.body["id"]
        ask = record.body["ask"]
        if ask == "state":  # it is to hold what children have logged that are gone by now, attached or not
            for other in list(session.run.sessions.values()):
                if other is not session and other.window is not None and not is_owned(other.window):
                    self.leave(other)
            self._search_windows(session.run)

        def answer(body: dict[str, object]) -> None:
            self._tell(session, "answer", {"id": number, "seq": session.durable, **body})

        self._to_writer(Question(session.run, session, ask, answer))

    # -- the door -----------------------------------------------------------------------------------------------

    def attach(self, request: Record, answer: Callable[[Session, Body], None]) -> Session:
        """Let a client in to a run; `answer` gets the run's state when it is known, on any thread.

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
        if self.draining:
            raise RefusedError("closing", "this sidecar is about to exit")
        held = self.sessions.get(request.client)
        if held is not None and held.run.id == request.run:
            held.seen = time.monotonic()
            self._leaving.pop(held, None)
            answer(held, {})
            return held
        if held is not None:
            raise RefusedError("client", f"client {request.client!r} is attached to another run")
        run = self._open(request.run, body.get("resume"), body)
        session = Session(
            run,
            request.client,
            run.last.get(request.client, 0),
            run.last.get(request.client, 0),
            label=body.get("label"),
            parent=body.get("parent"),
            keys=run.keys,
        )
        if body.get("place") == self._place:
            session.pid = body.get("pid")
            session.oom = oom_count(session.pid) if session.pid else None
            session.window = self._window(run, request.client, body.get("window"))
        run.sessions[session.client] = self.sessions[session.client] = session
        session.resumed = run.existed
        run.existed = True
        if not session.resumed or body.get("again"):
            answer(session, {})
        else:
            self._to_writer(Question(run, session, "state", lambda found: answer(session, dict(found))))
        return session

    def _open(self, run_id: str, resume: str | None, body: Body) -> Run:
        run = self.runs.get(run_id)
        if run is not None and run.closing:
            raise RefusedError("closing", f"run {run_id!r} is being closed; try again")
        fresh = run is None
        if run is None:
            run = Run.open(self._root, run_id, self._holder, sync=self._sync)
        try:
            if not body.get("again"):
                self._check_resume(run, resume, fresh, body)
        except RefusedError:
            if fresh:
                self._give_back(run)
            raise
        if fresh:
            self.runs[run_id] = run
            self._to_writer(Opened(run))
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
    def _give_back(run: Run) -> None:
        """Let go of a run that was opened for nothing; leave no trace of one that was not there before."""
        new = not run.existed
        run.release(clean=True)
        if new:
            run.log.path.unlink(missing_ok=True)
            try:
                run.directory.rmdir()
            except OSError:
                return

    @staticmethod
    def _window(run: Run, client: str, named: str | None) -> Path | None:
        """Return the window the sidecar may take: only one whose owner file names this run and client."""
        if not named:
            return None
        owner = read_owner(Path(named))
        return Path(named) if owner.get("run") == run.id and owner.get("client") == client else None

    # -- leaving ------------------------------------------------------------------------------------------------

    def leave(self, session: Session) -> None:
        """A client said that it goes (its process lives on), or is gone: take what it left, and close its run if it
        was the last."""
        if self.sessions.get(session.client) is not session:
            return  # it has left before
        if session.window is not None and session.window.is_dir() and not self._take_window(session.window, session):
            if session not in self._leaving:
                self._leaving[session] = time.monotonic()
            if time.monotonic() - self._leaving[session] < 5.0:
                return  # its owner has not let go of it yet: `idle` tries again
        self._leaving.pop(session, None)
        if not session.exited and session.parent is None and session.accepted > 0:
            self._append_own(session.run, "exit", self._obituary(session))
        session.run.last[session.client] = self._left[session.client] = session.accepted
        if len(self._left) > _LEFT:
            del self._left[next(iter(self._left))]
        del self.sessions[session.client]
        del session.run.sessions[session.client]
        self._maybe_close(session.run)

    @staticmethod
    def _obituary(session: Session) -> Body:
        """Return the ``exit`` of a client that could not say one."""
        if oom_since(session.oom):
            return crashed(session.client, "out of memory: the kernel killed a process of its cgroup")
        return crashed(session.client)

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
                self.process(b"".join(taken))
                taken, size = [], 0
        if taken:
            self.process(b"".join(taken))

        def remove() -> None:
            remove_window(directory)
            lock.release()

        self._to_writer(Done(remove))
        return True

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
                alive = alive or (directory / "owner").exists()
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

    def drained(self) -> bool:
        """Whether every run is closed."""
        return not self.runs

    def close(self, deadline: Deadline) -> None:
        """Let everybody go: their runs stay open for them elsewhere, since nothing says that they ended."""
        self.draining = True
        for run in list(self.runs.values()):
            if not run.closing:
                run.closing = True

                def then(clean: bool, run: Run = run) -> None:
                    run.release(clean=False)
                    self._on_closed(run)

                self._to_writer(Closing(run, then))


def _result(run: str, client: str, kind: str, body: Body) -> Record:
    return Record(kind, run, client, 0, time.time(), body)


def read_request(payload: bytes) -> Record:
    """Return what somebody asks at the door.

    Raises:
        RecordError: it is no record, or no question of the door's.
    """
    record = decode_envelope(payload)
    kind = KINDS.get(record.kind)
    if kind is None or kind.way != "door":
        raise RecordError("kind", f"a {record.kind!r} record at the door; it takes attach, status and stop")
    check(record)
    return record
