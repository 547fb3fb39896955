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


def finish_meanwhile(told: dict[str, Any]) -> None:
    """Sixteen threads log until they may not; one thread, or several at once, finish the run after some calls."""
    run = tracker.init(project="faults", id=told["run"])
    tally = Tally(Path(told["tally"]), told["writers"])
    wrong: list[str] = []

    def train(call: Callable[[], None]) -> None:
        try:
            while True:
                call()
        except RunFinishedError as error:
            if run.id not in str(error):
                wrong.append(f"it does not name the run: {error}")
        except BaseException as error:
            wrong.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=train, args=(tally.caller(run.log, writer),)) for writer in tally.writers]
    for thread in threads:
        thread.start()
    while tally.returned() < told["calls"]:
        threading.Event().wait(0.001)
    before = tally.counts()
    finishing = [threading.Thread(target=run.finish) for _ in range(told["finishers"])]
    for thread in finishing:
        thread.start()
    for thread in [*finishing, *threads]:
        thread.join()
    run.finish()  # once more
    assert not wrong, wrong
    assert tally.raised() == len(threads), f"{tally.raised()} of {len(threads)} threads were told that it has finished"
    assert all(before[writer][0] <= tally[writer][1] for writer in tally.writers)


def _run(finishers: int, directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    program = f"{__name__}:finish_meanwhile"
    calls = chance.choice((1, chance.randrange(1, 2000), chance.randrange(1, 20_000)))
    with Trainer(root, program, writers=THREADS, calls=calls, finishers=finishers) as trainer:
        trainer.wait()
        tally = trainer.tally
        # a call that raised has begun, and is not there
        back = read_back(root, "run", {writer: (counts[0], counts[0]) for writer, counts in tally.counts().items()})
        assert back.run.state == "finished" and not back.run.losses, f"{back.run.state}, {back.run.losses}"
        steps = sorted(row["_step"] for row in back.run.scan_history())
        assert steps == list(range(back.calls)), "two calls of different threads have the same step"
        return Figures(back.calls, back.read, back.lost, back.twice, tally.worst())


SCENARIOS = [
    Scenario(
        8, name, partial(_run, finishers), 2, "every call that returned is there; the others raise one clear error"
    )
    for name, finishers in (("16 threads, and finish()", 1), ("16 threads, and finish() in 4 more", 4))
]
