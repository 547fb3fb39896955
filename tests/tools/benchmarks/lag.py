"""How far what ``tracker.Api`` shows in another process is behind a client that logs 2,000 records a second."""

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

NAME = "store behind"
RATE = 2000
RUN = "lag"


def measure(options: Options) -> list[Row]:
    seconds = options.count(10, 3)
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        results = directory / "writer.json", directory / "reader.json"
        writer = start("lag:write", directory, results[0], seconds=seconds)
        reader = start("lag:read", directory, results[1], records=seconds * RATE)
        wrote, found = finish(writer, results[0]), finish(reader, results[1])
    lags = found["lags"]
    return [
        Row(
            NAME, f"{RATE:,} records of 10 a second, for {seconds} s", "s", *quantiles(lags),
            bars=[at_most("largest lag", max(lags), 1.0, " s")],
            note=f"{len(lags)} looks, {found['look']:.3f} s each; {wrote['rate']:,.0f} records a second were logged",
        )
    ]  # fmt: skip


def write(seconds: int) -> dict[str, Any]:
    """In a child: log at a steady rate."""
    import tracker

    run = tracker.init(project="benchmark", id=RUN)
    begin = time.perf_counter()
    for step in range(seconds * RATE):
        while (early := begin + step / RATE - time.perf_counter()) > 0:
            time.sleep(early)
        run.log(metrics(step))
    rate = seconds * RATE / (time.perf_counter() - begin)
    run.finish()
    return {"rate": rate}


def read(records: int) -> dict[str, Any]:
    """In a child: look for new rows again and again. A lag is the age of the newest row that could be read."""
    import tracker

    lags: list[float] = []
    looks: list[float] = []
    last = -1
    give_up = time.monotonic() + 120
    while last < records - 1:
        if time.monotonic() > give_up:
            raise RuntimeError(f"step {last} of {records} was the last that could be read")
        now, begin = time.time(), time.perf_counter()
        try:
            rows = list(tracker.Api().run(RUN).scan_history(keys=["metric0"], min_step=last + 1))
        except Exception:  # the run is not there yet
            time.sleep(0.02)
            continue
        looks.append(time.perf_counter() - begin)
        if last < 0 and rows:  # until now nothing could be read, not even the first
            lags.append(now - float(rows[0]["_timestamp"]))
        if rows:
            last, newest = int(rows[-1]["_step"]), float(rows[-1]["_timestamp"])
        if 0 <= last < records - 1:
            lags.append(max(0.0, now - newest))
        time.sleep(0.03)
    return {"lags": lags, "look": sorted(looks)[len(looks) // 2]}
