"""Sender: reads each run's log from its checkpoint and feeds a sink. Runs on the SenderThread.

Knows nothing of sockets or clients. What a sink cannot take now stays in the log and is retried. When nothing waits to
be fed, and when a run is closed, stores get the pieces that charts are read from, a few at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar.log.reader import LogReader
from sidecar.pipeline.held_run import HeldRun
from sidecar.pipeline.messages import Appended, Closing, Opened, Question, SenderItem
from sidecar.projections.store.sink import OpenStore, StoreSink
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError

_log = logging.getLogger("sidecar")

COMMIT_SECONDS = 0.25
"""Interval of the store's commits, in seconds."""

_RETRY_SECONDS = 1.0
"""Back-off after a first failure of a sink, in seconds; it doubles with each further one."""

_MAX_RETRY_SECONDS = 30.0

_MAX_CLOSE_FAILURES = 2
"""Failures after which a run that is being closed is released, for a recovery to finish it."""

_SLICE_BYTES = 1 << 17
"""Bytes of a run's log that are handed to its sink in one turn."""

_YIELD_FACTOR = 4.0
"""While the log is under pressure, the Sender pauses this many times as long as its last slice took."""

_PIECES_SECONDS = 0.01
"""Length of a turn in which a store's pieces are made, in seconds."""

_LAST_PIECES_SECONDS = 30.0
"""Maximum time that a run which is being closed is held for its pieces, in seconds; the next owner makes the rest."""

_CLOSE_SECONDS = 0.05
"""Maximum interval between two turns while the Sender closes, in seconds."""


class _Feed:
    """A run, its sink, and where the sink is in the run's log.

    Attributes:
        wanted: the offset in the log up to which the sink is to be fed.
        due: when to feed it next, in monotonic seconds.
        put_back: `HeldRun.put_back` when the sink was opened.
        questions: answered when everything in the log is committed.
        closing: set when the run is to be released then.
        error: why the sink failed last, or None.
        failures: number of failures in a row.
        pieces_at: when pieces were made last, in monotonic seconds.
        pieces_failed: whether pieces could not be made; they are tried again when the sink is opened the next time.
        release_at: when to release the run at the latest, in monotonic seconds; None while it is not fed to its end.
    """

    def __init__(self, run: HeldRun) -> None:
        self.run = run
        self.sink: StoreSink | None = None
        self.reader: LogReader | None = None
        self.wanted = run.log.offset  # the sink of an earlier sidecar may have been behind
        self.due = time.monotonic() + COMMIT_SECONDS
        self.put_back = run.put_back
        self.questions: list[Question] = []
        self.closing: Closing | None = None
        self.error: str | None = None
        self.failures = 0
        self.pieces_at = 0.0
        self.pieces_failed = False
        self.release_at: float | None = None

    @property
    def calm(self) -> bool:
        """Whether few records wait for the sink, or cannot be handed to it now."""
        return self.reader is None or self.wanted - self.reader.offset < _SLICE_BYTES

    @property
    def lacks_pieces(self) -> bool:
        """Whether pieces can be made."""
        return self.sink is not None and self.sink.pieces_pending and not self.pieces_failed

    @property
    def urgent(self) -> bool:
        """Whether an answer or a release waits for the sink."""
        return bool(self.questions) or self.closing is not None


