"""Reading for charts: buckets of long series, and a sampled history. The store is written directly, without a log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row

NAME = "charts"
KEYS = 10
BATCH = 1_000


def measure(options: Options) -> list[Row]:
    steps = options.count(1_000_000, 200_000)
    results = call("charts:read", options.directory, steps=steps, times=options.count(15, 5))
    one = f"of a series of {steps:,} points"
    return [
        Row(NAME, f"400 buckets {one}", "ms", *quantiles(results["one"], 1000)),
        Row(NAME, "the same, a thousandth of it", "ms", *quantiles(results["zoomed"], 1000)),
        Row(NAME, f"400 buckets of {KEYS} such series", "ms", *quantiles(results["all"], 1000)),
        Row(NAME, "the same from the cache", "ms", *quantiles(results["cached"], 1000)),
        Row(NAME, f"2,000 samples of the rows of {KEYS} such series", "ms", *quantiles(results["sampled"], 1000)),
        Row(NAME, "the store", "bytes/point", results["size"] / steps / KEYS, bare=8.0),
        Row(NAME, "the store is filled", "rows/s", steps / results["written"]),
        Row(NAME, "pieces are made, per value", "µs", results["pieces"] / steps / KEYS * 1e6),
    ]


def read(steps: int, times: int) -> dict[str, Any]:
    """In a child: write a store, and read it."""
    from sidecar.projections.store.cache import BucketCache
    from sidecar.projections.store.reader import StoreReader
    from sidecar.projections.store.writer import StoreWriter
    from sidecar.protocol.records import Record

    path = Path("store.db")
    keys = [f"metric{number}" for number in range(KEYS)]
    written = 0.0
    with StoreWriter(path) as writer:
        for start in range(0, steps, BATCH):
            data = {key: math.sin(start / 7 + number) for number, key in enumerate(keys)}
            records = [
                Record("log", "run", "client", 1, step / 100, {"step": step, "data": data})
                for step in range(start, start + BATCH)
            ]
            begin = time.perf_counter()
            writer.add(records, writer.checkpoint + BATCH * 100)
            written += time.perf_counter() - begin
        begin = time.perf_counter()
        writer.commit()
        written += time.perf_counter() - begin
        begin = time.perf_counter()
        writer.make_pieces()
        pieces = time.perf_counter() - begin
    reader, cache = StoreReader(path), BucketCache()
    list(reader.buckets(keys, cache=cache))

    def timed(read: Callable[[], object]) -> list[float]:
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            read()
            seconds.append(time.perf_counter() - begin)
        return seconds

    return {
        "one": timed(lambda: list(reader.buckets(keys[:1]))),
        "zoomed": timed(lambda: list(reader.buckets(keys[:1], low=steps * 0.4, high=steps * 0.401))),
        "all": timed(lambda: list(reader.buckets(keys))),
        "cached": timed(lambda: list(reader.buckets(keys, cache=cache))),
        "sampled": timed(lambda: reader.sampled(keys, 2000, "step")),
        "size": path.stat().st_size,
        "written": written,
        "pieces": pieces,
    }
