"""Every way in which a training process can end: the resulting state of the run, and the time it takes."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tracker
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer, sidecars, signal_sidecars
from tests.support import wait_until

FINISH_SECONDS = 3.0
"""Value of finish_timeout in these programs, in seconds."""

SPARE_SECONDS = 3.0
"""Maximum additional time, for the interpreter and a busy machine, in seconds."""

# -- the programs ------------------------------------------------------------------


def end(options: dict[str, Any]) -> None:
    """Program: log until the command to end; then end in the way ``options["way"]``. A signal may come at any time."""
    settings = tracker.Settings(finish_timeout=FINISH_SECONDS)
    run = tracker.init(project="faults", id=options["run"], settings=settings)
    tally = Tally(Path(options["tally"]), options["writers"])
    call = tally.caller(run.log, 0)
    tally.stage = 1
    way = _WAYS[options["way"]]
    if options["way"] == "raises in with":
        with run:
            _log_until_command(tally, call)
            way(run)
    _log_until_command(tally, call)
    way(run)


def _log_until_command(tally: Tally, call: Callable[[], None]) -> None:
    while not tally.command:
        call()
        time.sleep(0.0005)


def _raise(run: Any) -> None:
    raise ValueError("planned, at the end")


def _segfault(run: Any) -> None:
    ctypes.string_at(0)


def _preempted(run: Any) -> None:
    run.mark_preempting()
    os.kill(os.getpid(), signal.SIGKILL)


def _own_handler(run: Any) -> None:
    """Install a handler for SIGTERM, as programs do to save their state, and send the signal."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


_WAYS: dict[str, Callable[[Any], object]] = {
    "falls off": lambda run: None,
    "finish(7)": lambda run: run.finish(exit_code=7),
    "raises": _raise,
    "raises in with": _raise,
    "sys.exit(0)": lambda run: sys.exit(0),
    "sys.exit(3)": lambda run: sys.exit(3),
    "sys.exit(text)": lambda run: sys.exit("planned"),
    "os._exit": lambda run: os._exit(5),
    "segfault": _segfault,
    "abort": lambda run: os.abort(),
    "mark_preempting": _preempted,
    "own SIGTERM": _own_handler,
}


# -- what the test does to them ------------------------------------------------------------------


def _signal(number: int, trainer: Trainer) -> None:
    trainer.kill(number)


def _ctrl_c_twice(trainer: Trainer) -> None:
    """Send Ctrl-C, and again while the first is being handled; a stopped sidecar makes that take long."""
    signal_sidecars(trainer.root, signal.SIGSTOP)
    trainer.kill(signal.SIGINT)
    wait_until(
        lambda: "planned" in trainer.output() or "KeyboardInterrupt" in trainer.output(), "the first is being handled"
    )
    trainer.kill(signal.SIGINT)


def _with_stopped_sidecar(trainer: Trainer) -> None:
    """Stop the sidecar, then end the program, which must not wait for the sidecar beyond its deadline."""
    signal_sidecars(trainer.root, signal.SIGSTOP)
    trainer.tally.command = 1


def _with_killed_sidecar(trainer: Trainer) -> None:
    """Kill the sidecar while the program is ending."""
    trainer.tally.command = 1
    signal_sidecars(trainer.root)


def _command(trainer: Trainer) -> None:
    trainer.tally.command = 1


@dataclass(frozen=True)
class End:
    """A way to end, and the expected result.

    Attributes:
        name: name of the scenario.
        way: what the program does on the command to end; a key of `_WAYS`.
        send: what the test does to it.
        status: exit status of the program; negative for a signal.
        state, exit_code, signal: of the run.
        text: text that the run's traceback must contain; empty if the run must not have a traceback.
    """

    name: str
    way: str
    send: Callable[[Trainer], None]
    status: int
    state: str
    exit_code: int | None = None
    signal: int | None = None
    text: str = ""


_ENDS = (
    End("end of the script", "falls off", _command, 0, "finished", 0),
    End("finish(exit_code=7)", "finish(7)", _command, 0, "failed", 7),
    End("unhandled exception", "raises", _command, 1, "failed", 1, text="ValueError: planned, at the end"),
    End(
        "unhandled exception in a with block",
        "raises in with",
        _command,
        1,
        "failed",
        1,
        text="ValueError: planned, at the end",
    ),
    End("sys.exit(0)", "sys.exit(0)", _command, 0, "finished", 0),
    End("sys.exit(3)", "sys.exit(3)", _command, 3, "failed", 3),
    End("sys.exit() with a message", "sys.exit(text)", _command, 1, "failed", 1),
    End("os._exit(5)", "os._exit", _command, 5, "crashed"),
    End("segmentation fault", "segfault", _command, -signal.SIGSEGV, "crashed"),
    End("abort", "abort", _command, -signal.SIGABRT, "crashed"),
    End("Ctrl-C", "falls off", partial(_signal, signal.SIGINT), -2, "killed", 130, 2, "KeyboardInterrupt"),
    End("Ctrl-C twice", "falls off", _ctrl_c_twice, -2, "killed", 130, 2, "KeyboardInterrupt"),
    End("SIGTERM", "falls off", partial(_signal, signal.SIGTERM), -15, "preempted", 143, 15),
    End("SIGTERM, handled by the program", "own SIGTERM", _command, 0, "finished", 0),
    End("SIGHUP", "falls off", partial(_signal, signal.SIGHUP), -1, "crashed"),
    End("mark_preempting(), then SIGKILL", "mark_preempting", _command, -9, "preempted"),
    End("end of the script, sidecar stopped", "falls off", _with_stopped_sidecar, 0, "finished", 0),
    End(
        "unhandled exception, sidecar killed",
        "raises",
        _with_killed_sidecar,
        1,
        "failed",
        1,
        text="ValueError: planned, at the end",
    ),
)


def _run(how: End, directory: Path, seed: int) -> Figures:
    rng = random.Random(seed)
    root = directory / "root"
    with Trainer(root, f"{__name__}:end", way=how.way) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(rng.randrange(1, 400))
        try:
            how.send(trainer)
            start = time.monotonic()
            status = trainer.wait(None)
            took = time.monotonic() - start
        finally:
            signal_sidecars(root, signal.SIGCONT)
        tally = trainer.tally
        wait_until(lambda: not sidecars(root), "the sidecar has exited")
        result = read_back(root, "run", [tally])
        run = result.run
        assert status == how.status, f"exit status {status}, not {how.status}: {trainer.output()}"
        actual, expected = (run.state, run.exit_code, run.signal), (how.state, how.exit_code, how.signal)
        assert actual == expected, f"state, exit code and signal are {actual}, not {expected}: {trainer.output()}"
        assert bool(run.traceback) == bool(how.text) and how.text in (run.traceback or ""), (
            f"traceback: {run.traceback}"
        )
        assert took < FINISH_SECONDS + SPARE_SECONDS, f"the program took {took:.1f} s to end"
        assert run.end_time is not None, "the run has no end time"
        return Figures(
            result.calls, result.read, result.lost, result.duplicated, tally.worst(), None, f"ended in {took:.1f} s"
        )


SCENARIOS = [
    Scenario(9, how.name, partial(_run, how), 1, f"the run is {how.state}; the program ends within its deadline")
    for how in _ENDS
]
