"""The programs that train, each in a process of its own, and the tally that survives them.

A tally is a file that trainer and tests map: the trainer writes into it before and after each call of `log`, so that
a SIGKILL takes nothing of what is known about them. ``python -m tests.faults.trainers PROGRAM OPTIONS`` is a trainer.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sidecar.protocol.connection import read_connection
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.layout import RUNS_NAME, is_held
from tests.support import REPOSITORY, TIMEOUT, wait_until

_SLOT_BYTES = 64  # begun, returned, worst nanoseconds, raised: eight bytes each
_HEAD_BYTES = 64  # the stage, and whether to stop
_NUMBER_BYTES = 8
_TOOK = struct.Struct("<I")
_KEPT = 100_000


def row(writer: int, number: int) -> dict[str, Any]:
    """Return what a writer logs in its call `number`: no two calls of all writers log the same."""
    return {"w": writer, "i": number, "loss": 1.0 / (number + 1), "acc": number * 0.25}


class Tally:
    """Counts of the calls of some writers, in a mapped file.

    Args:
        path: the file; made if it is not there.
        writers: how many there are.
        first: the first one's number; the others follow.
    """

    def __init__(self, path: Path, writers: int = 1, first: int = 0) -> None:
        self.path = path
        self.writers = range(first, first + writers)
        size = _HEAD_BYTES + writers * (_SLOT_BYTES + _KEPT * _TOOK.size)
        if not path.exists():
            path.touch()
            os.truncate(path, size)
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        # An item of this is written at once. struct.pack_into would first write zeros, which the other side may see.
        self._numbers = memoryview(self._memory).cast("Q")

    def close(self) -> None:
        self._numbers.release()
        self._memory.close()

    # -- both sides ---------------------------------------------------------------------------------------------

    @property
    def stage(self) -> int:
        """How far the trainer is: 0 at first, 1 when `init` returned; what follows is the program's."""
        return self._numbers[0]

    @stage.setter
    def stage(self, stage: int) -> None:
        self._numbers[0] = stage

    @property
    def told(self) -> int:
        """What the trainer was told: 0 at first, 1 to stop logging; what follows is the program's."""
        return self._numbers[1]

    @told.setter
    def told(self, what: int) -> None:
        self._numbers[1] = what

    def __getitem__(self, writer: int) -> tuple[int, int, int, int]:
        """Return the writer's calls begun, returned, the worst in nanoseconds, and how many raised."""
        at = self._slot(writer) // _NUMBER_BYTES
        begun, returned, worst, raised = self._numbers[at : at + 4]
        return begun, returned, worst, raised

    def _slot(self, writer: int) -> int:
        return _HEAD_BYTES + self.writers.index(writer) * (_SLOT_BYTES + _KEPT * _TOOK.size)

    # -- the tests' side ----------------------------------------------------------------------------------------

    def counts(self) -> dict[int, tuple[int, int]]:
        """Return for each writer how many calls returned and how many began."""
        return {writer: (self[writer][1], self[writer][0]) for writer in self.writers}

    def returned(self) -> int:
        """How many calls returned, of all writers."""
        return sum(self[writer][1] for writer in self.writers)

    def raised(self) -> int:
        """How many calls raised, of all writers."""
        return sum(self[writer][3] for writer in self.writers)

    def worst(self) -> float:
        """The longest a call took, in seconds."""
        return max(self[writer][2] for writer in self.writers) / 1e9

    def p99(self) -> float:
        """What 99 of 100 calls stayed under, in seconds."""
        took: list[int] = []
        for writer in self.writers:
            start = self._slot(writer) + _SLOT_BYTES
            kept = min(_KEPT, self[writer][1])
            took += memoryview(self._memory)[start : start + kept * _TOOK.size].cast("I").tolist()
        took.sort()
        return took[min(len(took) - 1, len(took) * 99 // 100)] / 1e9 if took else 0.0

    # -- the trainer's side -------------------------------------------------------------------------------------

    def caller(self, log: Callable[[dict[str, Any]], None], writer: int) -> Callable[[], None]:
        """Return a function that makes the writer's next call of `log`, and notes when it began and returned."""
        memory, slot = self._memory, self._slot(writer)
        numbers, at = self._numbers, slot // _NUMBER_BYTES
        _, number, worst, raised = self[writer]

        def call() -> None:
            nonlocal number, worst, raised
            data = row(writer, number)
            numbers[at] = number + 1
            start = time.perf_counter_ns()
            try:
                log(data)
            except BaseException:
                raised += 1
                numbers[at + 3] = raised
                raise
            took = time.perf_counter_ns() - start
            if number < _KEPT:
                _TOOK.pack_into(memory, slot + _SLOT_BYTES + number * _TOOK.size, min(took, 0xFFFFFFFF))
            worst = max(worst, took)
            number += 1
            numbers[at + 1] = number  # of the whole, this alone says that it returned
            numbers[at + 2] = worst

        return call


class Trainer:
    """A program that trains, in a process and a process group of its own.

    Args:
        root: its ``TRACKER_DIR``; beside it lie its tally and what it prints.
        program: the name of the function in this module, or a module's with ``module:function``.
        run: the run's id.
        writers, first: those in its tally.
        env: changes of its environment; None removes.
        options: what else the program is told; plain data.
    """

    def __init__(
        self,
        root: Path,
        program: str,
        run: str = "run",
        *,
        writers: int = 1,
        first: int = 0,
        env: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> None:
        self.root = root
        self.run = run
        self.name = f"trainer-{os.urandom(3).hex()}"
        self.tally = Tally(root.parent / f"{self.name}.tally", writers, first)
        self._output = root.parent / f"{self.name}.out"
        told = {"run": run, "tally": str(self.tally.path), "writers": writers, "first": first, **options}
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.faults.trainers", program, json.dumps(told)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(root, env),
                cwd=root.parent,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def said(self) -> str:
        """Return what it printed."""
        return self._output.read_text(errors="replace")

    def wait_for_stage(self, stage: int = 1) -> None:
        """Wait until the trainer is so far; fail if it ends first."""
        wait_until(lambda: self.tally.stage >= stage or self.process.poll() is not None, f"stage {stage}")
        assert self.tally.stage >= stage, f"the trainer ended with {self.process.returncode}: {self.said()}"

    def wait_for_calls(self, calls: int) -> None:
        """Wait until so many calls returned; fail if it ends first."""
        wait_until(lambda: self.tally.returned() >= calls or self.process.poll() is not None, f"{calls} calls")
        assert self.tally.returned() >= calls, f"the trainer ended with {self.process.returncode}: {self.said()}"

    def wait(self, code: int | None = 0, seconds: float = TIMEOUT) -> int:
        """Wait for its end, and check its exit status (negative: a signal); return that."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(self.pid, signal.SIGABRT)  # all its processes print where they are
            self.process.wait(TIMEOUT)
            raise AssertionError(f"the trainer did not end in {seconds:.0f} s: {self.said()}") from error
        assert code is None or found == code, f"exit status {found}, not {code}: {self.said()}"
        return found

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(TIMEOUT)
        self.tally.close()


def environment(root: Path, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return the environment of a trainer: this source tree, `root`, and nothing of ``TRACKER_*`` besides."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    found |= {"PYTHONPATH": str(REPOSITORY), "TRACKER_DIR": str(root), "TRACKER_SILENT": "1"}
    for name, value in (changes or {}).items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found


def find_sidecar(root: Path, run: str = "run") -> int | None:
    """Return the process id of the sidecar that holds a run now, or None."""
    where = is_held(root / RUNS_NAME / run)
    if not where:
        return None
    try:
        return read_connection(where).pid
    except ConnectionFileError:
        return None


def sidecars(root: Path) -> list[int]:
    """Return the process ids of all sidecars of this root, also of those that are only beginning, or about to end."""
    found = []
    for pid in _pids():
        words = _words(pid)
        if b"sidecar" in words and b"launch" in words and os.fsencode(root) in words:
            _ours.setdefault(root, set()).add(pid)
    known = _ours.get(root, set())
    for pid in sorted(known):
        if alive(pid):  # one that is being killed has no command line any more, but still its locks
            found.append(pid)
        else:
            known.discard(pid)
    return found


_ours: dict[Path, set[int]] = {}
"""Sidecars by their root, as far as they were seen."""


def group(leader: int) -> list[int]:
    """Return the process ids of a process group, those left out that have ended."""
    found = []
    for pid in _pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] not in (b"Z", b"X"):
            found.append(pid)
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def signal_sidecars(root: Path, number: int = signal.SIGKILL) -> int:
    """Send a signal to all sidecars of this root; return how many there were."""
    hit = 0
    for pid in sidecars(root):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        hit += 1
    return hit


def alive(pid: int) -> bool:
    """Whether a process is there and runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


# -- the programs ------------------------------------------------------------------


def pace(call: Callable[[], None], per_second: float, go_on: Callable[[], bool]) -> None:
    """Make calls at an even rate, not catching up on what a pause cost, until `go_on` says no."""
    gap = 1.0 / per_second
    due = time.perf_counter()
    while go_on():
        call()
        now = time.perf_counter()
        due = max(due + gap, now - gap)
        if due > now:
            time.sleep(due - now)


def _begin(told: dict[str, Any]) -> tuple[Any, Tally, Callable[[], None]]:
    import tracker

    tally = Tally(Path(told["tally"]), told["writers"], told["first"])
    run = tracker.init(project="faults", id=told["run"], settings=told.get("settings", {}), **told.get("init", {}))
    call = tally.caller(run.log, told["first"])
    tally.stage = 1
    return run, tally, call


def steady(told: dict[str, Any]) -> None:
    """``calls`` calls (0: until it is told to stop), ``rate`` a second, then `finish`."""
    run, tally, call = _begin(told)
    first, calls = told["first"], told.get("calls", 0)
    pace(call, told.get("rate", 1000), lambda: not tally.told and (not calls or tally[first][1] < calls))
    tally.stage = 2
    run.finish()
    tally.stage = 3


def in_python(told: dict[str, Any]) -> None:
    """Steps of pure Python work, which never lets go of the interpreter by itself; a call after each."""
    _, tally, call = _begin(told)
    total = 0
    while not tally.told:
        total += sum(index * index for index in range(10_000))
        call()


def released(told: dict[str, Any]) -> None:
    """Steps of work that lets go of the interpreter; a call after each."""
    _, tally, call = _begin(told)
    data = bytes(1 << 20)
    while not tally.told:
        hashlib.sha256(data).digest()
        call()


def burst(told: dict[str, Any]) -> None:
    """``calls`` calls, one right after the other; then it waits to be killed."""
    _, tally, call = _begin(told)
    for _ in range(told["calls"]):
        call()
    tally.stage = 2
    while not tally.told:
        time.sleep(0.01)


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name."""
    faulthandler.enable()
    name, told = arguments
    if ":" in name:
        import importlib

        module, _, name = name.partition(":")
        program = getattr(importlib.import_module(module), name)
    else:
        program = globals()[name]
    program(json.loads(told))


if __name__ == "__main__":
    main(sys.argv[1:])
