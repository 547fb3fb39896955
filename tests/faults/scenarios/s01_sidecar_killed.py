"""The sidecar is killed repeatedly at random moments, also while it is starting."""

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
    rng = random.Random(seed)
    root = directory / "root"
    kills = 0
    with Trainer(root, "steady", calls=CALLS, rate=1000) as trainer:
        trainer.wait_for_stage()
        tally = trainer.tally
        while (calls := tally.returned() + rng.randrange(1, 700)) < CALLS:
            trainer.wait_for_calls(calls)
            kills += signal_sidecars(root)
            if rng.random() < 0.3:  # and the next one, as soon as its process exists
                wait_until(lambda: sidecars(root) or tally.stage > 1, "another sidecar is started")
                kills += signal_sidecars(root)
        trainer.wait()
        assert tally.raised() == 0, f"log() raised {tally.raised()} times: {trainer.output()}"
        assert "Traceback" not in trainer.output(), trainer.output()
        assert tally.p99() < P99_SECONDS, f"p99 of log() is {tally.p99() * 1e6:.0f} µs"
        result = read_back(root, "run", [tally])
        assert result.run.state == "finished", f"the run is {result.run.state}"
        assert not result.run.losses, f"losses: {result.run.losses}"
        return Figures(
            result.calls,
            result.read,
            result.lost,
            result.duplicated,
            tally.worst(),
            tally.p99(),
            f"{kills} kills in a round",
        )


SCENARIO = Scenario(
    1,
    "sidecar killed repeatedly",
    _run,
    3,
    "0 lost, 0 duplicated; log() never raises, its p99 is under 1 ms",
)
