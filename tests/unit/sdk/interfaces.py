"""A stand-in for `Interface` that obeys its contract: a real window, and a sidecar that answers when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import new_id
from sidecar.protocol.segments import read_window
from tracker.errors import LaunchError
from tracker.transport.backend import Attached
from tracker.transport.losses import Losses
from tracker.transport.window import Window


class Sidecar:
    """What the stand-ins of a test talk to; also the process and the backend that a lifecycle is given.

    Attributes:
        state: the state of the run, in the answers.
        sinks: the servers' progress, in the answers; the last one stays.
        answers: whether it answers and acks.
        remote: whether it is on another machine.
        error: raised by an attach.
        interfaces: all that were made.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.sinks: list[dict[str, Any]] = [{}]
        self.answers = True
        self.remote = False
        self.resumed = False
        self.error: BaseException | None = None
        self.interfaces: list[StubInterface] = []
        self.lock = threading.RLock()
        self.finalizers = 0

    def backend(self, settings: object) -> Sidecar:
        return self

    def end_with_multiprocessing(self) -> None:
        self.finalizers += 1

    def close(self) -> None:
        """Close all windows, those too that a child has left mapped."""
        for interface in self.interfaces:
            interface.close(Deadline(0.0))
            if interface.abandoned:
                interface.window.close()


class StubInterface:
    """An attachment to a `Sidecar`.

    Attributes:
        asked: what was asked, in order.
        on_ask: called in the middle of each `ask`.
        final_records: what was in the window when it was closed.
    """

    def __init__(
        self,
        backend: Sidecar,
        run: str,
        directory: Path,
        losses: Losses,
        *,
        label: str | None = None,
        parent: str | None = None,
        window_bytes: int,
        **options: Any,
    ) -> None:
        self.client = new_id(12)
        self.parent = parent
        self.options = options
        self.open = True
        self.abandoned = False
        self.asked: list[str] = []
        self.on_ask: Callable[[], object] = lambda: None
        self.final_records: list[tuple[str, dict[str, Any]]] = []
        self.window = Window(directory, run, self.client, {"label": label}, losses, window_bytes)
        self._directory = directory
        self._sidecar = backend
        backend.interfaces.append(self)

    def attach(self, resume: str | None, deadline: Deadline) -> Attached:
        if self._sidecar.error is not None:
            raise self._sidecar.error
        directory = None if self._sidecar.remote else self._directory
        return Attached("", "", 0, self._sidecar.state, self._sidecar.resumed, directory)

    def attach_later(self) -> None:
        self.asked.append("attach")

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        with self.window.lock:
            self.window.append(kind, body)

    def ask(self, what: str, deadline: Deadline, waiting: Callable[[], None] | None = None) -> dict[str, Any] | None:
        self.asked.append(what)
        self.on_ask()
        if waiting is not None:
            waiting()
        if not self._sidecar.answers:
            return None
        self.window.release(self.window.seq)
        sinks = self._sidecar.sinks
        return {"state": self._sidecar.state, "sinks": sinks.pop(0) if len(sinks) > 1 else sinks[0]}

    def unacked(self) -> int:
        return self.window.seq - self.window.acked

    def send_final_records(self, deadline: Deadline) -> None:
        """Do nothing."""

    def close(self, deadline: Deadline) -> None:
        if self.open:
            self.open = False
            self.final_records = self.records()
            self.window.close()

    def abandon(self) -> None:
        self.open = False
        self.abandoned = True
        self.window.abandon()

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and body of each record in the window, without the schemas of rows."""
        stored = [record for framed in read_window(self.window.directory, 0) for record in framed.records]
        return [(record.kind, record.body) for record in stored if record.kind != "schema"]


def launch_error() -> LaunchError:
    return LaunchError("the sidecar did not start: no reason")
