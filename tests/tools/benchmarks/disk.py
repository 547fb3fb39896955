"""Size of a point on disk, and the time to read a long history."""

from __future__ import annotations

import time
from array import array
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.tools.benchmarks.work import POINTS, metrics

DISK = "size on disk"
HISTORY = "history"
RECORDS = 100_000


def measure_disk(options: Options) -> list[Row]:
    results = call("disk:size", options.directory, records=RECORDS)
    log, store = results["log"], results["store"]
    return [
        Row(
            DISK, "log and store, 10 floats per step", "bytes/point", log + store, bare=8.0,
            bars=[at_most("log + store", log + store, 40)],
            note=f"{RECORDS * POINTS:,} points; log {log:.1f}, store {store:.1f}, all files of the run "
            f"{results['all']:.1f}; bare: the eight bytes of a float",
        )
    ]  # fmt: skip


def measure_history(options: Options) -> list[Row]:
    results = call("disk:history", options.directory, records=RECORDS, times=options.count(15, 5))
    times = quantiles(results["times"], 1000)
    return [
        Row(
            HISTORY, f'history(keys=["loss"]) of {RECORDS:,} points', "ms", *times, bare=results["bare"] * 1000,
            bars=[at_most("median", times.median, 100, " ms")],
            note=f"the run is opened for each; the first took {results['times'][0] * 1000:.0f} ms; the bare loop reads "
            "three arrays of 100,000 numbers from a file and converts them to lists",
        ),
        Row(HISTORY, "the same with samples=1000", "ms", *quantiles(results["sampled"], 1000)),
        Row(HISTORY, "scan_history() of 100,000 rows of 11 keys", "ms", *quantiles(results["scanned"], 1000)),
    ]  # fmt: skip


def _write(records: int) -> tuple[str, Path]:
    import tracker

    run = tracker.init(project="benchmark")
    for step in range(records):
        run.log({**metrics(step), "loss": 1.0 / (step + 1)})
    run.finish()
    return run.id, Path(run.dir)


def size(records: int) -> dict[str, Any]:
    """In a child: log, finish, and measure the files."""
    import tracker

    run = tracker.init(project="benchmark")
    for step in range(records):
        run.log(metrics(step))
    run.finish()
    sizes = {path.name: path.stat().st_size for path in Path(run.dir).rglob("*") if path.is_file()}
    points = records * POINTS
    return {
        "log": sizes["transactions.log"] / points,
        "store": sum(length for name, length in sizes.items() if name.startswith("store.db")) / points,
        "all": sum(sizes.values()) / points,
    }


def history(records: int, times: int) -> dict[str, Any]:
    """In a child: read one key of many steps."""
    import tracker

    run_id, _ = _write(records)

    def read(samples: int | None) -> float:
        begin = time.perf_counter()
        columns = tracker.Api().run(run_id).history(keys=["loss"], samples=samples)
        elapsed = time.perf_counter() - begin
        if samples is None and (len(columns["loss"]) != records or columns["loss"][-1] != 1.0 / records):
            raise RuntimeError(f"{len(columns['loss'])} of {records} points were read")
        return elapsed

    def scan() -> float:
        begin = time.perf_counter()
        count = len(list(tracker.Api().run(run_id).scan_history()))
        elapsed = time.perf_counter() - begin
        if count != records:
            raise RuntimeError(f"{count} of {records} rows were read")
        return elapsed

    Path("column").write_bytes(array("d", map(float, range(records))).tobytes())

    def bare() -> float:
        begin = time.perf_counter()
        for _ in range(3):
            column = array("d")
            column.frombytes(Path("column").read_bytes())
            column.tolist()
        return time.perf_counter() - begin

    return {
        "times": [read(None) for _ in range(times)],
        "sampled": [read(1000) for _ in range(times)],
        "scanned": [scan() for _ in range(3)],
        "bare": sorted(bare() for _ in range(times))[times // 2],
    }
