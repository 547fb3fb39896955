"""Training programs, each run in its own process, and the tallies of their calls.

A tally is a file that the trainer and the tests map into memory: the trainer writes into it before and after each call
of `log`, so that the counts survive a SIGKILL. ``python -m tests.faults.trainers PROGRAM OPTIONS`` runs a program.
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

_SLOT_BYTES = 64  # calls begun, calls returned, worst duration in ns, calls raised: eight bytes each
_HEAD_BYTES = 64  # the stage, and the command
_NUMBER_BYTES = 8
_DURATION = struct.Struct("<I")
_TIMED_CALLS = 100_000


def row(writer: int, number: int) -> dict[str, Any]:
    """Return what a writer logs in its call `number`; different for each call of each writer."""
    return {"w": writer, "i": number, "loss": 1.0 / (number + 1), "acc": number * 0.25}


class Tally:
    """Counts of the calls of some writers, in a mapped file.

    Args:
        path: the file; created if it does not exist.
        writers: number of writers.
        first: number of the first writer; the others follow.
    """

    def __init__(self, path: Path, writers: int = 1, first: int = 0) -> None:
        self.path = path
        self.writers = range(first, first + writers)
        size = _HEAD_BYTES + writers * (_SLOT_BYTES + _TIMED_CALLS * _DURATION.size)
        if not path.exists():
            path.touch()
            os.truncate(path, size)
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        # Writes an item at once. struct.pack_into would first write zeros, which the other process may see.
        self._numbers = memoryview(self._memory).cast("Q")

    def close(self) -> None:
        self._numbers.release()
        self._memory.close()

    # -- for both processes ----------------------------------------

    @property
    def stage(self) -> int:
        """Progress of the trainer: 0 at first, 1 when `init` has returned; the program defines further stages."""
        return self._numbers[0]

    @stage.setter
    def stage(self, stage: int) -> None:
        self._numbers[0] = stage

    @property
    def command(self) -> int:
        """Command to the trainer: 0 at first, 1 to stop logging; the program defines further commands."""
        return self._numbers[1]

    @command.setter
    def command(self, command: int) -> None:
        self._numbers[1] = command

    def __getitem__(self, writer: int) -> tuple[int, int, int, int]:
        """Return for a writer: calls begun, calls returned, the longest duration in nanoseconds, calls that raised."""
        index = self._slot(writer) // _NUMBER_BYTES
        begun, returned, worst, raised = self._numbers[index : index + 4]
        return begun, returned, worst, raised

    def _slot(self, writer: int) -> int:
        return _HEAD_BYTES + self.writers.index(writer) * (_SLOT_BYTES + _TIMED_CALLS * _DURATION.size)

    # -- for the tests ----------------------------------------

    def counts(self) -> dict[int, tuple[int, int]]:
        """Return for each writer the number of calls that returned, and of calls that began."""
        return {writer: (self[writer][1], self[writer][0]) for writer in self.writers}

    def returned(self) -> int:
        """Return the number of calls that returned, of all writers."""
        return sum(self[writer][1] for writer in self.writers)

    def raised(self) -> int:
        """Return the number of calls that raised, of all writers."""
        return sum(self[writer][3] for writer in self.writers)

    def worst(self) -> float:
        """Return the duration of the longest call, in seconds."""
        return max(self[writer][2] for writer in self.writers) / 1e9

    def p99(self) -> float:
        """Return the 99th percentile of the durations of calls, in seconds."""
        durations: list[int] = []
        for writer in self.writers:
            start = self._slot(writer) + _SLOT_BYTES
            count = min(_TIMED_CALLS, self[writer][1])
            durations += memoryview(self._memory)[start : start + count * _DURATION.size].cast("I").tolist()
        durations.sort()
        return durations[min(len(durations) - 1, len(durations) * 99 // 100)] / 1e9 if durations else 0.0

    # -- for the trainer ----------------------------------------

    def caller(self, log: Callable[[dict[str, Any]], None], writer: int) -> Callable[[], None]:
        """Return a function that makes the writer's next call of `log`, and counts and times it."""
        memory, slot = self._memory, self._slot(writer)
        numbers, index = self._numbers, slot // _NUMBER_BYTES
        _, number, worst, raised = self[writer]

        def call() -> None:
            nonlocal number, worst, raised
            data = row(writer, number)
            numbers[index] = number + 1
            start = time.perf_counter_ns()
            try:
                log(data)
            except BaseException:
                raised += 1
                numbers[index + 3] = raised
                raise
            duration = time.perf_counter_ns() - start
            if number < _TIMED_CALLS:
                _DURATION.pack_into(memory, slot + _SLOT_BYTES + number * _DURATION.size, min(duration, 0xFFFFFFFF))
            worst = max(worst, duration)
            number += 1
            numbers[index + 1] = number  # from here on, the call counts as returned
            numbers[index + 2] = worst

        return call


