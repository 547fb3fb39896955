"""The sidecar is stopped for half a minute (SIGSTOP), then continued."""

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
"""Maximum growth of the trainer's memory outside its window, in bytes: fluctuations of the interpreter."""


def resident_bytes(pid: int) -> int:
    """Return the private memory of a process, without mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no line RssAnon")


def _run(directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    with Trainer(root, "steady", rate=1000) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(rng.randrange(500, 1500))
        before = resident_bytes(trainer.pid)
        stopped = sidecars(root)
        assert signal_sidecars(root, signal.SIGSTOP) == 1
        try:
            start, calls = time.monotonic(), trainer.tally.returned()
            while time.monotonic() < start + STOPPED_SECONDS:
                calls += 500
                trainer.wait_for_calls(calls)  # training continues
            largest = resident_bytes(trainer.pid)
            assert sidecars(root) == stopped, "another sidecar was launched while the first was stopped"
        finally:
            signal_sidecars(root, signal.SIGCONT)
        trainer.wait_for_calls(calls + 500)
        trainer.tally.command = 1
        trainer.wait()
        tally = trainer.tally
        assert tally.raised() == 0, trainer.output()
        assert tally.p99() < P99_SECONDS, f"p99 of log() is {tally.p99() * 1e6:.0f} µs"
        grown = largest - before
        assert grown < SPARE_BYTES, f"the trainer's own memory grew by {grown} bytes"
        result = read_back(root, "run", [tally])
        assert result.run.state == "finished" and not result.run.losses, f"{result.run.state}, {result.run.losses}"
        note = f"memory +{grown / 1e6:.1f} MB"
        return Figures(result.calls, result.read, result.lost, result.duplicated, tally.worst(), tally.p99(), note)


SCENARIO = Scenario(
    5,
    "sidecar stopped for 30 s",
    _run,
    1,
    "0 lost, 0 duplicated; log() never raises, its p99 is under 1 ms; the trainer's memory does not grow",
)
