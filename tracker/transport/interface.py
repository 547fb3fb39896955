"""The interface of a run to its sidecar: window, pump and mailbox behind four verbs. Any thread may call them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sidecar.protocol.connection import Connection, process_lives
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import new_id
from tracker.transport.backend import Attached, Backend
from tracker.transport.losses import Losses
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Pump
from tracker.transport.window import Window


class Interface:
    """One attachment of this process to a run.

    Args:
        backend: finds the sidecar.
        run: the run's id.
        directory: the run's directory; the window is made in it.
        losses: where what cannot be kept is counted.
        label: names this writer.
        parent: the client whose process this one was forked from.
        window_bytes, pump_interval, sinks: see `tracker.Settings`.
        offline: whether the sinks are only noted, for a later sync.

    Attributes:
        client: this attachment's id.
        window: where records are appended; `log` does so itself.

    Raises:
        OSError: the window cannot be made.
    """

    def __init__(
        self,
        backend: Backend,
        run: str,
        directory: Path,
        losses: Losses,
        *,
        label: str | None = None,
        parent: str | None = None,
        window_bytes: int,
        pump_interval: float,
        sinks: Sequence[str] = (),
        offline: bool = False,
    ) -> None:
        self.run = run
        self.client = new_id(12)
        self.losses = losses
        self._backend = backend
        self._parent = parent
        self._label = label
        self._sinks = {"sinks": list(sinks), "offline": offline} if sinks else {}
        self._connection: Connection | None = None
        info: dict[str, Any] = {"label": label, "parent": parent, "pid": os.getpid(), "host": platform.node()}
        info["sidecar"] = backend.address
        info["pair"] = backend.made_up_pair()
        self.window = Window(directory, run, self.client, info, losses, window_bytes)
        self.mailbox = Mailbox()
        self._pump = Pump(self.window, self.mailbox, self._attach_again, self._alive, pump_interval)
        self.open = True

    def attach(self, resume: str | None, deadline: Deadline) -> Attached:
        """Attach for the first time, and begin to send.

        Raises:
            LaunchError, ResumeError: as `Backend.attach`.
        """
        attached = self._attach({"resume": resume, "again": False}, deadline)
        self._pump.start(attached)
        return attached

    def attach_later(self) -> None:
        """Begin to send as soon as the sidecar is reached, without waiting for it: a forked child, in its first log."""
        self._pump.start_detached()

    def _attach_again(self, again: bool, deadline: Deadline) -> Attached:
        return self._attach({"again": again}, deadline)

    def _attach(self, body: dict[str, Any], deadline: Deadline) -> Attached:
        body.update(window=str(self.window.directory), label=self._label, parent=self._parent, **self._sinks)
        attached, self._connection = self._backend.attach(self.run, self.client, body, deadline)
        return attached

    def _alive(self) -> bool:
        return self._connection is None or process_lives(self._connection)

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Append a record. Returns when it is in the window."""
        with self.window.lock:
            self.window.append(kind, body)

    def publish_if_room(self, kind: str, body: dict[str, Any]) -> bool:
        """Append a large record if the window is not half full, so that metrics find room; return whether it was."""
        with self.window.lock:
            if not self.window.half_empty():
                return False
            return self.window.append(kind, body)

    def ask(self, what: str, deadline: Deadline, waiting: Callable[[], None] | None = None) -> dict[str, Any] | None:
        """Ask the sidecar, behind everything published before; None where no answer came by the deadline.

        Args:
            what: ``"flush"``, ``"state"`` or ``"progress"``.
            deadline: how long to wait.
            waiting: called every tenth of a second while there is no answer.
        """
        number = self._pump.ask(what)
        try:
            while not deadline.over():
                answer = self.mailbox.wait(number, Deadline(deadline.left(0.1)))
                if answer is not None:
                    return answer
                if waiting is not None:
                    waiting()
        finally:
            self.mailbox.forget(number)
        return None

    def unacked(self) -> int:
        """How many records are not yet known to be durable."""
        return self.window.seq - self.window.acked

    def send_final_records(self, deadline: Deadline) -> None:
        """From a signal handler that never returns: have all that is in the window sent, or leave it there."""
        while self.unacked() and not deadline.over():
            self._pump.wake()
            time.sleep(0.005)
        if not self.unacked():
            self.close(deadline)

    def close(self, deadline: Deadline) -> None:
        """Say goodbye, end the pump, and remove the window if nothing is left in it."""
        if self.open:
            self.open = False
            self._pump.close(deadline)
            self.window.close()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self.open = False
        self.window.abandon()
