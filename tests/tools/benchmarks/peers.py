"""Other trackers doing the same work in their usual way: offline, each in its own process and temporary directory."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from tests.tools.benchmarks.clock import busy, quantiles
from tests.tools.benchmarks.work import Bare, metrics

Log = Callable[[dict[str, float]], Any]
Close = Callable[[], Any]


def open_tracker() -> tuple[Log, Close]:
    import tracker

    run = tracker.init(project="benchmark")
    return run.log, run.finish


def open_wandb() -> tuple[Log, Close]:
    import wandb

    run = wandb.init(project="benchmark", mode="offline")
    return run.log, run.finish


def open_mlflow() -> tuple[Log, Close]:
    import mlflow

    mlflow.set_experiment("benchmark")
    mlflow.start_run()
    steps = iter(range(1 << 60))
    return (lambda data: mlflow.log_metrics(data, step=next(steps))), mlflow.end_run


def open_trackio() -> tuple[Log, Close]:
    import trackio

    trackio.init(project="benchmark", embed=False)
    return trackio.log, trackio.finish


def open_tensorboardx() -> tuple[Log, Close]:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter("tensorboard")
    steps = iter(range(1 << 60))

    def log(data: dict[str, float]) -> None:
        step = next(steps)
        for key, value in data.items():
            writer.add_scalar(key, value, step)

    return log, writer.close


OPEN: dict[str, Callable[[], tuple[Log, Close]]] = {
    "tracker": open_tracker,
    "wandb": open_wandb,
    "mlflow": open_mlflow,
    "trackio": open_trackio,
    "tensorboardX": open_tensorboardx,
}
"""Import name -> function that opens a run; returns its functions to log and to close."""

SCRIPTS = {
    "tracker": 'import tracker\nrun = tracker.init(project="p")\nrun.log({"loss": 0.5})\nrun.finish()\n',
    "wandb": 'import wandb\nrun = wandb.init(project="p", mode="offline")\nrun.log({"loss": 0.5})\nrun.finish()\n',
    "mlflow": (
        'import mlflow\nmlflow.set_experiment("p")\nwith mlflow.start_run():\n    mlflow.log_metrics({"loss": 0.5})\n'
    ),
    "trackio": 'import trackio\ntrackio.init(project="p", embed=False)\ntrackio.log({"loss": 0.5})\ntrackio.finish()\n',
    "tensorboardX": (
        "from tensorboardX import SummaryWriter\n"
        'writer = SummaryWriter("tb")\nwriter.add_scalar("loss", 0.5, 0)\nwriter.close()\n'
    ),
}
"""Import name -> a whole program."""

PEERS = tuple(name for name in OPEN if name != "tracker")

CALLS = {"wandb": "wandb offline, run.log", "mlflow": "mlflow (SQLite), log_metrics"}
CALLS |= {"trackio": "trackio, log", "tensorboardX": "tensorboardX, 10 x add_scalar"}


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def paced(name: str, calls: int, at_most_seconds: float) -> dict[str, Any]:
    """In a child: time calls of a peer, interleaved with the bare loop, with a millisecond of work before each."""
    log, close = OPEN[name]()
    bare = Bare()
    for step in range(5):
        log(metrics(step))
    durations: list[float] = []
    bare_durations: list[float] = []
    clock = time.perf_counter
    end = clock() + at_most_seconds
    while len(durations) < calls and clock() < end:
        for target, times in ((log, durations), (bare.log, bare_durations)):
            busy(0.001)
            data = metrics(len(times))
            begin = clock()
            target(data)
            times.append(clock() - begin)
    close()
    return {"log": quantiles(durations, 1e6), "bare": quantiles(bare_durations, 1e6), "calls": len(durations)}


def tight(name: str, calls: int, at_most_seconds: float) -> dict[str, Any]:
    """In a child: time calls of a peer in a tight loop; return the mean, in microseconds."""
    log, close = OPEN[name]()
    for step in range(5):
        log(metrics(step))
    ready = [metrics(step) for step in range(calls)]
    clock = time.perf_counter
    done = 0
    begin = clock()
    while done < calls and clock() - begin < at_most_seconds:
        for data in ready[done : done + 20]:
            log(data)
        done += 20
    mean = (clock() - begin) / done * 1e6
    close()
    return {"mean": mean, "calls": done}
