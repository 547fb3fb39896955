"""Duration of a call of ``run.log`` while a server is down, slow or failing; training must not wait for it.

For each such server, a process alternates short blocks of calls of two runs, one without a sink and one that is sent to
the server, with one call per millisecond and pure Python in between. The runs share a sidecar, so that its other work
affects both alike; for comparison, the first row is a process whose sidecar has no server.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.servers.mlflow_server import mlflow_server
from tests.servers.proxy import FaultyProxy, answer, delay
from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import Quantiles, busy, quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.tools.benchmarks.work import metrics

MEASURE = "call, with a sink"

MEDIAN_LIMIT = 1.1
P99_LIMIT = 1.5
"""Maximum ratios to the run without a sink; more would not be noise."""

SLOW_SECONDS = 1.0


def measure(options: Options) -> list[Row]:
    rounds = options.count(30, 4)
    alone = Quantiles(*call("sink_calls:blocks", options.directory, address=None, rounds=rounds, calls=100)["without"])
    rows = [Row(MEASURE, "run.log of 10 floats, no sink, no server", "µs", *alone)]
    with _servers(options) as servers:
        for name, address in servers.items():
            results = call("sink_calls:blocks", options.directory, address=address, rounds=rounds, calls=100)
            without, sink = Quantiles(*results["without"]), Quantiles(*results["with"])
            bars = [
                at_most("p50 / no sink", sink.median / without.median, MEDIAN_LIMIT),
                at_most("p99 / no sink", sink.p99 / without.p99, P99_LIMIT),
            ]
            note = f"without a sink: p99 {without.p99:.1f}, p99.9 {without.p999:.1f} µs; {2 * rounds} blocks of 100"
            rows.append(
                Row(MEASURE, f"the same, to an MLflow server that {name}", "µs", *sink, without.median, bars, note)
            )
    return rows


@contextmanager
def _servers(options: Options) -> Iterator[dict[str, str]]:
    """Yield addresses: of a working server, of none, of a slow one, and of one that fails every request."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # reserves a port on which no server listens
        with (
            mlflow_server(f"sqlite:///{options.directory}/mlflow.db") as server,
            FaultyProxy(server.port, lambda number, method, path: delay(SLOW_SECONDS)) as slow,
            FaultyProxy(server.port, lambda number, method, path: answer(500)) as failing,
        ):
            yield {
                "works": f"mlflow+{server.url}",
                "is down": f"mlflow+http://127.0.0.1:{unused.getsockname()[1]}",
                f"takes {SLOW_SECONDS:.0f} s for each request": f"mlflow+{slow.url}",
                "answers 500": f"mlflow+{failing.url}",
            }


def blocks(address: str | None, rounds: int, calls: int) -> dict[str, Any]:
    """In a child: alternate blocks of calls without and with a sink; return quantiles in microseconds."""
    import tracker

    settings = {"finish_timeout": 1}
    runs = {"without": tracker.init(project="benchmark", settings=settings)}
    if address is not None:
        runs["with"] = tracker.init(project="benchmark", reinit="create_new", sinks=[address], settings=settings)
    clock = time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}

    def block(name: str) -> None:
        log, durations = runs[name].log, times[name]
        for step in range(calls):
            busy(0.001)
            data = metrics(step)
            begin = clock()
            log(data)
            durations.append(clock() - begin)

    for name in runs:
        block(name)
        times[name].clear()
    for turn in range(rounds):
        for name in list(runs) if turn % 2 else list(runs)[::-1]:
            block(name)
    for run in runs.values():
        run.finish()
    return {name: quantiles(durations, 1e6) for name, durations in times.items()}
