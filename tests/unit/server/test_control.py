"""The control socket, stepped by hand: real ROUTER and DEALER sockets, real sessions, no thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import Body, Record
from sidecar.server.access import OpenAccess
from sidecar.server.control import ControlSocket, read_request
from sidecar.server.endpoints import Endpoints
from sidecar.server.reading import Reading
from sidecar.server.results import ResultSockets
from sidecar.server.run_reads import RunReads
from tests.support import wait_until
from tests.unit.pipeline.stages import Stages


class Control:
    """A control socket over stages, and a client's DEALER."""

    def __init__(self, root: Path, control: str = "tcp://127.0.0.1:*") -> None:
        self.stages = Stages(root)
        self.endpoints = Endpoints(control)
        self.router = channels.router()
        endpoint = self.endpoints.bind_control(self.router)
        self.results = ResultSockets(self.endpoints)
        self.stopped = 0
        self.calls: list[Callable[[], None]] = []
        self.socket = ControlSocket(
            self.router,
            "tcp://127.0.0.1:1",
            self.endpoints,
            OpenAccess(),
            self.stages.sessions,
            self.stages.editing,
            Reading(RunReads(root).values),
            self.results,
            self.calls.append,
            lambda: {"clients": 7},
            self.stop,
        )
        self.dealer = channels.dealer()
        self.dealer.connect(endpoint.replace("*:", "127.0.0.1:"))

    def stop(self) -> None:
        self.stopped += 1

    def ask(self, message: bytes) -> Record:
        wait_until(lambda: self.dealer.send(message), "the request is sent")

        def answer() -> bytes | None:
            self.socket.answer_all()
            while self.calls:
                self.calls.pop(0)()
            self.stages.step()
            return self.dealer.receive()

        return decode(wait_until(answer, "an answer"))  # type: ignore[arg-type]

    def request(self, kind: str, run: str = "run", client: str = "a", **body: Any) -> Record:
        return self.ask(encode(Record(kind, run, client, 0, time.time(), body)))

    def close(self) -> None:
        self.results.close()
        self.dealer.close()
        self.router.close()
        self.stages.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "root")
    yield made
    made.close()


def code(answer: Record) -> str:
    assert answer.kind == "refused", answer
    return str(answer.body["code"])


def test_attach_names_where_to_send_and_to_receive(control: Control) -> None:
    answer = control.request("attach", protocol=PROTOCOL_VERSION)
    assert (answer.kind, answer.run, answer.client, answer.seq) == ("attached", "run", "a", 0)
    assert answer.body["records"] == "tcp://127.0.0.1:1" and answer.body["last"] == 0
    assert answer.body["results"] == control.results.endpoint("a")
    assert answer.body["directory"].endswith("runs/run"), "a client on this machine is told the directory"


def test_other_machines_are_not_told_paths(tmp_path: Path) -> None:
    control = Control(tmp_path / "root", "tcp://0.0.0.0:*")
    try:
        answer = control.request("attach", protocol=PROTOCOL_VERSION)
        assert answer.kind == "attached" and not {"directory", "place"} & set(answer.body)
        assert code(control.request("stop")) == "key" and control.stopped == 0
    finally:
        control.close()


def test_a_refused_attach_says_why(control: Control) -> None:
    assert code(control.request("attach", protocol=PROTOCOL_VERSION + 1)) == "protocol"
    assert code(control.request("attach", run="no/name", protocol=PROTOCOL_VERSION)) == "run"
    assert code(control.request("attach", protocol=PROTOCOL_VERSION, resume="must")) == "missing"
    assert control.stages.sessions.by_client == {}


def test_status_and_stop(control: Control) -> None:
    assert control.request("status", run="", client="").body == {"clients": 7, "may_write": True}
    assert control.request("stop").kind == "stop" and control.stopped == 1


def test_a_client_that_detached_before_its_answer_is_told_to_try_again(control: Control) -> None:
    held: list[Callable[[], None]] = []
    control.socket._call = held.append
    attach = encode(Record("attach", "run", "a", 0, 1.0, {"protocol": PROTOCOL_VERSION}))
    wait_until(lambda: control.dealer.send(attach), "it is sent")

    def attached() -> bool:
        control.socket.answer_all()
        return bool(held)

    wait_until(attached, "it is attached")
    control.stages.sessions.detach(control.stages.sessions.by_client["a"])
    held.pop()()
    assert control.dealer.wait(5.0)
    answer = control.dealer.receive()
    assert answer is not None and code(decode(answer)) == "closing"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\xc1", "encoding"),
        (encode(Record("log", "run", "a", 1, 1.0, {"step": 1, "data": {}})), "kind"),
        (encode(Record("weather", "run", "a", 0, 1.0, {})), "kind"),
        (encode(Record("attach", "run", "a", 0, 1.0, {"protocol": PROTOCOL_VERSION, "resume": "maybe"})), "value"),
        (encode(Record("attach", "run", "a", 0, 1.0, {})), "form"),
    ],
)
def test_what_is_not_a_request_is_refused_without_a_client(control: Control, message: bytes, expected: str) -> None:
    with pytest.raises(RecordError):
        read_request(message)
    answer = control.ask(message)
    assert (code(answer), answer.run, answer.client) == (expected, "", "")


def test_an_answer_is_not_a_question(control: Control) -> None:
    body: Body = {"code": "run", "message": "no"}
    assert code(control.ask(encode(Record("refused", "run", "a", 0, 1.0, body)))) == "kind"
