"""The kernel kills the trainer for want of memory, in a cgroup that may have little; its sidecar says so."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer, sidecars
from tests.support import wait_until

LIMIT_BYTES = 256 * 1024 * 1024


def grow(told: dict[str, Any]) -> None:
    """Join the cgroup, log, and take more memory with each call once it is told to."""
    import tracker

    Path(told["cgroup"], "cgroup.procs").write_text(str(os.getpid()))
    run = tracker.init(project="faults", id=told["run"])
    tally = Tally(Path(told["tally"]), told["writers"])
    call = tally.caller(run.log, 0)
    tally.stage = 1
    taken = []
    while True:
        call()
        if tally.told:
            taken.append(b"\1" * 1_000_000)


def make_cgroup(name: str) -> Path | None:
    """Make a cgroup with a limit, of version 2 or 1; None where this user or machine cannot."""
    for top, limit in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        made = top / name
        try:
            if limit == "memory.max":
                if not (top / "cgroup.controllers").exists():
                    continue
                (top / "cgroup.subtree_control").write_text("+memory")
            made.mkdir()
        except OSError:
            continue
        try:
            (made / limit).write_text(str(LIMIT_BYTES))
        except OSError:
            made.rmdir()
            continue
        return made
    return None


def _run(directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    cgroup = make_cgroup(f"tracker-faults-{os.getpid()}-{seed}")
    if cgroup is None:
        return Figures(note="NOT PLAYED: no cgroup can be limited here")
    try:
        with Trainer(root, f"{__name__}:grow", cgroup=str(cgroup)) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(chance.randrange(1, 1000))
            trainer.tally.told = 1
            trainer.wait(-9)
            tally = trainer.tally
            wait_until(lambda: not sidecars(root), "the sidecar has exited")
            back = read_back(root, "run", [tally])
            worst = tally.worst()
        assert back.run.state == "crashed", f"the run is {back.run.state}"
        assert "memory" in (back.run.reason or ""), f"the reason is {back.run.reason!r}"
    finally:
        wait_until(lambda: _removed(cgroup), f"{cgroup} can be removed")
    return Figures(back.calls, back.read, back.lost, back.twice, worst, None, "out of memory named")


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return not cgroup.exists()
    return True


SCENARIO = Scenario(9, "out of memory", _run, 1, "0 lost, 0 twice; crashed, and lack of memory is named as the reason")
