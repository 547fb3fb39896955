"""Delivery: one run's way from its log to one server, from checkpoint to checkpoint, whatever the server does.

Stepped by one thread at a time: a `Courier`'s in a sidecar, or ``tracker sync``'s. It only reads the run's log, so the
run need not be held, and may be written meanwhile. Knows no particular server.
"""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

from sidecar.log.reader import Batch, LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import LogFormatError
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.sink_address import SinkAddress
from sidecar.protocol.sink_progress import SinkLock, SinkProgress, read_progress, write_progress
from sidecar.sinks.contract import OpenSink, Sink, SinkError, SinkTarget, SinkUnavailableError
from sidecar.sinks.registry import open_sink

_log = logging.getLogger("sidecar")

GATHER_SECONDS = 1.0
"""A run that is going on is sent what came in so much time at once, unless somebody waits."""

SAVE_SECONDS = 1.0
"""How often the progress is written down: what a kill takes of it is sent again, which changes nothing."""

LARGE_STATE_KEYS = 10_000
LARGE_STATE_SECONDS = 30.0
"""The state of a run with more metrics is written down more seldom: it takes some milliseconds."""

FIRST_RETRY_SECONDS = 0.5
QUICK_RETRIES = 3
"""So many pauses are as short as the first, for a bad link; each after them is twice as long as the one before."""

LAST_RETRY_SECONDS = 60.0
REFUSED_RETRY_SECONDS = 30.0
"""After what somebody must mend, such as a wrong password."""

MOST_HALVINGS = 6
LEAST_BATCH_BYTES = 16 * 1024
"""Where sending fails, batches become smaller, down to a 64th or to this: so that some gets through a bad link."""

_HELD_SECONDS = 0.5


class _HeldError(SinkUnavailableError):
    """Another process sends this run to this server: nothing is wrong."""


