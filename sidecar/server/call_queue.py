"""Calls that other threads have made on the HandlerThread, and the pipe that wakes it for them."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable


class Calls:
    """A queue of functions, behind a descriptor that is readable while some are waiting.

    Attributes:
        fd: for the poll of the thread that calls `make`.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.fd, self._wake = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)

    def put(self, function: Callable[[], None]) -> None:
        """Have `function` called, soon. From any thread."""
        self._queue.put(function)
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def make(self) -> None:
        """Call all that wait, in their order."""
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
