"""What a scenario is: a fault that a seed decides in every detail, and the figures of one round of it."""

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
    """What was measured in one round, or in several (they can be added).

    Attributes:
        calls: how many calls of `log` returned.
        read: how many of them were read back.
        lost: how many of them are not in the run and not counted there as lost.
        twice: how many are there more than once.
        worst_seconds: the longest a call of `log` took.
        p99_seconds: what 99 of 100 calls stayed under; of several rounds the worst round's.
        note: what else is worth telling, in a few words.
    """

    calls: int = 0
    read: int = 0
    lost: int = 0
    twice: int = 0
    worst_seconds: float = 0.0
    p99_seconds: float | None = None
    note: str = ""

    def __add__(self, other: Figures) -> Figures:
        known = [found for found in (self.p99_seconds, other.p99_seconds) if found is not None]
        return Figures(
            self.calls + other.calls,
            self.read + other.read,
            self.lost + other.lost,
            self.twice + other.twice,
            max(self.worst_seconds, other.worst_seconds),
            max(known) if known else None,
            other.note or self.note,
        )


@dataclass(frozen=True)
class Scenario:
    """A fault.

    Attributes:
        number: of the fault, in the table; several scenarios may be of one fault.
        name: what happens.
        run: plays one round in a directory of its own, with a seed.
        rounds_in_ci: how many rounds the tests play.
        must: what must hold.
    """

    number: int
    name: str
    run: Callable[[Path, int], Figures]
    rounds_in_ci: int
    must: str


def play(scenario: Scenario, directory: Path, seed: int) -> Figures:
    """Play one round in `directory`, which is made; return its figures.

    Raises:
        AssertionError: something did not hold: what the scenario found, a loss, or a process that was left behind.
    """
    directory.mkdir(parents=True)
    with temporary_files() as temporary:
        leaks = Leaks(temporary)
        leaks.allow_socket_directories()
        try:
            figures = scenario.run(directory, seed)
            left = leaks.remaining()
            assert not left, f"left behind: {', '.join(sorted(left))}"
        finally:
            leaks.kill_processes()
    assert figures.lost == 0, f"{figures.lost} of {figures.calls} calls are lost"
    assert figures.twice == 0, f"{figures.twice} of {figures.calls} calls are there twice"
    return figures


@contextmanager
def temporary_files() -> Iterator[Path]:
    """Have this process and those it starts keep temporary files in a directory that is removed in the end.

    Its name is short, since a socket's path may have 107 bytes at most.
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
