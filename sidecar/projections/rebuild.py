"""Makes a run's store anew from its log, and says whether the two agree. Holds the run's lock while it writes.

Runs in any process, on the caller's thread. Knows nothing of sockets, clients or sinks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.log.verify import LogCheck, Report, check_log
from sidecar.projections.files import Files
from sidecar.projections.store.database import SIDE_FILES, delete, set_aside
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import RunHeldError, StoreError
from sidecar.protocol.layout import LOG_NAME, STORE_NAME, RunLock, is_held

_ANEW = STORE_NAME + ".anew"


@contextmanager
def hold(run_directory: Path) -> Iterator[None]:
    """Hold the lock of a run, so that no sidecar opens it meanwhile.

    Raises:
        RunHeldError: a live sidecar has it. OSError: the directory cannot be written.
    """
    lock = RunLock(run_directory)
    try:
        yield
    finally:
        lock.release(remove=not lock.left_behind)  # one that was there still asks for a recovery


@dataclass
class Rebuilt:
    """What a rebuild did.

    Attributes:
        run: the run's id.
        records: how many records were applied, of all kinds.
        points: how many metric values the store holds now.
        size: of the store, in bytes.
        damage: byte ranges of the log that could not be read.
        kept: where the store of before was put, if it held more than the damaged log still says; else None.
    """

    run: str
    records: int
    points: int
    size: int
    damage: list[tuple[int, int]]
    kept: Path | None = None


def rebuild(run_directory: Path, report: Report | None = None) -> Rebuilt:
    """Make the store of the run in `run_directory` anew from its log alone; the old one is replaced in one step.

    Raises:
        RunHeldError: a live sidecar holds the run. FileNotFoundError: it has no log. LogFormatError: its log is none.
        StoreError, OSError: the new store cannot be written; the old one is as it was.
    """
    log = run_directory / LOG_NAME
    if not log.exists():
        raise FileNotFoundError(f"run {run_directory.name!r} has no transaction log at {log}")
    with hold(run_directory):
        return _rebuild(run_directory, log, report)


def _rebuild(run_directory: Path, log: Path, report: Report | None) -> Rebuilt:
    store, anew = run_directory / STORE_NAME, run_directory / _ANEW
    delete(anew)
    try:
        records, damage = _project(log, anew, report)
        points, log_records = _content(anew)
    except BaseException:
        delete(anew)
        raise
    kept = None
    if store.exists() and _log_records(store) > log_records:  # of a log that has lost records since
        kept = set_aside(store)
    for suffix in SIDE_FILES:  # they belong to the old file, and must not be taken for the new one's
        Path(f"{store}{suffix}").unlink(missing_ok=True)
    os.replace(anew, store)
    return Rebuilt(run_directory.name, records, points, store.stat().st_size, damage, kept)


def _project(log: Path, path: Path, report: Report | None) -> tuple[int, list[tuple[int, int]]]:
    """Apply all of `log` to a new store at `path`, and put its files together; return records and damage."""
    records = 0
    writer = StoreWriter(path)
    files = Files(log.parent)
    try:
        with LogReader(log) as reader:
            for batch in reader.batches():
                for record in batch.records:
                    if record.kind == "file":
                        files.apply(record)
                writer.apply(batch.records, batch.end)
                records += len(batch.records)
                if report is not None:
                    report(batch.end, reader.size())
            writer.commit()
            return records, list(reader.damage)
    finally:
        writer.close()


def _content(path: Path) -> tuple[int, int]:
    """Return a store's points and log records, as its state says."""
    state = StoreReader(path).state()
    return int(state["points"]), int(state["records"])


def _log_records(path: Path) -> int:
    try:
        return _content(path)[1]
    except (StoreError, KeyError):
        return 0


@dataclass
class StoreCheck:
    """Whether a store is what its log says.

    Attributes:
        checkpoint: the offset in the log up to which the store says it is, or None if it could not be read.
        records: the ``log`` records it holds, counted.
        points: the values it holds, counted.
        problems: what is wrong, a line each.
        notes: what is worth knowing and right, a line each.
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
    """A run's log and store, checked."""

    run: str
    live: bool
    log: LogCheck
    store: StoreCheck

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each; empty if nothing is."""
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
    """Check a run: its log's checksums and numbers, and whether its store holds what the log says. Changes nothing.

    While a sidecar holds the run, its store may be behind its log; that is a note and no problem.
    """
    live = is_held(run_directory) is not None
    store = _check_store(run_directory / STORE_NAME)  # first, so that it cannot be ahead only because it went on
    log = check_log(run_directory / LOG_NAME, report)
    _compare(store, log, live)
    return Verified(run_directory.name, live, log, store)


def _check_store(path: Path) -> StoreCheck:
    check = StoreCheck(None, 0, 0, [], [])
    if not path.exists():
        check.problems.append(f"there is no store at {path}; 'rebuild' makes it")
        return check
    try:
        reader = StoreReader(path)
        checkpoint = reader.checkpoint()
        for block in reader.columns():
            check.records += len(block.steps)
            check.points += sum(len(values) for _, values in block.columns.values())
        check.checkpoint = checkpoint
    except StoreError as error:
        check.problems.append(str(error))
    return check


def _compare(store: StoreCheck, log: LogCheck, live: bool) -> None:
    """Add to `store` what does not fit the log."""
    if store.checkpoint is None or log.error is not None or log.records == store.records == 0:
        return
    behind = log.end - store.checkpoint
    if behind < 0:
        store.problems.append(
            f"it is at byte {store.checkpoint}, ahead of the log, whose last good record ends at byte {log.end}"
        )
    elif behind > 0 and live:
        store.notes.append(f"it is {behind} bytes behind the log, which is still written")
    elif behind > 0:
        store.problems.append(f"it is {behind} bytes behind the log; 'rebuild' brings it up")
    elif store.records > log.log_records and log.problems:
        store.notes.append(
            f"it still holds {store.records - log.log_records} records that the damaged log has lost; "
            "'rebuild' keeps this store beside the new one"
        )
    elif not live and (store.records, store.points) != (log.log_records, log.points):
        store.problems.append(
            f"it holds {store.records} records with {store.points} values, the log {log.log_records} with "
            f"{log.points}; 'rebuild' makes it anew"
        )


__all__ = ["Rebuilt", "RunHeldError", "StoreCheck", "Verified", "hold", "rebuild", "verify"]
