"""The trainer is killed: in pure Python work, in work that releases the GIL, during a burst of calls and after it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tracker
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, sidecars
from tests.support import wait_until

BURST = 10_000
CRASHED_SECONDS = 1.0


def crashed_within(root: Path, killed: float) -> float:
    """Wait until the run is shown as crashed; return the seconds since the moment `killed`."""
    api = tracker.Api(root)
    state = ""

    def look() -> bool:
        nonlocal state
        state = api.run("run").state
        return state != "running"

    wait_until(look, "the run is shown as ended")
    seconds = time.monotonic() - killed
    assert state == "crashed", f"the run is {state}"
    return seconds


def _run(program: str, moment: Callable[[random.Random, Trainer], None], directory: Path, seed: int) -> Figures:
    root = directory / "root"
    with Trainer(root, program, calls=BURST) as trainer:
        trainer.wait_for_stage()
        moment(random.Random(seed), trainer)
        killed = time.monotonic()
        trainer.kill()
        took = crashed_within(root, killed)
        trainer.wait(-9)
        wait_until(lambda: not sidecars(root), "the sidecar has exited")
        tally = trainer.tally
        result = read_back(root, "run", [tally])
        assert took < CRASHED_SECONDS, f"the run was shown as crashed {took:.2f} s after the kill"
        assert result.run.state == "crashed" and result.run.reason, f"{result.run.state}, {result.run.reason}"
        note = f"crashed after {took:.2f} s"
        return Figures(result.calls, result.read, result.lost, result.duplicated, tally.worst(), tally.p99(), note)


def _after_some_calls(rng: random.Random, trainer: Trainer) -> None:
    trainer.wait_for_calls(rng.randrange(1, 1500))


def _in_the_burst(rng: random.Random, trainer: Trainer) -> None:
    trainer.wait_for_calls(rng.randrange(1, BURST))


def _after_the_burst(rng: random.Random, trainer: Trainer) -> None:
    trainer.wait_for_stage(2)


_REQUIREMENT = "0 lost, 0 duplicated of the calls that returned; crashed within 1 s; the sidecar exits"

SCENARIOS = [
    Scenario(2, f"trainer killed {name}", partial(_run, program, moment), 2, _REQUIREMENT)
    for name, program, moment in (
        ("in pure Python work", "in_python", _after_some_calls),
        ("in work that releases the GIL", "without_gil", _after_some_calls),
        ("in a burst of calls", "burst", _in_the_burst),
        ("right after 10,000 calls", "burst", _after_the_burst),
    )
]
