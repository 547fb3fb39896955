"""The contract of sinks, checked on each with its real server: resending anything changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import new_id
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_progress import SinkProgress, read_progress, write_progress
from sidecar.sinks.contract import Sink, SinkTarget
from sidecar.sinks.delivery import Delivery
from sidecar.sinks.registry import open_sink
from tests.integration.chain import Link, full_content
from tests.servers import clickhouse_server
from tests.servers.clickhouse_server import ClickhouseServer
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import CUT_AFTER, Fault, FaultyProxy
from tests.support import exact
from tests.unit.run_builder import RunBuilder
from tracker.reading.api import Api

clickhouse = clickhouse_server.clickhouse
modern_clickhouse = clickhouse_server.modern_clickhouse

BATCH_BYTES = 700
"""Size of a batch: a log is sent in about ten."""


class CuttableServer(Protocol):
    """A server whose connections can be cut.

    Attributes:
        address: address of the server, as a sink.
    """

    address: str

    def stored(self, run: RunBuilder) -> Any:
        """Return everything that the server stores of a run, for comparison."""

    def cut(self) -> Callable[[], int]:
        """From now on, drop the first response to each request, which is executed. Return a function that returns the
        number of cuts."""

    def after_batch(self) -> None:
        """Called after each batch while connections are cut."""


class CuttingEach:
    """A plan for a `FaultyProxy`: cuts each distinct request once."""

    def __init__(self, proxy: FaultyProxy) -> None:
        self._proxy = proxy
        self._seen: set[tuple[str, str, bytes]] = set()

    def __call__(self, number: int, method: str, path: str) -> Fault | None:
        request = method, path, self._proxy.requests[number - 1].body
        if request in self._seen:
            return None
        self._seen.add(request)
        return CUT_AFTER

    def count(self) -> int:
        return len(self._seen)


class HttpServer:
    """MLflow or ClickHouse behind a proxy."""

    def __init__(self, proxy: FaultyProxy, address: str, stored: Callable[[RunBuilder], Any]) -> None:
        self.address = address
        self.stored = stored
        self._proxy = proxy

    def cut(self) -> Callable[[], int]:
        plan = CuttingEach(self._proxy)
        self._proxy.plan = plan
        return plan.count

    def after_batch(self) -> None:
        """The proxy does the cutting."""


class UpstreamServer:
    """Another sidecar, which is killed and restarted."""

    def __init__(self, link: Link) -> None:
        self.address = link.address
        self._link = link
        self._batches = self._kills = 0

    def stored(self, run: RunBuilder) -> Any:
        return full_content(self._link.run(run.id), killed=True)

    def cut(self) -> Callable[[], int]:
        return lambda: self._kills

    def after_batch(self) -> None:
        self._batches += 1
        if self._batches % 2 == 0:  # only every other time, since it takes the sink two seconds to notice
            self._link.kill()
            self._link.start()
            self._kills += 1


def _mlflow(request: pytest.FixtureRequest) -> Iterator[CuttableServer]:
    server: MlflowServer = request.getfixturevalue("mlflow_sqlite")

    def stored(run: RunBuilder) -> Any:
        return server.stored(f"contract {run.id}")

    with FaultyProxy(server.port) as proxy:
        yield HttpServer(proxy, f"mlflow+{proxy.url}", stored)


def _clickhouse(request: pytest.FixtureRequest, fixture: str = "clickhouse") -> Iterator[CuttableServer]:
    server: ClickhouseServer = request.getfixturevalue(fixture)
    database = f"db_{new_id()}"

    def stored(run: RunBuilder) -> Any:
        with Api(server.address(database)) as api:
            stored = api.run(run.id)
            content = stored.to_map() | {"history": stored.history(), "rows": list(stored.scan_history())}
        return exact({key: value for key, value in content.items() if key != "dir"})

    with FaultyProxy(server.port) as proxy:
        yield HttpServer(proxy, server.address(database, proxy.port), stored)


def _modern_clickhouse(request: pytest.FixtureRequest) -> Iterator[CuttableServer]:
    yield from _clickhouse(request, "modern_clickhouse")


def _upstream(request: pytest.FixtureRequest) -> Iterator[CuttableServer]:
    directory: Path = request.getfixturevalue("tmp_path")
    link = Link(directory / "upstream" / "root").start()
    yield UpstreamServer(link)
    link.close()


SERVERS: dict[str, Callable[[pytest.FixtureRequest], Iterator[CuttableServer]]] = {
    "mlflow": _mlflow,
    "clickhouse": _clickhouse,
    "modern-clickhouse": _modern_clickhouse,
    "upstream": _upstream,
}


@pytest.fixture(params=list(SERVERS.values()), ids=list(SERVERS))
def server(
    request: pytest.FixtureRequest,
    mlflow_sqlite: MlflowServer,
    clickhouse: ClickhouseServer,
    modern_clickhouse: ClickhouseServer,
) -> Iterator[CuttableServer]:
    """Each kind of server in turn. The servers of the whole session start before the first test looks for leaks."""
    yield from request.param(request)


def build(root: Path, run_id: str) -> RunBuilder:
    """Build a run with every kind of data that servers store. Two such runs differ only in their ids."""
    run = RunBuilder(root, run_id, f"c1-{run_id}", project=f"contract {run_id}", tags=["a"], notes="as it was")
    run.write("config", {"set": {"lr": 0.1, "model": {"depth": 3}}})
    run.write("run", {"label": "rank1"}, f"c2-{run_id}")
    for step in range(40):
        run.row(step, loss=1.0 / (step + 1), acc=step)
        run.row(step, f"c2-{run_id}", loss=-float(step))
        if step % 5 == 0:
            run.row(step, "", shell=step, note=f"text {step}")
    run.write("config", {"set": {"lr": 0.2}})
    run.write("summary", {"set": {"best": 0.5}})
    run.row(3, late=float("nan"))
    run.write("exit", {"state": "crashed", "writer": f"c2-{run_id}", "reason": "gone"}, "")
    return run.finish()


class SmallBatches:
    """The real sink, with small batches."""

    def __init__(self, target: SinkTarget) -> None:
        self._sink: Sink = open_sink(target)
        self.batch_bytes = BATCH_BYTES
        self.open, self.send = self._sink.open, self._sink.send
        self.version, self.close = self._sink.version, self._sink.close


class Sending:
    """Sends a run with real deliveries, but without their pauses.

    Args:
        run: the run.
        server: the server.
    """

    def __init__(self, run: RunBuilder, server: CuttableServer) -> None:
        self.run = run
        self.address = parse_sink(server.address)

    def send(self, batches: int | None = None, after: Callable[[], None] = lambda: None) -> int:
        """Send with one delivery; return the number of batches.

        Args:
            batches: maximum number of batches; all that remain if None.
            after: called after each batch.
        """
        delivery = Delivery(self.run.dir, self.address, SmallBatches)
        now = time.monotonic()
        done = 0
        try:
            while delivery.behind_bytes() and done != batches:
                before = delivery.progress.checkpoint
                now += delivery.step(now)
                if delivery.progress.checkpoint > before:
                    done += 1
                    after()
                assert now < time.monotonic() + 36_000, delivery.progress.error
        finally:
            delivery.close(Deadline(5.0))
        return done

    def rewind(self, progress: SinkProgress) -> None:
        """Restore earlier progress, as after a kill that lost what was not saved."""
        write_progress(self.run.dir, progress)


def comparable(content: Any, run: RunBuilder) -> Any:
    """Return a value that is equal for two runs that differ only in their ids, and in which NaN equals NaN."""
    if isinstance(content, dict):
        return {comparable(key, run): comparable(value, run) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [comparable(item, run) for item in content]
    return repr(content).replace(run.id, "RUN")


def test_resending_from_any_checkpoint_changes_nothing(server: CuttableServer, root: Path) -> None:
    """As after a kill: sending continues at an earlier checkpoint, with the memory that the sink had there."""
    run = build(root, "run1")
    sending = Sending(run, server)
    saved: list[SinkProgress] = []
    assert sending.send(0) == 0
    saved.append(SinkProgress(server.address))
    while sending.send(1):
        saved.append(read_progress(run.dir, sending.address))
    assert len(saved) > 8
    expected = comparable(server.stored(run), run)
    for number, progress in enumerate(saved):
        sending.rewind(progress)
        sending.send()
        assert comparable(server.stored(run), run) == expected, f"resent from batch {number}"
    for number in (1, len(saved) // 2):
        sending.rewind(saved[0])
        sending.send(number)  # from the beginning, and killed again
        sending.send()
        assert comparable(server.stored(run), run) == expected, f"the first {number} batches resent, then the rest"


def test_a_connection_cut_after_every_request_changes_nothing(server: CuttableServer, root: Path) -> None:
    plain = build(root, "run1")
    batches = Sending(plain, server).send()
    expected = comparable(server.stored(plain), plain)

    run = build(root, "run2")
    cuts = server.cut()
    Sending(run, server).send(after=server.after_batch)
    assert batches > 8 and cuts() >= batches // 2
    assert comparable(server.stored(run), run) == expected


def test_a_resent_batch_may_have_another_size(server: CuttableServer, root: Path) -> None:
    run = build(root, "run1")
    sending = Sending(run, server)
    sending.send(3)
    middle = read_progress(run.dir, sending.address)
    sending.send()
    expected = comparable(server.stored(run), run)
    sending.rewind(middle)
    delivery = Delivery(run.dir, sending.address)  # in batches of the sink's own size
    delivery.step(time.monotonic())
    delivery.close(Deadline(5.0))
    assert delivery.behind_bytes() == 0
    assert comparable(server.stored(run), run) == expected


def test_the_version_is_available_without_open(server: CuttableServer, root: Path) -> None:
    sink = open_sink(SinkTarget(parse_sink(server.address), "none", root, {}))
    try:
        assert sink.version()[0].isdigit()
    finally:
        sink.close(Deadline(1.0))
        sink.close(Deadline(1.0))


def test_open_may_be_called_again_and_duplicates_nothing(server: CuttableServer, root: Path) -> None:
    run = build(root, "run1")
    sending = Sending(run, server)
    sending.send()
    expected = comparable(server.stored(run), run)
    memory = read_progress(run.dir, sending.address).memory
    for previous in (memory, {}):
        sink = open_sink(SinkTarget(sending.address, run.id, run.dir, dict(previous)))
        for _ in range(2):
            sink.open()
        sink.close(Deadline(1.0))
    assert comparable(server.stored(run), run) == expected
