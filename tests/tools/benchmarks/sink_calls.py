"""What a server that is down, slow or refuses costs a call of ``run.log``: nothing, since training never waits for it.

One process for each such server: two runs, one without a sink and one that goes to it, take turns in short blocks of
calls, one a millisecond, with pure Python in between. Both runs have one sidecar, so that what else the sidecar does
is the same for both; the first row is a process whose sidecar has no server at all, for what that costs the machine.
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
"""More than this, times the run without a sink, is no noise."""

SLOW_SECONDS = 1.0


def measure(options: Options) -> list[Row]:
    rounds = options.count(30, 4)
    alone = Quantiles(*call("sink_calls:blocks", options.directory, address=None, rounds=rounds, calls=100)["without"])
    rows = [Row(MEASURE, "run.log of 10 floats, no sink, no server", "us", *alone)]
    with _servers(options) as servers:
        for name, address in servers.items():
            found = call("sink_calls:blocks", options.directory, address=address, rounds=rounds, calls=100)
            without, sink = Quantiles(*found["without"]), Quantiles(*found["with"])
            bars = [
                at_most("p50 / no sink", sink.median / without.median, MEDIAN_LIMIT),
                at_most("p99 / no sink", sink.p99 / without.p99, P99_LIMIT),
            ]
            note = f"no sink beside it: p99 {without.p99:.1f}, p99.9 {without.p999:.1f} us; {2 * rounds} blocks of 100"
            rows.append(
                Row(MEASURE, f"the same, to an MLflow server that {name}", "us", *sink, without.median, bars, note)
            )
    return rows


@contextmanager
def _servers(options: Options) -> Iterator[dict[str, str]]:
    """Yield addresses: of nobody, of a server that takes its time, and of one that fails each time."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        with (
            mlflow_server(f"sqlite:///{options.directory}/mlflow.db") as server,
            FaultyProxy(server.port, lambda number, method, path: delay(SLOW_SECONDS)) as slow,
            FaultyProxy(server.port, lambda number, method, path: answer(500)) as refusing,
        ):
            yield {
                "is there": f"mlflow+{server.url}",
                "is down": f"mlflow+http://127.0.0.1:{held.getsockname()[1]}",
                f"takes {SLOW_SECONDS:.0f} s for a request": f"mlflow+{slow.url}",
                "answers 500": f"mlflow+{refusing.url}",
            }


def blocks(address: str | None, rounds: int, calls: int) -> dict[str, Any]:
    """In a child: blocks of calls without and with a sink in turn; quantiles in microseconds."""
    import tracker

    settings = {"finish_timeout": 1}
    runs = {"without": tracker.init(project="benchmark", settings=settings)}
    if address is not None:
        runs["with"] = tracker.init(project="benchmark", reinit="create_new", sinks=[address], settings=settings)
    clock = time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}

    def block(name: str) -> None:
        log, taken = runs[name].log, times[name]
        for step in range(calls):
            busy(0.001)
            data = metrics(step)
            begin = clock()
            log(data)
            taken.append(clock() - begin)

    for name in runs:
        block(name)
        times[name].clear()
    for turn in range(rounds):
        for name in list(runs) if turn % 2 else list(runs)[::-1]:
            block(name)
    for run in runs.values():
        run.finish()
    return {name: quantiles(taken, 1e6) for name, taken in times.items()}
