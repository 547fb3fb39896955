"""The disk is full, and later it is not: the whole root lies on a small tmpfs, which another file fills.

Mounting needs root, or a ``sudo`` that asks for nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sidecar.protocol.layout import RUNS_NAME, STORE_NAME
from tests.faults.readback import Back, logged_calls, read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, alive, find_sidecar
from tests.support import TIMEOUT, wait_until

_DISK_BYTES = 48 * 1024 * 1024
_SAFE_CALLS = 8_000
"""Less than what half a segment holds: so much the window takes without a new one, wherever it stands."""

_WINDOW_BYTES = 8 * 1024 * 1024
_MANY_CALLS = 230_000
"""More than such a window holds, and the log in the space of the segments that it gives back when the disk fills."""

_FINISH_SECONDS = 3.0


class _Disk:
    """A small file system, and the file that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int) -> None:
        """Fill it but for about `leave` bytes."""
        with open(self._ballast, "wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    size //= 2
            file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def _mounted(path: Path) -> Iterator[_Disk]:
    """Have a small tmpfs at `path`, and take it away in any case."""
    path.mkdir()
    before = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={_DISK_BYTES},mode=0700,uid={os.geteuid()}"
    command = [*before, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"this scenario mounts a tmpfs, for which it must be root: {done.stderr}"
    try:
        yield _Disk(path)
    finally:
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run([*before, "umount", str(path)], capture_output=True).returncode:
            if time.monotonic() > deadline:  # somebody still has files there open
                subprocess.run([*before, "umount", "--lazy", str(path)], check=True)
                break
            time.sleep(0.02)


def _full(root: Path, trainer: Trainer, disk: _Disk, chance: random.Random, calls: int) -> None:
    """Log, fill the disk, log `calls` more; the trainer and what was written before must be as they were."""
    trainer.wait_for_stage()
    trainer.wait_for_calls(chance.randrange(100, 3000))
    wait_until(lambda: (root / RUNS_NAME / "run" / STORE_NAME).exists() and any(_reader(root)), "rows in the store")
    disk.fill(chance.choice((0, 0, 4096, chance.randrange(200_000))))
    begun = trainer.tally.returned()
    trainer.wait_for_calls(begun + calls // 2)
    numbers = sorted(number for _, number in logged_calls(root / RUNS_NAME / "run"))
    assert numbers == list(range(len(numbers))), "what is in the log while the disk is full is no part of the calls"
    trainer.wait_for_calls(begun + calls)
    assert trainer.process.poll() is None, f"the trainer ended: {trainer.said()}"
    assert len(logged_calls(root / RUNS_NAME / "run")) < trainer.tally.returned(), "the disk was not full"
    rows = sum(1 for _ in _reader(root))
    assert rows <= begun + calls, "the store can be read while the disk is full"


def _reader(root: Path) -> Iterator[object]:
    from tracker.reading.stored_run import StoredRun

    return iter(StoredRun(root / RUNS_NAME / "run", stalled_after=600.0).scan_history())


def _figures(back: Back, trainer: Trainer, note: str) -> Figures:
    counted = sum(back.run.losses.values())
    lost = back.lost - counted
    assert lost >= 0, f"{counted} are counted as lost, and only {back.lost} are"
    p99 = trainer.tally.p99()
    assert trainer.tally.raised() == 0 and p99 < 0.001, f"log(): p99 {p99 * 1e6:.0f} µs"
    return Figures(back.calls, back.read, lost, back.twice, trainer.tally.worst(), p99, note)


def _later_freed(directory: Path, seed: int) -> Figures:
    """Freed while the window still holds all of it: nothing is lost."""
    chance = random.Random(seed)
    root = directory / "root"
    with _mounted(root) as disk, Trainer(root, "steady", rate=chance.choice((2000, 8000))) as trainer:
        _full(root, trainer, disk, chance, _SAFE_CALLS)
        disk.free()
        freed = time.monotonic()
        wanted = trainer.tally.returned()
        wait_until(lambda: len(logged_calls(root / RUNS_NAME / "run")) >= wanted, "all arrives after it is freed")
        took = time.monotonic() - freed
        trainer.tally.told = 1
        trainer.wait(seconds=2 * TIMEOUT)
        back = read_back(root, "run", [trainer.tally])
        assert back.run.state == "finished" and not back.run.losses, f"{back.run.state}, {back.run.losses}"
        return _figures(back, trainer, f"all of it in the log {took:.1f} s after space was freed")


def _window_full(directory: Path, seed: int) -> Figures:
    """Logged on until the window cannot grow: the newest are lost, counted and said; what is logged later arrives."""
    chance = random.Random(seed)
    root = directory / "root"
    settings = {"window_bytes": _WINDOW_BYTES}
    with _mounted(root) as disk, Trainer(root, "steady", rate=1_000_000, settings=settings) as trainer:
        _full(root, trainer, disk, chance, _MANY_CALLS)
        disk.free()
        wanted = trainer.tally.returned() + 5_000
        trainer.wait_for_calls(wanted)
        trainer.tally.told = 1
        trainer.wait(seconds=2 * TIMEOUT)
        back = read_back(root, "run", [trainer.tally])
        counted = back.run.losses
        assert back.run.state == "finished" and counted, f"{back.run.state}, {counted}: too little was logged"
        said = [line for line in trainer.said().splitlines() if ": lost: " in line]
        assert len(said) == 1, f"that {counted} are lost is said {len(said)} times: {trainer.said()}"
        return _figures(back, trainer, f"{sum(counted.values())} counted as lost ({', '.join(counted)}), and said")


def _finished_full(directory: Path, seed: int) -> Figures:
    """`finish` while it is full keeps its deadline; the sidecar goes on alone, and has it all when space is freed."""
    chance = random.Random(seed)
    root = directory / "root"
    settings = {"finish_timeout": _FINISH_SECONDS}
    with _mounted(root) as disk, Trainer(root, "steady", rate=4000, settings=settings) as trainer:
        _full(root, trainer, disk, chance, _SAFE_CALLS)
        sidecar = find_sidecar(root)
        assert sidecar is not None
        trainer.tally.told = 1
        begun = time.monotonic()
        trainer.wait(seconds=4 * _FINISH_SECONDS)
        took = time.monotonic() - begun
        disk.free()
        wait_until(lambda: not alive(sidecar), "the sidecar ends once it has written all", 2 * TIMEOUT)
        back = read_back(root, "run", [trainer.tally])
        assert back.run.state == "finished" and not back.run.losses, f"{back.run.state}, {back.run.losses}"
        return _figures(back, trainer, f"finish() took {took:.1f} s of its {_FINISH_SECONDS:.0f}")


SCENARIOS = [
    Scenario(
        4,
        "disk full, later freed",
        _later_freed,
        rounds_in_ci=1,
        must="training goes on at full speed; what was written is readable; all arrives",
    ),
    Scenario(
        4,
        "disk full until the window is, later freed",
        _window_full,
        rounds_in_ci=1,
        must="losses are counted and said once; no SIGBUS; what comes after arrives",
    ),
    Scenario(
        4,
        "disk full at finish(), later freed",
        _finished_full,
        rounds_in_ci=1,
        must="finish() keeps its deadline; all arrives once there is space",
    ),
]
