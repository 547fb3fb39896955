"""Lag of ``tracker.Api`` in another process behind a client that logs 2,000 records per second."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import finish, start
from tests.tools.benchmarks.clock import quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.tools.benchmarks.work import metrics

NAME = "lag of the store"
RATE = 2000
RUN = "lag"


def measure(options: Options) -> list[Row]:
    seconds = options.count(10, 3)
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        results = directory / "writer.json", directory / "reader.json"
        writer = start("lag:write", directory, results[0], seconds=seconds)
        reader = start("lag:read", directory, results[1], records=seconds * RATE)
        logged, seen = finish(writer, results[0]), finish(reader, results[1])
    lags = seen["lags"]
    return [
        Row(
            NAME, f"{RATE:,} records of 10 floats per second, for {seconds} s", "s", *quantiles(lags),
            bars=[at_most("largest lag", max(lags), 1.0, " s")],
            note=f"{len(lags)} samples, {seen['read_seconds']:.3f} s for a read; "
            f"{logged['rate']:,.0f} records per second were logged",
        )
    ]  # fmt: skip


def write(seconds: int) -> dict[str, Any]:
    """In a child: log at a steady rate."""
    import tracker

    run = tracker.init(project="benchmark", id=RUN)
    begin = time.perf_counter()
    for step in range(seconds * RATE):
        while (remaining := begin + step / RATE - time.perf_counter()) > 0:
            time.sleep(remaining)
        run.log(metrics(step))
    rate = seconds * RATE / (time.perf_counter() - begin)
    run.finish()
    return {"rate": rate}


def read(records: int) -> dict[str, Any]:
    """In a child: poll for new rows. The lag is the age of the newest row that can be read."""
    import tracker

    lags: list[float] = []
    durations: list[float] = []
    last = -1
    deadline = time.monotonic() + 120
    while last < records - 1:
        if time.monotonic() > deadline:
            raise RuntimeError(f"after 120 s, step {last} of {records} is the last that can be read")
        now, begin = time.time(), time.perf_counter()
        try:
            rows = list(tracker.Api().run(RUN).scan_history(keys=["metric0"], min_step=last + 1))
        except Exception:  # the run does not exist yet
            time.sleep(0.02)
            continue
        durations.append(time.perf_counter() - begin)
        if last < 0 and rows:  # nothing could be read before
            lags.append(now - float(rows[0]["_timestamp"]))
        if rows:
            last, newest = int(rows[-1]["_step"]), float(rows[-1]["_timestamp"])
        if 0 <= last < records - 1:
            lags.append(max(0.0, now - newest))
        time.sleep(0.03)
    return {"lags": lags, "read_seconds": sorted(durations)[len(durations) // 2]}
