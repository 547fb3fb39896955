"""Servers for the scenarios, which can be killed and restarted, and keep their data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tests.faults.trainers import Tally, row, sidecars
from tests.servers.clickhouse_server import ClickhouseServer
from tests.servers.mlflow_server import MlflowServer, mlflow_server
from tests.servers.proxy import FaultyProxy
from tests.support import wait_until

PROJECT = "faults"
"""The project of the trainers in `tests.faults.trainers`."""

Points = Mapping[str, Counter[tuple[int, float]]]
"""Key -> (step, value) -> how often it is stored."""


class RestartableServer(Protocol):
    """A server that keeps its data when it is killed and restarted.

    Attributes:
        port: its port while it runs, which may change with each start.
    """

    port: int

    def start(self) -> None:
        """Start it; return when it responds."""

    def stop(self) -> None:
        """Kill it if it is running."""

    def address(self, port: int) -> str:
        """Return its address as a sink, on the given port."""

    def points(self) -> Points:
        """Return the points of the only run that it has."""


class RestartableMlflow:
    """MLflow on SQLite. See `RestartableServer`."""

    def __init__(self, directory: Path) -> None:
        self._store = f"sqlite:///{directory}/mlflow.db"
        self._running = ExitStack()
        self._server: MlflowServer | None = None
        self.port = 0

    def start(self) -> None:
        self._server = self._running.enter_context(mlflow_server(self._store))
        self.port = self._server.port

    def stop(self) -> None:
        self._running.close()

    def address(self, port: int) -> str:
        return f"mlflow+http://127.0.0.1:{port}"

    def points(self) -> Points:
        assert self._server is not None
        [run] = self._server.runs(PROJECT)
        assert run["info"]["status"] == "FINISHED", run["info"]
        return {metric["key"]: self._history(run["info"]["run_id"], metric["key"]) for metric in run["data"]["metrics"]}

    def _history(self, run: str, key: str) -> Counter[tuple[int, float]]:
        assert self._server is not None
        points: Counter[tuple[int, float]] = Counter()
        query = {"run_id": run, "metric_key": key, "max_results": "20000"}
        while True:
            answer = self._server.ask("GET", "metrics/get-history", query)
            points.update((int(each["step"]), float(each["value"])) for each in answer.get("metrics", ()))
            if not answer.get("next_page_token"):
                return points
            query["page_token"] = answer["next_page_token"]


class RestartableClickhouse:
    """ClickHouse. See `RestartableServer`."""

    def __init__(self, directory: Path) -> None:
        home = directory / "clickhouse"
        home.mkdir()
        self._server = ClickhouseServer(home)
        self.port = self._server.port

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def address(self, port: int) -> str:
        return self._server.address(PROJECT, port)

    def points(self) -> Points:
        assert self._server.rows(f"SELECT DISTINCT run, state FROM {PROJECT}.tracker_runs FINAL") == [
            ("run", "finished")
        ]
        points: dict[str, Counter[tuple[int, float]]] = {}
        for key, step, value in self._server.rows(f"SELECT key, step, number FROM {PROJECT}.tracker_points FINAL"):
            points.setdefault(key, Counter())[int(step), float(value)] += 1
        return points


SERVERS: dict[str, Callable[[Path], RestartableServer]] = {
    "MLflow": RestartableMlflow,
    "ClickHouse": RestartableClickhouse,
}


class ProxiedServer:
    """A running server behind a proxy whose port does not change; both end when the context is left.

    Args:
        kind: a key of `SERVERS`.
        directory: for the server's data.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self.server: RestartableServer = SERVERS[kind](directory)
        self.proxy = FaultyProxy(0)

    @property
    def address(self) -> str:
        return self.server.address(self.proxy.port)

    def start(self) -> None:
        self.server.start()
        self.proxy.target_port = self.server.port

    def __enter__(self) -> ProxiedServer:
        self.start()
        try:
            self.proxy.__enter__()
        except BaseException:
            self.server.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.proxy.__exit__(kind, error, trace)
        self.server.stop()


def compare(points: Points, tally: Tally) -> tuple[int, int, int]:
    """Return the number of calls of the only writer that the server has, lacks, and has more than once.

    The server has a call if it has every value that the call logged.

    Raises:
        AssertionError: the server has something that was not logged.
    """
    (writer,) = tally.writers
    returned, begun = tally.counts()[writer]
    remaining = {key: Counter(stored) for key, stored in points.items()}
    read = duplicated = 0
    for number in range(begun):
        logged = row(writer, number).items()
        times = [remaining.get(key, Counter()).pop((number, float(value)), 0) for key, value in logged]
        if number < returned:
            read += min(times) > 0
            duplicated += max(times) > 1
    extra = {key: list(stored)[:5] for key, stored in remaining.items() if stored}
    assert not extra, f"points that were not logged: {extra}"
    return read, returned - read, duplicated


def wait_for_sidecars(root: Path, seconds: float) -> None:
    """Wait until every sidecar of a root has finished its work and exited."""
    wait_until(lambda: not sidecars(root), "the sidecars have ended", seconds)
