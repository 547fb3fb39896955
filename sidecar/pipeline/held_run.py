"""The runs that this sidecar holds, and who is attached to them. Used on the HandlerThread; the Writer appends to a
run's log and moves `Session.durable`, the Sender only reads the run's directory. Knows nothing of sockets.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.log.reader import HEADER_BYTES
from sidecar.log.writer import LogWriter
from sidecar.pipeline.oom import OomCount
from sidecar.projections.replay import EachRecord, replay
from sidecar.projections.run_state import RunState
from sidecar.projections.store.database import set_aside
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.checks import check
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import LogFormatError, RecordError, RefusedError, RunHeldError, StoreError
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME, RunLock
from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.records import RELAY, Body, Record
from sidecar.protocol.segments import WINDOWS_NAME, Kept, OwnerLock, read_window, remove_window, window_directories

_log = logging.getLogger("sidecar")

UNSEEN_SECONDS = 60.0
"""A client whose process cannot be watched from here is taken for gone after so long without a sign of life."""


@dataclass(eq=False)
class Session:
    """One client's attachment to a run.

    Attributes:
        accepted: the highest number taken from the client; moved by the Handler.
        durable: the highest number in the log; moved by the Writer.
        exited: whether its ``exit`` record was taken.
        resumed: whether the run was there before it attached.
        seen: when something last came from it, monotonic seconds.
        window: the directory of its window, where the rest can be taken from if its process dies.
        watched: whether its process is watched from here.
        keys: metric keys that were found good.
        key: the public key it attached with, "" where nothing is encrypted.
        relay: whether it is a sidecar that passes another client's records on: its absence says nothing of that client.
        expected: whether it has not attached here yet, but was attached to a sidecar before this one.
        oom: how many processes of its cgroup the kernel had killed for want of memory when it attached.
    """

    run: Run
    client: str
    accepted: int
    durable: int
    label: str | None = None
    parent: str | None = None
    pid: int | None = None
    window: Path | None = None
    exited: bool = False
    resumed: bool = False
    watched: bool = False
    seen: float = field(default_factory=time.monotonic)
    keys: set[str] = field(default_factory=set)
    key: str = ""
    relay: bool = False
    expected: bool = False
    oom: OomCount | None = None
    acked_at: float = 0.0
    unacked_bytes: int = 0


class Run:
    """A run that this sidecar holds: its lock, its log, its clients.

    Attributes:
        id: the run's id.
        directory: its directory.
        log: where records are appended; used by the Writer alone once the run is open.
        sessions: the attached clients, by id.
        last: the highest durable number of each client that ever wrote to the run, at the time it was opened.
        unwritten: sessions of clients that left before all they sent was durable; they go on where they come back.
        unseen: clients that had not said how they ended, and left no window: on another machine they may live.
        existed: whether it had records before.
        ended: whether all its writers had ended when it was opened.
        closing: set when it is about to be let go; nobody can attach then.
        losses: what was refused of records that have no client, by reason, since the run began.
    """

    def __init__(self, run_id: str, directory: Path) -> None:
        self.id = run_id
        self.directory = directory
        self.sessions: dict[str, Session] = {}
        self.last: dict[str, int] = {}
        self.unwritten: dict[str, Session] = {}
        self.open_writers: set[str] = set()
        self.unseen: set[str] = set()
        self.existed = False
        self.ended = False
        self.closing = False
        self.losses: dict[str, int] = {}
        self.losses_changed = False
        self.keys: set[str] = set()
        self._lock: RunLock | None = None
        self.log: LogWriter

    @classmethod
    def open(cls, root: Path, run_id: str, holder: str, *, sync: bool = False, patient: bool = False) -> Run:
        """Take the run's lock, cut its log's torn tail, and take over what dead clients left in their windows.

        Args:
            root: the directory that holds ``runs/``.
            run_id: which run; made if it is new.
            holder: the path of this sidecar's connection file, told to others who want the run.
            sync: have all of its log on the disk, which one that died before its fsync may have left undone.
            patient: leave it open whether a writer in `unseen` is gone; else it is said of each that it is.

        Raises:
            RefusedError: the id is none, another sidecar holds the run, or its directory cannot be used.
        """
        if not valid_name(run_id):
            raise RefusedError("run", f"run id {run_id!r}: {NAME_RULE}")
        run = cls(run_id, root / RUNS_NAME / run_id)
        try:
            run._lock = run._take_lock(holder)
            try:
                run._read()
                run._take_over(patient=patient)
                if sync:
                    run.log.sync()
            except BaseException:
                run.release()
                raise
        except RunHeldError as error:
            raise RefusedError("elsewhere", str(error), error.where or None) from error
        except (OSError, LogFormatError, StoreError) as error:
            raise RefusedError("storage", f"run {run_id!r} cannot be kept: {error}") from error
        return run

    def _take_lock(self, holder: str) -> RunLock:
        while True:
            self.directory.mkdir(parents=True, exist_ok=True)
            try:
                return RunLock(self.directory, holder)
            except FileNotFoundError:
                continue  # somebody else has just given it back

    def _read(self) -> None:
        """Learn each client's last number: from the store up to its checkpoint, then from the log."""
        path = self.directory / LOG_NAME
        state, checkpoint = self._stored()
        end = None
        if checkpoint > (path.stat().st_size if path.exists() else 0):
            kept = set_aside(self.directory / STORE_NAME)  # now: the log may have grown past it when the Sender looks
            _log.warning("run %s: its store is ahead of its log; it is kept as %s and built anew", self.id, kept.name)
            state, checkpoint = RunState(), 0
        if path.exists():
            replayed = replay(path, checkpoint, EachRecord(state.apply))
            end = replayed.end
            for start, stop in replayed.damage:
                _log.error("run %s: bytes %d to %d of its log are damaged and skipped", self.id, start, stop)
        self.log = LogWriter.open(path, end)
        self.losses = state.losses.by("", "sidecar")
        writers = state.writers
        self.last = {client: writer.seq for client, writer in writers.items()}
        self.open_writers = {
            client
            for client, writer in writers.items()
            if writer.state == "running" and writer.about["parent"] != RELAY  # which need no obituary
        }
        self.existed = bool(writers)
        self.ended = self.existed and state.state != "running"

    def _stored(self) -> tuple[RunState, int]:
        path = self.directory / STORE_NAME
        if not path.exists():
            return RunState(), 0
        try:
            with StoreReader(path) as reader:
                return RunState.from_map(reader.state()), reader.checkpoint()
        except (StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("run %s: %s; it will be built anew", self.id, error)
            return RunState(), 0

    def _take_over(self, *, patient: bool) -> None:
        """Take what is left in the windows of clients that are gone; say of each writer that is gone that it is."""
        alive: set[str] = set()
        dead: set[str] = set()
        for directory in window_directories(self.directory):
            (alive if self.take_window(directory) is None else dead).add(directory.name)
        if patient:
            self.unseen = self.open_writers - alive - dead
        for client in sorted(self.open_writers - alive - self.unseen):
            self.log.append(frame(encode(self.own_record("exit", crashed(client)))))
        self.open_writers &= alive | self.unseen
        self.existed = self.existed or bool(self.last)  # all of it may have been in a window
        self.ended = self.existed and not self.open_writers

    def take_window(self, directory: Path) -> int | None:
        """Append what a dead client's window still holds, and remove it. Not while the Writer has the log.

        Returns:
            how many records were appended; None where the window's owner is alive.
        """
        lock = OwnerLock.take(directory)
        if lock is None:
            return None
        client = directory.name
        taken = 0
        for kept in read_window(directory, self.last.get(client, 0)):
            if kept.record.run != self.id or kept.record.client != client:
                break
            self.log.append(_checked(kept))
            self.last[client] = kept.record.seq
            taken += 1
            if kept.record.kind == "exit":
                self.open_writers.discard(client)
            elif client not in self.open_writers:
                self.open_writers.add(client)
        remove_window(directory)
        lock.release()
        if taken:
            _log.info("run %s: took %d records from the window of %s", self.id, taken, client)
        return taken

    def own_record(self, kind: str, body: Body) -> Record:
        """Return a record that this sidecar itself writes to the run's log."""
        return Record(kind, self.id, "", 0, time.time(), body)

    def release(self, *, clean: bool = False) -> None:
        """Close the log and let go of the lock; `clean` says that nothing is left to do for the run."""
        if hasattr(self, "log"):
            self.log.close()
        if clean:
            windows = self.directory / WINDOWS_NAME
            with contextlib.suppress(OSError):  # not empty: a client is about to begin
                for link in windows.glob("*"):
                    if link.is_symlink() and not link.exists():
                        link.unlink(missing_ok=True)  # to a window that was taken
                windows.rmdir()
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                lock.release(remove=clean)
            except OSError as error:  # it stays, and asks for a recovery
                _log.warning("run %s: its lock cannot be removed: %s", self.id, error)

    def give_back(self) -> None:
        """Let go of a run that was opened for nothing; leave no trace of one that was not there before."""
        new = not self.existed and self.log.offset <= HEADER_BYTES  # else it holds records that have no client
        if new:
            self.log.path.unlink(missing_ok=True)  # while the lock is held: the next who has it makes a log of its own
        self.release(clean=True)
        if new:
            with contextlib.suppress(OSError):  # not empty
                self.directory.rmdir()


def reject(record: Record, error: RecordError) -> bytes:
    """Return the frame that stands in the log for a record that could not be used, with its number."""
    body = {"kind": record.kind, "code": error.code, "message": str(error)}
    return frame(encode(record._replace(kind="rejected", body=body)))


def _checked(kept: Kept) -> bytes:
    try:
        check(kept.record)
    except RecordError as error:
        _log.warning("run %s: a record in a window was refused: %s", kept.record.run, error)
        return reject(kept.record, error)
    return kept.frame


def crashed(client: str, reason: str = "its process is gone without a word") -> Body:
    """Return the body of the ``exit`` record that a sidecar writes for a client that is gone."""
    return {"state": "crashed", "writer": client, "reason": reason}
