"""Reads a run back, from its log and from its store, and compares it with the calls that returned."""

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


class Back(NamedTuple):
    """What was found of the calls that returned.

    Attributes:
        calls: how many returned.
        read: how many of them are in the run.
        lost: how many are not, neither in the log nor in the store.
        twice: how many are there more than once.
        run: the run.
    """

    calls: int
    read: int
    lost: int
    twice: int
    run: StoredRun


def read_back(root: Path, run_id: str, called: Mapping[int, tuple[int, int]] | Iterable[Tally]) -> Back:
    """Read a run, as any later process would, and compare.

    Args:
        root: the root directory.
        run_id: the run.
        called: writer -> how many of its calls returned, and how many began (the last may or may not be there); or
            the tallies of the trainers that wrote to it, each with writers of its own.

    Raises:
        AssertionError: log and store differ, something is there that nobody logged, or `verify` finds a problem.
    """
    if not isinstance(called, Mapping):
        called = {writer: counts for tally in called for writer, counts in tally.counts().items()}
    run = tracker.Api(root).run(run_id)
    stored: Counter[tuple[int, int]] = Counter()
    for found in run.scan_history():
        stored[_identity({key: value for key, value in found.items() if key[0] != "_" and value is not None})] += 1
    logged = logged_calls(run.dir)
    assert stored == logged, f"log and store differ: {_differ(logged, stored)}"
    problems = verify(run.dir).problems
    assert not problems, f"verify: {problems}"
    lost = read = twice = calls = 0
    for writer, (returned, begun) in called.items():
        calls += returned
        for number in range(returned):
            times = logged.pop((writer, number), 0)
            read += times > 0
            lost += times == 0
            twice += times > 1
        for number in range(returned, begun):
            twice += logged.pop((writer, number), 0) > 1
    assert not logged, f"{len(logged)} rows that nobody logged: {list(logged)[:5]}"
    return Back(calls, read, lost, twice, run)


def logged_calls(directory: Path) -> Counter[tuple[int, int]]:
    """Return how often each call is in the log of the run in `directory`: (writer, number) -> times."""
    found: Counter[tuple[int, int]] = Counter()
    with LogReader(directory / "transactions.log") as reader:
        for batch in reader.batches():
            for record in batch.records:
                if record.kind == "log":
                    found[_identity(record.body["data"])] += 1
        assert not reader.damage, f"damage in the log: {reader.damage}"
    return found


def _identity(data: Mapping[str, Any]) -> tuple[int, int]:
    writer, number = data["w"], data["i"]
    assert dict(data) == row(writer, number), f"a row that nobody logged: {data}"
    return writer, number


def _differ(one: Counter[tuple[int, int]], other: Counter[tuple[int, int]]) -> str:
    missing, more = one - other, other - one
    return f"{missing.total()} only in the log {list(missing)[:3]}, {more.total()} only in the store {list(more)[:3]}"
