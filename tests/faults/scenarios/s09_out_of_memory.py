"""The kernel kills the trainer in a cgroup with little memory; the sidecar reports that as the reason."""

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


def grow(options: dict[str, Any]) -> None:
    """Program: join the cgroup and log; after the command, allocate more memory with each call."""
    import tracker

    Path(options["cgroup"], "cgroup.procs").write_text(str(os.getpid()))
    run = tracker.init(project="faults", id=options["run"])
    tally = Tally(Path(options["tally"]), options["writers"])
    call = tally.caller(run.log, 0)
    tally.stage = 1
    blocks = []
    while True:
        call()
        if tally.command:
            blocks.append(b"\1" * 1_000_000)


def make_cgroup(name: str) -> Path | None:
    """Create a cgroup with a memory limit, of version 2 or 1; return None if that is not possible here."""
    for top, limit in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        cgroup = top / name
        try:
            if limit == "memory.max":
                if not (top / "cgroup.controllers").exists():
                    continue
                (top / "cgroup.subtree_control").write_text("+memory")
            cgroup.mkdir()
        except OSError:
            continue
        try:
            (cgroup / limit).write_text(str(LIMIT_BYTES))
        except OSError:
            cgroup.rmdir()
            continue
        return cgroup
    return None


def _run(directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    cgroup = make_cgroup(f"tracker-faults-{os.getpid()}-{seed}")
    if cgroup is None:
        return Figures(note="NOT PLAYED: cannot create a cgroup with a memory limit")
    try:
        with Trainer(root, f"{__name__}:grow", cgroup=str(cgroup)) as trainer:
            trainer.wait_for_stage()
            trainer.wait_for_calls(rng.randrange(1, 1000))
            trainer.tally.command = 1
            trainer.wait(-9)
            tally = trainer.tally
            wait_until(lambda: not sidecars(root), "the sidecar has exited")
            result = read_back(root, "run", [tally])
            worst = tally.worst()
        assert result.run.state == "crashed", f"the run is {result.run.state}"
        assert "memory" in (result.run.reason or ""), f"the reason is {result.run.reason!r}"
    finally:
        wait_until(lambda: _removed(cgroup), f"{cgroup} can be removed")
    return Figures(
        result.calls, result.read, result.lost, result.duplicated, worst, None, "out of memory named as the reason"
    )


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return not cgroup.exists()
    return True


SCENARIO = Scenario(9, "out of memory", _run, 1, "0 lost, 0 duplicated; crashed, with lack of memory as the reason")
