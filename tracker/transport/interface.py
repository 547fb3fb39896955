"""The interface of a run to its sidecar: window, pump and mailbox in one object. Any thread may call its methods."""

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
from sidecar.protocol.paths import path_value
from tracker.transport.backend import Attached, Backend
from tracker.transport.losses import Losses
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Handler, Pump
from tracker.transport.window import Window

_POLL_INTERVAL = 0.1
"""Interval between two calls of `waiting` in `Interface.ask`, in seconds."""


class Interface:
    """One attachment of this process to a run.

    Args:
        backend: finds or launches the sidecar.
        run: the run's id.
        directory: the run's directory; the window is made in it.
        losses: counts the records that cannot be stored.
        label: names this writer.
        parent: the client whose process this one was forked from.
        window_bytes, pump_interval, sinks: see `tracker.Settings`.
        offline: whether the sinks are only noted, for ``tracker sync``.

    Attributes:
        client: this attachment's id.
        window: where records are appended; `log` appends to it directly.
        open: whether `close` and `abandon` were not yet called.

    Raises:
        OSError: the window cannot be made; in a forked process it is made in memory then.
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
        info["pair"] = backend.generated_pair()
        self.window = Window(directory, run, self.client, info, losses, window_bytes, needs_files=parent is None)
        self.mailbox = Mailbox()
        self._pump = Pump(self.window, self.mailbox, self._attach_again, self._alive, pump_interval)
        self.open = True

    def on(self, kind: str, handler: Handler) -> None:
        """Have `handler` called with the body of each result of a kind, on the pump thread. It must not wait."""
        self._pump.on(kind, handler)

    def attach(self, resume: str | None, deadline: Deadline) -> Attached:
        """Attach for the first time, and start sending.

        Raises:
            LaunchError, ResumeError: as `Backend.attach`.
        """
        attached = self._attach({"resume": resume, "again": False}, deadline)
        self._pump.start(attached)
        return attached

    def attach_later(self) -> None:
        """Start sending as soon as the sidecar is reached, without waiting for it: used by forked children."""
        self._pump.start_detached()

    def _attach_again(self, again: bool, deadline: Deadline) -> Attached:
        return self._attach({"again": again}, deadline)

    def _attach(self, body: dict[str, Any], deadline: Deadline) -> Attached:
        window = path_value(self.window.directory) if self.window.has_files else None
        body.update(window=window, label=self._label, parent=self._parent, **self._sinks)
        attached, self._connection = self._backend.attach(self.run, self.client, body, deadline)
        return attached

    def _alive(self) -> bool:
        return self._connection is None or process_lives(self._connection)

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Append a record. Returns when it is in the window."""
        with self.window.lock:
            self.window.append(kind, body)

    def publish_if_room(self, kind: str, body: dict[str, Any]) -> bool:
        """Append a large record unless the window is half full, so that metrics find room; return whether it was."""
        with self.window.lock:
            if not self.window.half_empty():
                return False
            return self.window.append(kind, body)

    def ask(self, what: str, deadline: Deadline, waiting: Callable[[], None] | None = None) -> dict[str, Any] | None:
        """Send a request behind all that was published before, and return the answer; None if it did not come in time.

        Args:
            what: ``"flush"``, ``"state"`` or ``"progress"``.
            deadline: when to give up.
            waiting: called every tenth of a second while there is no answer.
        """
        number = self._pump.ask(what, deadline)
        try:
            while not deadline.over():
                answer = self.mailbox.wait(number, Deadline(deadline.left(_POLL_INTERVAL)))
                if answer is not None:
                    return answer
                if waiting is not None:
                    waiting()
        finally:
            self.mailbox.forget(number)
        return None

    def unacked(self) -> int:
        """Return the number of records that are not yet known to be durable."""
        return self.window.seq - self.window.acked

    def send_final_records(self, deadline: Deadline) -> None:
        """In a signal handler that never returns: send what is in the window, or leave it there at the deadline."""
        while self.unacked() and not deadline.over():
            self._pump.wake()
            time.sleep(0.005)
        if not self.unacked():
            self.close(deadline)

    def close(self, deadline: Deadline) -> None:
        """Detach, and close the window, which is removed if it is empty. May be called twice.

        What is not done by the deadline the pump thread does as soon as it is able to.
        """
        if self.open:
            self.open = False
            self._pump.close(deadline)

    def abandon(self) -> None:
        """In a forked child: close this process's copies of what belongs to the parent."""
        self.open = False
        self.window.abandon()
