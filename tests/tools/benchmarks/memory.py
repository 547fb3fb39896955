"""What the sidecar and the tracker in a training process take of memory, seen from another process by psutil."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.tools.benchmarks.child import call, environment
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.tools.benchmarks.work import POINTS, metrics

NAME = "memory"
MB = 1e6


def measure(options: Options) -> list[Row]:
    found = call("memory:sidecar", options.directory, records=options.count(1_000_000, 100_000))
    start, end, peak = found["start"], found["end"], found["peak"]
    trainer = watch_trainer(options, options.count(100_000))
    base = trainer["ready"]
    added = {stage: (memory[0] - base[0], memory[1] - base[1]) for stage, memory in trainer.items()}
    most = max(rss for rss, _ in added.values())
    return [
        Row(
            NAME, "sidecar, after its start", "MB", start["rss"],
            bars=[at_most("resident", start["rss"], 60, " MB")], note=f"its own alone: {start['uss']:.1f} MB",
        ),
        Row(
            NAME, f"sidecar, after {found['points']:,} points", "MB", end["rss"], bare=start["rss"],
            bars=[at_most("above the start", end["rss"] - start["rss"], 20, " MB")],
            note=f"its own alone: {end['uss']:.1f} MB; most seen on the way: {peak:.1f} MB (looked at 20 times); "
            "bare is its start",
        ),
        Row(
            NAME, "added to the training process", "MB", most, bars=[at_most("resident", most, 25, " MB")],
            note="resident (its own alone): " + ", ".join(f"{s} +{r:.1f} ({u:.1f})" for s, (r, u) in added.items()),
        ),
    ]  # fmt: skip


def of(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, and what of it is its own alone, in MB."""
    info = psutil.Process(pid).memory_full_info()
    return info.rss / MB, info.uss / MB


def sidecar(records: int) -> dict[str, Any]:
    """In a child: launch a sidecar, log much, look at the sidecar."""
    import tracker
    from tests.tools.benchmarks.raw_client import connection_of

    run = tracker.init(project="benchmark")
    run.flush()
    pid = connection_of(str(run.dir)).pid
    time.sleep(0.5)  # let it settle
    begin = of(pid)
    peak = begin[0]
    part = records // 20
    for _ in range(20):
        for step in range(part):
            run.log(metrics(step))
        peak = max(peak, of(pid)[0])
        run.flush()
        peak = max(peak, of(pid)[0])
    time.sleep(1.0)  # the store comes a moment after the log
    end = of(pid)
    run.finish()
    return {
        "start": {"rss": begin[0], "uss": begin[1]},
        "end": {"rss": end[0], "uss": end[1]},
        "peak": max(peak, end[0]),
        "points": part * 20 * POINTS,
    }


def watch_trainer(options: Options, calls: int) -> dict[str, tuple[float, float]]:
    """Return the memory of a training process at each of its stages."""
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as name:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.benchmarks.trainer"],
            env=environment(Path(name)),
            cwd=name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert trainer.stdin is not None and trainer.stdout is not None
        stages: dict[str, tuple[float, float]] = {}
        for stage in ("ready", "initialized", "logged", "flushed"):
            said = trainer.stdout.readline().strip()
            if said != stage:
                trainer.kill()
                raise RuntimeError(f"the training process said {said!r}, not {stage!r}")
            stages[stage] = of(trainer.pid)
            trainer.stdin.write(f"{calls}\n")
            trainer.stdin.flush()
        trainer.communicate(timeout=60)
        return stages