class Sender:
    """The third stage.

    Args:
        open_sink: opens the sink of a run.
        pressed: returns whether records come faster than they can be appended; then the log goes first, since what is
            in it is safe, and the sink catches up later.
        name: the sink's name in the answer to ``progress``.
        others: returns the progress of a run to other sinks.
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
            feed.due = min(feed.due, time.monotonic())  # an answer waits for it: retry now what failed before

    def _on_closing(self, item: SenderItem) -> None:
        assert isinstance(item, Closing)
        self._feeds[item.run.id].closing = item

    def _progress(self, feed: _Feed) -> dict[str, dict[str, object]]:
        behind = max(0, feed.wanted - feed.sink.checkpoint) if feed.sink else feed.wanted
        return {self._name: {"behind_bytes": behind, "error": feed.error}}

    def _all_progress(self, feed: _Feed) -> dict[str, dict[str, object]]:
        return {**self._progress(feed), **self._others(feed.run.id)}

    def backlog(self) -> dict[str, dict[str, dict[str, object]]]:
        """Return, for each run, how far its sink is behind. From any thread."""
        return {name: self._progress(feed) for name, feed in list(self._feeds.items())}

    def idle(self, now: float) -> float:
        """Feed the sinks that are due, each a slice, so that no run waits for another's backlog; else make pieces."""
        wait = COMMIT_SECONDS
        self._release_closed()
        for feed in list(self._feeds.values()):
            if feed.release_at is not None:
                continue
            if feed.due > now and not (feed.urgent and feed.failures == 0):
                wait = min(wait, feed.due - now)
                continue
            started = time.monotonic()
            try:
                more = self._feed(feed)
            except Exception as error:  # an unforeseen failure of one run must not end the others
                more = False
                self._failed(feed, error, now)
                wait = min(wait, feed.due - now)
            if more:
                pause = _YIELD_FACTOR * (time.monotonic() - started) if self._pressed() else 0.0
                feed.due = now + pause
                wait = min(wait, pause)
            elif feed.error is None:
                feed.due = now + COMMIT_SECONDS
        if wait > 0.0 and self._make_pieces():
            return 0.0
        return max(0.0, wait)

    def _make_pieces(self) -> bool:
        """Make pieces of one run, if no records wait; return whether there is more to make."""
        lacking = [feed for feed in self._feeds.values() if feed.lacks_pieces]
        if not lacking or self._pressed() or not all(feed.calm for feed in self._feeds.values()):
            return False
        feed = min(lacking, key=lambda feed: feed.pieces_at)
        feed.pieces_at = time.monotonic()
        try:
            assert feed.sink is not None
            feed.sink.make_pieces(_PIECES_SECONDS)
        except Exception as error:  # charts are read without them, only more slowly
            feed.pieces_failed = True
            _log.warning("run %s: pieces for charts are not made: %s", feed.run.id, error)
        self._release_closed()
        return any(feed.lacks_pieces for feed in lacking if feed.run.id in self._feeds)

    def _release_closed(self) -> None:
        """Release the runs that were fed to their end, unless pieces are still to be made and there is time."""
        now = time.monotonic()
        for feed in list(self._feeds.values()):
            if feed.release_at is None:
                continue
            if not feed.lacks_pieces or feed.run.awaited or now >= feed.release_at:
                self._release(feed, clean=True)

    def _feed(self, feed: _Feed) -> bool:
        """Hand the sink a slice of the log; at its end, commit and answer. Return whether there is more."""
        if feed.put_back != feed.run.put_back:  # what is open was removed
            feed.put_back = feed.run.put_back
            self._close_sink(feed)
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
            feed.release_at = time.monotonic() + _LAST_PIECES_SECONDS
            self._release_closed()
        return False

    def _failed(self, feed: _Feed, error: Exception, now: float) -> None:
        """Start again at the sink's checkpoint, after a back-off."""
        if feed.error is None:
            _log.error("run %s: %s: %s; it is retried", feed.run.id, self._name, error)
        feed.error = f"{error}"
        feed.failures += 1
        feed.due = now + min(_MAX_RETRY_SECONDS, _RETRY_SECONDS * 2 ** min(5, feed.failures - 1))
        for question in feed.questions:
            question.answer({"error": feed.error, "sinks": self._all_progress(feed)})
        feed.questions.clear()
        self._close_sink(feed)
        if feed.closing is not None and feed.failures > _MAX_CLOSE_FAILURES:
            feed.closing.then(False)
            del self._feeds[feed.run.id]

    @staticmethod
    def _close_sink(feed: _Feed) -> None:
        sink, feed.sink = feed.sink, None
        reader, feed.reader = feed.reader, None
        feed.pieces_failed = False
        if reader is not None:
            reader.close()
        if sink is not None:
            try:
                sink.close()
            except (SidecarError, OSError) as error:
                _log.warning("run %s: %s", feed.run.id, error)

    def _release(self, feed: _Feed, *, clean: bool) -> None:
        del self._feeds[feed.run.id]
        self._close_sink(feed)
        if feed.closing is not None:
            feed.closing.then(clean)

    def close(self, deadline: Deadline) -> None:
        """Feed what is in the logs; what the deadline cuts off stays there for the next sidecar that opens the run."""
        for feed in self._feeds.values():
            feed.run.awaited = True
        while self._feeds and not deadline.over():
            wait = self.idle(time.monotonic())
            for feed in list(self._feeds.values()):
                done = feed.reader is not None and feed.reader.offset >= feed.wanted
                if done or feed.failures > _MAX_CLOSE_FAILURES:
                    self._release(feed, clean=False)
            time.sleep(min(wait, _CLOSE_SECONDS))
        for feed in list(self._feeds.values()):
            self._release(feed, clean=False)
