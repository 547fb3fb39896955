"""Trainer and sidecar are killed, in either order, with the trainer's children too; then somebody opens the directory.

Whoever it is (the next `init`, a command, `Api`) must find every call that had returned; `resume` goes on from there.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tracker
from tests.faults.readback import logged_calls, read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer, environment, group, sidecars, signal_sidecars
from tests.support import TIMEOUT, wait_until

CHILDREN = 2
AGAIN = 200


def family(told: dict[str, Any]) -> None:
    """The trainer and forked children of its log to one run until they are killed."""
    run = tracker.init(project="faults", id=told["run"])
    tally = Tally(Path(told["tally"]), told["writers"])
    call = tally.caller(run.log, 0)
    for _ in range(10):
        call()
    for writer in range(1, told["writers"]):
        if os.fork() == 0:
            call = tally.caller(run.log, writer)
            break
    else:
        tally.stage = 1
    while True:
        call()
        time.sleep(0.0005)


def _trainer_first(chance: random.Random, trainer: Trainer) -> None:
    trainer.kill()
    time.sleep(chance.choice((0.0, 0.0, chance.random() * 0.05)))  # how far the sidecar comes with the rest
    signal_sidecars(trainer.root)


def _sidecar_first(chance: random.Random, trainer: Trainer) -> None:
    signal_sidecars(trainer.root)
    time.sleep(chance.choice((0.0, 0.0, chance.random() * 1.5)))  # how far the trainer comes with another one
    trainer.kill()
    signal_sidecars(trainer.root)


def _whole_group(chance: random.Random, trainer: Trainer) -> None:
    if chance.random() < 0.5:
        signal_sidecars(trainer.root)
    os.killpg(trainer.pid, signal.SIGKILL)
    signal_sidecars(trainer.root)


# -- who opens the directory next ------------------------------------------------------------------


def _command(*words: str) -> Callable[[Path], None]:
    def run(root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tracker.cli.main", *words, "--dir", str(root)],
            env=environment(root),
            cwd=root.parent,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"tracker {' '.join(words)}: {done.returncode} {done.stdout}{done.stderr}"

    return run


def _api(root: Path) -> None:
    states = [run.state for run in tracker.Api(root).runs()]
    assert states == ["crashed"], f"the run is {states}"


def _another_run(root: Path) -> None:
    with Trainer(root, "steady", "another", calls=10) as trainer:
        trainer.wait()


def _nobody(root: Path) -> None:
    """The run itself is taken up again at once."""


OPENERS = {
    "ls": _command("ls"),
    "resume": _nobody,
    "the next init": _another_run,
    "verify": _command("verify"),
    "Api": _api,
    "sync": _command("sync"),
}


def _run(
    program: str, kill: Callable[[random.Random, Trainer], None], writers: int, directory: Path, seed: int
) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    name, open_it = list(OPENERS.items())[seed % len(OPENERS)]
    with Trainer(root, program, writers=writers, calls=20_000) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(chance.randrange(1, 3000))
        kill(chance, trainer)
        trainer.wait(-signal.SIGKILL)
        wait_until(lambda: not (sidecars(root) or group(trainer.pid)), "all that were killed are gone")
        tally = trainer.tally
        open_it(root)
        if open_it is not _nobody:
            run_directory = root / "runs" / "run"
            wait_until(lambda: not missing(tally, run_directory), f"{name} has all that was left be taken")
        with Trainer(root, "steady", first=writers, calls=AGAIN, init={"resume": "must"}) as again:
            again.wait()
            back = read_back(root, "run", [tally, again.tally])
            check_steps(back.run, writers)
            worst = max(tally.worst(), again.tally.worst())
    assert back.run.state == "finished", f"the run is {back.run.state}"
    ends = {writer["state"] for writer in back.run.writers.values()}
    assert ends == {"crashed", "finished"}, f"the writers are {ends}"
    return Figures(back.calls, back.read, back.lost, back.twice, worst, None, f"opened by {', '.join(OPENERS)}")


def missing(tally: Tally, run_directory: Path) -> int:
    """How many calls are not in the log."""
    counts = tally.counts()  # before the log is read, while which more are logged
    found = logged_calls(run_directory)
    return sum((writer, i) not in found for writer, (calls, _) in counts.items() for i in range(calls))


def check_steps(run: Any, writer: int) -> None:
    """What came after the resume goes on from the largest step of before."""
    before = [row["_step"] for row in run.scan_history() if row["w"] < writer]
    after = [row["_step"] for row in run.scan_history() if row["w"] == writer]
    start = max(before, default=-1) + 1
    assert after == list(range(start, start + AGAIN)), f"steps go on at {after[:3]}, after {start - 1}"


_MUST = "0 lost, 0 twice once anything opens the directory; verify is clean; resume goes on from there"

SCENARIOS = [
    Scenario(3, name, partial(_run, program, kill, writers), 2, _MUST)
    for name, program, kill, writers in (
        ("trainer and sidecar killed", "steady", _trainer_first, 1),
        ("sidecar and trainer killed", "burst", _sidecar_first, 1),
        ("process group killed", f"{__name__}:family", _whole_group, 1 + CHILDREN),
    )
]
