"""A proxy in front of the server that delays, cuts, responds with 429 and 500, and drops half a response, at random."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer
from tests.servers.proxy import CUT_AFTER, CUT_BEFORE, HALF, Fault, answer, delay
from tests.servers.scenarios.places import Started, compare, wait_for_sidecars

RATE = 500
SHARE = 0.2, 0.3
"""Share of requests with a fault: in the first round, and at most."""

LEAST = 2
"""Minimum number of faults in a round."""

PATIENCE = 180.0

FAULTS = {
    "cut before": CUT_BEFORE,
    "cut after": CUT_AFTER,
    "half": HALF,
    "429": answer(429, retry_after=1),
    "500": answer(500),
    "503": answer(503),
}


class Harm:
    """A plan of a `FaultyProxy`: random faults.

    Args:
        chance: source of randomness.
        share: share of requests with a fault.

    Attributes:
        seen: name of a fault -> how often it was injected.
    """

    def __init__(self, chance: random.Random, share: float) -> None:
        self._chance = chance
        self._share = share
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()

    def __call__(self, number: int, method: str, path: str) -> Fault | None:
        with self._lock:
            if self._chance.random() > self._share:
                return None
            name = self._chance.choice(["delay", *FAULTS])
            self.seen[name] += 1
            return delay(self._chance.uniform(0.05, 0.5)) if name == "delay" else FAULTS[name]


def _run(kind: str, directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    seconds = 2.0 if seed == 0 else chance.uniform(5.0, 20.0)
    harm = Harm(random.Random(seed), SHARE[0] if seed == 0 else chance.uniform(*SHARE))
    with Started(kind, directory) as server:
        server.proxy.plan = harm
        sinks = {"TRACKER_SINKS": server.address}
        settings = {"finish_timeout": PATIENCE}
        with Trainer(root, "steady", rate=RATE, env=sinks, settings=settings) as trainer:
            trainer.wait_for_stage()
            end = time.monotonic() + seconds
            while time.monotonic() < end or harm.seen.total() < LEAST:
                trainer.wait_for_calls(trainer.tally.returned() + RATE // 10)
            trainer.tally.told = 1
            trainer.wait(seconds=PATIENCE)
            wait_for_sidecars(root, PATIENCE)
            back = read_back(root, "run", [trainer.tally])
            assert (back.lost, back.twice, back.run.state) == (0, 0, "finished")
            read, lost, twice = compare(server.place.points(), trainer.tally)
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
        harmed, asked = harm.seen.total(), len(server.proxy.requests)
    note = f"{harmed} of {asked} requests with a fault in the last round"
    return Figures(back.calls, read, lost, twice, worst, p99, note)


SCENARIOS = [
    Scenario(number, f"bad link to {kind}", partial(_run, kind), 1, "the server has everything in the end, once")
    for number, kind in ((4, "MLflow"), (5, "ClickHouse"))
]
