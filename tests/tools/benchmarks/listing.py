"""Listing, filtering and finding 10,000 runs, with the catalog and without."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.protocol.layout import RUNS_NAME, STORE_NAME
from tests.tools.benchmarks.child import call, environment
from tests.tools.benchmarks.clock import median
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most

LISTING = "listing"
QUERY = "config.lr > 0.01 and state = finished and not (tags has sweep)"


def measure(options: Options) -> list[Row]:
    runs, times = options.count(10_000, 1_000), options.count(7, 3)
    root = options.directory / "listing"
    found = call("listing:measured", options.directory, root=str(root), runs=runs, times=times)
    catalog = root / "catalog.db"
    with_it = median([_ls(root) for _ in range(times)])
    removed = []
    for _ in range(3):
        catalog.unlink(missing_ok=True)
        removed.append(_ls(root))
    without = median(removed)
    seconds = {name: median(values) for name, values in found["seconds"].items()}
    many = f"{runs:,} runs"
    return [
        Row(
            LISTING, f"Api().runs(): id, name, state of {many}", "s", seconds["listed"], bare=seconds["bare"],
            bars=[at_most("median", seconds["listed"], 0.3, " s")],
            note=f"the catalog has {found['bytes'] / runs:.0f} bytes a run; bare: three stat calls a run, and reading "
            f"the catalog's file whole; {found['megabytes']:.0f} MB in all",
        ),
        Row(
            LISTING, "the same without the catalog, which is built", "s", seconds["built"],
            bars=[at_most("median", seconds["built"], 3, " s")],
        ),
        Row(
            LISTING, f"tracker ls -n 20 of {many}", "s", with_it, bars=[at_most("median", with_it, 0.3, " s")],
            note="the whole process, which takes 0.1 s without any run",
        ),
        Row(
            LISTING, "the same without the catalog", "s", without, bars=[at_most("median", without, 3, " s")],
        ),
        Row(
            LISTING, "one changed run more", "ms", (seconds["one changed"] - seconds["listed"]) * 1000,
            note="in addition to listing; the row is written to the catalog's file and synchronized to the disk",
        ),
        Row(
            LISTING, f"a query over {many}, the first", "ms", seconds["query"] * 1000,
            bars=[at_most("median", seconds["query"] * 1000, 100, " ms")], note=QUERY,
        ),
        Row(
            LISTING, f"ordering {many} by a value of the summary", "ms", seconds["order"] * 1000,
            bars=[at_most("median", seconds["order"] * 1000, 100, " ms")],
        ),
        Row(LISTING, "a mistyped id", "s", seconds["mistyped"]),
        Row(
            LISTING, "catalog.refresh() once a second, nothing changed", "ms of CPU", seconds["refresh"] * 1000,
            bars=[at_most("of a core", seconds["refresh"] * 100, 5, " %")],
        ),
    ]  # fmt: skip


def _ls(root: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tracker", "ls", "-n", "20", "--dir", str(root)],
        env=environment(root.parent),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


def measured(root: str, runs: int, times: int) -> dict[str, Any]:
    """In a child: make a root, and measure readers of it, each a new one."""
    import resource

    from tests.tools.make_runs import make
    from tracker.errors import RunNotFoundError
    from tracker.reading.api import Api
    from tracker.reading.filters import Order
    from tracker.reading.query import select

    for _ in make(Path(root), runs, 4, 5):
        pass
    time.sleep(2.5)  # until the times of all files are settled
    catalog = Path(root) / "catalog.db"
    ids = sorted(os.listdir(Path(root) / RUNS_NAME))

    def listed() -> list[tuple[str, str, str]]:
        return [(run.id, run.name, run.state) for run in Api(root).runs()]

    def built() -> None:
        catalog.unlink(missing_ok=True)
        listed()

    def changed() -> None:
        os.utime(Path(root) / RUNS_NAME / ids[0] / STORE_NAME, (1, len(seconds["one changed"])))
        listed()

    def bare() -> None:
        catalog.read_bytes()
        for id in ids:
            os.stat(f"{root}/{RUNS_NAME}/{id}")
            os.stat(f"{root}/{RUNS_NAME}/{id}/transactions.log")
            os.stat(f"{root}/{RUNS_NAME}/{id}/{STORE_NAME}")

    def mistyped() -> None:
        try:
            Api(root).run("nothing")
        except RunNotFoundError:
            return

    seconds: dict[str, list[float]] = {}

    def time_it(name: str, what: Callable[[], object], count: int = times) -> None:
        seconds[name] = []
        for _ in range(count):
            begin = time.perf_counter()
            what()
            seconds[name].append(time.perf_counter() - begin)

    time_it("built", built, 3)
    time_it("listed", listed)
    time_it("bare", bare)
    time_it("one changed", changed)
    time_it("mistyped", mistyped)
    fresh = iter([list(Api(root).runs()) for _ in range(times * 2)])
    time_it("query", lambda: select(QUERY, next(fresh)))
    time_it("order", lambda: Order("-summary.train.loss").sort(next(fresh)))
    size = catalog.stat().st_size
    cards = Api(root).catalog()
    cards.refresh()
    seconds["refresh"] = []
    for _ in range(times):
        time.sleep(1.0)
        begin = time.process_time()
        cards.refresh()
        seconds["refresh"].append(time.process_time() - begin)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "bytes": size, "megabytes": megabytes}
