"""Call queue: functions that other threads have called on the HandlerThread, and the pipe that wakes it for them."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable


class CallQueue:
    """A queue of functions, with a descriptor that is readable while functions are queued.

    Attributes:
        fd: to be polled by the thread that calls `run_all`.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.fd, self._wake = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)

    def put(self, function: Callable[[], None]) -> None:
        """Queue a call of `function`. From any thread."""
        self._queue.put(function)
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def run_all(self) -> None:
        """Call all queued functions in order."""
        try:
            os.read(self.fd, 65536)
        except BlockingIOError:
            pass
        while True:
            try:
                function = self._queue.get_nowait()
            except queue.Empty:
                return
            function()
