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
from tests.servers.scenarios.restartable import ProxiedServer, compare, wait_for_sidecars

RATE = 300
TIMEOUT_SECONDS = 180.0


def _down_seconds(rng: random.Random, seed: int) -> float:
    if seed == 0:
        return 1.0
    return 60.0 if seed % 10 == 9 else rng.uniform(1.0, 15.0)


def _run(kind: str, directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    seconds = _down_seconds(rng, seed)
    settings = {"finish_timeout": TIMEOUT_SECONDS}
    with ProxiedServer(kind, directory) as proxied:
        sinks = {"TRACKER_SINKS": proxied.address}
        with Trainer(root, "steady", rate=RATE, env=sinks, settings=settings) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(rng.randrange(RATE, 2 * RATE))
            proxied.server.stop()
            end = time.monotonic() + seconds
            kills = 0
            while time.monotonic() < end or not kills:
                trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(RATE // 4, RATE))
                kills += signal_sidecars(root)
            proxied.start()
            trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(RATE // 2, RATE))
            trainer.tally.command = 1
            trainer.wait(seconds=TIMEOUT_SECONDS)
            wait_for_sidecars(root, TIMEOUT_SECONDS)
            result = read_back(root, "run", [trainer.tally])
            assert (result.lost, result.duplicated, result.run.state) == (0, 0, "finished")
            about_kills = ("tracker: the sidecar ", "tracker: no sidecar answers ")
            printed = [line for line in trainer.output().splitlines() if not line.startswith(about_kills)]
            assert not printed, f"the trainer printed: {printed}"
            read, lost, duplicated = compare(proxied.server.points(), trainer.tally)
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    return Figures(
        result.calls, read, lost, duplicated, worst, p99, f"down {seconds:.0f} s, {kills} kills in the last round"
    )


SCENARIOS = [
    Scenario(
        number,
        f"{kind} down, sidecar killed",
        partial(_run, kind),
        1,
        "the server has every point in the end, once; the trainer reports only the kills",
    )
    for number, kind in ((1, "MLflow"), (2, "ClickHouse"))
]
