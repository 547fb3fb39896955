"""``python -m tests.tools.benchmarks``: takes the measurements and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.tools.benchmarks import (
    calls,
    charts,
    dashboard,
    disk,
    lag,
    link,
    listing,
    many_clients,
    memory,
    overhead,
    programs,
    sink_calls,
    sink_clickhouse,
    sink_mlflow,
    throughput,
)
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, render

MEASURES: dict[str, tuple[str, Callable[[Options], list[Row]]]] = {
    "paced": ("run.log of 10 floats, one call per millisecond, and the peers", calls.measure_paced),
    "tight": ("the same in a tight loop", calls.measure_tight),
    "loop": ("a training loop with 1 ms steps, with and without logging", overhead.measure),
    "throughput": ("records per second that one sidecar appends to the log", throughput.measure),
    "lag": ("lag of the store at 2,000 records per second", lag.measure),
    "process": ("import, init, log, finish as a whole process, and the peers", programs.measure),
    "memory": ("memory of the sidecar, and memory added to the training process", memory.measure),
    "disk": ("bytes per point, log and store", disk.measure_disk),
    "link": ("run.log with the sidecar behind TCP, CURVE, a bad link", link.measure),
    "clients": ("64 processes on one sidecar", many_clients.measure),
    "mlflow": ("100,000 points to an MLflow server, and a bare loop", sink_mlflow.measure),
    "sinks": ("run.log while an MLflow server is down, slow or failing", sink_calls.measure),
    "clickhouse": ("a log to ClickHouse, beside bare inserts, and reading a history", sink_clickhouse.measure),
    "history": ("reading 100,000 points", disk.measure_history),
    "charts": ("buckets and samples of 1,000,000 points", charts.measure),
    "dashboard": ("tracker ui in Chromium: start, charts, table, hover, live points, memory", dashboard.measure),
    "listing": ("listing and filtering 10,000 runs, with the catalog and without", listing.measure),
}


def main() -> int:
    """Return the exit status: 0 if all measurements completed, whatever their results; 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.benchmarks", description=__doc__.replace("``", "") if __doc__ else None
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=MEASURES, help="take only this measurement; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="take a tenth of the samples: not for reported figures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="list the measurements and exit")
    parser.add_argument(
        "--dir", type=Path, help="parent of the directory for measured files (default: the temporary directory)"
    )
    arguments = parser.parse_args()
    if arguments.list:
        for name, (meaning, _) in MEASURES.items():
            print(f"{name:12} {meaning}")
        return 0
    rows: list[Row] = []
    description = machine()
    with tempfile.TemporaryDirectory(
        prefix="tracker-bench-", dir=arguments.dir, ignore_cleanup_errors=True
    ) as directory:
        options = Options(Path(directory).resolve(), arguments.quick)
        for name in arguments.only or MEASURES:
            begin = time.monotonic()
            print(f"{name} …", end=" ", file=sys.stderr, flush=True)
            try:
                rows += MEASURES[name][1](options)
            except Exception as error:  # a failed measurement must not prevent the others
                rows.append(Row(name, "FAILED", note=f"{type(error).__name__}: {error}", failed=True))
            print(f"{time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    failed = any(row.failed for row in rows)
    if arguments.json:
        report = {"machine": description, "quick": arguments.quick, "rows": [row.to_map() for row in rows]}
        print(json.dumps(report, indent=1))
        return int(failed)
    print(f"\n{description}{', quick: not for reported figures' if options.quick else ''}\n")
    print(render(rows))
    bars = [bar for row in rows for bar in row.bars]
    print(f"\n{sum(bar.reached is True for bar in bars)} of {len(bars)} bars reached")
    return int(failed)


def machine() -> str:
    """Return a description of the machine and its load."""
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.1f} before the first measurement"
    )


if __name__ == "__main__":
    sys.exit(main())
