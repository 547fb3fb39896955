"""A proxy in front of the server injects random faults: delays, cut connections, errors, incomplete responses."""

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
from tests.servers.scenarios.restartable import ProxiedServer, compare, wait_for_sidecars

RATE = 500
SHARE = 0.2, 0.3
"""Share of requests with a fault: minimum, which the first round has, and maximum."""

MIN_FAULTS = 2
"""Minimum number of faults in a round."""

TIMEOUT_SECONDS = 180.0

FAULTS = {
    "cut before": CUT_BEFORE,
    "cut after": CUT_AFTER,
    "half": HALF,
    "429": answer(429, retry_after=1),
    "500": answer(500),
    "503": answer(503),
}


class RandomFaults:
    """A plan for a `FaultyProxy`: random faults.

    Args:
        rng: random number generator.
        share: share of requests with a fault.

    Attributes:
        injected: name of a fault -> how often it was injected.
    """

    def __init__(self, rng: random.Random, share: float) -> None:
        self._rng = rng
        self._share = share
        self._lock = threading.Lock()
        self.injected: Counter[str] = Counter()

    def __call__(self, number: int, method: str, path: str) -> Fault | None:
        with self._lock:
            if self._rng.random() > self._share:
                return None
            name = self._rng.choice(["delay", *FAULTS])
            self.injected[name] += 1
            return delay(self._rng.uniform(0.05, 0.5)) if name == "delay" else FAULTS[name]


def _run(kind: str, directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    seconds = 2.0 if seed == 0 else rng.uniform(5.0, 20.0)
    faults = RandomFaults(random.Random(seed), SHARE[0] if seed == 0 else rng.uniform(*SHARE))
    with ProxiedServer(kind, directory) as proxied:
        proxied.proxy.plan = faults
        sinks = {"TRACKER_SINKS": proxied.address}
        settings = {"finish_timeout": TIMEOUT_SECONDS}
        with Trainer(root, "steady", rate=RATE, env=sinks, settings=settings) as trainer:
            trainer.wait_for_stage()
            end = time.monotonic() + seconds
            while time.monotonic() < end or faults.injected.total() < MIN_FAULTS:
                trainer.wait_for_calls(trainer.tally.returned() + RATE // 10)
            trainer.tally.command = 1
            trainer.wait(seconds=TIMEOUT_SECONDS)
            wait_for_sidecars(root, TIMEOUT_SECONDS)
            result = read_back(root, "run", [trainer.tally])
            assert (result.lost, result.duplicated, result.run.state) == (0, 0, "finished")
            read, lost, duplicated = compare(proxied.server.points(), trainer.tally)
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
        faulty, total = faults.injected.total(), len(proxied.proxy.requests)
    note = f"{faulty} of {total} requests with a fault in the last round"
    return Figures(result.calls, read, lost, duplicated, worst, p99, note)


SCENARIOS = [
    Scenario(number, f"bad link to {kind}", partial(_run, kind), 1, "the server has every point in the end, once")
    for number, kind in ((4, "MLflow"), (5, "ClickHouse"))
]
