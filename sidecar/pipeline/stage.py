"""Stage and StageThread: a queue of items, and a thread that calls `process(item)`, `idle(now)`, `close(deadline)`.

The thread only calls these three, so that a test can step a stage by hand, without a thread and without a sleep.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Generic, Protocol, TypeVar

from sidecar.protocol.deadline import Deadline

Item = TypeVar("Item")
ItemIn = TypeVar("ItemIn", contravariant=True)

_log = logging.getLogger("sidecar")

_BURST = 256
"""Maximum number of items processed between two calls of `idle`."""


class Stage(Protocol[ItemIn]):
    """What a stage's thread calls. Nothing here raises for a fault of disk, network or client: the stage handles it."""

    def process(self, item: ItemIn) -> None:
        """Take one item."""

    def idle(self, now: float) -> float:
        """Do what is due at `now` (monotonic seconds); return the seconds until it must be called again."""

    def close(self, deadline: Deadline) -> None:
        """Finish what was taken, as far as the deadline allows, and release everything."""


class StageThread(Generic[Item]):
    """Runs a stage on a thread of its own.

    Args:
        name: the thread's name.
        stage: the stage.

    Attributes:
        failed: the exception that ended the thread, or None.
    """

    def __init__(self, name: str, stage: Stage[Item]) -> None:
        self.name = name
        self._stage = stage
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._deadline = Deadline(None)
        self.failed: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Add an item to the queue. Never waits; from any thread."""
        self._queue.put(item)

    def close(self, deadline: Deadline) -> bool:
        """Drain the queue, close the stage, and end the thread; return whether the deadline was met."""
        self._deadline = deadline
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(deadline.left())
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self.failed = error
            _log.exception("%s failed; the sidecar stops, and its clients will launch another", self.name)

    def _loop(self) -> None:
        wait = 0.0
        while True:
            try:
                item = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
                for _ in range(_BURST):
                    if item is None:
                        self._stage.idle(time.monotonic())
                        self._stage.close(self._deadline)
                        return
                    self._stage.process(item)
                    item = self._queue.get_nowait()
                if item is not None:
                    self._stage.process(item)
                else:
                    self._queue.put(None)
            except queue.Empty:
                pass
            wait = self._stage.idle(time.monotonic())
