"""SinkSender stepped by hand, and SinkSenders with its threads: which runs are sent, and when a sidecar may exit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import SINKS_NAME
from sidecar.protocol.sink_address import SinkAddress, parse_sink
from sidecar.protocol.sink_progress import SinkLock, all_progress, read_progress
from sidecar.sinks.contract import SinkTarget, SinkUnavailableError
from sidecar.sinks.delivery import GATHER_SECONDS
from sidecar.sinks.senders import PATIENCE_SECONDS, POLL_SECONDS, SinkSender, SinkSenders
from tests.support import wait_until
from tests.unit.run_builder import RunBuilder
from tests.unit.sinks.memory_server import MemoryServer, MemorySink

ADDRESS = parse_sink("mlflow+http://host:5000")
OTHER = parse_sink("clickhouse+http://host:8123/db")


class Stepped:
    """A sender whose time passes only when a test says so."""

    def __init__(self, server: MemoryServer) -> None:
        self.now = 1000.0
        self.sender = SinkSender(ADDRESS, server.sink, lambda: self.now)

    def idle(self, times: int = 1) -> float:
        """Call `idle` when it is due, so many times; return how long it wants to wait at most."""
        for _ in range(times):
            wait = self.sender.idle(self.now)
            self.now += wait
        return wait


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def stepped(server: MemoryServer) -> Iterator[Stepped]:
    made = Stepped(server)
    yield made
    made.sender.close(Deadline(1.0))


def ended_run(root: Path, run_id: str) -> RunBuilder:
    run = RunBuilder(root, run_id, f"client-{run_id}")
    run.row(0, x=1.0)
    return run.finish()


# -- one server ---------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_before_the_first_step(stepped: Stepped, root: Path) -> None:
    run = ended_run(root, "run1")
    stepped.sender.add(run.dir, held=True)
    assert [progress.address for progress in all_progress(run.dir)] == [ADDRESS.text]


def test_a_held_run_is_followed_and_a_closed_one_is_sent_and_dropped(
    stepped: Stepped, server: MemoryServer, root: Path
) -> None:
    run = RunBuilder(root, "run1")
    stepped.sender.add(run.dir, held=True)
    stepped.idle(2)
    assert len(server.records) == 1 and set(stepped.sender.deliveries()) == {"run1"}
    run.finish()
    assert stepped.sender.pending()
    stepped.sender.closed("run1")
    stepped.idle()
    assert [record.kind for record in server.records] == ["run", "exit"]
    assert stepped.sender.deliveries() == {} and server.closed == 1
    assert not stepped.sender.pending()


def test_a_run_that_is_complete_but_held_is_kept(stepped: Stepped, root: Path) -> None:
    run = ended_run(root, "run1")
    stepped.sender.add(run.dir, held=True)
    stepped.idle(10)
    assert set(stepped.sender.deliveries()) == {"run1"}
    assert not stepped.sender.pending(), "there is nothing to stay for"


def test_one_run_that_fails_does_not_delay_another(stepped: Stepped, server: MemoryServer, root: Path) -> None:
    bad, good = ended_run(root, "bad"), ended_run(root, "good")
    (bad.dir / SINKS_NAME).write_text("in the way")
    for run in (bad, good):
        stepped.sender.add(run.dir, held=False)
    stepped.idle()
    assert {record.run for record in server.records} == {"good"}
    assert set(stepped.sender.deliveries()) == {"bad"}


def test_wake_sends_without_gathering(stepped: Stepped, server: MemoryServer, root: Path) -> None:
    run = RunBuilder(root, "run1")
    stepped.sender.add(run.dir, held=True)
    stepped.idle()
    before = stepped.now
    run.row(0, x=1.0)
    stepped.idle()
    assert len(server.records) == 1, "it gathers for a second"
    delivery = stepped.sender.wake("run1")
    stepped.idle()
    assert len(server.records) == 2 and stepped.now - before < GATHER_SECONDS
    assert delivery is not None and delivery.behind_bytes() == 0
    assert stepped.sender.wake("run2") is None
    run.log.close()


def test_the_wait_is_bounded_so_that_new_records_are_seen(stepped: Stepped, server: MemoryServer, root: Path) -> None:
    assert stepped.idle() == POLL_SECONDS
    server.open_error = SinkUnavailableError("down")
    stepped.sender.add(ended_run(root, "run1").dir, held=True)
    assert 0 < stepped.idle(20) <= POLL_SECONDS


# -- how long to stay ---------------------------------------------------------------------------------------------


def test_a_sidecar_stays_for_what_it_took_until_its_patience_ends(
    stepped: Stepped, server: MemoryServer, root: Path
) -> None:
    server.open_error = SinkUnavailableError("down")
    stepped.sender.add(ended_run(root, "run1").dir, held=True)
    stepped.idle()
    stepped.sender.closed("run1")
    begun = stepped.now
    while stepped.sender.pending():
        stepped.now += 30.0
        stepped.idle()
    assert stepped.now - begun == pytest.approx(PATIENCE_SECONDS, abs=60.0)
    server.open_error = None
    stepped.now += 60.0
    stepped.idle(2)
    assert stepped.sender.deliveries() == {}, "it kept trying"


def test_a_sidecar_does_not_stay_for_an_orphaned_run_but_sends_it(
    stepped: Stepped, server: MemoryServer, root: Path
) -> None:
    run = ended_run(root, "run1")
    stepped.sender.add(run.dir, held=False)
    assert not stepped.sender.pending()
    stepped.idle()
    assert {record.run for record in server.records} == {"run1"} and stepped.sender.deliveries() == {}


def test_an_orphaned_run_that_is_opened_again_counts(stepped: Stepped, root: Path) -> None:
    run = ended_run(root, "run1")
    stepped.sender.add(run.dir, held=False)
    stepped.sender.add(run.dir, held=True)
    assert stepped.sender.pending()
    stepped.sender.add(run.dir, held=False)
    assert stepped.sender.pending(), "a held run must stay pending"


def test_close_releases_every_run(stepped: Stepped, server: MemoryServer, root: Path) -> None:
    runs = [ended_run(root, f"run{number}") for number in range(3)]
    for run in runs:
        stepped.sender.add(run.dir, held=True)
    stepped.idle()
    for _ in range(2):
        stepped.sender.close(Deadline(1.0))
    assert server.closed == 3
    for run in runs:
        lock = SinkLock.take(run.dir, ADDRESS)
        assert lock is not None
        lock.release()
        assert read_progress(run.dir, ADDRESS).behind_bytes(run.dir) == 0


# -- all servers, with threads ------------------------------------------------------------------------------------


class Servers:
    """A `MemoryServer` for each address; requests to `waits_for` block until `free` is set."""

    def __init__(self) -> None:
        self.of = {ADDRESS.name: MemoryServer(), OTHER.name: MemoryServer()}
        self.free = threading.Event()
        self.free.set()
        self.waits_for: SinkAddress | None = None

    def sink(self, target: SinkTarget) -> MemorySink:
        if target.address == self.waits_for:
            self.free.wait(30.0)
        return self.of[target.address.name].sink(target)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def senders(servers: Servers) -> Iterator[SinkSenders]:
    made = SinkSenders([ADDRESS], servers.sink)
    yield made
    servers.free.set()
    made.close(Deadline(10.0))


def test_a_run_goes_to_its_own_servers_and_to_those_of_all_runs(
    senders: SinkSenders, servers: Servers, root: Path
) -> None:
    one, two = ended_run(root, "run1"), ended_run(root, "run2")
    senders.add(one.dir, [OTHER, ADDRESS])
    senders.add(two.dir, [])
    wait_until(lambda: not senders.pending(), "all runs are sent")
    assert {record.run for record in servers.of[ADDRESS.name].records} == {"run1", "run2"}
    assert {record.run for record in servers.of[OTHER.name].records} == {"run1"}
    assert set(servers.of[ADDRESS.name].counts.values()) == {1}
    assert senders.failed() is None
    names = {thread.name for thread in threading.enumerate()}
    assert {"SinkSender-mlflow", "SinkSender-clickhouse"} <= names


def test_an_orphaned_run_goes_only_where_it_was_going(senders: SinkSenders, servers: Servers, root: Path) -> None:
    senders.add(ended_run(root, "run1").dir, [OTHER], held=False)
    wait_until(lambda: senders.backlog() == {}, "the orphaned run is sent")
    assert servers.of[OTHER.name].records and not servers.of[ADDRESS.name].records


def test_a_server_that_hangs_delays_no_other(senders: SinkSenders, servers: Servers, root: Path) -> None:
    servers.free.clear()
    servers.waits_for = OTHER
    run = ended_run(root, "run1")
    senders.add(run.dir, [OTHER])
    wait_until(lambda: senders.progress("run1")[ADDRESS.text]["behind_bytes"] == 0, "the other server has the run")
    size = run.log_path.stat().st_size
    assert senders.progress("run1")[OTHER.text] == {"behind_bytes": size, "error": None}
    assert senders.pending()
    servers.free.set()
    wait_until(lambda: not senders.pending(), "both have it")


def test_status_names_each_server_with_its_error(senders: SinkSenders, servers: Servers, root: Path) -> None:
    servers.of[OTHER.name].open_error = SinkUnavailableError("down")
    run = RunBuilder(root, "run1")
    senders.add(run.dir, [OTHER])

    def status() -> bool:
        servers_of_run = senders.backlog()["run1"]
        sent = servers_of_run[ADDRESS.text] == {"behind_bytes": 0, "error": None}
        return sent and servers_of_run[OTHER.text]["error"] == "down"

    wait_until(status, "the status of both is known")
    assert senders.progress("run2") == {}
    run.log.close()
    servers.of[OTHER.name].open_error = None
    senders.closed("run1")
    wait_until(lambda: not senders.backlog(), "a closed run is dropped once all servers have it")
