"""Scenario: a fault, all of whose details follow from a seed; Figures: the measurements of its rounds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import Leaks


@dataclass(frozen=True)
class Figures:
    """Measurements of one round, or the sum over several.

    Attributes:
        calls: number of calls of `log` that returned.
        read: number of those that were read back.
        lost: number of those that the run neither has nor counts as lost.
        duplicated: number of calls that the run has more than once.
        worst_seconds: duration of the longest call of `log`.
        p99_seconds: 99th percentile of the durations; in a sum, that of the worst round.
        note: further results, in a few words.
    """

    calls: int = 0
    read: int = 0
    lost: int = 0
    duplicated: int = 0
    worst_seconds: float = 0.0
    p99_seconds: float | None = None
    note: str = ""

    def __add__(self, other: Figures) -> Figures:
        percentiles = [p99 for p99 in (self.p99_seconds, other.p99_seconds) if p99 is not None]
        return Figures(
            self.calls + other.calls,
            self.read + other.read,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            max(self.worst_seconds, other.worst_seconds),
            max(percentiles) if percentiles else None,
            other.note or self.note,
        )


@dataclass(frozen=True)
class Scenario:
    """A fault.

    Attributes:
        number: number of the fault in the table; several scenarios may share one.
        name: description of the fault, for the table.
        run: plays one round, given an empty directory and a seed.
        rounds_in_ci: number of rounds that the tests play.
        requirement: condition under which a round passes.
    """

    number: int
    name: str
    run: Callable[[Path, int], Figures]
    rounds_in_ci: int
    requirement: str


def play(scenario: Scenario, directory: Path, seed: int) -> Figures:
    """Create `directory` and play one round in it; return its figures.

    Raises:
        AssertionError: the round failed: by the scenario's own checks, a lost or duplicated call, or a leaked process.
    """
    directory.mkdir(parents=True)
    with temporary_files() as temporary:
        leaks = Leaks(temporary)
        leaks.allow_socket_directories()
        try:
            figures = scenario.run(directory, seed)
            leaked = leaks.remaining()
            assert not leaked, f"leaked: {', '.join(sorted(leaked))}"
        finally:
            leaks.kill_processes()
    assert figures.lost == 0, f"{figures.lost} of {figures.calls} calls are lost"
    assert figures.duplicated == 0, f"{figures.duplicated} of {figures.calls} calls are duplicated"
    return figures


@contextmanager
def temporary_files() -> Iterator[Path]:
    """Set the directory for temporary files of this process and its children, and remove it at the end.

    Its name is short, since the path of a socket is limited to 107 bytes.
    """
    path = Path(tempfile.mkdtemp(prefix="f-"))
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(path)
    try:
        yield path
    finally:
        tempfile.tempdir = before[1]
        if before[0] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[0]
        shutil.rmtree(path, ignore_errors=True)
