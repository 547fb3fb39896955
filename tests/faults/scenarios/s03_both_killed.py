"""Trainer and sidecar are killed, in either order, with the trainer's children too; then the run is opened.

Each way to open it (the next `init`, a command, `Api`) must find every call that returned; `resume` continues there.
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
CALLS_AFTER_RESUME = 200


def family(options: dict[str, Any]) -> None:
    """Program: a trainer and its forked children log to one run until they are killed."""
    run = tracker.init(project="faults", id=options["run"])
    tally = Tally(Path(options["tally"]), options["writers"])
    call = tally.caller(run.log, 0)
    for _ in range(10):
        call()
    for writer in range(1, options["writers"]):
        if os.fork() == 0:
            call = tally.caller(run.log, writer)
            break
    else:
        tally.stage = 1
    while True:
        call()
        time.sleep(0.0005)


def _trainer_first(rng: random.Random, trainer: Trainer) -> None:
    trainer.kill()
    time.sleep(rng.choice((0.0, 0.0, rng.random() * 0.05)))  # time for the sidecar to process some of the rest
    signal_sidecars(trainer.root)


def _sidecar_first(rng: random.Random, trainer: Trainer) -> None:
    signal_sidecars(trainer.root)
    time.sleep(rng.choice((0.0, 0.0, rng.random() * 1.5)))  # time for the trainer to start another one
    trainer.kill()
    signal_sidecars(trainer.root)


def _whole_group(rng: random.Random, trainer: Trainer) -> None:
    if rng.random() < 0.5:
        signal_sidecars(trainer.root)
    os.killpg(trainer.pid, signal.SIGKILL)
    signal_sidecars(trainer.root)


# -- ways to open the directory next ------------------------------------------------------------------


def _command(*arguments: str) -> Callable[[Path], None]:
    def run(root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tracker.cli.main", *arguments, "--dir", str(root)],
            env=environment(root),
            cwd=root.parent,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"tracker {' '.join(arguments)}: {done.returncode} {done.stdout}{done.stderr}"

    return run


def _api(root: Path) -> None:
    states = [run.state for run in tracker.Api(root).runs()]
    assert states == ["crashed"], f"the run is {states}"


def _another_run(root: Path) -> None:
    with Trainer(root, "steady", "another", calls=10) as trainer:
        trainer.wait()


def _nothing(root: Path) -> None:
    """Resume the run at once."""


OPENERS = {
    "ls": _command("ls"),
    "resume": _nothing,
    "the next init": _another_run,
    "verify": _command("verify"),
    "Api": _api,
    "sync": _command("sync"),
}


def _run(
    program: str, kill: Callable[[random.Random, Trainer], None], writers: int, directory: Path, seed: int
) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    name, open_it = list(OPENERS.items())[seed % len(OPENERS)]
    with Trainer(root, program, writers=writers, calls=20_000) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(rng.randrange(1, 3000))
        kill(rng, trainer)
        trainer.wait(-signal.SIGKILL)
        wait_until(lambda: not (sidecars(root) or group(trainer.pid)), "all killed processes have ended")
        tally = trainer.tally
        open_it(root)
        if open_it is not _nothing:
            run_directory = root / "runs" / "run"
            wait_until(lambda: not missing(tally, run_directory), f"{name} has recovered all calls")
        with Trainer(root, "steady", first=writers, calls=CALLS_AFTER_RESUME, init={"resume": "must"}) as again:
            again.wait()
            result = read_back(root, "run", [tally, again.tally])
            check_steps(result.run, writers)
            worst = max(tally.worst(), again.tally.worst())
    assert result.run.state == "finished", f"the run is {result.run.state}"
    ends = {writer["state"] for writer in result.run.writers.values()}
    assert ends == {"crashed", "finished"}, f"the writers are {ends}"
    return Figures(
        result.calls, result.read, result.lost, result.duplicated, worst, None, f"opened by {', '.join(OPENERS)}"
    )


def missing(tally: Tally, run_directory: Path) -> int:
    """Return the number of calls that are not in the log."""
    counts = tally.counts()  # before the log is read, since more are logged meanwhile
    logged = logged_calls(run_directory)
    return sum((writer, i) not in logged for writer, (calls, _) in counts.items() for i in range(calls))


def check_steps(run: Any, writer: int) -> None:
    """Check that the rows after the resume continue from the largest step before it."""
    before = [row["_step"] for row in run.scan_history() if row["w"] < writer]
    after = [row["_step"] for row in run.scan_history() if row["w"] == writer]
    start = max(before, default=-1) + 1
    assert after == list(range(start, start + CALLS_AFTER_RESUME)), (
        f"steps continue with {after[:3]}, after {start - 1}"
    )


_REQUIREMENT = "0 lost, 0 duplicated once the directory is opened; verify is clean; resume continues from there"

SCENARIOS = [
    Scenario(3, name, partial(_run, program, kill, writers), 2, _REQUIREMENT)
    for name, program, kill, writers in (
        ("trainer killed, then sidecar", "steady", _trainer_first, 1),
        ("sidecar killed, then trainer", "burst", _sidecar_first, 1),
        ("process group killed", f"{__name__}:family", _whole_group, 1 + CHILDREN),
    )
]
