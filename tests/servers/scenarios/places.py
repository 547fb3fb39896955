"""The servers of the scenarios: each is started, killed and started again, and keeps what it has meanwhile."""

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
"""What the trainers of `tests.faults.trainers` call theirs."""

Points = Mapping[str, Counter[tuple[int, float]]]
"""Key -> (step, value) -> how often it is there."""


class Place(Protocol):
    """A server of a kind.

    Attributes:
        port: where it is when it runs; another after each start, perhaps.
    """

    port: int

    def start(self) -> None:
        """Start it; return when it answers."""

    def stop(self) -> None:
        """Kill it. May be called when it does not run."""

    def address(self, port: int) -> str:
        """Return its address as a sink, through a port."""

    def points(self) -> Points:
        """Return what it keeps of the one run."""


class MlflowPlace:
    """MLflow on SQLite; see `Place`."""

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
        found: Counter[tuple[int, float]] = Counter()
        wanted = {"run_id": run, "metric_key": key, "max_results": "20000"}
        while True:
            answer = self._server.ask("GET", "metrics/get-history", wanted)
            found.update((int(each["step"]), float(each["value"])) for each in answer.get("metrics", ()))
            if not answer.get("next_page_token"):
                return found
            wanted["page_token"] = answer["next_page_token"]


class ClickhousePlace:
    """ClickHouse; see `Place`."""

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
        found: dict[str, Counter[tuple[int, float]]] = {}
        for key, step, value in self._server.rows(f"SELECT key, step, number FROM {PROJECT}.tracker_points FINAL"):
            found.setdefault(key, Counter())[int(step), float(value)] += 1
        return found


PLACES: dict[str, Callable[[Path], Place]] = {"MLflow": MlflowPlace, "ClickHouse": ClickhousePlace}


class Started:
    """A server that runs, behind a proxy that stays where it is; both are gone when the context is left.

    Args:
        kind: of `PLACES`.
        directory: what the server keeps is there.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self.place: Place = PLACES[kind](directory)
        self.proxy = FaultyProxy(0)

    @property
    def address(self) -> str:
        return self.place.address(self.proxy.port)

    def start(self) -> None:
        self.place.start()
        self.proxy.target_port = self.place.port

    def __enter__(self) -> Started:
        self.start()
        try:
            self.proxy.__enter__()
        except BaseException:
            self.place.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.proxy.__exit__(kind, error, trace)
        self.place.stop()


def compare(points: Points, tally: Tally) -> tuple[int, int, int]:
    """Return how many of the calls of the one writer are at the server, how many are not, and how many are more than
    once; a call counts as there where all that it logged is.

    Raises:
        AssertionError: something is there that nobody logged.
    """
    (writer,) = tally.writers
    returned, begun = tally.counts()[writer]
    left = {key: Counter(found) for key, found in points.items()}
    read = twice = 0
    for number in range(begun):
        times = [left.get(key, Counter()).pop((number, float(value)), 0) for key, value in row(writer, number).items()]
        if number < returned:
            read += min(times) > 0
            twice += max(times) > 1
    more = {key: list(found)[:5] for key, found in left.items() if found}
    assert not more, f"points that nobody logged: {more}"
    return read, returned - read, twice


def wait_for_sidecars(root: Path, seconds: float) -> None:
    """Wait until every sidecar of a root has done all, and has ended."""
    wait_until(lambda: not sidecars(root), "the sidecars have ended", seconds)
