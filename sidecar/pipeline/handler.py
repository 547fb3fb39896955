"""Handler: takes messages apart, puts each client's records in order, drops what it has seen. The first stage.

Runs on the HandlerThread. Knows nothing of sockets: messages come in by `process`, results leave by `Post`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar.pipeline.held_run import Session
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.messages import Question, WriterItem
from sidecar.pipeline.sessions import Sessions
from sidecar.protocol.checks import check, check_envelope, is_usual
from sidecar.protocol.codec import Damage, Stretch, read_message
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_MESSAGE_BYTES, MAX_TIME
from sidecar.protocol.records import KINDS, Record
from sidecar.protocol.rows import Rows, Schema, word_at

_log = logging.getLogger("sidecar")

_SLICE_BYTES = 1 << 16
"""Bytes of a message that are decoded at a time."""

_MAX_DAMAGE = 16
"""Maximum number of damaged stretches in a message; the rest of it is not searched, since each may cost much time."""


class Handler:
    """The first stage.

    Args:
        sessions: the attached clients.
        intake: takes their records.
        to_writer: takes items for the Writer.
    """

    def __init__(self, sessions: Sessions, intake: Intake, to_writer: Callable[[WriterItem], None]) -> None:
        self._sessions = sessions
        self._intake = intake
        self._to_writer = to_writer
        self._routes: dict[str, Callable[[Session, Record], None]] = {
            "request": self._on_request,
            "beat": lambda session, record: None,
            "detach": lambda session, record: sessions.detach(session),
            "schema": lambda session, record: self._on_schema(session, record),
        }

    # -- records ------------------------------------------------------------------------------------------------

    def process(self, message: bytes, key: str | None = None) -> None:
        """Take one message from the record socket.

        Args:
            message: one or more records.
            key: the public key that it came with; None without encryption.
        """
        if len(message) > MAX_MESSAGE_BYTES:
            error = RecordError("size", f"a message of {len(message)} bytes, at most {MAX_MESSAGE_BYTES}")
            self._intake.refuse_bytes(error)
            return
        damaged = 0
        for part in read_message(message, _SLICE_BYTES, self._sessions.schemas):
            if isinstance(part, Stretch):
                if not self._take_stretch(part, key):
                    return
                continue
            if part.error.code == "schema" and self._sessions.is_late_row(word_at(message, part.start)):
                continue
            self._take_damage(part, key)
            damaged += part.error.code == "checksum"
            if damaged == _MAX_DAMAGE:
                return

    def _session(self, client: str, key: str | None) -> Session | None:
        """Return the session of a client, if a message with `key` may come from it."""
        session = self._sessions.by_client.get(client)
        if session is None or session.ledger.expected or key not in (None, session.key):
            return None
        return session

    def _take_stretch(self, stretch: Stretch, key: str | None) -> bool:
        """Take the records of a stretch, those of the usual form many at a time.

        Return False if the rest of the message is of no use.
        """
        data, start = stretch.data, stretch.start
        session: Session | None = None
        client = run = None
        keys: set[str] = set()
        next_seq = 0
        first = start  # of the records that are to be handed on together
        rows_of: set[Schema] = set()  # of those among them that are rows
        for record, end in zip(stretch.items, stretch.ends, strict=True):
            schema = self._row_schema(data, start)
            if isinstance(record, Rows):
                if session is not None and start > first:
                    self._intake.take_usual(session, data[first:start], next_seq - 1, tuple(rows_of))
                if not self._take_rows(record, data[start:end], key):
                    return False
                session, client, first, start = None, None, end, end
                rows_of.clear()
                continue
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
                and (schema is None or schema.refusal is None)
            ):
                if schema is not None:
                    rows_of.add(schema)
                next_seq += 1
                start = end
                continue
            if session is not None and start > first:
                self._intake.take_usual(session, data[first:start], next_seq - 1, tuple(rows_of))
                rows_of.clear()
            try:
                check_envelope(record)
            except RecordError as error:
                self._intake.refuse_bytes(error)
            else:
                if not self._take_record(record, data[start:end], key, () if schema is None else (schema,)):
                    return False
                session = self._session(record.client, key)
                if session is not None:
                    client, run = session.client, session.run.id
                    keys, next_seq = session.run.keys, session.ledger.next_seq
            first = start = end
        if session is not None and start > first:
            self._intake.take_usual(session, data[first:start], next_seq - 1, tuple(rows_of))
        return True

    def _row_schema(self, data: bytes, start: int) -> Schema | None:
        """Return the schema of the row whose frame begins at `start`; None if it is a record."""
        word = word_at(data, start)
        return None if word is None else self._sessions.schemas.get(word)

    def _take_rows(self, rows: Rows, framed: bytes, key: str | None) -> bool:
        """Take rows; return False if the rest of their message is of no use."""
        schema = rows.schema
        session = self._session(schema.client, key)
        if session is None or session.run.id != schema.run:
            if not self._sessions.is_late(schema.client, rows.last):
                self._intake.count("client")
                _log.debug("rows of %r for run %r, which is not attached here", schema.client, schema.run)
            return True
        session.seen = time.monotonic()
        if session.run.full:
            return False
        following = session.ledger.next_seq
        if rows.first > following:
            self._intake.tell(session, "reattach", {"expected": following})
            return False
        if rows.last < following:
            return True
        if schema.refusal is not None:
            for record in rows.part(following - rows.first, rows.count).records():
                self._intake.reject(session, record, schema.refusal)
            return True
        known = (following - rows.first) * schema.frame_bytes
        self._intake.take_usual(session, framed[known:] if known else framed, rows.last, (schema,))
        return True

    def _take_damage(self, damage: Damage, key: str | None) -> None:
        """Refuse bytes that are not a record; a ``rejected`` takes the number where it can be read."""
        record = damage.error.record
        session = self._session(record.client, key) if record is not None else None
        if record is None or session is None or not _is_next(session, record):
            self._intake.refuse_bytes(damage.error)
        else:
            self._intake.reject(session, record, damage.error)

    def _take_record(self, record: Record, framed: bytes, key: str | None, rows_of: tuple[Schema, ...]) -> bool:
        """Take any record; return False if the rest of its message is of no use."""
        session = self._session(record.client, key)
        if session is None:
            self._take_unattached(record, framed, key)
            return True
        session.seen = time.monotonic()
        if session.run.full and record.seq != 0:
            return False
        if record.seq == 0:
            self._take_unnumbered(session, record)
        elif record.run != session.run.id:
            error = RecordError("run", f"client {record.client} is not attached to {record.run!r}")
            self._intake.refuse(session, record, error)
        elif record.seq > session.ledger.next_seq:
            self._intake.tell(session, "reattach", {"expected": session.ledger.next_seq})
            return False  # the records behind it have the same gap before them
        elif record.seq == session.ledger.next_seq:
            self._intake.take(session, record, framed, rows_of)
        return True

    def _take_unnumbered(self, session: Session, record: Record) -> None:
        route = self._routes.get(record.kind)
        try:
            if route is None:
                raise RecordError("kind", f"a {record.kind!r} record of an attached client needs a number from 1 on")
            check(record)
        except RecordError as error:
            self._intake.refuse(session, record, error)
            return
        route(session, record)

    def _take_unattached(self, record: Record, framed: bytes, key: str | None) -> None:
        """Take a fire-and-forget record for an open run; refuse any other record of a client that is not attached."""
        if self._sessions.is_late(record.client, record.seq):
            return
        run = self._sessions.runs.get(record.run)
        if record.client or record.seq or run is None or run.closing or key is not None:
            if record.kind not in ("beat", "detach"):
                self._intake.count("client" if record.client else "run")
                _log.debug("a record of %r for run %r, which is not attached here", record.client, record.run)
            return
        kind = KINDS.get(record.kind)
        try:
            if kind is not None and (kind.way != "record" or kind.sender != "any"):
                raise RecordError("kind", f"a {record.kind!r} record must come from an attached client")
            check(record)
        except RecordError as error:
            self._intake.refuse_anonymous(run, error)
            return
        self._intake.take_anonymous(run, framed)

    def _on_schema(self, session: Session, record: Record) -> None:
        """Take a schema that the client declares again after an attach; its records may name it from now on."""
        try:
            if record.run != session.run.id:
                raise RecordError("run", f"client {record.client} is not attached to {record.run!r}")
            session.run.declare(record)
        except RecordError as error:
            self._intake.refuse(session, record, error)

    # -- requests -----------------------------------------------------------------------------------------------

    def _on_request(self, session: Session, record: Record) -> None:
        number = record.body["id"]
        ask = record.body["ask"]
        if ask == "state":  # which is to include what forked children have logged that are gone by now
            self._sessions.detach_gone(session.run, but=session)

        def answer(body: dict[str, object]) -> None:
            self._intake.tell(session, "answer", {"id": number, "seq": session.ledger.durable, **body})

        self._to_writer(Question(session.run, session, ask, answer))

    # -- time ---------------------------------------------------------------------------------------------------

    def idle(self, now: float) -> float:
        """Look after the sessions; return in how many seconds to be called again at the latest."""
        return self._sessions.idle(now)

    def close(self, deadline: Deadline) -> None:
        """Close all runs."""
        self._sessions.close(deadline)


def _is_next(session: Session, record: Record) -> bool:
    return record.run == session.run.id and record.seq == session.ledger.next_seq
