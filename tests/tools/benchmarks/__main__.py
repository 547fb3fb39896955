"""``python -m tests.tools.benchmarks``: make the measures and print the table."""

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
    disk,
    lag,
    link,
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
    "paced": ("run.log of 10 floats, one a millisecond, and the peers", calls.measure_paced),
    "tight": ("the same in a tight loop", calls.measure_tight),
    "loop": ("a training loop with 1 ms steps, with and without logging", overhead.measure),
    "throughput": ("records a second that one sidecar takes to the log", throughput.measure),
    "lag": ("how far the store is behind 2,000 records a second", lag.measure),
    "process": ("import, init, log, finish as a whole process, and the peers", programs.measure),
    "memory": ("of the sidecar, and added to the training process", memory.measure),
    "disk": ("bytes a point, log and store", disk.measure_disk),
    "link": ("run.log with the sidecar behind tcp, CURVE, a bad link", link.measure),
    "clients": ("64 processes on one sidecar", many_clients.measure),
    "mlflow": ("100,000 points to an MLflow server, and a bare loop", sink_mlflow.measure),
    "sinks": ("run.log while an MLflow server is down, slow, refusing", sink_calls.measure),
    "clickhouse": ("a log to ClickHouse, beside bare inserts, and a history back", sink_clickhouse.measure),
    "history": ("reading 100,000 points back", disk.measure_history),
}


def main() -> int:
    """Return 0 if every measure could be made, whatever it found; 1 if one could not; 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=MEASURES, help="one measure; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples: a look, no figures to report")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="print the names of the measures")
    parser.add_argument("--dir", type=Path, help="where to keep what is measured (default: the temporary directory)")
    arguments = parser.parse_args()
    if arguments.list:
        for name, (meaning, _) in MEASURES.items():
            print(f"{name:12} {meaning}")
        return 0
    rows: list[Row] = []
    where = machine()
    with tempfile.TemporaryDirectory(
        prefix="tracker-bench-", dir=arguments.dir, ignore_cleanup_errors=True
    ) as directory:
        options = Options(Path(directory).resolve(), arguments.quick)
        for name in arguments.only or MEASURES:
            begin = time.monotonic()
            print(f"{name} …", end=" ", file=sys.stderr, flush=True)
            try:
                rows += MEASURES[name][1](options)
            except Exception as error:  # one measure that fails must not cost the others
                rows.append(Row(name, "FAILED", note=f"{type(error).__name__}: {error}", failed=True))
            print(f"{time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    failed = any(row.failed for row in rows)
    if arguments.json:
        found = {"machine": where, "quick": arguments.quick, "rows": [row.to_map() for row in rows]}
        print(json.dumps(found, indent=1))
        return int(failed)
    print(f"\n{where}{', quick: no figures to report' if options.quick else ''}\n")
    print(render(rows))
    bars = [bar for row in rows for bar in row.bars]
    print(f"\n{sum(bar.reached is True for bar in bars)} of {len(bars)} bars reached")
    return int(failed)


def machine() -> str:
    """Say what the figures are taken on, and how busy it is with other things."""
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.1f} before the first measure"
    )


if __name__ == "__main__":
    sys.exit(main())
