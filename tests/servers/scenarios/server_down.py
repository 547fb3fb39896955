"""A server is killed while runs are sent to it, and stays down for a while; the sidecar is killed too, repeatedly.

The first round is short; in every tenth the server is down for a minute.
"""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, signal_sidecars
from tests.servers.scenarios.places import Started, compare, wait_for_sidecars

RATE = 300
PATIENCE = 180.0


def _down_seconds(chance: random.Random, seed: int) -> float:
    if seed == 0:
        return 1.0
    return 60.0 if seed % 10 == 9 else chance.uniform(1.0, 15.0)


def _run(kind: str, directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    seconds = _down_seconds(chance, seed)
    settings = {"finish_timeout": PATIENCE}
    with Started(kind, directory) as server:
        sinks = {"TRACKER_SINKS": server.address}
        with Trainer(root, "steady", rate=RATE, env=sinks, settings=settings) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(chance.randrange(RATE, 2 * RATE))
            server.place.stop()
            end = time.monotonic() + seconds
            kills = 0
            while time.monotonic() < end or not kills:
                trainer.wait_for_calls(trainer.tally.returned() + chance.randrange(RATE // 4, RATE))
                kills += signal_sidecars(root)
            server.start()
            trainer.wait_for_calls(trainer.tally.returned() + chance.randrange(RATE // 2, RATE))
            trainer.tally.told = 1
            trainer.wait(seconds=PATIENCE)
            wait_for_sidecars(root, PATIENCE)
            back = read_back(root, "run", [trainer.tally])
            assert (back.lost, back.twice, back.run.state) == (0, 0, "finished")
            of_kills = ("tracker: the sidecar ", "tracker: no sidecar answers ")
            printed = [line for line in trainer.said().splitlines() if not line.startswith(of_kills)]
            assert not printed, f"the trainer printed: {printed}"
            read, lost, twice = compare(server.place.points(), trainer.tally)
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    return Figures(back.calls, read, lost, twice, worst, p99, f"down {seconds:.0f} s, {kills} kills in the last round")


SCENARIOS = [
    Scenario(
        number,
        f"{kind} down, sidecar killed",
        partial(_run, kind),
        1,
        "the server has everything in the end, once; the trainer hears of the kills only",
    )
    for number, kind in ((1, "MLflow"), (2, "ClickHouse"))
]
