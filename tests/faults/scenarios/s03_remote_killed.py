"""A trainer that is attached to a sidecar of another root is killed, and the sidecar too.

Both are on one machine here, but each knows only the address of the other. Another sidecar replaces the killed one, and
the next process in the trainer's root resends what the killed trainer left.
"""

from __future__ import annotations

import random
import signal
from functools import partial
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.scenarios.s03_both_killed import CALLS_AFTER_RESUME, check_steps, missing
from tests.faults.trainers import Trainer
from tests.support import LaunchedSidecar, wait_until

ORDERS = "trainer killed", "trainer killed, then sidecar", "sidecar killed, then trainer"


class Remote:
    """The sidecar of another root, at an address that stays the same when it is replaced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = root.parent / "address.json"
        self.sidecar = self._launch()

    def _launch(self) -> LaunchedSidecar:
        launched = LaunchedSidecar(self.root)
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(launched.file)
        return launched

    def kill(self) -> None:
        self.sidecar.process.kill()
        self.sidecar.process.wait()

    def replace(self) -> None:
        if not self.sidecar.alive():
            self.sidecar = self._launch()


def _kill(order: str, rng: random.Random, trainer: Trainer, remote: Remote) -> None:
    if order == ORDERS[0]:
        trainer.kill()
    elif order == ORDERS[1]:
        trainer.kill()
        remote.kill()
    else:
        remote.kill()
        trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(0, 1000))  # training continues
        trainer.kill()
    trainer.wait(-signal.SIGKILL)


def _run(order: str, directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    remote = Remote(directory / "other")
    env = {"TRACKER_SIDECAR": str(remote.address)}
    try:
        with Trainer(root, "steady", rate=2000, env=env) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(rng.randrange(1, 2000))
            _kill(order, rng, trainer, remote)
            remote.replace()
            tally = trainer.tally
            with Trainer(root, "steady", "another", rate=100, env=env) as another:
                another.wait_for_stage()
                wait_until(lambda: not missing(tally, remote.root / "runs" / "run"), "the rest is resent")
                another.tally.command = 1
                another.wait()
            with Trainer(root, "steady", first=1, calls=CALLS_AFTER_RESUME, init={"resume": "must"}, env=env) as again:
                again.wait()
                wait_until(lambda: remote.sidecar.status()["runs"] == [], "the sidecar has closed the runs")
                result = read_back(remote.root, "run", [tally, again.tally])
                check_steps(result.run, 1)
                worst = max(tally.worst(), again.tally.worst())
        assert result.run.state == "finished", f"the run is {result.run.state}"
        ends = {writer["state"] for writer in result.run.writers.values()}
        assert ends == {"crashed", "finished"}, f"the writers are {ends}"
        windows = sorted(path.name for path in (root / "remote").glob("*/windows/*"))
        assert not windows, f"windows remain: {windows}"
    finally:
        remote.sidecar.close()
    return Figures(result.calls, result.read, result.lost, result.duplicated, worst)


SCENARIOS = [
    Scenario(
        3,
        f"remote: {order}",
        partial(_run, order),
        1,
        "0 lost, 0 duplicated once the next process attaches; verify is clean; resume continues from there",
    )
    for order in ORDERS
]
