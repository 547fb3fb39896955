"""The interface of a run: window, pump and mailbox together, against the sockets of a sidecar on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.segments import read_owner, read_window
from tests.support import wait_until
from tests.unit.transport.peer import Peer, PeerBackend, UnavailableError
from tracker.transport.backend import Backend
from tracker.transport.interface import Interface
from tracker.transport.losses import Losses

NOW = Deadline(0.0)


class Stage:
    def __init__(self, directory: Path, window_bytes: int = 1 << 24, **more: Any) -> None:
        self.directory = directory
        self.peer = Peer()
        self.backend = PeerBackend(self.peer)
        backend = cast(Backend, self.backend)
        self.interface = Interface(
            backend, "run", directory, Losses(), window_bytes=window_bytes, pump_interval=0.005, **more
        )

    def send(self, kind: str, **body: Any) -> None:
        self.peer.send(kind, self.interface.client, **body)

    def close(self) -> None:
        self.interface.close(Deadline(10.0))
        with self.peer:
            pass


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, label="rank0", parent="parent", sinks=["mlflow+http://host:5000"], offline=True)
    yield made
    made.close()


def test_the_attach_says_who_it_is(stage: Stage) -> None:
    stage.interface.attach("must", Deadline(10.0))
    assert stage.backend.bodies == [
        {
            "resume": "must",
            "again": False,
            "window": str(stage.interface.window.directory),
            "label": "rank0",
            "parent": "parent",
            "sinks": ["mlflow+http://host:5000"],
            "offline": True,
        }
    ]
    owner = read_owner(stage.interface.window.directory)
    assert (owner["run"], owner["client"], owner["label"]) == ("run", stage.interface.client, "rank0")


def test_published_records_are_sent_in_order_and_acked(stage: Stage) -> None:
    stage.interface.publish("config", {"set": {"lr": 0.1}})
    stage.interface.attach(None, Deadline(10.0))
    stage.interface.publish("log", {"step": 0, "data": {"x": 1.0}})
    records = stage.peer.receive()
    while len(records) < 2:
        records += stage.peer.receive()
    assert [(record.seq, record.kind) for record in records] == [(1, "config"), (2, "log")]
    assert stage.interface.unacked() == 2
    stage.send("ack", seq=2)
    wait_until(lambda: stage.interface.unacked() == 0)


def test_an_answer_is_returned(stage: Stage) -> None:
    stage.interface.attach(None, Deadline(10.0))

    def answer() -> None:
        (request,) = stage.peer.receive()
        stage.send("answer", id=request.body["id"], seq=0, state={"step": 7})

    body = stage.interface.ask("state", Deadline(20.0), waiting=_once(answer))
    assert body is not None and body["state"] == {"step": 7}


def _once(action: Any) -> Any:
    actions = [action]
    return lambda: actions.pop()() if actions else None


def test_without_an_answer_nothing_of_the_request_remains(stage: Stage) -> None:
    stage.interface.attach(None, Deadline(10.0))
    for _ in range(4):
        assert stage.interface.ask("flush", NOW) is None
    wait_until(lambda: not stage.interface._pump._requests and not stage.interface._pump._asked)
    assert stage.interface.mailbox._requests == {}


def test_results_of_a_kind_of_its_own(stage: Stage) -> None:
    bodies: list[dict[str, Any]] = []
    stage.interface.on("command", bodies.append)
    stage.interface.attach(None, Deadline(10.0))
    stage.send("command", name="stop")
    wait_until(lambda: bodies)
    assert bodies == [{"name": "stop"}]


def test_a_large_record_waits_for_room(tmp_path: Path) -> None:
    stage = Stage(tmp_path, window_bytes=1 << 23)
    published = 0
    while stage.interface.publish_if_room("file", {"data": bytes(1 << 20)}):
        published += 1
    assert 1 <= published < 6
    stage.interface.publish("log", {"step": 0, "data": {"x": 1.0}})
    assert stage.interface.unacked() == published + 1 and stage.interface.losses.counts() == {}
    stage.close()


def test_a_failed_attach_leaves_the_window_with_its_records(stage: Stage) -> None:
    stage.peer.failure = UnavailableError("no sidecar answers")
    stage.interface.publish("log", {"step": 0, "data": {"x": 1.0}})
    with pytest.raises(UnavailableError):
        stage.interface.attach(None, Deadline(10.0))
    stage.interface.close(NOW)
    stage.interface.close(NOW)
    assert [record.kind for stored in read_window(stage.interface.window.directory) for record in stored.records] == [
        "log"
    ]


def test_close_removes_a_window_that_is_empty(stage: Stage) -> None:
    stage.interface.attach(None, Deadline(10.0))
    stage.interface.close(Deadline(10.0))
    assert not stage.interface.open
    assert not stage.interface.window.directory.exists()
    assert [record.kind for record in stage.peer.receive()] == ["detach"]


def test_final_records_are_sent_before_a_process_dies(stage: Stage) -> None:
    stage.interface.attach(None, Deadline(10.0))
    stage.interface.publish("exit", {"state": "preempted"})
    assert [record.kind for record in stage.peer.receive()] == ["exit"]
    stage.interface.send_final_records(NOW)
    assert stage.interface.window.directory.exists(), "its record is not acked"
    stage.send("ack", seq=1)
    stage.interface.send_final_records(Deadline(10.0))
    assert not stage.interface.open and not stage.interface.window.directory.exists()
