"""A Delivery stepped by hand over real logs: whatever the server does, in the end it has everything, in effect once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import SINKS_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_progress import read_progress, write_progress
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.delivery import (
    GATHER_SECONDS,
    LAST_RETRY_SECONDS,
    QUICK_RETRIES,
    REFUSED_RETRY_SECONDS,
    SAVE_SECONDS,
    Delivery,
)
from tests.support import exact, wait_until
from tests.unit.run_builder import RunBuilder
from tests.unit.sinks.memory_server import MemoryServer

ADDRESS = parse_sink("mlflow+http://host:5000")


class Clock:
    """Steps deliveries, and advances their time."""

    def __init__(self) -> None:
        self.now = time.monotonic() + 1000.0
        self.made: list[Delivery] = []

    def begin(self, run: RunBuilder, server: MemoryServer) -> Delivery:
        self.made.append(Delivery(run.dir, ADDRESS, server.sink))
        return self.made[-1]

    def step(self, delivery: Delivery) -> float:
        """Step, and advance the time to the next step; return the wait in seconds."""
        wait = delivery.step(self.now)
        self.now += wait
        return wait

    def all_sent(self, delivery: Delivery) -> None:
        """Step until everything is sent."""
        for _ in range(1000):
            self.step(delivery)
            if delivery.behind_bytes() == 0:
                return
        raise AssertionError(f"{delivery.behind_bytes()} bytes are pending: {delivery.progress.error}")


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    for delivery in made.made:
        delivery.close(Deadline(1.0))


@pytest.fixture
def run(root: Path) -> RunBuilder:
    """A finished run of two clients."""
    made = RunBuilder(root, "run1", project="p")
    made.write("config", {"set": {"lr": 0.1}})
    made.write("run", {"label": "other"}, "client000002")
    for step in range(200):
        made.row(step, loss=1.0 / (step + 1), acc=step)
        made.row(step, "client000002", loss=-float(step))
    made.write("exit", {"state": "finished"}, "client000002")
    made.write("exit", {"state": "finished"})
    made.log.close()
    return made


def records(run: RunBuilder) -> list[Record]:
    with LogReader(run.log_path) as reader:
        return [record for batch in reader.batches() for record in batch.records]


def state_at(run: RunBuilder, end: int) -> dict[str, object]:
    """Return the run's state at an offset, computed from the log alone."""
    state = RunState()
    for record, behind in zip(records(run), ends(run), strict=True):
        if behind <= end:
            state.apply(record)
    return state.to_map()


def ends(run: RunBuilder) -> list[int]:
    """Return the end offset of each record."""
    with LogReader(run.log_path) as reader:
        return [end for batch in reader.batches() for end in batch.ends]


def saved_error(run: RunBuilder) -> str | None:
    """Return the error as another process reads it."""
    return read_progress(run.dir, ADDRESS).error


# -- from checkpoint to checkpoint --------------------------------------------------------------------------------


def test_a_whole_log_is_sent_once_and_in_order(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    delivery = clock.begin(run, server)
    clock.all_sent(delivery)
    assert server.records == records(run)
    assert set(server.counts.values()) == {1}
    assert len(server.batches) > 10 and server.opened == 1
    assert delivery.progress.checkpoint == run.log_path.stat().st_size


def test_each_batch_comes_with_the_state_after_it(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(3000)
    clock.all_sent(clock.begin(run, server))
    for batch, state in zip(server.batches, server.states, strict=True):
        assert exact(state.to_map()) == exact(state_at(run, batch.end))


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_another_process_continues_at_the_checkpoint_with_the_same_state(
    run: RunBuilder, clock: Clock, batches: int
) -> None:
    server = MemoryServer(1000)
    first = clock.begin(run, server)
    for _ in range(batches):
        clock.step(first)
    first.close(Deadline(1.0))
    assert len(server.batches) == batches and server.closed == 1

    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run)
    assert set(server.counts.values()) == {1}, "a record was resent"
    assert exact(server.states[batches].to_map()) == exact(state_at(run, server.batches[batches].end))
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))
    assert server.memories == [{}, {"id": "made1"}], "the memory of the sink is saved"


