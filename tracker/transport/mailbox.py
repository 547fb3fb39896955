"""The mailbox: results as they come in, and those who wait for an answer. Filled by the pump thread."""

from __future__ import annotations

import threading
from typing import Any

from sidecar.protocol.deadline import Deadline


class Mailbox:
    """Answers by the number of their request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._waiting: dict[int, threading.Event] = {}
        self._answers: dict[int, dict[str, Any]] = {}

    def expect(self) -> int:
        """Return the number of a new request."""
        with self._lock:
            self._next += 1
            self._waiting[self._next] = threading.Event()
            return self._next

    def deliver(self, body: dict[str, Any]) -> None:
        """Take an answer; one that nobody waits for any more is let go."""
        with self._lock:
            event = self._waiting.get(body["id"])
            if event is not None:
                self._answers[body["id"]] = body
                event.set()

    def wait(self, number: int, deadline: Deadline) -> dict[str, Any] | None:
        """Wait for the answer to a request; None where it did not come by the deadline (call it again, or `forget`)."""
        event = self._waiting[number]
        if not event.wait(deadline.left()):
            return None
        self.forget(number)
        with self._lock:
            return self._answers.pop(number)

    def forget(self, number: int) -> None:
        with self._lock:
            self._waiting.pop(number, None)