class Trainer:
    """A training program in its own process and process group.

    Args:
        root: its ``TRACKER_DIR``; its tally and its output are files beside that.
        program: name of a function in this module, or ``module:function``.
        run: id of the run.
        writers, first: the writers of its tally; see `Tally`.
        env: changes to its environment; None removes a variable.
        options: further options of the program, as plain data.
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
        arguments = {"run": run, "tally": str(self.tally.path), "writers": writers, "first": first, **options}
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.faults.trainers", program, json.dumps(arguments)],
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

    def output(self) -> str:
        """Return everything that the program has printed."""
        return self._output.read_text(errors="replace")

    def wait_for_stage(self, stage: int = 1) -> None:
        """Wait until the trainer has reached a stage; fail if it ends before."""
        wait_until(lambda: self.tally.stage >= stage or self.process.poll() is not None, f"stage {stage}")
        assert self.tally.stage >= stage, f"the trainer ended with {self.process.returncode}: {self.output()}"

    def wait_for_calls(self, calls: int) -> None:
        """Wait until this number of calls has returned; fail if the trainer ends before."""
        wait_until(lambda: self.tally.returned() >= calls or self.process.poll() is not None, f"{calls} calls")
        assert self.tally.returned() >= calls, f"the trainer ended with {self.process.returncode}: {self.output()}"

    def wait(self, code: int | None = 0, seconds: float = TIMEOUT) -> int:
        """Wait until the trainer ends, check its exit status (negative: a signal), and return it."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(self.pid, signal.SIGABRT)  # all its processes print their stacks
            self.process.wait(TIMEOUT)
            raise AssertionError(f"the trainer did not end in {seconds:.0f} s: {self.output()}") from error
        assert code is None or status == code, f"exit status {status}, not {code}: {self.output()}"
        return status

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
    """Return the environment of a trainer: this source tree, `root`, and no other variables ``TRACKER_*``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    variables |= {"PYTHONPATH": str(REPOSITORY), "TRACKER_DIR": str(root), "TRACKER_SILENT": "1"}
    for name, value in (changes or {}).items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    return variables


def find_sidecar(root: Path, run: str = "run") -> int | None:
    """Return the process id of the sidecar that holds a run now, or None."""
    connection_file = is_held(root / RUNS_NAME / run)
    if not connection_file:
        return None
    try:
        return read_connection(connection_file).pid
    except ConnectionFileError:
        return None


def sidecars(root: Path) -> list[int]:
    """Return the process ids of all sidecars of this root, including those that are starting or ending."""
    pids = []
    for pid in _pids():
        arguments = _arguments(pid)
        if b"sidecar" in arguments and b"launch" in arguments and os.fsencode(root) in arguments:
            _seen.setdefault(root, set()).add(pid)
    seen = _seen.get(root, set())
    for pid in sorted(seen):
        if alive(pid):  # a process that is being killed has no command line any more, but still its locks
            pids.append(pid)
        else:
            seen.discard(pid)
    return pids


_seen: dict[Path, set[int]] = {}
"""Process ids of the sidecars of each root that `sidecars` has seen."""


def group(leader: int) -> list[int]:
    """Return the process ids of a process group, except of processes that have ended."""
    pids = []
    for pid in _pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] not in (b"Z", b"X"):
            pids.append(pid)
    return pids


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def signal_sidecars(root: Path, number: int = signal.SIGKILL) -> int:
    """Send a signal to all sidecars of this root; return their number."""
    count = 0
    for pid in sidecars(root):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        count += 1
    return count


def alive(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


# -- the programs ------------------------------------------------------------------


def pace(call: Callable[[], None], per_second: float, proceed: Callable[[], bool]) -> None:
    """Make calls at an even rate, without catching up after a pause, until `proceed` returns false."""
    gap = 1.0 / per_second
    due = time.perf_counter()
    while proceed():
        call()
        now = time.perf_counter()
        due = max(due + gap, now - gap)
        if due > now:
            time.sleep(due - now)


def _begin(options: dict[str, Any]) -> tuple[Any, Tally, Callable[[], None]]:
    import tracker

    tally = Tally(Path(options["tally"]), options["writers"], options["first"])
    run = tracker.init(
        project="faults", id=options["run"], settings=options.get("settings", {}), **options.get("init", {})
    )
    call = tally.caller(run.log, options["first"])
    tally.stage = 1
    return run, tally, call


def steady(options: dict[str, Any]) -> None:
    """``calls`` calls (0: until the command to stop) at ``rate`` per second, then `finish`."""
    run, tally, call = _begin(options)
    first, calls = options["first"], options.get("calls", 0)
    pace(call, options.get("rate", 1000), lambda: not tally.command and (not calls or tally[first][1] < calls))
    tally.stage = 2
    run.finish()
    tally.stage = 3


def in_python(options: dict[str, Any]) -> None:
    """Steps of pure Python work, which never releases the GIL by itself, with a call after each."""
    _, tally, call = _begin(options)
    total = 0
    while not tally.command:
        total += sum(index * index for index in range(10_000))
        call()


def without_gil(options: dict[str, Any]) -> None:
    """Steps of work that releases the GIL, with a call after each."""
    _, tally, call = _begin(options)
    data = bytes(1 << 20)
    while not tally.command:
        hashlib.sha256(data).digest()
        call()


def burst(options: dict[str, Any]) -> None:
    """``calls`` calls without a pause; then wait to be killed."""
    _, tally, call = _begin(options)
    for _ in range(options["calls"]):
        call()
    tally.stage = 2
    while not tally.command:
        time.sleep(0.01)


def main(arguments: list[str]) -> None:
    """Run the program named by the arguments."""
    faulthandler.enable()
    name, options = arguments
    if ":" in name:
        import importlib

        module, _, name = name.partition(":")
        program = getattr(importlib.import_module(module), name)
    else:
        program = globals()[name]
    program(json.loads(options))


if __name__ == "__main__":
    main(sys.argv[1:])
