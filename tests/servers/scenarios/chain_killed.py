"""Three sidecars in a chain, each killed at random, repeatedly, while a trainer logs to the first.

The first round is short; in the others sidecars are killed for 10 to 30 seconds.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer
from tests.integration.chain import Link, full_content, wait_until_arrived, wait_until_closed

RATE = 1000
TIMEOUT_SECONDS = 180.0


def _run(directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    seconds = 4.0 if seed == 0 else rng.uniform(10.0, 30.0)
    with ExitStack() as stack:
        links: list[Link] = []
        for name in ("top", "middle", "leaf"):
            links.append(Link(directory / name / "root", links[-1] if links else None).start())
            stack.callback(links[-1].close)
        top, middle, leaf = links
        env = {"TRACKER_SIDECAR": leaf.control}
        settings = {"finish_timeout": TIMEOUT_SECONDS}
        with Trainer(directory / "root", "steady", rate=RATE, env=env, settings=settings) as trainer:
            trainer.wait_for_stage()
            end = time.monotonic() + seconds
            kills = 0
            while time.monotonic() < end or kills < 3:
                trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(1, RATE))
                link = links[kills] if kills < 3 else rng.choice(links)
                link.kill()
                kills += 1
                trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(1, RATE // 2))
                link.start()
            trainer.tally.command = 1
            trainer.wait(seconds=TIMEOUT_SECONDS)
            for link in (leaf, middle):
                wait_until_arrived(wait_until_closed(link.run("run")), seconds=TIMEOUT_SECONDS)
            wait_until_closed(top.run("run"))
            result = read_back(top.root, "run", [trainer.tally])
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
        expected = full_content(leaf.run("run"), killed=True)
        assert full_content(middle.run("run"), killed=True) == expected, "the middle differs from the leaf"
        assert full_content(top.run("run"), killed=True) == expected, "the top differs from the leaf"
        assert result.run.state == "finished", f"the run is {result.run.state}"
    return Figures(
        result.calls, result.read, result.lost, result.duplicated, worst, p99, f"{kills} kills in the last round"
    )


SCENARIOS = [
    Scenario(3, "each of three sidecars killed", _run, 1, "the top has every record in the end, once, as the leaf has")
]
