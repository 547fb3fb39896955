"""The pump, stepped by hand against the sockets of a sidecar on loopback; no thread but where its end is tested."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol import channels
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError
from sidecar.protocol.segments import read_window
from tests.support import wait_until
from tests.unit.transport.peer import CLIENT, Peer, UnavailableError
from tracker.transport import pump as pump_module
from tracker.transport.backend import Attached
from tracker.transport.losses import Losses
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Pump
from tracker.transport.window import Window

INTERVAL = 0.005
NEVER = Deadline(None)


class Stage:
    """A window, its pump, and a peer; time passes only by `later`."""

    def __init__(self, directory: Path, clock: Callable[[], float] | None = None) -> None:
        self.peer = Peer()
        self.window = Window(directory, "run", CLIENT, {"pid": 1}, Losses(), 1 << 26)
        self.mailbox = Mailbox()
        self.alive = True
        self.now = 1000.0
        clock = clock or (lambda: self.now)
        self.pump = Pump(self.window, self.mailbox, self.peer.attach, lambda: self.alive, INTERVAL, clock)

    def step(self, later: float = 0.0) -> float:
        self.now += later
        return self.pump.step(self.now)

    def step_until(self, condition: Callable[[], Any]) -> None:
        """Step whenever a result has arrived, until `condition` holds."""
        while not condition():
            results = self.pump._results
            assert results is None or results.wait(10.0), "no result has come"
            self.step(pump_module._RECEIVE_INTERVAL)

    def log(self, count: int = 1, size: int = 10) -> None:
        for _ in range(count):
            with self.window.lock:
                self.window.append("log", {"step": self.window.seq, "data": {"x": "x" * size}})

    def request(self) -> dict[str, Any]:
        """Return the body of the next request that arrives, skipping all else."""
        while True:
            records = self.peer.receive()
            assert records, "no request has come"
            if records[0].kind == "request":
                return records[0].body

    def close(self) -> None:
        self.pump._close_sockets()
        self.pump.close(Deadline(5.0))
        with self.peer:
            pass


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def numbers(stage: Stage) -> list[int]:
    return [record.seq for record in stage.peer.receive()]


def test_records_are_sent_and_released_when_they_are_acked(stage: Stage) -> None:
    stage.log(3)
    stage.step()
    assert numbers(stage) == [1, 2, 3]
    assert stage.window.acked == 0
    stage.peer.send("ack", seq=2)
    stage.step_until(lambda: stage.window.acked == 2)
    stage.peer.send("ack", seq=3)
    stage.step_until(lambda: stage.window.acked == 3)
    stage.log()
    stage.step()
    assert numbers(stage) == [4]


def test_bytes_in_flight_are_bounded_until_an_ack(stage: Stage) -> None:
    stage.log(12, size=1024 * 1024)  # one a segment
    stage.step()
    sent = stage.window.sent
    assert 2 <= sent < 12
    for _ in range(3):
        stage.step(0.1)
    assert stage.window.sent == sent
    stage.peer.send("ack", seq=sent)
    stage.step_until(lambda: stage.window.acked == sent)
    stage.step()
    assert stage.window.sent > sent


def test_a_result_goes_to_the_handler_of_its_kind(stage: Stage) -> None:
    bodies: list[dict[str, Any]] = []
    stage.pump.on("set-learning-rate", bodies.append)
    stage.step()
    stage.peer.send("unknown-kind", anything=1)
    stage.peer.send("set-learning-rate", value=0.1)
    stage.step_until(lambda: bodies)
    assert bodies == [{"value": 0.1}]
    assert stage.peer.attaches == 1


def test_a_handler_that_fails_harms_nothing_else(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail(body: dict[str, Any]) -> None:
        raise ZeroDivisionError

    stage.pump.on("command", fail)
    stage.log()
    stage.step()
    stage.peer.send("command")
    stage.peer.send("ack", seq=1)
    stage.step_until(lambda: stage.window.acked == 1)
    assert [record.getMessage() for record in caplog.records] == ["the handler of 'command' failed"]
    assert stage.peer.attaches == 1


def test_a_request_follows_the_records_and_its_answer_acks_them(stage: Stage) -> None:
    stage.log(2)
    number = stage.pump.ask("flush", NEVER)
    stage.step()
    assert numbers(stage) == [1, 2]
    assert stage.request() == {"id": number, "ask": "flush"}
    stage.peer.send("answer", id=number, seq=2)
    stage.step_until(lambda: stage.window.acked == 2)
    assert stage.mailbox.wait(number, Deadline(0.0)) == {"id": number, "seq": 2}


def test_a_request_is_not_sent_once_its_deadline_is_over(stage: Stage) -> None:
    stage.pump.ask("state", Deadline(0.0))
    forgotten = stage.pump.ask("state", NEVER)
    stage.mailbox.forget(forgotten)
    number = stage.pump.ask("flush", NEVER)
    stage.step()
    assert stage.request() == {"id": number, "ask": "flush"}
    assert not stage.pump._requests


def test_a_request_without_an_answer_is_sent_again_on_a_new_connection(stage: Stage) -> None:
    number = stage.pump.ask("flush", NEVER)
    stage.step()
    stage.request()
    stage.step(pump_module._ANSWER_TIMEOUT + 0.1)
    stage.step()
    assert stage.peer.attaches == 2
    assert stage.request() == {"id": number, "ask": "flush"}


def test_a_request_that_is_forgotten_causes_no_new_connection(stage: Stage) -> None:
    number = stage.pump.ask("flush", NEVER)
    stage.step()
    stage.mailbox.forget(number)
    stage.step(pump_module._ANSWER_TIMEOUT + 0.1)
    assert stage.step() >= INTERVAL  # and not the short wait for an answer
    assert stage.peer.attaches == 1
    assert not stage.pump._asked


@pytest.mark.parametrize("far", [False, True])
def test_after_silence_it_attaches_again_and_resends(stage: Stage, caplog: pytest.LogCaptureFixture, far: bool) -> None:
    stage.peer.far = far
    timeout = pump_module._REMOTE_ACK_TIMEOUT if far else pump_module._ACK_TIMEOUT
    stage.log(3)
    stage.step()
    assert numbers(stage) == [1, 2, 3]
    stage.step(timeout - 0.1)
    assert stage.peer.attaches == 1
    stage.peer.durable = 1
    stage.step(0.2)
    stage.step()
    assert stage.peer.attaches == 2
    assert numbers(stage) == [2, 3]
    assert stage.window.acked == 1
    assert "does not answer" in caplog.text


def test_without_records_in_flight_silence_means_nothing(stage: Stage) -> None:
    stage.step()
    for _ in range(3):
        stage.step(pump_module._REMOTE_ACK_TIMEOUT)
    assert stage.peer.attaches == 1


def test_a_sidecar_whose_process_is_gone_is_left_at_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.step()
    stage.alive = False
    stage.step(pump_module._PROCESS_CHECK_INTERVAL)
    stage.step()
    assert stage.peer.attaches == 2
    assert "the sidecar is gone" in caplog.text


@pytest.mark.parametrize("result", [("reattach", CLIENT, {"expected": 1}), ("ack", "another", {"seq": 1})])
def test_a_gap_or_a_result_of_another_client_makes_it_attach_again(
    stage: Stage, result: tuple[str, str, dict[str, int]]
) -> None:
    kind, client, body = result
    stage.log()
    stage.step()
    stage.peer.send(kind, client, **body)
    stage.step_until(lambda: stage.peer.attaches == 2)
    assert stage.window.acked == 0


def test_a_result_that_is_not_valid_is_skipped(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.log()
    stage.step()
    stage.peer.send("ack", seq="one")
    stage.peer.send("ack", seq=1)
    stage.step_until(lambda: stage.window.acked == 1)
    assert "not valid" in caplog.text and stage.peer.attaches == 1


def test_a_problem_is_logged_once_per_code(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.log()
    stage.step()
    for code in ("size", "size", "key"):
        stage.peer.send("problem", code=code, message=f"wrong {code}")
    stage.peer.send("ack", seq=1)
    stage.step_until(lambda: stage.window.acked == 1)
    assert [record.getMessage() for record in caplog.records] == [
        "the sidecar refused a record: wrong size",
        "the sidecar refused a record: wrong key",
    ]


def test_failed_attaches_are_repeated_with_back_off(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.peer.failure = UnavailableError("no sidecar answers")
    delays = []
    for _ in range(12):
        stage.step(100.0)  # after any back-off
        delays.append(stage.pump._delay())
    assert stage.peer.attaches == 12
    assert delays == sorted(delays) and delays[0] < 0.1 and delays[-1] == pump_module._MAX_RETRY_DELAY
    assert len(caplog.records) == 1
    stage.step()
    assert stage.peer.attaches == 12, "within the back-off"
    stage.peer.failure = None
    stage.log()
    stage.step(100.0)
    assert numbers(stage) == [1]


def test_a_lost_tail_is_reported(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.log(3)
    stage.step()
    stage.peer.send("ack", seq=3)
    stage.step_until(lambda: stage.window.acked == 3)
    stage.peer.durable = 1
    stage.peer.send("reattach", expected=2)
    stage.step_until(lambda: stage.peer.attaches == 2)
    assert "its sidecar lost records 2 to 3" in caplog.text


def test_a_beat_is_sent_after_a_second_without_records(stage: Stage) -> None:
    stage.step()
    stage.step(pump_module._BEAT_INTERVAL - 0.1)
    assert stage.peer.receive(0.05) == []
    stage.step(0.2)
    assert [record.kind for record in stage.peer.receive()] == ["beat"]


def test_the_interval_grows_while_there_is_little_and_shrinks_with_much(stage: Stage) -> None:
    assert stage.step() == pytest.approx(1.5 * INTERVAL)
    for _ in range(20):
        stage.log()
        pause = stage.step()
    assert pause == pump_module._IDLE_INTERVAL
    stage.log(size=pump_module._BUSY_BYTES)
    assert stage.step() == INTERVAL


def test_an_unexpected_exception_is_logged_once_and_survived(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(stage.window, "prepare", fail)
        for _ in range(3):
            assert 0.0 < stage.pump._guarded_step(stage.now) <= pump_module._MAX_RETRY_DELAY
            stage.now += 100.0
    assert [record.exc_info is not None for record in caplog.records] == [True, False]
    stage.log()
    stage.step()
    assert stage.window.sent == 1


def test_close_of_a_pump_that_was_never_started_closes_the_window(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.window.directory.exists()
    stage.close()
    assert not stage.window.directory.exists()


def test_the_thread_detaches_and_closes_the_window(tmp_path: Path) -> None:
    stage = Stage(tmp_path, time.monotonic)
    with stage.peer:
        stage.log(2)
        stage.pump.start(stage.peer.attach(False, NEVER))
        assert numbers(stage) == [1, 2]
        stage.peer.send("ack", seq=2)
        wait_until(lambda: stage.window.acked == 2)
        stage.pump.close(Deadline(10.0))
        assert [record.kind for record in stage.peer.receive()] == ["detach"]
        assert not stage.window.directory.exists()


def test_a_close_whose_deadline_is_over_leaves_the_rest_to_the_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread is within an attach, which ends when its deadline is over."""
    stage = Stage(tmp_path)
    deadlines: list[Deadline] = []

    def attach(again: bool, deadline: Deadline) -> Any:
        deadlines.append(deadline)
        wait_until(deadline.over)
        raise UnavailableError("no sidecar answers")

    with stage.peer:
        stage.log()
        pump = Pump(stage.window, stage.mailbox, attach, lambda: True, INTERVAL)
        pump.start_detached()
        wait_until(lambda: deadlines)
        pump.close(Deadline(0.0))
        thread = pump._thread
        assert thread is not None
        thread.join(3.0)  # less than the attach would take
        assert not thread.is_alive()
        assert stage.window.directory.exists(), "its record is not acked"
    assert caplog.records == []


def test_without_a_thread_the_records_stay_in_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    window = Window(tmp_path, "run", "c", {}, Losses(), 1 << 30)

    def attach(again: bool, deadline: Deadline) -> Attached:
        raise AssertionError("nothing attaches without a thread")

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pump = Pump(window, Mailbox(), attach, lambda: True, 0.01)
    monkeypatch.setattr(threading.Thread, "start", fail)
    pump.start_detached()
    with window.lock:
        assert window.append("log", {"step": 0, "data": {"x": 0.5}})
    pump.close(Deadline(1.0))
    assert [framed.last for framed in read_window(window.directory)] == [1]
    assert "is sent when it has ended" in caplog.text


def test_no_context_is_made_where_its_threads_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(channels, "_context", None)
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(ChannelError, match="can't start new thread"):
        channels.push()
