"""Time to send a run to an MLflow server, compared with a bare loop that only sends full requests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests

from sidecar.sinks.mlflow.sink import METRICS_PER_REQUEST, MlflowSink
from tests.servers.feed import feed
from tests.servers.mlflow_server import MlflowServer, mlflow_server
from tests.tools.benchmarks.clock import median
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.unit.run_builder import START, RunBuilder

MEASURE = "mlflow"
METRICS = [f"metric{number}" for number in range(10)]
POINTS = 100_000
ROUNDS = 3
LIMIT = 1.2


def measure(options: Options) -> list[Row]:
    """Send logs to a server on SQLite, alternating with a bare loop that sends the same points."""
    points = options.count(POINTS)
    with mlflow_server(f"sqlite:///{options.directory}/mlflow.db") as server:
        bodies = _bodies(points)
        _bare(server, "warm", bodies[:3])
        bare: list[float] = []
        sink: list[float] = []
        for number in range(options.count(ROUNDS, 1)):
            run = _run(options.directory, f"run{number}", points)
            both: list[tuple[list[float], Callable[[], object]]] = [
                (bare, partial(_bare, server, f"bare{number}", bodies)),
                (sink, partial(feed, MlflowSink, f"mlflow+{server.url}", run.dir)),
            ]
            for times, work in both if number % 2 else reversed(both):
                times.append(_timed(work))
            _check(server, run.id, points)
    ratio = median(sink) / median(bare)
    return [
        Row(
            MEASURE, f"{points:,} points from the log to a finished run, SQLite", "s", median(sink), bare=median(bare),
            bars=[at_most("sink / bare loop", ratio, LIMIT)],
            note=f"bare: {len(bodies)} log-batch requests of {METRICS_PER_REQUEST:,} metrics over one connection; "
            f"{points / median(sink):,.0f} points per second, bare: {points / median(bare):,.0f}; "
            f"median of {len(sink)}, alternating",
        )
    ]  # fmt: skip


def _run(root: Path, name: str, points: int) -> RunBuilder:
    run = RunBuilder(root, name, project=name)
    steps = range(points // len(METRICS))
    run.rows(0, **{metric: [step * 0.001 + number for step in steps] for number, metric in enumerate(METRICS)})
    return run.finish()


def _bodies(points: int) -> list[str]:
    """Return the same points as bodies of full requests, without the beginning, which has the run's id."""
    metrics = [
        {"key": metric, "value": step * 0.001 + number, "timestamp": (int(START) + 3 + step) * 1000, "step": step}
        for step in range(points // len(METRICS))
        for number, metric in enumerate(METRICS)
    ]
    full = [metrics[at : at + METRICS_PER_REQUEST] for at in range(0, len(metrics), METRICS_PER_REQUEST)]
    return [f'"metrics":{json.dumps(batch, separators=(",", ":"))}}}' for batch in full]


def _bare(server: MlflowServer, name: str, bodies: list[str]) -> None:
    with requests.Session() as session:
        session.trust_env = False

        def post(endpoint: str, body: str) -> Any:
            headers = {"Content-Type": "application/json"}
            answer = session.post(f"{server.url}/api/2.0/mlflow/{endpoint}", data=body.encode(), headers=headers)
            answer.raise_for_status()
            return answer.json()

        experiment = post("experiments/create", json.dumps({"name": name}))["experiment_id"]
        run = post("runs/create", json.dumps({"experiment_id": experiment}))["run"]["info"]["run_id"]
        for body in bodies:
            post("runs/log-batch", f'{{"run_id":"{run}",{body}')
        post("runs/update", json.dumps({"run_id": run, "status": "FINISHED", "end_time": int(START) * 1000}))


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _check(server: MlflowServer, experiment: str, points: int) -> None:
    [run] = server.runs(experiment)
    query = {"run_id": run["info"]["run_id"], "metric_key": METRICS[0], "max_results": str(points)}
    count = len(server.ask("GET", "metrics/get-history", query)["metrics"])
    if run["info"]["status"] != "FINISHED" or count != points // len(METRICS):
        raise RuntimeError(f"MLflow has {count} points of {METRICS[0]}, status {run['info']['status']}")
