"""Intake: hands a client's records on to the Writer, and counts, logs and answers those that cannot be used.

Used on the HandlerThread. Knows nothing of messages, of sockets, or of who may attach.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar.pipeline.held_run import HeldRun, Session, count_refusal, reject
from sidecar.pipeline.messages import Append, Post, WriterItem
from sidecar.protocol.errors import RecordError
from sidecar.protocol.orphans import Orphan
from sidecar.protocol.records import Body, Record
from sidecar.protocol.rows import Schema

_log = logging.getLogger("sidecar")

_LOG_FIRST = 100
_LOG_EVERY = 1000
"""The first refusals are logged each, then one in so many."""


class Intake:
    """Takes the numbered records of attached clients.

    Args:
        to_writer: takes items for the Writer.
        post: takes results for a client.

    Attributes:
        records: number of records taken.
        losses: number of records and messages refused, by reason.
    """

    def __init__(self, to_writer: Callable[[WriterItem], None], post: Post) -> None:
        self._to_writer = to_writer
        self._post = post
        self.records = 0
        self.losses: dict[str, int] = {}

    def accept(
        self,
        session: Session,
        frames: bytes,
        seq: int,
        rows_of: tuple[Schema, ...] = (),
        declares: Schema | None = None,
    ) -> None:
        """Hand on frames that were checked; the last has the number `seq`. See `Append`."""
        self.records += session.ledger.accept(seq)
        session.seen = time.monotonic()
        self._to_writer(Append(session.run, frames, ((session, seq),), rows_of, declares))

    def take_usual(self, session: Session, frames: bytes, seq: int, rows_of: tuple[Schema, ...]) -> None:
        """Hand on rows, and ``log`` records of the usual form, which were checked; the last has the number `seq`."""
        session.ledger.note("log")
        self.accept(session, frames, seq, rows_of)

    def take(self, session: Session, record: Record, framed: bytes, rows_of: tuple[Schema, ...] = ()) -> None:
        """Check a client's next record and hand it on; if it cannot be used, a ``rejected`` takes its number."""
        try:
            for schema in rows_of:
                if schema.refusal is not None:
                    raise schema.refusal
            session.run.check(record, relay=session.relay)
            session.ledger.note(record.kind)
        except RecordError as error:
            self.reject(session, record, error)
        else:
            self.accept(session, framed, record.seq, rows_of, session.run.schema_of(record))

    def reject(self, session: Session, record: Record, error: RecordError) -> None:
        """Have a ``rejected`` take the number of a client's next record."""
        self.refuse(session, record, error)
        session.ledger.note("rejected")
        self.accept(session, reject(record, error), record.seq)

    def take_orphan(self, session: Session, orphan: Orphan) -> None:
        """Hand on what a dead client left in its window."""
        session.run.take_orphan(
            orphan,
            session.ledger,
            lambda frames, seq, rows_of: self.accept(session, frames, seq, rows_of),
            lambda record, error: self.refuse(session, record, error),
        )

    def take_anonymous(self, run: HeldRun, framed: bytes) -> None:
        """Hand on a record that has no client and no number."""
        self.records += 1
        self._to_writer(Append(run, framed, ()))

    def refuse(self, session: Session, record: Record, error: RecordError) -> None:
        """Count a record that cannot be used, and tell its client."""
        self.count(error.code)
        self._log_refusal(
            "run %s: a %r record of %s was refused: %s", session.run.id, record.kind, session.client, error
        )
        self.tell(session, "problem", {"code": error.code, "message": str(error), "seq": record.seq})

    def refuse_anonymous(self, run: HeldRun, error: RecordError) -> None:
        """Count a record without a client that cannot be used; the run's log says it, too, when the run is closed."""
        self.count(error.code)
        run.count_loss(error.code)
        _log.info("run %s: a record was refused: %s", run.id, error)

    def refuse_bytes(self, error: RecordError) -> None:
        """Count bytes of which nobody can be told."""
        self.count(error.code)
        self._log_refusal("bytes were refused: %s", error)

    def count(self, code: str) -> None:
        """Count a refusal, for the status."""
        count_refusal(self.losses, code)

    def _log_refusal(self, message: str, *values: object) -> None:
        refused = sum(self.losses.values())
        if refused <= _LOG_FIRST or refused % _LOG_EVERY == 0:
            _log.info(message, *values)

    def tell(self, session: Session, kind: str, body: Body) -> None:
        """Post a result to a client."""
        self._post(session.client, Record(kind, session.run.id, session.client, 0, time.time(), body))
