"""Delivery: brings one run's log to one server, checkpoint by checkpoint, whatever the server does.

Stepped by one thread at a time: a `SinkSender`'s in a sidecar, or that of ``tracker sync``. It only reads the run's
log, so the run need not be held, and may be written at the same time. Knows no particular server.
"""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

from sidecar.log.reader import Batch, LogReader
from sidecar.projections.replay import EachBatch, replay
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
"""Interval between batches of a live run, in seconds; `Delivery.wake` cuts it short."""

SAVE_SECONDS = 1.0
"""Interval between saves of the progress, in seconds. Progress lost in a crash is resent; sinks are idempotent."""

LARGE_STATE_KEYS = 10_000
LARGE_STATE_SECONDS = 30.0
"""Interval between saves of the state of a run with more metrics than that, in seconds: each takes milliseconds."""

FIRST_RETRY_SECONDS = 0.5
QUICK_RETRIES = 3
"""Number of retries at the first interval, for an unreliable connection; each later interval is twice the previous."""

LAST_RETRY_SECONDS = 60.0
"""Maximum interval between retries, in seconds."""

REFUSED_RETRY_SECONDS = 30.0
"""Interval between retries after an error that somebody must fix, such as a wrong password, in seconds."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Maximum wait that a server can ask for, in seconds."""

MOST_HALVINGS = 6
LEAST_BATCH_BYTES = 16 * 1024
"""After failures, batches shrink to a 64th of their size, but not below this: small ones may pass a bad connection."""

_HELD_SECONDS = 0.5


class _HeldError(SinkUnavailableError):
    """Another process is sending this run to this server. Not a failure."""


