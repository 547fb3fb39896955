"""Memory of the sidecar, and of the tracker in a training process, measured with psutil from another process."""

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
    results = call("memory:sidecar", options.directory, records=options.count(1_000_000, 100_000))
    start, end, peak = results["start"], results["end"], results["peak"]
    trainer = watch_trainer(options, options.count(100_000))
    base = trainer["ready"]
    added = {stage: (memory[0] - base[0], memory[1] - base[1]) for stage, memory in trainer.items()}
    most = max(rss for rss, _ in added.values())
    return [
        Row(
            NAME, "sidecar, after the start", "MB", start["rss"],
            bars=[at_most("resident", start["rss"], 60, " MB")], note=f"unique: {start['uss']:.1f} MB",
        ),
        Row(
            NAME, f"sidecar, after {results['points']:,} points", "MB", end["rss"], bare=start["rss"],
            bars=[at_most("above the start", end["rss"] - start["rss"], 20, " MB")],
            note=f"unique: {end['uss']:.1f} MB; maximum of 20 samples: {peak:.1f} MB; bare: after the start",
        ),
        Row(
            NAME, "added to the training process", "MB", most, bars=[at_most("resident", most, 25, " MB")],
            note="resident (unique): " + ", ".join(f"{s} +{r:.1f} ({u:.1f})" for s, (r, u) in added.items()),
        ),
    ]  # fmt: skip


def of(pid: int) -> tuple[float, float]:
    """Return the resident and the unique memory (RSS and USS) of a process, in MB."""
    info = psutil.Process(pid).memory_full_info()
    return info.rss / MB, info.uss / MB


def sidecar(records: int) -> dict[str, Any]:
    """In a child: launch a sidecar, log many records, and measure the sidecar."""
    import tracker
    from tests.tools.benchmarks.raw_client import connection_of

    run = tracker.init(project="benchmark")
    run.flush()
    pid = connection_of(str(run.dir)).pid
    time.sleep(0.5)  # until its memory is stable
    begin = of(pid)
    peak = begin[0]
    part = records // 20
    for _ in range(20):
        for step in range(part):
            run.log(metrics(step))
        peak = max(peak, of(pid)[0])
        run.flush()
        peak = max(peak, of(pid)[0])
    time.sleep(1.0)  # the store lags a little behind the log
    end = of(pid)
    run.finish()
    return {
        "start": {"rss": begin[0], "uss": begin[1]},
        "end": {"rss": end[0], "uss": end[1]},
        "peak": max(peak, end[0]),
        "points": part * 20 * POINTS,
    }


def watch_trainer(options: Options, calls: int) -> dict[str, tuple[float, float]]:
    """Return the memory of a training process at each stage of `trainer`."""
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
            line = trainer.stdout.readline().strip()
            if line != stage:
                trainer.kill()
                raise RuntimeError(f"the training process printed {line!r}, not {stage!r}")
            stages[stage] = of(trainer.pid)
            trainer.stdin.write(f"{calls}\n")
            trainer.stdin.flush()
        trainer.communicate(timeout=60)
        return stages