def test_progress_lost_in_a_kill_is_resent(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    first = clock.begin(run, server)
    file = run.dir / SINKS_NAME / ADDRESS.name
    clock.step(first)
    clock.now += SAVE_SECONDS
    clock.step(first)
    saved = file.read_bytes()  # as after a kill: nothing is saved after this
    clock.all_sent(first)
    first.close(Deadline(1.0))
    file.write_bytes(saved)

    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run), "a resent record is stored more than once"
    resent = [times for times in server.counts.values() if times == 2]
    assert resent and set(server.counts.values()) == {1, 2}
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


def test_progress_is_saved_at_most_every_second(run: RunBuilder, clock: Clock) -> None:
    delivery = clock.begin(run, MemoryServer(300))
    written = set()
    for _ in range(20):
        assert clock.step(delivery) == 0.0, "the log has more"
        written.add(read_progress(run.dir, ADDRESS).checkpoint)
    assert len(written) == 1
    clock.now += SAVE_SECONDS
    clock.step(delivery)
    assert read_progress(run.dir, ADDRESS).checkpoint == delivery.progress.checkpoint > max(written)


def test_a_log_that_grows_is_followed(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    server = MemoryServer()
    delivery = clock.begin(run, server)
    clock.all_sent(delivery)
    for step in range(5):
        run.row(step, x=step)
        assert delivery.behind_bytes() > 0
        assert clock.step(delivery) == GATHER_SECONDS, "records are gathered for a second"
    run.row(5, x=5)
    delivery.wake()
    assert delivery.step(clock.now - GATHER_SECONDS) == GATHER_SECONDS, "unless it is woken"
    assert delivery.behind_bytes() == 0
    run.log.close()
    assert server.records == records(run)
    assert server.opened == 1


def test_an_incomplete_frame_is_sent_when_it_is_complete(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    offset = run.row(0, x=1.0)
    run.log.close()
    whole = run.log_path.read_bytes()
    run.log_path.write_bytes(whole[: offset + 7])
    server = MemoryServer()
    delivery = clock.begin(run, server)
    clock.step(delivery)
    clock.step(delivery)
    assert [record.kind for record in server.records] == ["run"] and delivery.tail_bytes == 7
    run.log_path.write_bytes(whole)
    clock.all_sent(delivery)
    assert [record.kind for record in server.records] == ["run", "log"] and delivery.tail_bytes == 0


def test_a_damaged_range_costs_only_its_records(run: RunBuilder, clock: Clock) -> None:
    size = run.log_path.stat().st_size
    run.damage(size // 2, size // 2 + 10)
    server = MemoryServer(1000)
    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run)
    assert 395 < len(server.records) < 406


# -- saved progress that cannot be used ---------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"no msgpack at all", b"\x80", b"\x81\xa6format\x63"])
def test_unreadable_progress_resends_everything(run: RunBuilder, clock: Clock, content: bytes) -> None:
    server = MemoryServer(1000)
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    (run.dir / SINKS_NAME / ADDRESS.name).write_bytes(content)
    clock.all_sent(clock.begin(run, server))
    assert set(server.counts.values()) == {2}
    assert server.records == records(run)


def test_a_checkpoint_beyond_the_log_resends_everything(
    run: RunBuilder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server = MemoryServer(1000)
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    whole = run.log_path.read_bytes()
    end = ends(run)[50]
    run.log_path.write_bytes(whole[:end])  # the machine crashed before the end of the log was on disk

    with caplog.at_level(logging.WARNING):
        clock.all_sent(clock.begin(run, server))
    assert "ahead of its log" in caplog.text
    assert server.batches[-1].end == end
    assert exact(server.states[-1].to_map()) == exact(state_at(run, end))


@pytest.mark.parametrize("harm", ["behind the checkpoint", "of another version"])
def test_an_unusable_state_is_recomputed_from_the_log(run: RunBuilder, clock: Clock, harm: str) -> None:
    server = MemoryServer(1000)
    first = clock.begin(run, server)
    for _ in range(3):
        clock.step(first)
    first.close(Deadline(1.0))
    progress = read_progress(run.dir, ADDRESS)
    if harm == "of another version":
        progress.state = {"version": 99}
    else:
        progress.state_end = run.log_path.stat().st_size
    write_progress(run.dir, progress)

    clock.all_sent(clock.begin(run, server))
    assert set(server.counts.values()) == {1}
    assert exact(server.states[3].to_map()) == exact(state_at(run, server.batches[3].end))
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


# -- a server that fails ------------------------------------------------------------------------------------------


def test_a_failed_batch_is_resent_with_the_same_state(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    delivery = clock.begin(run, server)
    clock.step(delivery)
    for server.after in (False, True):
        server.error = SinkUnavailableError("502 Bad Gateway")
        clock.step(delivery)
        server.error = None
        clock.step(delivery)
        assert server.batches[-1].records == server.batches[-2].records[: len(server.batches[-1].records)], (
            "the same batch"
        )
        assert exact(server.states[-1].to_map()) == exact(state_at(run, server.batches[-1].end))
    clock.all_sent(delivery)
    assert (server.made, server.opened, server.closed) == (1, 3, 2), "the sink knows what of the batch was stored"
    assert server.records == records(run)
    assert server.memories[1:] == [{"id": "made1"}] * 2


def test_batches_shrink_while_sending_fails_and_grow_again(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    for step in range(600):
        run.row(step, text="x" * 2000)
    run.log.close()
    server = MemoryServer(1 << 20)
    delivery = clock.begin(run, server)
    server.error = SinkUnavailableError("cut")
    for _ in range(8):
        clock.step(delivery)
    sizes = [len(batch.records) for batch in server.batches]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 50 * sizes[-1] > 50
    server.error = None
    clock.all_sent(delivery)
    assert max(len(batch.records) for batch in server.batches[8:]) > 10 * sizes[-1]
    assert server.records == records(run)


def test_retries_back_off_exponentially_with_jitter(root: Path, clock: Clock) -> None:
    server = MemoryServer()
    server.open_error = SinkUnavailableError("connection refused")
    waits = []
    for number in range(8):
        delivery = clock.begin(RunBuilder(root, f"run{number}").finish(), server)
        waits.append([clock.step(delivery) for _ in range(12)])
    for position, of_runs in enumerate(zip(*waits, strict=True)):
        longest = min(LAST_RETRY_SECONDS, 0.5 * 2 ** max(0, position + 1 - QUICK_RETRIES))
        assert all(longest / 2 <= wait <= longest for wait in of_runs)
        assert len(set(of_runs)) > 4, "runs retry at the same moment"


def test_the_back_off_ends_when_the_server_is_back(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer()
    delivery = clock.begin(run, server)
    server.open_error = SinkUnavailableError("connection refused")
    for _ in range(8):
        clock.step(delivery)
    since = delivery.failing_since
    assert since is not None
    server.open_error = None
    clock.all_sent(delivery)
    assert delivery.failing_since is None
    server.error = SinkUnavailableError("again")
    run.log_path.write_bytes(run.log_path.read_bytes() + run.log_path.read_bytes()[16:])
    clock.now += 10.0
    assert clock.step(delivery) <= 0.5


def test_a_step_that_is_too_early_sends_nothing(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer()
    server.open_error = SinkUnavailableError("connection refused")
    delivery = clock.begin(run, server)
    wait = delivery.step(clock.now)
    for _ in range(10):
        delivery.wake()
        assert delivery.step(clock.now + wait / 2) == pytest.approx(wait / 2)
    assert server.opened == 1


@pytest.mark.parametrize("asked", [7.0, 300.0])
def test_retry_after_is_respected(run: RunBuilder, clock: Clock, asked: float) -> None:
    server = MemoryServer()
    server.error = SinkUnavailableError("429 Too Many Requests", retry_after=asked)
    delivery = clock.begin(run, server)
    assert delivery.step(clock.now) == asked
    server.error = None
    delivery.wake()
    assert delivery.step(clock.now + asked - 0.5) == pytest.approx(0.5)
    assert len(server.batches) == 1
    delivery.step(clock.now + asked)
    assert delivery.behind_bytes() == 0


def test_a_retry_after_of_days_is_capped_at_an_hour(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer()
    server.error = SinkUnavailableError("503", retry_after=1e9)
    assert clock.begin(run, server).step(clock.now) == 3600.0


def test_a_refusal_is_retried_at_long_intervals_and_its_reason_saved(
    run: RunBuilder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server = MemoryServer()
    server.open_error = SinkRefusedError("401 Unauthorized")
    delivery = clock.begin(run, server)
    with caplog.at_level(logging.WARNING):
        assert [clock.step(delivery) for _ in range(3)] == [REFUSED_RETRY_SECONDS] * 3
    assert server.made == 3, "what must be fixed may be something that a sink reads when it is made"
    assert len(caplog.messages) == 1 and "401 Unauthorized" in caplog.messages[0], "it is logged once"
    assert saved_error(run) == delivery.progress.error == "401 Unauthorized"
    server.open_error = None
    clock.all_sent(delivery)
    delivery.close(Deadline(1.0))
    assert saved_error(run) is None


def test_an_error_is_cleared_when_the_server_is_back_even_with_nothing_to_send(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer()
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    again = clock.begin(run, server)
    server.open_error = SinkUnavailableError("connection refused")
    clock.step(again)
    assert saved_error(run) == "connection refused"
    server.open_error = None
    clock.step(again)
    clock.now += SAVE_SECONDS
    clock.step(again)
    assert saved_error(run) is None and again.failing_since is None


def test_a_server_that_has_lost_records_gets_them_again(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    delivery = clock.begin(run, server)
    for _ in range(3):
        clock.step(delivery)
    server.lost = True
    clock.step(delivery)
    assert "has lost records" in (saved_error(run) or "") and delivery.progress.checkpoint == 0
    server.lost = False
    clock.all_sent(delivery)
    assert set(server.counts.values()) == {1, 2} and server.records == records(run)
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


def test_a_bug_in_a_sink_is_recorded_and_retried(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    server.error = ZeroDivisionError("unforeseen")
    delivery = clock.begin(run, server)
    assert clock.step(delivery) <= 0.5
    assert saved_error(run) == "ZeroDivisionError: unforeseen"
    server.error = None
    clock.all_sent(delivery)
    assert server.records == records(run)


def test_a_directory_that_cannot_be_written_is_a_recorded_error(run: RunBuilder, clock: Clock) -> None:
    (run.dir / SINKS_NAME).write_text("in the way")
    server = MemoryServer()
    delivery = clock.begin(run, server)
    clock.step(delivery)
    assert delivery.progress.error == f"{run.dir / SINKS_NAME}: File exists"
    (run.dir / SINKS_NAME).unlink()
    clock.all_sent(delivery)
    assert delivery.progress.error is None


def test_an_invalid_log_is_a_recorded_error(run: RunBuilder, clock: Clock) -> None:
    run.log_path.write_bytes(b"no log" * 100)
    delivery = clock.begin(run, MemoryServer())
    clock.step(delivery)
    assert "not a transaction log" in (saved_error(run) or "")


# -- two deliveries of the same run -------------------------------------------------------------------------------


def test_one_of_two_deliveries_of_a_run_to_the_same_server_waits(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    first, second = clock.begin(run, server), clock.begin(run, server)
    clock.step(first)
    assert 0 < second.step(clock.now) <= 1.0
    assert server.opened == 1 and second.progress.error is None
    clock.now += SAVE_SECONDS
    clock.step(first)
    clock.step(first)
    clock.now += SAVE_SECONDS
    second.step(clock.now)
    assert second.progress.checkpoint > 0, "it reads the progress of the other"
    first.close(Deadline(1.0))
    clock.all_sent(second)
    assert server.records == records(run)
    assert set(server.counts.values()) == {1}


def test_a_waiting_delivery_reports_the_error_of_the_other(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer()
    server.open_error = SinkUnavailableError("connection refused")
    first, second = clock.begin(run, server), clock.begin(run, server)
    clock.step(first)
    second.step(clock.now)
    assert second.progress.error == "connection refused"


def test_a_run_goes_to_two_servers_at_once(run: RunBuilder, clock: Clock) -> None:
    one, other = MemoryServer(1000), MemoryServer(3000)
    first = clock.begin(run, one)
    second = Delivery(run.dir, parse_sink("clickhouse+http://host:8123/db"), other.sink)
    clock.made.append(second)
    clock.step(first)
    clock.all_sent(second)
    clock.all_sent(first)
    assert one.records == other.records == records(run)


def test_close_may_be_called_twice_and_releases_the_run(run: RunBuilder, clock: Clock) -> None:
    server = MemoryServer(1000)
    delivery = clock.begin(run, server)
    clock.step(delivery)
    for _ in range(2):
        delivery.close(Deadline(1.0))
    assert server.closed == 1
    another = clock.begin(run, server)
    wait_until(lambda: clock.step(another) == 0.0 and len(server.batches) > 1, "another delivery sends it")
