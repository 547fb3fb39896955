"""Writer: appends records to the transaction log, then acks them. Runs on the WriterThread. Knows nothing of sockets.

What cannot be appended (a full disk) is kept and retried; nothing behind it in the same run overtakes it, and nothing
of it is acked. Other runs are not affected.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from sidecar.pipeline.held_run import HeldRun, Session
from sidecar.pipeline.messages import Append, Appended, Closing, Done, Opened, Post, Question, SenderItem, WriterItem
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema

_log = logging.getLogger("sidecar")

ACK_SECONDS = 0.05
"""Maximum delay of an ack after the append, in seconds."""

_ACK_BYTES = 512 * 1024
"""Bytes after which an ack is sent at once, so that a client with much to send is not held up."""

_GROUP_BYTES = 1 << 20
"""Bytes from which on appends are written without waiting for more."""

_RETRY_SECONDS = 0.5
"""Back-off after a failed write, in seconds."""

_CLOSE_SECONDS = 0.05
"""Interval of the retries while the Writer closes, in seconds."""


class _Group:
    """What waits to be written to one run's log: appends that become one write, and items behind them.

    Attributes:
        schemas: the schemas of its rows and those it declares, and whether it declares them before the first row.
        waiting: items that came while the log could not be written, in order.
        retry_at: when to try again, in monotonic seconds.
    """

    def __init__(self, run: HeldRun) -> None:
        self.run = run
        self.waiting: deque[WriterItem] = deque()
        self.retry_at = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget the appends, which were written."""
        self.frames: list[bytes | memoryview] = []
        self.marks: dict[Session, int] = {}
        self.size = 0
        self.schemas: dict[Schema, bool] = {}

    def gather(self, item: Append) -> None:
        """Add an append."""
        self.frames.append(item.frames)
        self.marks.update(item.marks)
        self.size += len(item.frames)
        if item.declares is not None:
            self.schemas.setdefault(item.declares, True)
        for schema in item.rows_of:
            self.schemas.setdefault(schema, False)


