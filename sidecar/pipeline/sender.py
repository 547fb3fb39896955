"""Sender: reads each run's log from its checkpoint and feeds a sink. Runs on the SenderThread.

Knows nothing of sockets or clients. What a sink cannot take now stays in the log and is tried again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar.log.reader import LogReader
from sidecar.pipeline.held_run import Run
from sidecar.pipeline.messages import Appended, Closing, Opened, Question, SenderItem
from sidecar.projections.store.sink import OpenStore, StoreSink
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError

_log = logging.getLogger("sidecar")

COMMIT_SECONDS = 0.25
"""How far the store may be behind the log, beside the time the work itself takes."""

_RETRY_SECONDS = 1.0
_SLICE_BYTES = 1 << 17
_GIVE_WAY = 4.0
"""When the log is pressed, the Sender rests for so many times what its last slice took."""


class _Feed:
    """One run's way from its log to the sink."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.sink: StoreSink | None = None
        self.reader: LogReader | None = None
        self.wanted = run.log.offset  # what a sidecar before this one may have left for the sink
        self.due = time.monotonic() + COMMIT_SECONDS
        self.questions: list[Question] = []
        self.closing: Closing | None = None
        self.error: str | None = None
        self.failures = 0

    @property
    def asked(self) -> bool:
        return bool(self.questions) or self.closing is not None


class Sender:
    """The third stage.

    Args:
        open_sink: opens the sink of a run.
        pressed: whether records come faster than they can be taken to the log: the log goes first then, since what is
            in it is safe, and the sink catches up.
        name: the sink's name, as ``progress`` calls it.
        others: says how far a run is to other sinks.
    """

    def __init__(
        self,
        open_sink: OpenStore,
        pressed: Callable[[], bool] = lambda: False,
        name: str = "store",
        others: Callable[[str], dict[str, dict[str, object]]] = lambda run: {},
    ) -> None:
        self._others = others
        self._open_sink = open_sink
        self._pressed = pressed
        self._name = name
        self._feeds: dict[str, _Feed] = {}
        self._routes: dict[type, Callable[[SenderItem], None]] = {
            Appended: self._on_appended,
            Question: self._on_question,
            Opened: self._on_opened,
            Closing: self._on_closing,
        }

    def process(self, item: SenderItem) -> None:
        self._routes[type(item)](item)

    def _on_opened(self, item: SenderItem) -> None:
        self._feeds[item.run.id] = _Feed(item.run)

    def _on_appended(self, item: SenderItem) -> None:
        assert isinstance(item, Appended)
        self._feeds[item.run.id].wanted = item.end

    def _on_question(self, item: SenderItem) -> None:
        assert isinstance(item, Question)
        feed = self._feeds[item.run.id]
        if item.ask == "progress":
            item.answer({"sinks": self._all_progress(feed)})
        else:
            feed.questions.append(item)
            feed.due = min(feed.due, time.monotonic())  # somebody waits: what failed before is tried now

    def _on_closing(self, item: SenderItem) -> None:
        assert isinstance(item, Closing)
        self._feeds[item.run.id].closing = item

    def _progress(self, feed: _Feed) -> dict[str, dict[str, object]]:
        behind = max(0, feed.wanted - feed.sink.checkpoint) if feed.sink else feed.wanted
        return {self._name: {"behind_bytes": behind, "error": feed.error}}

    def _all_progress(self, feed: _Feed) -> dict[str, dict[str, object]]:
        return {**self._progress(feed), **self._others(feed.run.id)}

    def backlog(self) -> dict[str, dict[str, dict[str, object]]]:
        """Return, for each run, how far the sink is behind; may be called from any thread."""
        return {name: self._progress(feed) for name, feed in list(self._feeds.items())}

    def idle(self, now: float) -> float:
        """Feed what is due: each run a slice, so that none waits for another's backlog."""
        wait = COMMIT_SECONDS
        for feed in list(self._feeds.values()):
            if feed.due > now and not (feed.asked and feed.failures == 0):
                wait = min(wait, feed.due - now)
                continue
            begun = time.monotonic()
            try:
                more = self._feed(feed)
            except Exception as error:  # a run whose store fails in a new way must not end the others'
                more = False
                self._failed(feed, error, now)
                wait = min(wait, feed.due - now)
            if more:
                rest = _GIVE_WAY * (time.monotonic() - begun) if self._pressed() else 0.0
                feed.due = now + rest
                wait = min(wait, rest)
            elif feed.error is None:
                feed.due = now + COMMIT_SECONDS
        return max(0.0, wait)

    def _feed(self, feed: _Feed) -> bool:
        """Hand the sink what is in the log; return whether there is more."""
        if feed.sink is None:
            feed.sink = self._open_sink(feed.run.directory)
        if feed.reader is None:
            feed.reader = LogReader(feed.run.log.path, feed.sink.checkpoint or None)
        for batch in feed.reader.batches(_SLICE_BYTES):
            feed.sink.apply(batch)
            if feed.reader.offset < feed.wanted:
                return True
            break
        feed.sink.commit()
        feed.error = None
        feed.failures = 0
        for question in feed.questions:
            question.answer({"state": feed.sink.state(), "sinks": self._all_progress(feed)})
        feed.questions.clear()
        if feed.closing is not None:
            self._let_go(feed, clean=True)
        return False

    def _failed(self, feed: _Feed, error: Exception, now: float) -> None:
        """Begin again at the sink's checkpoint, later."""
        if feed.error is None:
            _log.error("run %s: %s: %s; it is tried again", feed.run.id, self._name, error)
        feed.error = f"{error}"
        feed.failures += 1
        feed.due = now + min(30.0, _RETRY_SECONDS * 2 ** min(5, feed.failures - 1))
        for question in feed.questions:
            question.answer({"error": feed.error, "sinks": self._all_progress(feed)})
        feed.questions.clear()
        closing = feed.closing
        self._drop(feed)
        if closing is not None and feed.failures > 2:
            closing.then(False)
            del self._feeds[feed.run.id]

    @staticmethod
    def _drop(feed: _Feed) -> None:
        sink, feed.sink = feed.sink, None
        reader, feed.reader = feed.reader, None
        if reader is not None:
            reader.close()
        if sink is not None:
            try:
                sink.close()
            except (SidecarError, OSError) as error:
                _log.warning("run %s: %s", feed.run.id, error)

    def _let_go(self, feed: _Feed, *, clean: bool) -> None:
        closing = feed.closing
        del self._feeds[feed.run.id]
        self._drop(feed)
        if closing is not None:
            closing.then(clean)

    def close(self, deadline: Deadline) -> None:
        """Feed what is left; what the deadline cuts off stays in the log for the next who opens the run."""
        while self._feeds and not deadline.over():
            wait = self.idle(time.monotonic())
            for feed in list(self._feeds.values()):
                if (feed.reader is not None and feed.reader.offset >= feed.wanted) or feed.failures > 2:
                    self._let_go(feed, clean=False)
            time.sleep(min(wait, 0.05))
        for feed in list(self._feeds.values()):
            self._let_go(feed, clean=False)
