"""The sidecar is killed at random moments, again and again, also while it is only beginning."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, sidecars, signal_sidecars
from tests.support import wait_until

CALLS = 3000
P99_SECONDS = 0.001


def _run(directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    kills = 0
    with Trainer(root, "steady", calls=CALLS, rate=1000) as trainer:
        trainer.wait_for_stage()
        tally = trainer.tally
        while (at := tally.returned() + chance.randrange(1, 700)) < CALLS:
            trainer.wait_for_calls(at)
            kills += signal_sidecars(root)
            if chance.random() < 0.3:  # and its successor, as soon as there is a process
                wait_until(lambda: sidecars(root) or tally.stage > 1, "another sidecar")
                kills += signal_sidecars(root)
        trainer.wait()
        assert tally.raised() == 0, f"log() raised {tally.raised()} times: {trainer.said()}"
        assert "Traceback" not in trainer.said(), trainer.said()
        assert tally.p99() < P99_SECONDS, f"p99 of log() is {tally.p99() * 1e6:.0f} µs"
        back = read_back(root, "run", [tally])
        assert back.run.state == "finished", f"the run is {back.run.state}"
        assert not back.run.losses, f"losses: {back.run.losses}"
        return Figures(
            back.calls, back.read, back.lost, back.twice, tally.worst(), tally.p99(), f"{kills} kills in a round"
        )


SCENARIO = Scenario(
    1,
    "sidecar killed again and again",
    _run,
    3,
    "0 lost, 0 twice; log() never raises, its p99 is under 1 ms",
)
