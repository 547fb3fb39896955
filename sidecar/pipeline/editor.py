"""Editing: appends the edits of users to runs. `Editing` runs on the HandlerThread, `Editor` on threads of its own.

An edit of a run that this sidecar holds goes through the Writer, like every record. Any other run is opened, appended
to, projected and released by the Editor, so that no client waits for it. Knows nothing of sockets.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sidecar.log.reader import LogReader
from sidecar.pipeline.held_run import HeldRun
from sidecar.pipeline.messages import Append, Done, Edited, Emit, Question, WriterItem
from sidecar.pipeline.run_sinks import noted_sinks
from sidecar.pipeline.sessions import Sessions
from sidecar.projections.replay import replay
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol.bodies import check_effect
from sidecar.protocol.checks import check
from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import LogFormatError, RefusedError, SidecarError, StoreError
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.records import Body, Record
from sidecar.protocol.sink_address import SinkAddress

_log = logging.getLogger("sidecar")

MAX_PENDING = 1000
"""Maximum number of edits that wait for the Editor; further ones are refused, to be sent again."""

STORE_SECONDS = 1.0
"""Maximum time that the answer to a durable edit waits for the store of a run that is being written, in seconds."""

_THREADS = 8
"""Maximum number of runs that are edited at a time: each waits for the disk about 40 ms, while its store is closed."""

_WAIT_SECONDS = 0.1
_IDLE_SECONDS = 1.0

Answer = Callable[[RefusedError | None, str | None], None]
"""Called once, on any thread: with why an edit is refused, or with None and why the store cannot be written, if so."""


class Edit(NamedTuple):
    """An edit of a run that this sidecar does not hold."""

    run: str
    body: Body
    answer: Answer


class _Waiting:
    """The answer to an edit of a run that is held: it waits for the log, and then a while for the store.

    Attributes:
        due: when to answer at the latest, in monotonic seconds; not before the edit is durable.
        answered: whether it was answered.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self.due = math.inf
        self.answered = False

    def durable(self) -> None:
        """Note that the edit is durable. On the WriterThread."""
        self.due = time.monotonic() + STORE_SECONDS

    def stored(self, state: dict[str, object]) -> None:
        """Answer, unless that was done. On any thread."""
        with self._lock:
            answered, self.answered = self.answered, True
        if not answered:
            error = state.get("error")
            self._answer(None, None if error is None else str(error))


class Editing:
    """Takes edits.

    Args:
        sessions: the runs that are held.
        to_writer: takes items for the Writer.
        to_editor: takes edits for the Editor.
    """

    def __init__(
        self, sessions: Sessions, to_writer: Callable[[WriterItem], None], to_editor: Callable[[Edit], None]
    ) -> None:
        self._sessions = sessions
        self._to_writer = to_writer
        self._to_editor = to_editor
        self._waiting: list[_Waiting] = []

    def edit(self, run_id: str, body: Body, answer: Answer) -> None:
        """Append an edit to a run, and answer when it is durable and can be read.

        Args:
            run_id: the run.
            body: of the ``edit`` record.
            answer: called when that is done, on any thread.

        Raises:
            RefusedError: why this run cannot be edited here and now. RecordError: the body is not valid.
        """
        if not valid_name(run_id):
            raise RefusedError("run", f"run id {run_id!r}: {NAME_RULE}")
        check(Record("edit", run_id, "", 0, time.time(), body))
        check_effect(body)
        if self._sessions.draining:
            raise RefusedError("closing", "this sidecar is about to exit")
        run = self._sessions.runs.get(run_id)
        if run is None:
            if self._sessions.edits_pending >= MAX_PENDING:
                raise RefusedError("closing", f"{MAX_PENDING} edits are pending; try again")
            self._sessions.begin_edit(run_id)
            self._to_editor(Edit(run_id, body, answer))
            return
        if run.closing:
            run.awaited = True
            raise RefusedError("closing", f"run {run_id!r} is being closed; try again")
        waiting = _Waiting(answer)
        self._to_writer(Append(run, _framed(run, body), ()))
        self._to_writer(Done(run, waiting.durable))
        self._to_writer(Question(run, None, "state", waiting.stored))
        self._waiting.append(waiting)

    def idle(self, now: float) -> float:
        """Answer edits that are durable and whose run's store is far behind; return when to be called again."""
        for waiting in self._waiting:
            if now >= waiting.due:
                waiting.stored({"error": "the store is behind the log; it will show the edit when it has caught up"})
        self._waiting = [waiting for waiting in self._waiting if not waiting.answered]
        return _WAIT_SECONDS if self._waiting else _IDLE_SECONDS


