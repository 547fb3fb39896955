"""The three stages of a sidecar wired together without threads or sockets: a test steps them by hand."""

from __future__ import annotations

import errno
import time
from collections import deque
from pathlib import Path
from typing import Any

from sidecar.log.writer import LogWriter
from sidecar.pipeline.editor import Editing, Editor
from sidecar.pipeline.handler import Handler
from sidecar.pipeline.held_run import HeldRun, Session
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.messages import Append, Edited, Event, Released, SenderItem, WriterItem
from sidecar.pipeline.sender import Sender
from sidecar.pipeline.sessions import Sessions
from sidecar.pipeline.writer import Writer
from sidecar.projections.store.sink import OpenStore, StoreSink
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Body, Record


class Stages:
    """Handler, Writer and Sender with a queue before each. `step` lets them do all that is due.

    Attributes:
        results: what was posted to clients: (client, result).
        to_writer, to_sender: the items that wait for a stage.
        events: what the server would act on.
        closed: the runs that were released.
    """

    def __init__(self, root: Path, open_sink: OpenStore = StoreSink, durability: str = "os") -> None:
        self.root = root
        self.results: list[tuple[str, Record]] = []
        self.to_writer: deque[WriterItem] = deque()
        self.to_sender: deque[SenderItem] = deque()
        self.events: list[Event] = []
        self.sender = Sender(open_sink)
        self.writer = Writer(self.to_sender.append, self._post, durability)
        self.intake = Intake(self._to_writer, self._post)
        self.sessions = Sessions(root, "connection.json", self._to_writer, self.intake, self._emit)
        self.editor = Editor(root, "connection.json", self._emit)
        self.editing = Editing(self.sessions, self._to_writer, self.editor.process)
        self.handler = Handler(self.sessions, self.intake, self._to_writer)
        self.now = time.monotonic()

    def _to_writer(self, item: WriterItem) -> None:
        if isinstance(item, Append):
            self.writer.handed_bytes += len(item.frames)
            item.run.handed_bytes += len(item.frames)
        self.to_writer.append(item)

    def _post(self, client: str, result: Record) -> None:
        self.results.append((client, result))

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Released):
            self.sessions.forget(event.run)
        elif isinstance(event, Edited):
            self.sessions.end_edit(event.run, event.edits)

    @property
    def closed(self) -> list[HeldRun]:
        return [event.run for event in self.events if isinstance(event, Released)]

    def attach(self, run: str, client: str, **body: Any) -> tuple[Session, list[Body]]:
        """Attach a client; the list gets what the control socket would answer, once it is known."""
        answers: list[Body] = []
        request = Record("attach", run, client, 0, time.time(), {"protocol": PROTOCOL_VERSION, **body})
        return self.sessions.attach(request, lambda session, state: answers.append(state)), answers

    def write(self) -> None:
        """Let the Writer take its items."""
        while self.to_writer:
            self.writer.process(self.to_writer.popleft())
        self.later(0.0)
        self.writer.idle(self.now)

    def retry(self) -> None:
        """Let the back-off after failed writes pass."""
        for group in self.writer._groups.values():
            group.retry_at = 0.0
        self.write()

    def send(self) -> None:
        """Let the Sender take its items."""
        while self.to_sender:
            self.sender.process(self.to_sender.popleft())
        self.later(0.0)
        while self.sender.idle(self.now) == 0.0:
            continue

    def step(self) -> None:
        """Let a second pass, and let the Handler, the Writer and the Sender do what is due."""
        self.later(1.0)
        self.handler.idle(self.now)
        self.editor.idle(self.now)
        self.write()
        self.send()

    def later(self, seconds: float) -> None:
        """Let time pass: `now` is never behind the clock, by which the stages themselves set what is due."""
        self.now = max(self.now, time.monotonic()) + seconds

    def told(self, kind: str, client: str | None = None) -> list[Body]:
        """The bodies of the results of a kind."""
        return [result.body for to, result in self.results if result.kind == kind and client in (None, to)]

    def close(self) -> None:
        for session in list(self.sessions.by_client.values()):
            if not session.run.closing:
                self.sessions.detach(session)
        for _ in range(5):
            self.step()
        self.handler.close(Deadline(5.0))
        self.write()
        self.writer.close(Deadline(5.0))
        self.send()
        self.sender.close(Deadline(5.0))


def log(run: str, client: str, seq: int, **data: Any) -> Record:
    return Record("log", run, client, seq, float(seq), {"step": seq, "data": data or {"x": seq}})


def message(*records: Record, framed: bool = True) -> bytes:
    return b"".join(frame(encode(record)) if framed else encode(record) for record in records)


class FailingLog(LogWriter):
    """A log whose disk can be full.

    Attributes:
        full: whether the disk is full.
        tried: number of writes that failed.
    """

    full = False
    unsyncable = False
    tried = 0

    def append(self, data: bytes | memoryview, *, sync: bool = False) -> None:
        if self.full:
            self.tried += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(data, sync=sync)

    def sync(self) -> None:
        if self.unsyncable:
            self.tried += 1
            raise OSError(errno.EIO, "Input/output error")
        super().sync()


def let_fail(run: HeldRun) -> FailingLog:
    """Give a run a log that can fail."""
    run.log.close()
    run.log = FailingLog.open(run.log.path)
    return run.log
