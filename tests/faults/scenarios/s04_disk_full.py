"""The disk is full for a while: the root is on a small tmpfs, which another file fills.

Mounting needs root, or a ``sudo`` without a password.
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
from tests.faults.readback import Comparison, logged_calls, read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, alive, find_sidecar
from tests.support import TIMEOUT, wait_until

_DISK_BYTES = 48 * 1024 * 1024
_SAFE_CALLS = 8_000
"""Fewer than fit in half a segment, so that the window can take them without a new segment."""

_WINDOW_BYTES = 8 * 1024 * 1024
_MANY_CALLS = 230_000
"""More than fit in such a window, and in the log, which can grow by the segments that the window frees."""

_FINISH_SECONDS = 3.0


class _Disk:
    """A small file system, which can be filled by a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int) -> None:
        """Fill it, except for about `leave` bytes."""
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
    """Mount a small tmpfs at `path`, and unmount it at the end."""
    path.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={_DISK_BYTES},mode=0700,uid={os.geteuid()}"
    command = [*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"cannot mount a tmpfs; run as root: {done.stderr}"
    try:
        yield _Disk(path)
    finally:
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run([*sudo, "umount", str(path)], capture_output=True).returncode:
            if time.monotonic() > deadline:  # a process still has files open there
                subprocess.run([*sudo, "umount", "--lazy", str(path)], check=True)
                break
            time.sleep(0.02)


def _full(root: Path, trainer: Trainer, disk: _Disk, rng: random.Random, calls: int) -> None:
    """Log, fill the disk, log `calls` more; the trainer keeps running, and the log and the store stay readable."""
    trainer.wait_for_stage()
    trainer.wait_for_calls(rng.randrange(100, 3000))
    wait_until(lambda: (root / RUNS_NAME / "run" / STORE_NAME).exists() and any(_reader(root)), "rows in the store")
    disk.fill(rng.choice((0, 0, 4096, rng.randrange(200_000))))
    begun = trainer.tally.returned()
    trainer.wait_for_calls(begun + calls // 2)
    numbers = sorted(number for _, number in logged_calls(root / RUNS_NAME / "run"))
    assert numbers == list(range(len(numbers))), (
        "the log does not have the first calls, in order, while the disk is full"
    )
    trainer.wait_for_calls(begun + calls)
    assert trainer.process.poll() is None, f"the trainer ended: {trainer.output()}"
    assert len(logged_calls(root / RUNS_NAME / "run")) < trainer.tally.returned(), "the disk was not full"
    rows = sum(1 for _ in _reader(root))
    assert rows <= begun + calls, "the store has more rows than were logged"


def _reader(root: Path) -> Iterator[object]:
    from tracker.reading.stored_run import StoredRun

    return iter(StoredRun(root / RUNS_NAME / "run", stalled_after=600.0).scan_history())


def _figures(result: Comparison, trainer: Trainer, note: str) -> Figures:
    counted = sum(result.run.losses.values())
    lost = result.lost - counted
    assert lost >= 0, f"{counted} calls are counted as lost, but only {result.lost} are"
    p99 = trainer.tally.p99()
    assert trainer.tally.raised() == 0 and p99 < 0.001, f"log(): p99 {p99 * 1e6:.0f} µs"
    return Figures(result.calls, result.read, lost, result.duplicated, trainer.tally.worst(), p99, note)


def _later_freed(directory: Path, seed: int) -> Figures:
    """Free the disk while the window still holds all records: none is lost."""
    rng = random.Random(seed)
    root = directory / "root"
    with _mounted(root) as disk, Trainer(root, "steady", rate=rng.choice((2000, 8000))) as trainer:
        _full(root, trainer, disk, rng, _SAFE_CALLS)
        disk.free()
        freed = time.monotonic()
        calls = trainer.tally.returned()
        wait_until(lambda: len(logged_calls(root / RUNS_NAME / "run")) >= calls, "all calls are in the log")
        took = time.monotonic() - freed
        trainer.tally.command = 1
        trainer.wait(seconds=2 * TIMEOUT)
        result = read_back(root, "run", [trainer.tally])
        assert result.run.state == "finished" and not result.run.losses, f"{result.run.state}, {result.run.losses}"
        return _figures(result, trainer, f"all in the log {took:.1f} s after space was freed")


def _window_full(directory: Path, seed: int) -> Figures:
    """Log until the window cannot grow: the newest records are lost, counted and reported; later ones arrive."""
    rng = random.Random(seed)
    root = directory / "root"
    settings = {"window_bytes": _WINDOW_BYTES}
    with _mounted(root) as disk, Trainer(root, "steady", rate=1_000_000, settings=settings) as trainer:
        _full(root, trainer, disk, rng, _MANY_CALLS)
        disk.free()
        trainer.wait_for_calls(trainer.tally.returned() + 5_000)
        trainer.tally.command = 1
        trainer.wait(seconds=2 * TIMEOUT)
        result = read_back(root, "run", [trainer.tally])
        counted = result.run.losses
        assert result.run.state == "finished" and counted, f"{result.run.state}, {counted}: too little was logged"
        reports = [line for line in trainer.output().splitlines() if ": lost: " in line]
        assert len(reports) == 1, f"the losses {counted} are reported {len(reports)} times: {trainer.output()}"
        note = f"{sum(counted.values()):,} counted as lost ({', '.join(counted)}) and reported"
        return _figures(result, trainer, note)


def _finished_full(directory: Path, seed: int) -> Figures:
    """`finish` while the disk is full: it keeps its deadline; the sidecar writes the rest when space is freed."""
    rng = random.Random(seed)
    root = directory / "root"
    settings = {"finish_timeout": _FINISH_SECONDS}
    with _mounted(root) as disk, Trainer(root, "steady", rate=4000, settings=settings) as trainer:
        _full(root, trainer, disk, rng, _SAFE_CALLS)
        sidecar = find_sidecar(root)
        assert sidecar is not None
        trainer.tally.command = 1
        begun = time.monotonic()
        trainer.wait(seconds=4 * _FINISH_SECONDS)
        took = time.monotonic() - begun
        disk.free()
        wait_until(lambda: not alive(sidecar), "the sidecar has written the rest and exited", 2 * TIMEOUT)
        result = read_back(root, "run", [trainer.tally])
        assert result.run.state == "finished" and not result.run.losses, f"{result.run.state}, {result.run.losses}"
        return _figures(result, trainer, f"finish() took {took:.1f} s of its {_FINISH_SECONDS:.0f} s")


SCENARIOS = [
    Scenario(
        4,
        "disk full, later freed",
        _later_freed,
        rounds_in_ci=1,
        requirement="training continues at full speed; what was written is readable; all calls arrive",
    ),
    Scenario(
        4,
        "disk full until the window is full, later freed",
        _window_full,
        rounds_in_ci=1,
        requirement="losses are counted, and reported once; no SIGBUS; later calls arrive",
    ),
    Scenario(
        4,
        "disk full at finish(), later freed",
        _finished_full,
        rounds_in_ci=1,
        requirement="finish() keeps its deadline; all calls arrive once there is space",
    ),
]