class Writer:
    """The second stage.

    Args:
        to_sender: takes items for the Sender.
        post: takes results for a client.
        durability: ``"os"`` acks what the operating system has, ``"disk"`` what is on the disk (fsync).

    Attributes:
        handed_bytes: bytes of frames handed to the Writer; moved by whoever hands them over.
        written_bytes: bytes of frames in a log.
    """

    def __init__(self, to_sender: Callable[[SenderItem], None], post: Post, durability: str = "os") -> None:
        self._to_sender = to_sender
        self._post = post
        self._sync = durability == "disk"
        self._groups: dict[HeldRun, _Group] = {}
        self._due: dict[Session, float] = {}
        self.handed_bytes = 0
        self.written_bytes = 0
        self._routes: dict[type, Callable[[WriterItem], None]] = {
            Question: self._on_question,
            Opened: self._pass_on,
            Done: self._on_done,
            Closing: self._pass_on,
        }

    @property
    def error(self) -> str | None:
        """Why the last write to some log failed, or None."""
        return next((run.write_error for run in list(self._groups) if run.write_error is not None), None)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were handed over and are not in a log yet."""
        return self.handed_bytes - self.written_bytes

    @property
    def moving_bytes(self) -> int:
        """Bytes that wait for logs that can be written; at a bound, the HandlerThread stops reading."""
        held_up = sum(run.unwritten_bytes for run in list(self._groups) if run.write_error is not None)
        return self.backlog_bytes - held_up

    def process(self, item: WriterItem) -> None:
        group = self._groups.get(item.run)
        if group is None:
            if not isinstance(item, Append):
                self._routes[type(item)](item)
                return
            group = self._groups[item.run] = _Group(item.run)
        if group.waiting or not self._take(group, item):
            group.waiting.append(item)

    def _take(self, group: _Group, item: WriterItem) -> bool:
        """Take the next item of a run; return False if it must wait until the run's log can be written."""
        if isinstance(item, Append):
            group.gather(item)
            if group.size > _GROUP_BYTES:
                self._write(group)
            return True
        if not self._write(group):
            return False
        self._routes[type(item)](item)
        return True

    def _write(self, group: _Group) -> bool:
        """Append what was gathered for a run; return False if that failed and must be retried."""
        if not group.frames:
            return True
        if time.monotonic() < group.retry_at:
            return False
        run = group.run
        try:
            run.check_directory()
            if group.schemas:
                self._declare(group)
            frames = group.frames[0] if len(group.frames) == 1 else b"".join(group.frames)
            group.frames = [frames]
            run.log.append(frames, sync=self._sync)
        except OSError as error:
            group.retry_at = time.monotonic() + _RETRY_SECONDS
            self._failed(run, error)
            return False
        self.written_bytes += group.size
        run.written_bytes += group.size
        self._on_durable(group)
        self._to_sender(Appended(run, run.log.offset))
        if run.write_error is not None:
            _log.warning("run %s: its log can be written again", run.id)
            run.write_error = None
        group.clear()
        return True

    def _declare(self, group: _Group) -> None:
        """Have the frames begin with the declarations that their rows need."""
        for schema, declared in group.schemas.items():
            if declared:
                schema.written = group.run.log.offset
        group.frames.insert(0, group.run.declarations(group.schemas))
        group.schemas = {}

    def _failed(self, run: HeldRun, error: OSError) -> None:
        if run.write_error is None:
            _log.error("run %s: its log cannot be written: %s; nothing is acked until a retry succeeds", run.id, error)
        run.write_error = f"{run.log.path}: {error}"

    def _on_durable(self, group: _Group) -> None:
        now = time.monotonic()
        for session, seq in group.marks.items():
            session.ledger.confirm(seq)
            session.unacked_bytes += group.size
            if session.unacked_bytes >= _ACK_BYTES or now - session.acked_at >= ACK_SECONDS:
                self._ack(session, now)
            else:
                self._due.setdefault(session, session.acked_at + ACK_SECONDS)

    def _ack(self, session: Session, now: float) -> None:
        session.acked_at = now
        session.unacked_bytes = 0
        self._due.pop(session, None)
        body = {"seq": session.ledger.durable}
        self._post(session.client, Record("ack", session.run.id, session.client, 0, time.time(), body))

    def _on_question(self, item: WriterItem) -> None:
        assert isinstance(item, Question)
        if item.session is not None:
            self._ack(item.session, time.monotonic())
        if item.ask == "flush":
            item.answer({})
        else:
            self._to_sender(item)

    def _on_done(self, item: WriterItem) -> None:
        assert isinstance(item, Done)
        item.then()

    def _pass_on(self, item: WriterItem) -> None:
        assert isinstance(item, Opened | Closing)
        self._to_sender(item)

    def idle(self, now: float) -> float:
        """Write what was gathered, and send due acks. A log that cannot be written does not delay other runs."""
        for group in list(self._groups.values()):
            written = self._write(group)
            while written and group.waiting:
                written = self._take(group, group.waiting[0])
                if written:
                    group.waiting.popleft()
            if written and self._write(group) and not group.waiting:
                del self._groups[group.run]
        for session in [session for session, due in self._due.items() if due <= now]:
            self._ack(session, now)
        wait = min(self._due.values(), default=now + 1.0) - now
        return min(wait, _RETRY_SECONDS) if self._groups else wait

    def close(self, deadline: Deadline) -> None:
        """Write what was taken, and ack it; what the deadline cuts off is still in the clients' windows."""
        self.idle(time.monotonic())
        while self._groups:
            if deadline.over():
                _log.error("%d bytes could not be written before the exit: %s", self.backlog_bytes, self.error)
                return
            time.sleep(_CLOSE_SECONDS)
            self.idle(time.monotonic())
        for session in list(self._due):
            self._ack(session, time.monotonic())
