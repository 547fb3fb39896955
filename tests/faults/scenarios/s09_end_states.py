"""Every way in which a training process ends: what is said of it, and how long that takes."""

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
"""The deadline that these programs give their shutdown."""

SPARE_SECONDS = 3.0
"""What the interpreter itself, and a busy machine, may take besides."""

# -- the programs ------------------------------------------------------------------


def end(told: dict[str, Any]) -> None:
    """Log until it is told to end; then end as ``told["way"]`` says. A signal may come at any time."""
    settings = tracker.Settings(finish_timeout=FINISH_SECONDS)
    run = tracker.init(project="faults", id=told["run"], settings=settings)
    tally = Tally(Path(told["tally"]), told["writers"])
    call = tally.caller(run.log, 0)
    tally.stage = 1
    way = _WAYS[told["way"]]
    if told["way"] == "raises in with":
        with run:
            _log_until_told(tally, call)
            way(run)
    _log_until_told(tally, call)
    way(run)


def _log_until_told(tally: Tally, call: Callable[[], None]) -> None:
    while not tally.told:
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
    """A program that handles SIGTERM by itself, as many do to save their state."""
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


# -- what is sent to them ------------------------------------------------------------------


def _once(number: int, trainer: Trainer) -> None:
    trainer.kill(number)


def _twice(trainer: Trainer) -> None:
    """Ctrl-C, and once more while the first is still being obeyed: the sidecar sleeps, so that finishing takes long."""
    signal_sidecars(trainer.root, signal.SIGSTOP)
    trainer.kill(signal.SIGINT)
    wait_until(lambda: "planned" in trainer.said() or "KeyboardInterrupt" in trainer.said(), "the first is obeyed")
    trainer.kill(signal.SIGINT)


def _asleep(trainer: Trainer) -> None:
    """The sidecar sleeps while the program ends: it must not wait for it longer than it was given."""
    signal_sidecars(trainer.root, signal.SIGSTOP)
    trainer.tally.told = 1


def _gone(trainer: Trainer) -> None:
    """The sidecar dies when the program is about to end."""
    trainer.tally.told = 1
    signal_sidecars(trainer.root)


def _told(trainer: Trainer) -> None:
    trainer.tally.told = 1


@dataclass(frozen=True)
class End:
    """A way to end, and what must be said of it.

    Attributes:
        name: of the scenario.
        way: what the program does when it is told to end.
        send: what is done to it from outside.
        status: its exit status; negative: the signal it died of.
        state, exit_code, signal: of the run.
        text: what the run's traceback must hold; empty: there is none.
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
    End("the script ends", "falls off", _told, 0, "finished", 0),
    End("finish(exit_code=7)", "finish(7)", _told, 0, "failed", 7),
    End("unhandled exception", "raises", _told, 1, "failed", 1, text="ValueError: planned, at the end"),
    End("exception in a with block", "raises in with", _told, 1, "failed", 1, text="ValueError: planned, at the end"),
    End("sys.exit(0)", "sys.exit(0)", _told, 0, "finished", 0),
    End("sys.exit(3)", "sys.exit(3)", _told, 3, "failed", 3),
    End("sys.exit with a text", "sys.exit(text)", _told, 1, "failed", 1),
    End("os._exit(5)", "os._exit", _told, 5, "crashed"),
    End("segmentation fault", "segfault", _told, -signal.SIGSEGV, "crashed"),
    End("abort", "abort", _told, -signal.SIGABRT, "crashed"),
    End("Ctrl-C", "falls off", partial(_once, signal.SIGINT), -2, "killed", 130, 2, "KeyboardInterrupt"),
    End("Ctrl-C twice", "falls off", _twice, -2, "killed", 130, 2, "KeyboardInterrupt"),
    End("SIGTERM", "falls off", partial(_once, signal.SIGTERM), -15, "preempted", 143, 15),
    End("SIGTERM, handled by the program", "own SIGTERM", _told, 0, "finished", 0),
    End("SIGHUP", "falls off", partial(_once, signal.SIGHUP), -1, "crashed"),
    End("mark_preempting, SIGKILL", "mark_preempting", _told, -9, "preempted"),
    End("end while the sidecar is stopped", "falls off", _asleep, 0, "finished", 0),
    End("exception while the sidecar dies", "raises", _gone, 1, "failed", 1, text="ValueError: planned, at the end"),
)


def _run(how: End, directory: Path, seed: int) -> Figures:
    chance = random.Random(seed)
    root = directory / "root"
    with Trainer(root, f"{__name__}:end", way=how.way) as trainer:
        trainer.wait_for_stage()
        trainer.wait_for_calls(chance.randrange(1, 400))
        try:
            how.send(trainer)
            begun = time.monotonic()
            status = trainer.wait(None)
            took = time.monotonic() - begun
        finally:
            signal_sidecars(root, signal.SIGCONT)
        tally = trainer.tally
        wait_until(lambda: not sidecars(root), "the sidecar has exited")
        back = read_back(root, "run", [tally])
        run = back.run
        assert status == how.status, f"exit status {status}, not {how.status}: {trainer.said()}"
        found, wanted = (run.state, run.exit_code, run.signal), (how.state, how.exit_code, how.signal)
        assert found == wanted, f"state, exit code and signal are {found}, not {wanted}: {trainer.said()}"
        assert bool(run.traceback) == bool(how.text) and how.text in (run.traceback or ""), (
            f"traceback: {run.traceback}"
        )
        assert took < FINISH_SECONDS + SPARE_SECONDS, f"it took {took:.1f} s to end"
        assert run.end_time is not None, "no time of its end"
        return Figures(back.calls, back.read, back.lost, back.twice, tally.worst(), None, f"ended in {took:.1f} s")


SCENARIOS = [
    Scenario(9, how.name, partial(_run, how), 1, f"the run is {how.state}, and it ends inside its deadline")
    for how in _ENDS
]
