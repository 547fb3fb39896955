"""Rebuilds a run's store from its log, and checks that the two agree. Holds the run's lock while it writes.

Runs in any process, on the caller's thread. Knows nothing of sockets, clients or sinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.log.verify import LogCheck, Report, check_log
from sidecar.projections.registry import RunProjections
from sidecar.projections.replay import Replayed, replay
from sidecar.projections.store.database import SIDE_FILES, delete, open_to_read, set_aside
from sidecar.projections.store.pyramid_check import PyramidCheck
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.atomic import publish
from sidecar.protocol.errors import RunHeldError, StoreError
from sidecar.protocol.layout import LOG_NAME, STORE_NAME, RunLock, is_held

_NEW_NAME = STORE_NAME + ".anew"


@contextmanager
def hold(run_directory: Path) -> Iterator[None]:
    """Hold the lock of a run, so that no sidecar opens it in the meantime.

    Raises:
        RunHeldError: a live sidecar holds it. OSError: the directory cannot be written.
    """
    lock = RunLock(run_directory)
    try:
        yield
    finally:
        lock.release(remove=not lock.left_behind)  # a lock file from before still marks the run for recovery


@dataclass
class Rebuilt:
    """The result of a rebuild.

    Attributes:
        run: the run's id.
        records: count of the records applied, of all kinds.
        points: count of the metric values in the new store.
        size: size of the store, in bytes.
        damage: byte ranges of the log that could not be read.
        old_store: where the previous store is, if it holds more than the damaged log does; otherwise None.
    """

    run: str
    records: int
    points: int
    size: int
    damage: list[tuple[int, int]]
    old_store: Path | None = None


def rebuild(run_directory: Path, report: Report | None = None) -> Rebuilt:
    """Rebuild the store and the other projections of a run from its log alone; the store is replaced in one step.

    Raises:
        RunHeldError: a live sidecar holds the run. FileNotFoundError: it has no log. LogFormatError: its log is not a
            transaction log. StoreError, OSError: the new store cannot be written; the old one is unchanged.
    """
    log = run_directory / LOG_NAME
    if not log.exists():
        raise FileNotFoundError(f"run {run_directory.name!r} has no transaction log at {log}")
    with hold(run_directory):
        return _rebuild(run_directory, log, report)


def _rebuild(run_directory: Path, log: Path, report: Report | None) -> Rebuilt:
    store, new = run_directory / STORE_NAME, run_directory / _NEW_NAME
    delete(new)
    try:
        replayed = _project(log, new, report)
        points, log_records = _counts(new)
    except BaseException:
        delete(new)
        raise
    old_store = None
    if store.exists() and _log_records(store) > log_records:  # the log has lost records since
        old_store = set_aside(store)
    for suffix in SIDE_FILES:  # they belong to the old file and must not be used with the new one
        Path(f"{store}{suffix}").unlink(missing_ok=True)
    publish(new, store)
    size = store.stat().st_size
    return Rebuilt(run_directory.name, replayed.records, points, size, replayed.damage, old_store)


def _project(log: Path, store: Path, report: Report | None) -> Replayed:
    """Apply all of `log` to a new store, and to the other projections in the run's directory."""
    with StoreWriter(store, draft=True) as writer:
        replayed = replay(log, 0, RunProjections(log.parent), writer, report=report)
        writer.make_pieces()
        return replayed


def _counts(store: Path) -> tuple[int, int]:
    """Return the counts of points and ``log`` records in a store, according to its state."""
    state = StoreReader(store).state()
    return int(state["points"]), int(state["records"])


def _log_records(store: Path) -> int:
    try:
        return _counts(store)[1]
    except (StoreError, KeyError):
        return 0


@dataclass
class StoreCheck:
    """The result of comparing a store with its log.

    Attributes:
        checkpoint: the offset in the log that the store claims to have reached, or None if it could not be read.
        records: the ``log`` records in it, counted.
        points: the values in it, counted.
        problems: what is wrong, one line each.
        notes: remarks that are not problems, one line each.
    """

    checkpoint: int | None
    records: int
    points: int
    problems: list[str]
    notes: list[str]

    def to_map(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {"checkpoint": self.checkpoint, "records": self.records, "points": self.points, "notes": self.notes}


@dataclass
class Verified:
    """The results of checking a run's log and store."""

    run: str
    live: bool
    log: LogCheck
    store: StoreCheck

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each; empty if nothing is."""
        return [f"log: {line}" for line in self.log.problems] + [f"store: {line}" for line in self.store.problems]

    def to_map(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {
            "run": self.run,
            "ok": not self.problems,
            "live": self.live,
            "problems": self.problems,
            "log": self.log.to_map(),
            "store": self.store.to_map(),
        }


def verify(run_directory: Path, report: Report | None = None) -> Verified:
    """Check a run: the checksums and numbers of its log, and that its store holds what the log does. Changes nothing.

    The pieces that charts are read from are made again from the stored values, and compared; missing ones are no
    problem, since values are read then.

    While a sidecar holds the run, its store may be behind its log; that is a note, not a problem.
    """
    live = is_held(run_directory) is not None
    store = _check_store(run_directory / STORE_NAME)  # before the log, which may grow in the meantime
    log = check_log(run_directory / LOG_NAME, report)
    _compare(store, log, live)
    return Verified(run_directory.name, live, log, store)


def _check_store(path: Path) -> StoreCheck:
    check = StoreCheck(None, 0, 0, [], [])
    if not path.exists():
        check.problems.append(f"there is no store at {path}; 'rebuild' creates it")
        return check
    try:
        reader = StoreReader(path)
        checkpoint = reader.checkpoint()
        for block in reader.columns():
            check.records += len(block.steps)
            check.points += sum(len(values) for _, values in block.columns.values())
        check.checkpoint = checkpoint
        with open_to_read(path) as database:
            wrong = list(PyramidCheck(database).problems())
        if wrong:
            more = f" ({len(wrong)} such rows in all)" if len(wrong) > 1 else ""
            check.problems.append(f"{wrong[0]}{more}; 'rebuild' makes them again")
    except StoreError as error:
        check.problems.append(str(error))
    return check


def _compare(store: StoreCheck, log: LogCheck, live: bool) -> None:
    """Add to `store` what does not agree with the log."""
    if store.checkpoint is None or log.error is not None or log.records == store.records == 0:
        return
    behind = log.end - store.checkpoint
    if behind < 0:
        store.problems.append(
            f"it is at byte {store.checkpoint}, ahead of the log, whose last valid record ends at byte {log.end}"
        )
    elif behind > 0 and live:
        store.notes.append(f"it is {behind} bytes behind the log, which is still being written")
    elif behind > 0:
        store.problems.append(f"it is {behind} bytes behind the log; 'rebuild' updates it")
    elif store.records > log.log_records and log.problems:
        store.notes.append(
            f"it still holds {store.records - log.log_records} records that the damaged log has lost; "
            "'rebuild' keeps this store beside the new one"
        )
    elif not live and (store.records, store.points) != (log.log_records, log.points):
        store.problems.append(
            f"it holds {store.records} records with {store.points} values, the log {log.log_records} with "
            f"{log.points}; 'rebuild' replaces it"
        )


__all__ = ["Rebuilt", "RunHeldError", "StoreCheck", "Verified", "hold", "rebuild", "verify"]
