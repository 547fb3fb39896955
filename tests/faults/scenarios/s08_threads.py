"""Sixteen threads log while the run is finished."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tracker
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer
from tracker.errors import RunFinishedError

THREADS = 16


def finish_meanwhile(options: dict[str, Any]) -> None:
    """Program: sixteen threads log until that raises; one thread, or several at once, finish the run meanwhile."""
    run = tracker.init(project="faults", id=options["run"])
    tally = Tally(Path(options["tally"]), options["writers"])
    problems: list[str] = []

    def train(call: Callable[[], None]) -> None:
        try:
            while True:
                call()
        except RunFinishedError as error:
            if run.id not in str(error):
                problems.append(f"the message does not name the run: {error}")
        except BaseException as error:
            problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=train, args=(tally.caller(run.log, writer),)) for writer in tally.writers]
    for thread in threads:
        thread.start()
    while tally.returned() < options["calls"]:
        threading.Event().wait(0.001)
    before = tally.counts()
    finishing = [threading.Thread(target=run.finish) for _ in range(options["finishers"])]
    for thread in finishing:
        thread.start()
    for thread in [*finishing, *threads]:
        thread.join()
    run.finish()  # may be called again
    assert not problems, problems
    assert tally.raised() == len(threads), f"log() raised in {tally.raised()} of {len(threads)} threads"
    assert all(before[writer][0] <= tally[writer][1] for writer in tally.writers)


def _run(finishers: int, directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    program = f"{__name__}:finish_meanwhile"
    calls = rng.choice((1, rng.randrange(1, 2000), rng.randrange(1, 20_000)))
    with Trainer(root, program, writers=THREADS, calls=calls, finishers=finishers) as trainer:
        trainer.wait()
        tally = trainer.tally
        # a call that raised has begun, but is not in the run
        result = read_back(root, "run", {writer: (counts[0], counts[0]) for writer, counts in tally.counts().items()})
        assert result.run.state == "finished" and not result.run.losses, f"{result.run.state}, {result.run.losses}"
        steps = sorted(row["_step"] for row in result.run.scan_history())
        assert steps == list(range(result.calls)), "the steps have gaps or repetitions"
        return Figures(result.calls, result.read, result.lost, result.duplicated, tally.worst())


SCENARIOS = [
    Scenario(8, name, partial(_run, finishers), 2, "every call that returned is stored; the others raise a clear error")
    for name, finishers in (("finish() while 16 threads log", 1), ("4 finish() calls while 16 threads log", 4))
]
