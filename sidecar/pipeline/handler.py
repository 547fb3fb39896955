"""Handler: checks and orders records, drops what it has seen, answers what needs no log. The first stage.

Runs on the HandlerThread. Knows nothing of sockets: messages come in by `process`, results leave by `post`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar.pipeline.held_run import Session, reject
from sidecar.pipeline.messages import Append, Post, Question, WriterItem
from sidecar.pipeline.sessions import Attendance
from sidecar.protocol.checks import check, check_envelope, is_usual
from sidecar.protocol.codec import Damage, Stretch, read_message
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_MESSAGE_BYTES, MAX_RUN_KEYS, MAX_TIME
from sidecar.protocol.records import KINDS, Body, Record

_log = logging.getLogger("sidecar")

_SLICE_BYTES = 1 << 16
"""Bytes of a message that are decoded at a time."""

_MAX_DAMAGE = 16
"""Maximum number of damaged stretches in a message; the rest of it is not searched, since each may cost much time."""

_SAID_EACH = 100
"""So many refusals are put into the log each; then every thousandth."""


class Handler:
    """The first stage.

    Args:
        attendance: who is attached; it gets `process` for what is in windows.
        to_writer: takes items for the Writer.
        post: takes results for a client.

    Attributes:
        key: the public key that the next message comes with; None where nothing is encrypted.
        records: how many were taken.
        losses: what could not be used, by reason.
    """

    def __init__(self, attendance: Attendance, to_writer: Callable[[WriterItem], None], post: Post) -> None:
        self.attendance = attendance
        self.key: str | None = None
        self._to_writer = to_writer
        self._post = post
        self.losses: dict[str, int] = {}
        self.records = 0
        self._routes: dict[str, Callable[[Session, Record], None]] = {
            "request": self._on_request,
            "beat": lambda session, record: None,
            "detach": lambda session, record: attendance.leave(session),
        }
        attendance.take = self._process_kept

    # -- records ------------------------------------------------------------------------------------------------

    def _session(self, client: str) -> Session | None:
        """Return the session of a client, if the message at hand may come from it."""
        session = self.attendance.sessions.get(client)
        if session is None or session.expected or self.key not in (None, session.key):
            return None
        return session

    def process(self, message: bytes) -> None:
        """Take one message from the record socket: check each record, number by number, and hand on what is new."""
        if len(message) > MAX_MESSAGE_BYTES:
            error = RecordError("size", f"a message of {len(message)} bytes, at most {MAX_MESSAGE_BYTES}")
            self._refuse_bytes(error)
            return
        damaged = 0
        for part in read_message(message, _SLICE_BYTES):
            if isinstance(part, Stretch):
                if not self._take_stretch(part):
                    return
                continue
            self._take_damage(part)
            damaged += part.error.code == "checksum"
            if damaged == _MAX_DAMAGE:
                return

    def _process_kept(self, message: bytes) -> None:
        """Take what was read from a window, with which no key comes."""
        key, self.key = self.key, None
        try:
            self.process(message)
        finally:
            self.key = key

    def _take_stretch(self, stretch: Stretch) -> bool:
        """Take the records of a stretch, those of the usual form many at a time.

        Return False where the rest of the message is of no use.
        """
        data, start = stretch.data, stretch.start
        session: Session | None = None
        client = run = None
        keys: set[str] = set()
        next_seq = 0
        first = start  # of the records that are to be handed on together
        for record, end in zip(stretch.records, stretch.ends, strict=True):
            if (
                record[2] == client
                and record[3] == next_seq
                and record[0] == "log"
                and record[1] == run
                and type(record[3]) is int
                and type(record[4]) is float
                and -MAX_TIME < record[4] < MAX_TIME
                and type(record[5]) is dict
                and is_usual(record[5], keys)
            ):
                next_seq += 1
                start = end
                continue
            if session is not None and start > first:
                self._hand_on(session, data[first:start], next_seq - 1)
            try:
                check_envelope(record)
            except RecordError as error:
                self._refuse_bytes(error)
            else:
                if not self._take_record(record, data[start:end]):
                    return False
                session = self._session(record.client)
                if session is not None:
                    client, run, keys, next_seq = session.client, session.run.id, session.keys, session.accepted + 1
            first = start = end
        if session is not None and start > first:
            self._hand_on(session, data[first:start], next_seq - 1)
        return True

    def _take_damage(self, damage: Damage) -> None:
        """Count bytes that are not a record; where its client and number can be read, a `rejected` takes its place."""
        error = damage.error
        record = error.record
        session = self._session(record.client) if record is not None else None
        if record is None or session is None or record.run != session.run.id or record.seq != session.accepted + 1:
            self._refuse_bytes(error)
            return
        session.seen = time.monotonic()
        self._refuse(session, record, error)
        self._hand_on(session, reject(record, error), record.seq)

    def _take_record(self, record: Record, framed: bytes) -> bool:
        """Take any record; return False where the rest of its message is of no use."""
        session = self._session(record.client)
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
            kind = KINDS.get(record.kind)
            if kind is not None and kind.way != "record":
                raise RecordError("kind", f"a {record.kind!r} is not numbered and not kept; send it with seq 0")
            if kind is not None and kind.sender == "relay" and not session.relay:
                raise RecordError("kind", f"a {record.kind!r} record must come from a relay")
            check(record)
            gone = record.body.get("writer", session.client) if record.kind == "exit" else session.client
            if gone != session.client and not session.relay:
                raise RecordError("value", f"an 'exit' of {session.client} says that {gone!r} is gone")
            if record.kind == "log":
                keys = session.keys
                new = record.body["data"].keys() - keys
                if len(keys) + len(new) > MAX_RUN_KEYS:
                    raise RecordError("size", f"the run would have more than {MAX_RUN_KEYS} different keys")
                keys |= new
        except RecordError as error:
            return error
        if record.kind in ("exit", "run"):  # a relay's exit of another client decides nothing about itself
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
        if record.seq <= self.attendance.left.get(record.client, -1):
            return  # on its way while the rest was taken from the client's window
        run = self.attendance.runs.get(record.run)
        if record.client or record.seq or run is None or run.closing or self.key is not None:
            if record.kind not in ("beat", "detach"):
                code = "client" if record.client else "run"
                self._count(f"refused: {code}")
                _log.debug("a record of %r for run %r, which is not attached here", record.client, record.run)
            return
        kind = KINDS.get(record.kind)
        try:
            if kind is not None and (kind.way != "record" or kind.sender != "any"):
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

    def _refuse_bytes(self, error: RecordError) -> None:
        self._count(f"refused: {error.code}")
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
        if ask == "state":  # it is to hold what children have logged that are gone by now
            self.attendance.take_gone(session.run, but=session)

        def answer(body: dict[str, object]) -> None:
            self._tell(session, "answer", {"id": number, "seq": session.durable, **body})

        self._to_writer(Question(session.run, session, ask, answer))

    # -- time ---------------------------------------------------------------------------------------------------

    def idle(self, now: float) -> float:
        """Look after who is attached."""
        return self.attendance.idle(now)

    def close(self, deadline: Deadline) -> None:
        """Let everybody go."""
        self.attendance.close(deadline)


def _result(run: str, client: str, kind: str, body: Body) -> Record:
    return Record(kind, run, client, 0, time.time(), body)