class Delivery:
    """One run on its way to one server.

    Args:
        directory: the run's directory.
        address: the server.
        open_sink: makes the sink.

    Attributes:
        progress: what has been sent.
        failing_since: monotonic time of the first of the current failures; None if the last attempt succeeded.
        tail_bytes: size of the incomplete record at the end of the log when it was last read: one that is being
            written, or that was cut off when its writer died.
    """

    def __init__(self, directory: Path, address: SinkAddress, open_sink: OpenSink = open_sink) -> None:
        self.directory = directory
        self.address = address
        self.progress: SinkProgress = read_progress(directory, address)
        self.failing_since: float | None = None
        self.tail_bytes = 0
        self._make_sink = open_sink
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
        self._resend = False

    @property
    def run(self) -> str:
        return self.directory.name

    def behind_bytes(self) -> int:
        """Return how many bytes of the log the server does not have yet, as far as this process knows."""
        return self.progress.behind_bytes(self.directory)

    def wake(self) -> None:
        """Make the next step send what is there, without gathering more. A back-off after a failure still applies."""
        if self._failures == 0:
            self._due = 0.0

    def resend(self) -> None:
        """Resend the whole log, to a server that is new or has lost the run."""
        self._resend = True

    # -- a step ---------------------------------------------------------------------------------------------------

    def step(self, now: float) -> float:
        """Send a batch if one is due; return the longest time to wait before the next step, in seconds."""
        if now < self._due:
            return self._due - now
        try:
            more = self._send()
        except SinkError as error:
            return self._failed(error, now)
        except (OSError, LogFormatError) as error:
            return self._failed(SinkUnavailableError(_describe(error)), now)
        except Exception as error:  # a bug in one sink must not end the thread that serves other runs
            _log.exception("run %s: sending to %s failed", self.run, self.address.text)
            return self._failed(SinkUnavailableError(f"{type(error).__name__}: {error}"), now)
        if self._unsaved and now - self._saved_at >= SAVE_SECONDS:
            self._save(now)
        self._due = now if more else now + GATHER_SECONDS
        return 0.0 if more else GATHER_SECONDS

    def _send(self) -> bool:
        """Send one batch; return whether the log has more."""
        self._take_lock()
        if self._reader is None:
            self._reader = self._reader_at_checkpoint()
        reader = self._reader
        sink = self._opened_sink()
        batch = next(reader.batches(self._batch_bytes(sink)), None)
        if batch is None:
            self._recovered()  # there is nothing to send, but the server was reached
            self.tail_bytes = max(0, reader.size() - self.progress.checkpoint)
            return False
        self._apply(batch)
        checkpoint = sink.send(batch, self._state)
        if checkpoint < batch.end:
            self.progress.checkpoint, self._unsaved = checkpoint, True
            raise SinkUnavailableError(f"the server has lost records; resending from byte {checkpoint} of the log")
        self._succeeded(checkpoint)
        return reader.size() > batch.end

    def _take_lock(self) -> None:
        """Become the only process that sends this run there, starting from the progress as saved.

        Raises:
            _HeldError: another process is sending it.
        """
        if self._lock is not None:
            return
        self._lock = SinkLock.take(self.directory, self.address)
        self.progress = read_progress(self.directory, self.address)
        if self._lock is None:
            raise _HeldError("another process is sending this run", _HELD_SECONDS)
        if self._resend:
            self._resend = False
            self.progress = SinkProgress(self.address.text, offline=self.progress.offline)
        if self.progress.checkpoint == 0:
            self._save(time.monotonic())  # so that a later process knows that the run goes to this server

    def _opened_sink(self) -> Sink:
        if self._sink is None:
            self._sink = self._make_sink(SinkTarget(self.address, self.run, self.directory, self.progress.memory))
        if not self._ready:
            self._sink.open()
            self._ready = True
            self._save(time.monotonic())  # so that open() need not repeat what it did
        return self._sink

    def _batch_bytes(self, sink: Sink) -> int:
        return max(min(sink.batch_bytes, LEAST_BATCH_BYTES), sink.batch_bytes >> self._halvings)

    # -- the log and the state ------------------------------------------------------------------------------------

    def _apply(self, batch: Batch) -> None:
        self._state.take(batch.items)

    def _reader_at_checkpoint(self) -> LogReader:
        """Return a reader positioned at the checkpoint, and bring the run's state to it."""
        progress = self.progress
        log = self.directory / LOG_NAME
        if progress.checkpoint > log.stat().st_size:
            _log.warning("run %s: %s is ahead of its log; resending all of it", self.run, self.address.text)
            progress.checkpoint = 0
        self._state, begin = self._saved_state(progress)
        if begin < progress.checkpoint:
            begin = replay(log, begin, EachBatch(self._state.take), until=progress.checkpoint).end
        return LogReader(log, begin)

    @staticmethod
    def _saved_state(progress: SinkProgress) -> tuple[RunState, int]:
        """Return the saved state and its log offset; an empty state and 0 if it cannot be used."""
        if progress.state_end <= progress.checkpoint:
            try:
                return RunState.from_map(progress.state), progress.state_end
            except (KeyError, TypeError, ValueError, AttributeError):
                pass  # written by another version
        return RunState(), 0

    # -- success and failure --------------------------------------------------------------------------------------

    def _succeeded(self, checkpoint: int) -> None:
        self._recovered()
        self._halvings = max(0, self._halvings - 1)
        self.progress.checkpoint = checkpoint
        self.tail_bytes = 0
        self._unsaved = True

    def _recovered(self) -> None:
        """The server was reached: end the back-off, and clear the error."""
        if self.progress.error is not None:
            _log.info("run %s: sending to %s works again", self.run, self.address.text)
            self.progress.error = None
            self._unsaved = True
        self.failing_since = None
        self._failures = 0

    def _failed(self, error: SinkError, now: float) -> float:
        """Note a failure, and prepare to start again at the checkpoint; return the back-off in seconds."""
        self._failures += 1
        self._halvings = min(MOST_HALVINGS, self._halvings + 1)
        if self.failing_since is None:
            self.failing_since = now
        self._note(error)
        sink = self._sink if isinstance(error, SinkUnavailableError) else None  # it knows what of the batch was stored
        self._disconnect()
        self._sink = sink
        if self._unsaved:
            self._save(now)
        wait = self._back_off(error)
        self._due = now + wait
        return wait

    def _note(self, error: SinkError) -> None:
        """Record and log an error; while another process sends, the error is what that process has recorded."""
        if isinstance(error, _HeldError):
            return
        if self.progress.error is None:
            _log.warning("run %s: cannot send to %s: %s; retrying", self.run, self.address.text, error)
        if self.progress.error != str(error):
            self.progress.error = str(error)
            self._unsaved = True

    def _back_off(self, error: SinkError) -> float:
        """Return how long to wait before the next attempt, in seconds."""
        if isinstance(error, _HeldError):
            return _HELD_SECONDS
        if not isinstance(error, SinkUnavailableError):
            return REFUSED_RETRY_SECONDS
        doublings = min(10, max(0, self._failures - QUICK_RETRIES))
        wait = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**doublings)
        wait *= random.uniform(0.5, 1.0)  # so that many runs do not all retry at the same moment
        return wait if error.retry_after is None else min(MAX_RETRY_AFTER_SECONDS, max(wait, error.retry_after))

    # -- the progress file, and the end ---------------------------------------------------------------------------

    def _save(self, now: float) -> None:
        """Save the progress, if this process holds the lock; the state only as often as its size allows."""
        if self._lock is None:
            return
        large = len(self._state.summary.values) > LARGE_STATE_KEYS
        interval = LARGE_STATE_SECONDS if large else SAVE_SECONDS
        if self._reader is not None and now - self._state_saved_at >= interval:
            self.progress.state, self.progress.state_end = self._state.to_map(), self._reader.offset
            self._state_saved_at = now
        try:
            write_progress(self.directory, self.progress)
            self._unsaved = False
        except OSError as error:
            _log.warning("run %s: cannot save the progress to %s: %s", self.run, self.address.text, error)
        self._saved_at = now

    def _disconnect(self, deadline: Deadline | None = None) -> None:
        """Close the sink and the reader."""
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
        """Save the progress and release the run, which another process can then send. May be called twice."""
        if self._lock is not None:
            if self._unsaved:
                self._state_saved_at = 0.0
                self._save(time.monotonic())
            self._disconnect(deadline)
            self._lock.release()
            self._lock = None


def _describe(error: OSError | LogFormatError) -> str:
    """Return what went wrong with the run's own files."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the run'}: {error.strerror}"
    return str(error)
