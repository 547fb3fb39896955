"""A trainer that is attached to a sidecar of another root is killed, and the sidecar too.

Both are on one machine here, but each knows the other by its address only. Another sidecar takes the place of the
killed one, and the next process in the trainer's root sends what its predecessor left.
"""

from __future__ import annotations

import random
import signal
from functools import partial
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.scenarios.s03_both_killed import AGAIN, check_steps, missing
from tests.faults.trainers import Trainer
from tests.support import LaunchedSidecar, wait_until


class Remote:
    """The sidecar of another root, at an address that stays when another takes its place."""

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


def _kill(order: str, chance: random.Random, trainer: Trainer, remote: Remote) -> None:
    if order == "trainer":
        trainer.kill()
    elif order == "trainer, sidecar":
        trainer.kill()
        remote.kill()
    else:
        remote.kill()
        trainer.wait_for_calls(trainer.tally.returned() + chance.randrange(0, 1000))  # training goes on
        trainer.kill()
    trainer.wait(-signal.SIGKILL)


def _run(order: str, directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    remote = Remote(directory / "elsewhere")
    env = {"TRACKER_SIDECAR": str(remote.address)}
    try:
        with Trainer(root, "steady", rate=2000, env=env) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(chance.randrange(1, 2000))
            _kill(order, chance, trainer, remote)
            remote.replace()
            tally = trainer.tally
            with Trainer(root, "steady", "another", rate=100, env=env) as another:
                another.wait_for_stage()
                wait_until(lambda: not missing(tally, remote.root / "runs" / "run"), "what was left is sent")
                another.tally.told = 1
                another.wait()
            with Trainer(root, "steady", first=1, calls=AGAIN, init={"resume": "must"}, env=env) as again:
                again.wait()
                wait_until(lambda: remote.sidecar.status()["runs"] == [], "the runs are let go")
                back = read_back(remote.root, "run", [tally, again.tally])
                check_steps(back.run, 1)
                worst = max(tally.worst(), again.tally.worst())
        assert back.run.state == "finished", f"the run is {back.run.state}"
        ends = {writer["state"] for writer in back.run.writers.values()}
        assert ends == {"crashed", "finished"}, f"the writers are {ends}"
        left = sorted(path.name for path in (root / "remote").glob("*/windows/*"))
        assert not left, f"windows are left: {left}"
    finally:
        remote.sidecar.close()
    return Figures(back.calls, back.read, back.lost, back.twice, worst)


SCENARIOS = [
    Scenario(
        3,
        f"remote: {order} killed",
        partial(_run, order),
        1,
        "0 lost, 0 twice once the next process there attaches; verify is clean; resume goes on from there",
    )
    for order in ("trainer", "trainer, sidecar", "sidecar, trainer")
]
