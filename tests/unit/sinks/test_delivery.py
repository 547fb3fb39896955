"""A Delivery, stepped by hand over real logs: whatever the server does, it has all of a run in the end, in effect once.

The server is a sink of the contract that keeps what it gets in memory, and fails as it is told.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.log.reader import Batch, LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import SINKS_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_progress import read_progress, write_progress
from sidecar.sinks.contract import SinkRefusedError, SinkTarget, SinkUnavailableError
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

ADDRESS = parse_sink("mlflow+http://host:5000")


class Server:
    """What a server has got, and what it does next.

    Attributes:
        batch_bytes: what its sinks ask for.
        open_error, error: raised by each `open` or `send` until it is None.
        lost: whether `send` says that nothing is there any more.
        after: whether `error` comes when the batch is kept already, as where an answer is lost.
        got: the batches that were sent to it, also those that it did not take.
        kept: client and number of each record that it keeps -> how often it was sent; so is `records`.
        states: what the run's state was said to be with each batch.
        made, opened, closed: how often a sink was.
    """

    def __init__(self, batch_bytes: int = 1 << 20) -> None:
        self.batch_bytes = batch_bytes
        self.open_error: Exception | None = None
        self.error: Exception | None = None
        self.after = self.lost = False
        self.got: list[Batch] = []
        self.kept: Counter[tuple[str, int]] = Counter()
        self.records: list[Record] = []
        self.states: list[RunState] = []
        self.memories: list[dict[str, object]] = []
        self.made = self.opened = self.closed = 0

    def sink(self, target: SinkTarget) -> Sink:
        self.made += 1
        return Sink(self, target)


class Sink:
    """See `sidecar.sinks.contract.Sink`."""

    def __init__(self, server: Server, target: SinkTarget) -> None:
        self.server = server
        self.target = target
        self.batch_bytes = server.batch_bytes

    def open(self) -> None:
        self.server.opened += 1
        self.server.memories.append(dict(self.target.memory))
        if self.server.open_error is not None:
            raise self.server.open_error
        self.target.memory.setdefault("id", f"made{self.server.opened}")

    def send(self, batch: Batch, state: RunState) -> int:
        server = self.server
        server.got.append(batch)
        if server.error is not None and not server.after:
            raise server.error
        if server.lost:
            return 0
        for record in batch.records:
            server.kept[record.client, record.seq] += 1
            if server.kept[record.client, record.seq] == 1:
                server.records.append(record)
        server.states.append(RunState.from_map(state.to_map()))
        if server.error is not None:
            raise server.error
        return batch.end

    def version(self) -> str:
        return "1.0"

    def close(self, deadline: Deadline) -> None:
        self.server.closed += 1


class Clock:
    """Steps a delivery, and moves its time on."""

    def __init__(self) -> None:
        self.now = time.monotonic() + 1000.0
        self.made: list[Delivery] = []

    def begin(self, run: RunBuilder, server: Server) -> Delivery:
        self.made.append(Delivery(run.dir, ADDRESS, server.sink))
        return self.made[-1]

    def step(self, delivery: Delivery) -> float:
        """Step when it is due; return in how many seconds it wants to be stepped again."""
        wait = delivery.step(self.now)
        self.now += wait
        return wait

    def all_sent(self, delivery: Delivery) -> None:
        """Step until everything is there."""
        for _ in range(1000):
            self.step(delivery)
            if delivery.behind_bytes() == 0:
                return
        raise AssertionError(f"{delivery.behind_bytes()} bytes are still on their way: {delivery.progress.error}")


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    for delivery in made.made:
        delivery.close(Deadline(1.0))


@pytest.fixture
def run(root: Path) -> RunBuilder:
    """A run of two clients and of records without a number, that has ended."""
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
    """Return the state up to an offset, made of the log alone."""
    state = RunState()
    for record, behind in zip(records(run), ends(run), strict=True):
        if behind <= end:
            state.apply(record)
    return state.to_map()


def ends(run: RunBuilder) -> list[int]:
    """Return for each record the offset behind it."""
    with LogReader(run.log_path) as reader:
        return [end for batch in reader.batches() for end in batch.ends]


def said(run: RunBuilder) -> str | None:
    """Return what another process reads of why it does not get on."""
    return read_progress(run.dir, ADDRESS).error


# -- from checkpoint to checkpoint --------------------------------------------------------------------------------


def test_all_of_a_log_is_sent_once_and_in_order(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    delivery = clock.begin(run, server)
    clock.all_sent(delivery)
    assert server.records == records(run)
    assert set(server.kept.values()) == {1}
    assert len(server.got) > 10 and server.opened == 1
    assert delivery.progress.checkpoint == run.log_path.stat().st_size


def test_each_batch_comes_with_the_state_of_the_run_behind_it(run: RunBuilder, clock: Clock) -> None:
    server = Server(3000)
    clock.all_sent(clock.begin(run, server))
    for batch, state in zip(server.got, server.states, strict=True):
        assert exact(state.to_map()) == exact(state_at(run, batch.end))


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_another_process_goes_on_at_the_checkpoint_with_the_same_state(
    run: RunBuilder, clock: Clock, batches: int
) -> None:
    server = Server(1000)
    first = clock.begin(run, server)
    for _ in range(batches):
        clock.step(first)
    first.close(Deadline(1.0))
    assert len(server.got) == batches and server.closed == 1

    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run)
    assert set(server.kept.values()) == {1}, "nothing of it is sent again"
    assert exact(server.states[batches].to_map()) == exact(state_at(run, server.got[batches].end))
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))
    assert server.memories == [{}, {"id": "made1"}], "what the sink learned is kept"


def test_what_was_sent_after_the_last_save_before_a_kill_is_sent_again(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    first = clock.begin(run, server)
    file = run.dir / SINKS_NAME / ADDRESS.name
    clock.step(first)
    clock.now += SAVE_SECONDS
    clock.step(first)
    saved = file.read_bytes()  # what a kill leaves: nothing is written after it
    clock.all_sent(first)
    first.close(Deadline(1.0))
    file.write_bytes(saved)

    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run), "what is sent twice is there once"
    again = [times for times in server.kept.values() if times == 2]
    assert again and set(server.kept.values()) == {1, 2}
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


def test_progress_is_written_down_at_most_every_second(run: RunBuilder, clock: Clock) -> None:
    delivery = clock.begin(run, Server(300))
    written = set()
    for _ in range(20):
        assert clock.step(delivery) == 0.0, "there is more"
        written.add(read_progress(run.dir, ADDRESS).checkpoint)
    assert len(written) == 1
    clock.now += SAVE_SECONDS
    clock.step(delivery)
    assert read_progress(run.dir, ADDRESS).checkpoint == delivery.progress.checkpoint > max(written)


def test_a_log_that_grows_is_followed(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    server = Server()
    delivery = clock.begin(run, server)
    clock.all_sent(delivery)
    for step in range(5):
        run.row(step, x=step)
        assert delivery.behind_bytes() > 0
        assert clock.step(delivery) == GATHER_SECONDS, "what comes is gathered"
    run.row(5, x=5)
    delivery.hurry()
    assert delivery.step(clock.now - GATHER_SECONDS) == GATHER_SECONDS, "unless somebody waits"
    assert delivery.behind_bytes() == 0
    run.log.close()
    assert server.records == records(run)
    assert server.opened == 1


def test_a_frame_that_is_half_written_is_sent_when_it_is_whole(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    offset = run.row(0, x=1.0)
    run.log.close()
    whole = run.log_path.read_bytes()
    run.log_path.write_bytes(whole[: offset + 7])
    server = Server()
    delivery = clock.begin(run, server)
    clock.step(delivery)
    clock.step(delivery)
    assert [record.kind for record in server.records] == ["run"] and delivery.tail_bytes == 7
    run.log_path.write_bytes(whole)
    clock.all_sent(delivery)
    assert [record.kind for record in server.records] == ["run", "log"] and delivery.tail_bytes == 0


def test_a_damaged_stretch_costs_only_itself(run: RunBuilder, clock: Clock) -> None:
    size = run.log_path.stat().st_size
    run.damage(size // 2, size // 2 + 10)
    server = Server(1000)
    clock.all_sent(clock.begin(run, server))
    assert server.records == records(run)
    assert 395 < len(server.records) < 406


# -- what is written down is of no use ----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"no msgpack at all", b"\x80", b"\x81\xa6format\x63"])
def test_progress_that_cannot_be_read_sends_all_again(run: RunBuilder, clock: Clock, content: bytes) -> None:
    server = Server(1000)
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    (run.dir / SINKS_NAME / ADDRESS.name).write_bytes(content)
    clock.all_sent(clock.begin(run, server))
    assert set(server.kept.values()) == {2}
    assert server.records == records(run)


def test_progress_that_is_ahead_of_its_log_sends_all_again(
    run: RunBuilder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(1000)
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    whole = run.log_path.read_bytes()
    end = ends(run)[50]
    run.log_path.write_bytes(whole[:end])  # the machine died, and the end of the log was not on its disk

    with caplog.at_level(logging.WARNING):
        clock.all_sent(clock.begin(run, server))
    assert "ahead of its log" in caplog.text
    assert server.got[-1].end == end
    assert exact(server.states[-1].to_map()) == exact(state_at(run, end))


@pytest.mark.parametrize("harm", ["behind the checkpoint", "of another version"])
def test_a_state_that_is_of_no_use_is_made_of_the_log(run: RunBuilder, clock: Clock, harm: str) -> None:
    server = Server(1000)
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
    assert set(server.kept.values()) == {1}
    assert exact(server.states[3].to_map()) == exact(state_at(run, server.got[3].end))
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


# -- a server that does not take it -------------------------------------------------------------------------------


def test_a_batch_that_failed_is_sent_again_with_the_same_state(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    delivery = clock.begin(run, server)
    clock.step(delivery)
    for server.after in (False, True):
        server.error = SinkUnavailableError("502 Bad Gateway")
        clock.step(delivery)
        server.error = None
        clock.step(delivery)
        assert server.got[-1].records == server.got[-2].records[: len(server.got[-1].records)], "the same again"
        assert exact(server.states[-1].to_map()) == exact(state_at(run, server.got[-1].end))
    clock.all_sent(delivery)
    assert (server.made, server.opened, server.closed) == (1, 3, 2), "the sink knows what of the batch is there"
    assert server.records == records(run)
    assert server.memories[1:] == [{"id": "made1"}] * 2


def test_batches_become_small_while_sending_fails_and_large_again(root: Path, clock: Clock) -> None:
    run = RunBuilder(root, "run1")
    for step in range(600):
        run.row(step, text="x" * 2000)
    run.log.close()
    server = Server(1 << 20)
    delivery = clock.begin(run, server)
    server.error = SinkUnavailableError("cut")
    for _ in range(8):
        clock.step(delivery)
    sizes = [len(batch.records) for batch in server.got]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 50 * sizes[-1] > 50
    server.error = None
    clock.all_sent(delivery)
    assert max(len(batch.records) for batch in server.got[8:]) > 10 * sizes[-1]
    assert server.records == records(run)


def test_who_is_not_reached_is_tried_again_ever_more_seldom_and_not_all_at_the_same_moment(
    root: Path, clock: Clock
) -> None:
    server = Server()
    server.open_error = SinkUnavailableError("connection refused")
    waits = []
    for number in range(8):
        delivery = clock.begin(RunBuilder(root, f"run{number}").finish(), server)
        waits.append([clock.step(delivery) for _ in range(12)])
    for position, found in enumerate(zip(*waits, strict=True)):
        longest = min(LAST_RETRY_SECONDS, 0.5 * 2 ** max(0, position + 1 - QUICK_RETRIES))
        assert all(longest / 2 <= wait <= longest for wait in found)
        assert len(set(found)) > 4, "they do not come back together"


def test_the_back_off_ends_with_the_trouble(run: RunBuilder, clock: Clock) -> None:
    server = Server()
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


def test_a_step_that_comes_too_early_asks_nobody(run: RunBuilder, clock: Clock) -> None:
    server = Server()
    server.open_error = SinkUnavailableError("connection refused")
    delivery = clock.begin(run, server)
    wait = delivery.step(clock.now)
    for _ in range(10):
        delivery.hurry()
        assert delivery.step(clock.now + wait / 2) == pytest.approx(wait / 2)
    assert server.opened == 1


@pytest.mark.parametrize("asked", [7.0, 300.0])
def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(
    run: RunBuilder, clock: Clock, asked: float
) -> None:
    server = Server()
    server.error = SinkUnavailableError("429 Too Many Requests", retry_after=asked)
    delivery = clock.begin(run, server)
    assert delivery.step(clock.now) == asked
    server.error = None
    delivery.hurry()
    assert delivery.step(clock.now + asked - 0.5) == pytest.approx(0.5)
    assert len(server.got) == 1
    delivery.step(clock.now + asked)
    assert delivery.behind_bytes() == 0


def test_a_server_that_asks_for_days_is_asked_every_hour(run: RunBuilder, clock: Clock) -> None:
    server = Server()
    server.error = SinkUnavailableError("503", retry_after=1e9)
    assert clock.begin(run, server).step(clock.now) == 3600.0


def test_what_is_refused_is_tried_again_seldom_and_everybody_can_read_why(
    run: RunBuilder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.open_error = SinkRefusedError("401 Unauthorized")
    delivery = clock.begin(run, server)
    with caplog.at_level(logging.WARNING):
        assert [clock.step(delivery) for _ in range(3)] == [REFUSED_RETRY_SECONDS] * 3
    assert server.made == 3, "what is to be mended may be what a sink reads when it is made"
    assert len(caplog.messages) == 1 and "401 Unauthorized" in caplog.messages[0], "it is said once"
    assert said(run) == delivery.progress.error == "401 Unauthorized"
    server.open_error = None
    clock.all_sent(delivery)
    delivery.close(Deadline(1.0))
    assert said(run) is None


def test_an_error_goes_when_the_server_is_there_again_though_nothing_is_left_to_send(
    run: RunBuilder, clock: Clock
) -> None:
    server = Server()
    first = clock.begin(run, server)
    clock.all_sent(first)
    first.close(Deadline(1.0))
    again = clock.begin(run, server)
    server.open_error = SinkUnavailableError("connection refused")
    clock.step(again)
    assert said(run) == "connection refused"
    server.open_error = None
    clock.step(again)
    clock.now += SAVE_SECONDS
    clock.step(again)
    assert said(run) is None and again.failing_since is None


def test_a_server_that_has_lost_what_it_had_gets_it_again(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    delivery = clock.begin(run, server)
    for _ in range(3):
        clock.step(delivery)
    server.lost = True
    clock.step(delivery)
    assert "has lost what it had" in (said(run) or "") and delivery.progress.checkpoint == 0
    server.lost = False
    clock.all_sent(delivery)
    assert set(server.kept.values()) == {1, 2} and server.records == records(run)
    assert exact(server.states[-1].to_map()) == exact(state_at(run, run.log_path.stat().st_size))


def test_a_defect_of_a_sink_is_noted_and_tried_again(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    server.error = ZeroDivisionError("not thought of")
    delivery = clock.begin(run, server)
    assert clock.step(delivery) <= 0.5
    assert said(run) == "ZeroDivisionError: not thought of"
    server.error = None
    clock.all_sent(delivery)
    assert server.records == records(run)


def test_a_directory_that_cannot_be_written_is_an_error_that_is_said(run: RunBuilder, clock: Clock) -> None:
    (run.dir / SINKS_NAME).write_text("in the way")
    server = Server()
    delivery = clock.begin(run, server)
    clock.step(delivery)
    assert delivery.progress.error is not None and SINKS_NAME in delivery.progress.error
    (run.dir / SINKS_NAME).unlink()
    clock.all_sent(delivery)
    assert delivery.progress.error is None


def test_a_log_that_is_none_is_an_error_that_is_said(run: RunBuilder, clock: Clock) -> None:
    run.log_path.write_bytes(b"no log" * 100)
    delivery = clock.begin(run, Server())
    clock.step(delivery)
    assert "no transaction log" in (said(run) or "")


# -- two who want to send the same --------------------------------------------------------------------------------


def test_of_two_who_send_a_run_to_the_same_server_one_waits(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    first, second = clock.begin(run, server), clock.begin(run, server)
    clock.step(first)
    assert 0 < second.step(clock.now) <= 1.0
    assert server.opened == 1 and second.progress.error is None
    clock.now += SAVE_SECONDS
    clock.step(first)
    clock.step(first)
    clock.now += SAVE_SECONDS
    second.step(clock.now)
    assert second.progress.checkpoint > 0, "it sees how far the other is"
    first.close(Deadline(1.0))
    clock.all_sent(second)
    assert server.records == records(run)
    assert set(server.kept.values()) == {1}


def test_who_waits_for_another_says_what_the_other_says(run: RunBuilder, clock: Clock) -> None:
    server = Server()
    server.open_error = SinkUnavailableError("connection refused")
    first, second = clock.begin(run, server), clock.begin(run, server)
    clock.step(first)
    second.step(clock.now)
    assert second.progress.error == "connection refused"


def test_a_run_goes_to_two_servers_at_once(run: RunBuilder, clock: Clock) -> None:
    one, other = Server(1000), Server(3000)
    first = clock.begin(run, one)
    second = Delivery(run.dir, parse_sink("clickhouse+http://host:8123/db"), other.sink)
    clock.made.append(second)
    clock.step(first)
    clock.all_sent(second)
    clock.all_sent(first)
    assert one.records == other.records == records(run)


def test_close_may_be_called_twice_and_gives_the_run_back(run: RunBuilder, clock: Clock) -> None:
    server = Server(1000)
    delivery = clock.begin(run, server)
    clock.step(delivery)
    for _ in range(2):
        delivery.close(Deadline(1.0))
    assert server.closed == 1
    another = clock.begin(run, server)
    wait_until(lambda: clock.step(another) == 0.0 and len(server.got) > 1, "it is sent by another")
