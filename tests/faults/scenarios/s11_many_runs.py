"""Run after run, and then many at once, through one sidecar: what it and its trainer hold is what they held before.

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

_WARM, _FEW, _MANY, _AT_ONCE = 20, 60, 500, 50
_CALLS = 20
_MIB = 1024 * 1024

KEPT_BYTES = 8 * _MIB
"""What a process may keep, of all runs together: the allocator gives back whole pages only."""


class _Holds(NamedTuple):
    """What a process holds; of memory what is its own, not the pages of mapped files."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def of(cls, pid: int) -> _Holds:
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return cls(len(os.listdir(f"/proc/{pid}/fd")), int(found["Threads"]), int(found["RssAnon"].split()[0]) * 1024)


def many(told: dict[str, Any]) -> None:
    """The program: runs to warm up, run after run, many at once. It waits at each stage until it is told to go on."""
    import tracker

    tally = Tally(Path(told["tally"]), told["writers"])
    go_on = threading.Event()

    def reach(stage: int) -> None:
        gc.collect()
        tally.stage = stage
        while tally.told < stage:
            go_on.wait(0.005)

    def begin(number: int, **more: Any) -> tuple[Any, Callable[[], None]]:
        run = tracker.init(project="faults", id=f"run{number}", **more)
        return run, tally.caller(run.log, number)

    def one_by_one(numbers: Iterable[int]) -> None:
        for number in numbers:
            run, call = begin(number)
            for _ in range(_CALLS):
                call()
            run.finish()

    def at_once(numbers: Iterable[int]) -> None:
        begun = [begin(number, reinit="create_new") for number in numbers]
        for _ in range(_CALLS):
            for _, call in begun:
                call()
        threads = [threading.Thread(target=run.finish) for run, _ in begun]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    numbers = iter(range(told["writers"]))
    one_by_one(islice(numbers, told["warm"]))
    at_once(islice(numbers, told["at_once"]))
    reach(1)
    one_by_one(islice(numbers, told["runs"]))
    reach(2)
    at_once(islice(numbers, told["at_once"]))
    reach(3)


def _back(what: str, pid: int, before: _Holds) -> _Holds:
    """Wait until a process holds no more than before; return what it holds now."""

    def look() -> _Holds | None:
        now = _Holds.of(pid)
        more = now.descriptors > before.descriptors or now.threads > before.threads
        return None if more or now.memory > before.memory + KEPT_BYTES else now

    try:
        return wait_until(look, seconds=TIMEOUT / 2) or before
    except AssertionError as error:
        now = _Holds.of(pid)
        handles = sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
        raise AssertionError(f"{what}: {now} is not back to {before}; open: {handles[:60]}") from error


def run(directory: Path, seed: int) -> Figures:
    """One trainer, one sidecar; both are looked at after many at once, after run upon run, and after as many again."""
    root = directory / "root"
    numbers: dict[str, Any] = {"warm": _WARM, "runs": _MANY if seed else _FEW, "at_once": _AT_ONCE}
    writers = sum(numbers.values()) + _AT_ONCE
    with Trainer(root, f"{__name__}:many", writers=writers, **numbers) as trainer:
        wait_until(lambda: trainer.tally.stage >= 1 or trainer.process.poll() is not None, "the first runs")
        assert trainer.process.poll() is None, trainer.said()
        files = list((root / "sidecars").glob("*.json"))
        assert len(files) == 1, f"one sidecar, and not {files}"
        sidecar = read_connection(files[0]).pid
        processes = {"the sidecar": sidecar, "the trainer": trainer.pid}
        idle = wait_until(lambda: _steady(sidecar), "the sidecar is done with the first runs")
        assert idle is not None
        before = {what: _Holds.of(pid) for what, pid in processes.items()} | {"the sidecar": idle}
        stages = []
        for stage, wait in ((2, 20 * TIMEOUT), (3, 4 * TIMEOUT)):
            trainer.tally.told = stage - 1
            wait_until(lambda: trainer.tally.stage >= stage or trainer.process.poll() is not None, "the runs", wait)  # noqa: B023
            assert trainer.process.poll() is None, trainer.said()
            stages.append({what: _back(what, pid, before[what]) for what, pid in processes.items()})
        trainer.tally.told = 3
        trainer.wait()
        assert list((root / "sidecars").glob("*.json")) in ([], files), "the same sidecar to the end"
        worst, p99, counts = trainer.tally.worst(), trainer.tally.p99(), trainer.tally.counts()
    calls = read = lost = twice = 0
    for number, called in counts.items():
        back = read_back(root, f"run{number}", {number: called})
        assert back.run.state == "finished", f"run {number} is {back.run.state}"
        calls, read, lost, twice = calls + back.calls, read + back.read, lost + back.lost, twice + back.twice
    grown = (stages[0]["the sidecar"].memory - before["the sidecar"].memory) / _MIB
    then = (stages[1]["the sidecar"].memory - before["the sidecar"].memory) / _MIB
    held = before["the sidecar"]
    note = (
        f"{numbers['runs']} runs one after the other, {_AT_ONCE} at once; the sidecar: {held.descriptors} handles and "
        f"{held.threads} threads before and after, {grown:+.1f} and {then:+.1f} MiB"
    )
    return Figures(calls, read, lost, twice, worst, p99, note)


def _steady(pid: int) -> _Holds | None:
    """Return what the sidecar holds when it holds no run's log any more."""
    handles = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            handles.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return None if any("/runs/" in handle for handle in handles) else _Holds.of(pid)


SCENARIO = Scenario(
    11,
    "500 runs through one sidecar, one after the other, and 50 at once",
    run,
    rounds_in_ci=1,
    must="file handles, threads and memory return to where they were",
)
