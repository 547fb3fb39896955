"""The sidecar is stopped for half a minute, and goes on."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, sidecars, signal_sidecars

STOPPED_SECONDS = 30.0
P99_SECONDS = 0.001
SPARE_BYTES = 16 * 1024 * 1024
"""What the trainer may need beside its window: the interpreter's own coming and going."""


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is its own, mapped files left out."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no RssAnon")


def _run(directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    with Trainer(root, "steady", rate=1000) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(chance.randrange(500, 1500))
        before = resident_bytes(trainer.pid)
        stopped = sidecars(root)
        assert signal_sidecars(root, signal.SIGSTOP) == 1
        try:
            began, calls = time.monotonic(), trainer.tally.returned()
            while time.monotonic() < began + STOPPED_SECONDS:
                calls += 500
                trainer.wait_for_calls(calls)  # training goes on
            largest = resident_bytes(trainer.pid)
            assert sidecars(root) == stopped, "another sidecar was launched while the first only slept"
        finally:
            signal_sidecars(root, signal.SIGCONT)
        trainer.wait_for_calls(calls + 500)
        trainer.tally.told = 1
        trainer.wait()
        tally = trainer.tally
        assert tally.raised() == 0, trainer.said()
        assert tally.p99() < P99_SECONDS, f"p99 of log() is {tally.p99() * 1e6:.0f} µs"
        grown = largest - before
        assert grown < SPARE_BYTES, f"the trainer's own memory grew by {grown} bytes"
        back = read_back(root, "run", [tally])
        assert back.run.state == "finished" and not back.run.losses, f"{back.run.state}, {back.run.losses}"
        said = f"memory +{grown / 1e6:.1f} MB"
        return Figures(back.calls, back.read, back.lost, back.twice, tally.worst(), tally.p99(), said)


SCENARIO = Scenario(
    5,
    "sidecar stopped for 30 s",
    _run,
    1,
    "0 lost, 0 twice; log() never raises, its p99 is under 1 ms; the trainer's memory stays in its window",
)