class Delivery:
    """One run and one server.

    Args:
        directory: the run's.
        address: the server.
        open_sink: makes the sink.

    Attributes:
        progress: how far it is.
        failing_since: since when nothing got through, monotonic seconds; None while it does.
        tail_bytes: so much at the end of the log was no whole record when it was last looked at: one that is being
            written, or what a death has left of one.
    """

    def __init__(self, directory: Path, address: SinkAddress, open_sink: OpenSink = open_sink) -> None:
        self.directory = directory
        self.address = address
        self.progress: SinkProgress = read_progress(directory, address)
        self.failing_since: float | None = None
        self.tail_bytes = 0
        self._open_sink = open_sink
        self._lock: SinkLock | None = None
        self._sink: Sink | None = None
        self._ready = False
        self._reader: LogReader | None = None
        self._state = RunState()
        self._failures = 0
        self._halvings = 0
        self._due = 0.0
        self._saved_at = 0.0
        self._state_saved_at = 0.0
        self._unsaved = False
        self._again = False

    @property
    def run(self) -> str:
        return self.directory.name

    def behind_bytes(self) -> int:
        """How much of the log the server does not have yet, as far as that is known here."""
        return self.progress.behind_bytes(self.directory)

    def hurry(self) -> None:
        """Somebody waits: what there is, is sent at the next step, unless the server asked to be left alone."""
        if self._failures == 0:
            self._due = 0.0

    def again(self) -> None:
        """Send all of the log once more, as to a server that is new or has lost the run."""
        self._again = True

    def step(self, now: float) -> float:
        """Send a batch if one is due; return in how many seconds to be called again at the latest."""
        if now < self._due:
            return self._due - now
        try:
            more = self._send()
        except SinkError as error:
            return self._failed(error, now)
        except (OSError, LogFormatError) as error:
            return self._failed(SinkUnavailableError(f"{type(error).__name__}: {error}"), now)
        except Exception as error:  # a defect of a sink must not end the others' thread
            _log.exception("run %s: sending to %s failed", self.run, self.address.text)
            return self._failed(SinkUnavailableError(f"{type(error).__name__}: {error}"), now)
        if self._unsaved and now - self._saved_at >= SAVE_SECONDS:
            self._save(now)
        self._due = now if more else now + GATHER_SECONDS
        return 0.0 if more else GATHER_SECONDS

    def _send(self) -> bool:
        """Send one batch; return whether more is there already."""
        if self._lock is None:
            self._lock = SinkLock.take(self.directory, self.address)
            self.progress = read_progress(self.directory, self.address)
            if self._lock is None:
                raise _HeldError("another process sends it", _HELD_SECONDS)
            if self._again:
                self._again = False
                self.progress = SinkProgress(self.address.text, offline=self.progress.offline)
            if self.progress.checkpoint == 0:
                self._save(time.monotonic())  # whoever comes next must know that it goes there
        if self._reader is None:
            self._reader = self._at_checkpoint()
        if self._sink is None:
            self._sink = self._open_sink(SinkTarget(self.address, self.run, self.directory, self.progress.memory))
        if not self._ready:
            self._sink.open()
            self._ready = True
            self._save(time.monotonic())  # what it learned in open() must not be learned twice
        size = self._sink.batch_bytes
        for batch in self._reader.batches(max(min(size, LEAST_BATCH_BYTES), size >> self._halvings)):
            self._apply(batch)
            checkpoint = self._sink.send(batch, self._state)
            if checkpoint < batch.end:
                self.progress.checkpoint, self._unsaved = checkpoint, True
                raise SinkUnavailableError(f"it has lost what it had; it gets it again, from byte {checkpoint} on")
            self._succeeded(checkpoint)
            return self._reader.size() > batch.end
        self._let_go_of_trouble()  # there is nothing to send, and the server was reached
        self.tail_bytes = max(0, self._reader.size() - self.progress.checkpoint)
        return False

    def _apply(self, batch: Batch) -> None:
        for record in batch.records:
            self._state.apply(record)

    def _at_checkpoint(self) -> LogReader:
        """Return a reader at the checkpoint, with the state of the run there."""
        progress = self.progress
        log = self.directory / LOG_NAME
        if progress.checkpoint > log.stat().st_size:
            _log.warning("run %s: %s is ahead of its log; all is sent again", self.run, self.address.text)
            progress.checkpoint = 0
        self._state, begin = self._kept_state(progress)
        reader = LogReader(log, begin or None)
        while progress.checkpoint > reader.offset:
            for batch in reader.batches():
                if batch.end > progress.checkpoint:
                    inside = [end for end in batch.ends if end <= progress.checkpoint]
                    self._apply(Batch(batch.records[: len(inside)], progress.checkpoint, inside))
                    reader.offset = progress.checkpoint
                    return reader
                self._apply(batch)
            break
        return reader

    @staticmethod
    def _kept_state(progress: SinkProgress) -> tuple[RunState, int]:
        """Return the state that was written down and where in the log it is; the beginning where it is of no use."""
        if progress.state_end <= progress.checkpoint:
            try:
                return RunState.from_map(progress.state), progress.state_end
            except (KeyError, TypeError, ValueError, AttributeError):
                pass  # of another version
        return RunState(), 0

    def _succeeded(self, checkpoint: int) -> None:
        self._let_go_of_trouble()
        self._halvings = max(0, self._halvings - 1)
        self.progress.checkpoint = checkpoint
        self.tail_bytes = 0
        self._unsaved = True

    def _let_go_of_trouble(self) -> None:
        if self.progress.error is not None:
            _log.info("run %s: %s takes records again", self.run, self.address.text)
            self.progress.error = None
            self._unsaved = True
        self.failing_since = None
        self._failures = 0

    def _failed(self, error: SinkError, now: float) -> float:
        """Begin again at the checkpoint, later."""
        self._failures += 1
        self._halvings = min(MOST_HALVINGS, self._halvings + 1)
        held = isinstance(error, _HeldError)
        if self.failing_since is None:
            self.failing_since = now
        if isinstance(error, SinkUnavailableError):
            doublings = min(10, max(0, self._failures - QUICK_RETRIES))
            wait = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**doublings)
            wait *= random.uniform(0.5, 1.0)  # so that many runs do not all come back at the same moment
            if error.retry_after is not None:
                wait = error.retry_after if held else min(3600.0, max(wait, error.retry_after))
        else:
            wait = REFUSED_RETRY_SECONDS
        if self.progress.error is None and not held:
            _log.warning("run %s: %s does not take it: %s; it is tried again", self.run, self.address.text, error)
        kept = self._sink if isinstance(error, SinkUnavailableError) else None  # it knows what of the batch is there
        said = self.progress.error
        if not held:  # else it is what the other process says
            self.progress.error = str(error)
        self._drop()
        self._sink = kept
        if said != self.progress.error or self._unsaved:
            self._save(now)
        self._due = now + wait
        return wait

    def _save(self, now: float) -> None:
        if self._lock is None:
            return
        large = len(self._state.summary.values) > LARGE_STATE_KEYS
        pause = LARGE_STATE_SECONDS if large else SAVE_SECONDS
        if self._reader is not None and now - self._state_saved_at >= pause:
            self.progress.state, self.progress.state_end = self._state.to_map(), self._reader.offset
            self._state_saved_at = now
        try:
            write_progress(self.directory, self.progress)
            self._unsaved = False
        except OSError as error:
            _log.warning("run %s: how far %s is cannot be written down: %s", self.run, self.address.text, error)
        self._saved_at = now

    def _drop(self, deadline: Deadline | None = None) -> None:
        sink, self._sink, self._ready = self._sink, None, False
        reader, self._reader = self._reader, None
        if sink is not None:
            try:
                sink.close(deadline or Deadline(1.0))
            except SinkError as error:
                _log.info("run %s: %s", self.run, error)
        if reader is not None:
            reader.close()

    def close(self, deadline: Deadline) -> None:
        """Write down how far it is, and let go; whoever comes next goes on from there. May be called twice."""
        if self._lock is not None:
            if self._unsaved:
                self._state_saved_at = 0.0
                self._save(time.monotonic())
            self._drop(deadline)
            self._lock.release()
            self._lock = None
