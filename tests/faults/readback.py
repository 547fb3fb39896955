"""Reads a run back, from its log and its store, and compares it with the calls of log() that returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tracker
from sidecar.log.reader import LogReader
from sidecar.projections.rebuild import verify
from tests.faults.trainers import Tally, row
from tracker.reading.stored_run import StoredRun


class Comparison(NamedTuple):
    """A run compared with the calls that returned.

    Attributes:
        calls: number of calls that returned.
        read: number of those that are in the run.
        lost: number of those that are missing, from the log and the store.
        duplicated: number of calls that are in the run more than once.
        run: the run.
    """

    calls: int
    read: int
    lost: int
    duplicated: int
    run: StoredRun


def read_back(root: Path, run_id: str, called: Mapping[int, tuple[int, int]] | Iterable[Tally]) -> Comparison:
    """Read a run as a later process would, and compare it with the calls.

    Args:
        root: the root directory.
        run_id: the run.
        called: writer -> number of calls that returned, and number of calls that began (the run may or may not have the
            last one); or the tallies of the trainers that wrote to the run, which have no writer in common.

    Raises:
        AssertionError: log and store differ, the run has a row that was not logged, or `verify` finds a problem.
    """
    if not isinstance(called, Mapping):
        called = {writer: counts for tally in called for writer, counts in tally.counts().items()}
    run = tracker.Api(root).run(run_id)
    stored: Counter[tuple[int, int]] = Counter()
    for points in run.scan_history():
        stored[_identity({key: value for key, value in points.items() if key[0] != "_" and value is not None})] += 1
    logged = logged_calls(run.dir)
    assert stored == logged, f"log and store differ: {_difference(logged, stored)}"
    problems = verify(run.dir).problems
    assert not problems, f"verify: {problems}"
    lost = read = duplicated = calls = 0
    for writer, (returned, begun) in called.items():
        calls += returned
        for number in range(returned):
            times = logged.pop((writer, number), 0)
            read += times > 0
            lost += times == 0
            duplicated += times > 1
        for number in range(returned, begun):
            duplicated += logged.pop((writer, number), 0) > 1
    assert not logged, f"{len(logged)} rows that were not logged: {list(logged)[:5]}"
    return Comparison(calls, read, lost, duplicated, run)


def logged_calls(directory: Path) -> Counter[tuple[int, int]]:
    """Return how often the log of the run in `directory` has each call: (writer, number) -> count."""
    logged: Counter[tuple[int, int]] = Counter()
    with LogReader(directory / "transactions.log") as reader:
        for batch in reader.batches():
            for record in batch.records:
                if record.kind == "log":
                    logged[_identity(record.body["data"])] += 1
        assert not reader.damage, f"damage in the log: {reader.damage}"
    return logged


def _identity(data: Mapping[str, Any]) -> tuple[int, int]:
    writer, number = data["w"], data["i"]
    assert dict(data) == row(writer, number), f"a row that was not logged: {data}"
    return writer, number


def _difference(one: Counter[tuple[int, int]], other: Counter[tuple[int, int]]) -> str:
    missing, more = one - other, other - one
    return f"{missing.total()} only in the log {list(missing)[:3]}, {more.total()} only in the store {list(more)[:3]}"