class Editor:
    """A stage that edits runs which this sidecar does not hold.

    Args:
        root: the directory that holds ``runs/``.
        holder: path of this sidecar's connection file.
        emit: takes `Edited`, which must be answered by `Sessions.end_edit`.
        sync: whether an edit must be on the disk before it is answered.
    """

    def __init__(self, root: Path, holder: str, emit: Emit, *, sync: bool = False) -> None:
        self._root = root
        self._holder = holder
        self._emit = emit
        self._sync = sync
        self._pending: dict[str, list[Edit]] = {}

    def process(self, item: Edit) -> None:
        self._pending.setdefault(item.run, []).append(item)

    def idle(self, now: float) -> float:
        """Append the edits that were taken, those of a run together, several runs at a time."""
        pending, self._pending = self._pending, {}
        if len(pending) == 1:
            self._edit_run(*pending.popitem())
        elif pending:
            with ThreadPoolExecutor(min(_THREADS, len(pending)), "Editor") as threads:
                for run_id, edits in pending.items():
                    threads.submit(self._edit_run, run_id, edits)
        return _IDLE_SECONDS

    def _edit_run(self, run_id: str, edits: list[Edit]) -> None:
        refused: RefusedError | None = None
        error: str | None = None
        sinks: tuple[SinkAddress, ...] = ()
        try:
            error, sinks = self._edit(run_id, [edit.body for edit in edits])
        except RefusedError as why:
            refused = why
        except Exception as why:  # an unforeseen failure of one run must not end the others
            _log.exception("run %s: it cannot be edited", run_id)
            refused = RefusedError("storage", f"run {run_id!r} cannot be edited: {why}")
        self._emit(Edited(run_id, self._root / RUNS_NAME / run_id, len(edits), sinks))
        for edit in edits:
            edit.answer(refused, error)

    def close(self, deadline: Deadline) -> None:
        """Append the rest."""
        self.idle(time.monotonic())

    def _edit(self, run_id: str, bodies: list[Body]) -> tuple[str | None, tuple[SinkAddress, ...]]:
        directory = self._root / RUNS_NAME / run_id
        _check_log(run_id, directory)
        run = HeldRun.open(self._root, run_id, self._holder, patient=True)
        clean = False
        try:
            run.log.append(b"".join(_framed(run, body) for body in bodies), sync=self._sync)
            error = _project(run)
            clean = error is None and not run.open_clients
            return error, noted_sinks(run)
        except OSError as error:
            raise RefusedError("storage", f"run {run_id!r} cannot be edited: {error}") from error
        finally:
            run.release(clean=clean)


def _framed(run: HeldRun, body: Body) -> bytes:
    return frame(encode(run.own_record("edit", body)))


def _check_log(run_id: str, directory: Path) -> None:
    """Check that a run has a log that can be appended to, without making one.

    Raises:
        RefusedError: it has none, or one that has lost records.
    """
    log, store = directory / LOG_NAME, directory / STORE_NAME
    try:
        checkpoint = StoreReader(store).checkpoint() if store.exists() else 0  # first: the log may be growing
    except StoreError:
        checkpoint = 0  # it is rebuilt
    try:
        with LogReader(log) as reader:
            size = reader.size()
    except FileNotFoundError as error:
        if store.exists():
            raise RefusedError("storage", f"run {run_id!r} has no log, so it cannot be edited") from error
        raise RefusedError("missing", f"run {run_id!r} does not exist") from error
    except (OSError, LogFormatError) as error:
        raise RefusedError("storage", f"run {run_id!r} cannot be edited: {error}") from error
    if checkpoint > size:
        raise RefusedError(
            "storage", f"run {run_id!r} cannot be edited: its log has lost records that its store holds; see 'verify'"
        )


def _project(run: HeldRun) -> str | None:
    """Bring the store up to the log; return why that failed, or None."""
    try:
        sink = StoreSink(run.directory)
        try:
            replay(run.log.path, sink.checkpoint, sink)
        finally:
            sink.close()
    except (SidecarError, OSError) as error:
        _log.warning("run %s: an edit is in the log, and not in the store yet: %s", run.id, error)
        return str(error)
    return None
