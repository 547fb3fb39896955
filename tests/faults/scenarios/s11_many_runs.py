"""Many consecutive and concurrent runs through one sidecar: it and the trainer release the resources of each.

The round of seed 0, which the tests play, has fewer runs.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.connection import read_connection
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer
from tests.support import TIMEOUT, wait_until

_WARM_UP, _FEW, _MANY, _CONCURRENT = 20, 60, 500, 50
_CALLS = 20
_MIB = 1024 * 1024

SPARE_BYTES = 8 * _MIB
"""Maximum growth of a process over all runs, in bytes: its allocator frees only whole pages."""


class _Resources(NamedTuple):
    """Resources that a process holds; memory is private memory in bytes, without mapped files."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def of(cls, pid: int) -> _Resources:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return cls(descriptors, int(fields["Threads"]), int(fields["RssAnon"].split()[0]) * 1024)


def many(options: dict[str, Any]) -> None:
    """Program: warm-up runs, consecutive runs, concurrent runs. It waits at each stage for the command to continue."""
    import tracker

    tally = Tally(Path(options["tally"]), options["writers"])
    pause = threading.Event()

    def reach(stage: int) -> None:
        gc.collect()
        tally.stage = stage
        while tally.command < stage:
            pause.wait(0.005)

    def begin(number: int, **more: Any) -> tuple[Any, Callable[[], None]]:
        run = tracker.init(project="faults", id=f"run{number}", **more)
        return run, tally.caller(run.log, number)

    def consecutive(numbers: Iterable[int]) -> None:
        for number in numbers:
            run, call = begin(number)
            for _ in range(_CALLS):
                call()
            run.finish()

    def concurrent(numbers: Iterable[int]) -> None:
        begun = [begin(number, reinit="create_new") for number in numbers]
        for _ in range(_CALLS):
            for _, call in begun:
                call()
        threads = [threading.Thread(target=run.finish) for run, _ in begun]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    numbers = iter(range(options["writers"]))
    consecutive(islice(numbers, options["warm_up"]))
    concurrent(islice(numbers, options["concurrent"]))
    reach(1)
    consecutive(islice(numbers, options["runs"]))
    reach(2)
    concurrent(islice(numbers, options["concurrent"]))
    reach(3)


def _wait_for_release(what: str, pid: int, before: _Resources) -> _Resources:
    """Wait until a process holds no more resources than before; return those it holds now."""

    def look() -> _Resources | None:
        now = _Resources.of(pid)
        more = now.descriptors > before.descriptors or now.threads > before.threads
        return None if more or now.memory > before.memory + SPARE_BYTES else now

    try:
        return wait_until(look, seconds=TIMEOUT / 2) or before
    except AssertionError as error:
        now = _Resources.of(pid)
        names = sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
        raise AssertionError(f"{what} holds {now}, before: {before}; open files: {names[:60]}") from error


def run(directory: Path, seed: int) -> Figures:
    """Measure trainer and sidecar after the warm-up, after consecutive runs, and after concurrent runs."""
    root = directory / "root"
    numbers: dict[str, Any] = {"warm_up": _WARM_UP, "runs": _MANY if seed else _FEW, "concurrent": _CONCURRENT}
    writers = sum(numbers.values()) + _CONCURRENT
    with Trainer(root, f"{__name__}:many", writers=writers, **numbers) as trainer:
        wait_until(lambda: trainer.tally.stage >= 1 or trainer.process.poll() is not None, "the first runs")
        assert trainer.process.poll() is None, trainer.output()
        files = list((root / "sidecars").glob("*.json"))
        assert len(files) == 1, f"there must be one sidecar, not {files}"
        sidecar = read_connection(files[0]).pid
        processes = {"the sidecar": sidecar, "the trainer": trainer.pid}
        idle = wait_until(lambda: _steady(sidecar), "the sidecar has closed the first runs")
        assert idle is not None
        before = {what: _Resources.of(pid) for what, pid in processes.items()} | {"the sidecar": idle}
        stages = []
        for stage, wait in ((2, 20 * TIMEOUT), (3, 4 * TIMEOUT)):
            trainer.tally.command = stage - 1
            wait_until(lambda: trainer.tally.stage >= stage or trainer.process.poll() is not None, "the runs", wait)  # noqa: B023
            assert trainer.process.poll() is None, trainer.output()
            stages.append({what: _wait_for_release(what, pid, before[what]) for what, pid in processes.items()})
        trainer.tally.command = 3
        trainer.wait()
        assert list((root / "sidecars").glob("*.json")) in ([], files), "another sidecar was started"
        worst, p99, counts = trainer.tally.worst(), trainer.tally.p99(), trainer.tally.counts()
    calls = read = lost = duplicated = 0
    for number, called in counts.items():
        result = read_back(root, f"run{number}", {number: called})
        assert result.run.state == "finished", f"run {number} is {result.run.state}"
        calls, read = calls + result.calls, read + result.read
        lost, duplicated = lost + result.lost, duplicated + result.duplicated
    grown = (stages[0]["the sidecar"].memory - before["the sidecar"].memory) / _MIB
    then = (stages[1]["the sidecar"].memory - before["the sidecar"].memory) / _MIB
    held = before["the sidecar"]
    note = (
        f"{numbers['runs']} consecutive runs, {_CONCURRENT} concurrent; sidecar: {held.descriptors} file descriptors "
        f"and {held.threads} threads before and after, {grown:+.1f} and {then:+.1f} MiB"
    )
    return Figures(calls, read, lost, duplicated, worst, p99, note)


def _steady(pid: int) -> _Resources | None:
    """Return the resources of the sidecar once it has no run open, else None."""
    names = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return None if any("/runs/" in name for name in names) else _Resources.of(pid)


SCENARIO = Scenario(
    11,
    "500 consecutive and 50 concurrent runs through one sidecar",
    run,
    rounds_in_ci=1,
    requirement="file descriptors, threads and memory return to their numbers before",
)
