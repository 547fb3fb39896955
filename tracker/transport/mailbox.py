"""The mailbox: requests that wait for an answer. Filled by the pump thread, read by any other.

It takes no lock, since a signal handler may make a request while its thread is making another.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

from sidecar.protocol.deadline import Deadline


class _Request:
    """A request that waits for its answer."""

    __slots__ = ("answer", "answered", "deadline")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.answered = threading.Event()
        self.answer: dict[str, Any] | None = None


class Mailbox:
    """Answers by the number of their request. A request is dropped when it is answered, forgotten, or too late."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Request] = {}

    def expect(self, deadline: Deadline) -> int:
        """Return the number of a new request, whose answer is of use until `deadline`."""
        number = next(self._numbers)
        self._requests[number] = _Request(deadline)
        return number

    def expects(self, number: int) -> bool:
        """Whether the answer to a request is still of use."""
        request = self._requests.get(number)
        return request is not None and not request.deadline.over()

    def deliver(self, body: dict[str, Any]) -> None:
        """Store the body of an answer; one that is not expected is ignored."""
        request = self._requests.get(body["id"])
        if request is not None:
            request.answer = body
            request.answered.set()

    def wait(self, number: int, deadline: Deadline) -> dict[str, Any] | None:
        """Wait for the answer to a request; return None if it did not come by `deadline`. It may be called again."""
        request = self._requests[number]
        if not request.answered.wait(deadline.left()):
            return None
        self.forget(number)
        return request.answer

    def forget(self, number: int) -> None:
        """Drop a request: its answer is not needed any more."""
        self._requests.pop(number, None)
