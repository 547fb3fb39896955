"""The Handler, stepped by hand: what it takes, drops, refuses and asks for again, as read from log and store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from sidecar.log.reader import LogReader
from sidecar.pipeline.handler import Handler
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.messages import Append
from sidecar.pipeline.sessions import Sessions
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol import limits
from sidecar.protocol.codec import encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError, RefusedError
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import is_held
from sidecar.protocol.records import KINDS, Record
from sidecar.protocol.segments import OwnerLock
from sidecar.server.control import read_request
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, let_fail, log, message
from tracker.transport.losses import Losses
from tracker.transport.window import Window


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def seqs(stages: Stages, run: str = "run") -> list[tuple[str, int]]:
    """The records in the log: kinds and numbers."""
    stages.step()
    return [(record.kind, record.seq) for record in ReadBack(stages.root / "runs" / run).log]


@pytest.mark.parametrize("framed", [True, False])
def test_records_reach_the_log_the_client_and_the_store(stages: Stages, framed: bool) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq, loss=seq / 3) for seq in range(1, 101)), framed=framed))
    assert seqs(stages) == [("log", seq) for seq in range(1, 101)]
    assert stages.told("ack", "a")[-1] == {"seq": 100}
    found = ReadBack(stages.root / "runs" / "run").check()
    assert found.stored("a") == [(seq, {"loss": seq / 3}) for seq in range(1, 101)]
    assert stages.intake.records == 100


@pytest.mark.parametrize("framed", [True, False])
def test_what_was_seen_is_dropped(stages: Stages, framed: bool) -> None:
    stages.attach("run", "a")
    for numbers in ([1, 2, 3], [1, 2, 3], [2, 3, 4], [4], [1, 5]):
        stages.handler.process(message(*(log("run", "a", seq) for seq in numbers), framed=framed))
    assert seqs(stages) == [("log", seq) for seq in range(1, 6)]
    assert stages.told("reattach") == [] and stages.told("problem") == []
    assert stages.intake.records == 5


@pytest.mark.parametrize("framed", [True, False])
def test_a_gap_is_answered_by_a_reattach_and_nothing_behind_it_is_taken(stages: Stages, framed: bool) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq) for seq in (1, 2, 4, 5, 3)), framed=framed))
    assert stages.told("reattach", "a") == [{"expected": 3}]
    assert seqs(stages) == [("log", 1), ("log", 2)]
    stages.handler.process(message(*(log("run", "a", seq) for seq in (3, 4, 5)), framed=framed))
    assert seqs(stages) == [("log", seq) for seq in range(1, 6)]


def test_two_clients_in_one_message_are_kept_apart(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.attach("run", "b")
    stages.attach("other", "c")
    stages.handler.process(
        message(
            *(
                log(run, client, seq)
                for seq in range(1, 4)
                for run, client in (("run", "a"), ("other", "c"), ("run", "b"))
            )
        )
    )
    stages.step()
    run, other = ReadBack(stages.root / "runs" / "run").check(), ReadBack(stages.root / "runs" / "other").check()
    assert [len(run.logged("a")), len(run.logged("b")), len(other.logged("c"))] == [3, 3, 3]


BAD_BODIES = [
    ("log", {"step": 1}, "form"),
    ("log", {"step": 1.5, "data": {}}, "form"),
    ("log", {"step": 1, "data": {"": 1.0}}, "key"),
    ("log", {"step": 1, "data": {"k" * 600: 1.0}}, "key"),
    ("log", {"step": 1, "data": {"_step": 1.0}}, "key"),
    ("log", {"step": 1, "data": {"x": [1]}}, "value"),
    ("log", {"step": 1, "data": {"x": None}}, "value"),
    ("log", {"step": 2**63, "data": {"x": 1.0}}, "value"),
    ("log", {"step": 1, "data": {"x": "x" * (limits.MAX_TEXT_BYTES + 1)}}, "size"),
    ("log", {"step": 1, "data": {str(key): 1 for key in range(limits.MAX_KEYS + 1)}}, "size"),
    ("config", {"set": {"deep": eval("[" * 20 + "]" * 20)}}, "depth"),  # noqa: S307
    ("config", {"set": {1: 2}}, "encoding"),
    ("config", {"set": {b"bytes": 2}}, "form"),
    ("config", {"set": 1}, "form"),
    ("exit", {}, "form"),
    ("ack", {"seq": 1}, "kind"),
    ("request", {"id": 1, "ask": "flush"}, "kind"),
    ("attach", {"protocol": 1}, "kind"),
]


@pytest.mark.parametrize(("kind", "body", "code"), [bad for bad in BAD_BODIES if bad[2] != "encoding"])
@pytest.mark.parametrize("framed", [True, False])
def test_a_bad_record_is_reported_counted_and_replaced_by_a_rejected(
    stages: Stages, framed: bool, kind: str, body: dict[str, Any], code: str
) -> None:
    stages.attach("run", "a")
    stages.attach("other", "b")
    stages.handler.process(message(log("run", "a", 1, x=1.0), log("run", "a", 2, x=2.0)))
    packed = msgpack.packb([kind, "run", "a", 3, 3.0, body])
    stages.handler.process(frame(packed) if framed else packed)
    stages.handler.process(message(log("run", "a", 4, x=4.0), log("other", "b", 1)))
    (problem,) = stages.told("problem", "a")
    assert (problem["code"], problem["seq"]) == (code, 3) and 0 < len(problem["message"]) < 1000
    assert stages.told("problem", "b") == stages.told("reattach") == []
    assert stages.intake.losses == {f"refused: {code}": 1}
    assert seqs(stages) == [("log", 1), ("log", 2), ("rejected", 3), ("log", 4)]
    found = ReadBack(stages.root / "runs" / "run").check()
    assert found.log[2].body == {"kind": kind, "code": code, "message": problem["message"]}
    assert found.state["losses"] == {f"refused: {code}": 1}
    assert found.state["records"] == 3
    assert ReadBack(stages.root / "runs" / "other").check().state["losses"] == {}


BAD_BYTES = [
    (b"\xc1" * 100, "checksum"),
    (frame(b"no msgpack \xc1"), "encoding"),
    (b"GET / HTTP/1.1\r\n\r\n", "form"),
    (b"\xff\xfe\x00", "form"),
    (b"\x91" * 100_000, "encoding"),
    (msgpack.packb([1, 2, 3]), "form"),
    (msgpack.packb({"kind": "log"}), "form"),
    (msgpack.packb(["log", "run", "a", 1, 1.0, {"set": {1: 2}}]), "encoding"),
    (msgpack.packb(["log", "run", "a", -1, 1.0, {}]), "form"),
    (b"\0" * (limits.MAX_MESSAGE_BYTES + 1), "size"),
    (msgpack.packb(["log", "run", "a", 1, 1.0, {"x": b"\0" * limits.MAX_RECORD_BYTES}]), "size"),
    (frame(b"\xc4\x05abc"), "encoding"),
]


@pytest.mark.parametrize(("data", "code"), BAD_BYTES)
def test_bytes_that_are_not_a_record_are_counted_and_disturb_nothing(stages: Stages, data: bytes, code: str) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    stages.handler.process(data)
    stages.handler.process(message(log("run", "a", 2)))
    assert set(stages.intake.losses) == {f"refused: {code}"}
    assert seqs(stages) == [("log", 1), ("log", 2)]


def test_a_damaged_frame_costs_itself_and_is_asked_for_again(stages: Stages) -> None:
    stages.attach("run", "a")
    data = bytearray(message(*(log("run", "a", seq) for seq in range(1, 6))))
    data[len(message(log("run", "a", 1), log("run", "a", 2))) + 20] ^= 1
    stages.handler.process(bytes(data))
    assert stages.told("reattach") == [{"expected": 3}]
    assert stages.intake.losses == {"refused: checksum": 1}
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(3, 6))))
    assert seqs(stages) == [("log", seq) for seq in range(1, 6)]


def test_an_unknown_kind_and_unknown_keys_are_kept(stages: Stages) -> None:
    stages.attach("run", "a")
    body = {"anything": [1, {"x": None}], "step": "of another meaning"}
    stages.handler.process(
        message(
            Record("a kind of tomorrow", "run", "a", 1, 1.0, body),
            Record("log", "run", "a", 2, 1.0, {"step": 1, "data": {"x": 1.0}, "key of tomorrow": 5}),
        )
    )
    stages.step()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert [record.body for record in found.log] == [body, {"step": 1, "data": {"x": 1.0}, "key of tomorrow": 5}]
    assert stages.told("problem") == [] and stages.intake.losses == {}
    assert found.stored() == [(1, {"x": 1.0})]


def test_a_record_for_a_run_that_its_client_is_not_attached_to(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("elsewhere", "a", 1)))
    assert [body["code"] for body in stages.told("problem", "a")] == ["run"]
    stages.handler.process(message(log("run", "a", 1)))
    assert seqs(stages) == [("log", 1)]
    assert not (stages.root / "runs" / "elsewhere").exists()


def test_records_of_a_client_that_is_not_attached_are_counted(stages: Stages) -> None:
    stages.handler.process(message(log("run", "stranger", 5)))
    assert not stages.root.exists()
    assert stages.intake.losses == {"refused: client": 1}


def test_fire_and_forget(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "", 0, x=1.0), log("run", "", 0, x=2.0)))
    stages.handler.process(message(Record("exit", "run", "", 0, 1.0, {"state": "crashed", "writer": "a"})))
    stages.handler.process(message(Record("log", "run", "", 0, 1.0, {"step": 1, "data": {"x": []}})))
    stages.handler.process(message(log("closed or unknown", "", 0)))
    assert stages.intake.losses == {"refused: kind": 1, "refused: value": 1, "refused: run": 1}
    assert seqs(stages) == [("log", 0), ("log", 0)]
    assert stages.results == []


def test_the_bound_on_different_keys(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    session.run.keys.update(f"key {number}" for number in range(limits.MAX_RUN_KEYS - 3))
    records = [
        log("run", "a", 1, a=1, b=2),
        log("run", "a", 2, c=1, d=1),
        log("run", "a", 3, c=1),
        log("run", "a", 4, d=1),
    ]
    stages.handler.process(message(*records, log("run", "a", 5, a=1.0, c=1.0)))
    assert [body["seq"] for body in stages.told("problem")] == [2, 4]
    assert [kind for kind, _ in seqs(stages)] == ["log", "rejected", "log", "rejected", "log"]


def test_requests_are_answered_after_the_records_sent_before_them(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(
        message(
            log("run", "a", 1, loss=0.5),
            Record("request", "run", "a", 0, 1.0, {"id": 7, "ask": "flush"}),
            Record("request", "run", "a", 0, 1.0, {"id": 8, "ask": "state"}),
            Record("request", "run", "a", 0, 1.0, {"id": 9, "ask": "progress"}),
        )
    )
    assert stages.told("answer") == []
    stages.write()
    assert [(body["id"], body["seq"]) for body in stages.told("answer")] == [(7, 1)]
    stages.send()
    answers = {body["id"]: body for body in stages.told("answer")}
    assert answers[8]["state"]["summary"] == {"loss": 0.5}
    assert set(answers[9]["sinks"]) == {"store"}
    assert ReadBack(stages.root / "runs" / "run").check().stored() == [(1, {"loss": 0.5})]


@pytest.mark.parametrize(
    "body", [{}, {"id": 1}, {"id": "1", "ask": "flush"}, {"id": 1, "ask": "nothing"}, {"id": 1, "ask": None}]
)
def test_a_bad_request_is_reported(stages: Stages, body: dict[str, Any]) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(Record("request", "run", "a", 0, 1.0, body)))
    stages.step()
    assert len(stages.told("problem", "a")) == 1 and stages.told("answer") == []


def test_an_unnumbered_record_of_an_attached_client_is_refused(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 0)))
    assert [body["code"] for body in stages.told("problem", "a")] == ["kind"]


def test_attaching_again_tells_what_is_durable_and_records_on_their_way_are_not_taken_twice(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 4))))
    again, answers = stages.attach("run", "a", again=True)
    assert again is session and answers == [{}] and session.ledger.durable == 0
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 6))))
    assert seqs(stages) == [("log", seq) for seq in range(1, 6)]
    assert session.ledger.durable == 5


@pytest.mark.parametrize(
    ("run", "client", "body", "code"),
    [
        ("run", "a", {"protocol": 99}, "protocol"),
        ("../run", "a", {}, "run"),
        ("a/b", "a", {}, "run"),
        ("", "a", {}, "run"),
        ("run", "../a", {}, "client"),
        ("run", "", {}, "client"),
        ("run", "a", {"resume": "must"}, "missing"),
    ],
)
def test_a_refused_client_is_told_why_and_leaves_no_trace(
    stages: Stages, run: str, client: str, body: dict[str, Any], code: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        stages.attach(run, client, **body)
    assert caught.value.code == code
    stages.step()
    assert not list(stages.root.rglob("*.log")) and stages.sessions.by_client == {}


def finished(stages: Stages, run: str = "run", client: str = "a") -> None:
    """Begin a run and end it."""
    session, _ = stages.attach(run, client)
    stages.handler.process(
        message(log(run, client, 1, x=1.0), Record("exit", run, client, 2, 2.0, {"state": "finished"}))
    )
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    assert [run.id for run in stages.closed] == [run] and is_held(stages.root / "runs" / run) is None
    stages.events.clear()


def test_a_run_without_clients_is_closed_and_released(stages: Stages) -> None:
    finished(stages)
    directory = stages.root / "runs" / "run"
    assert sorted(path.name for path in directory.iterdir()) == ["store.db", "transactions.log"]
    assert ReadBack(directory).check().state["state"] == "finished"
    assert stages.sessions.drained()


@pytest.mark.parametrize(("resume", "lets"), [("allow", True), ("must", True), ("never", False), (None, False)])
def test_a_run_that_has_ended_is_resumed_only_on_request(stages: Stages, resume: str | None, lets: bool) -> None:
    finished(stages)
    if not lets:
        with pytest.raises(RefusedError) as caught:
            stages.attach("run", "b", resume=resume)
        assert caught.value.code == "exists"
        assert is_held(stages.root / "runs" / "run") is None
        return
    session, answers = stages.attach("run", "b", resume=resume)
    assert session.run.existed
    stages.step()
    assert answers[0]["state"]["summary"] == {"x": 1.0}
    stages.handler.process(message(log("run", "b", 1, x=2.0)))
    stages.step()
    assert ReadBack(stages.root / "runs" / "run").check().state["state"] == "running"


def test_a_client_that_dies_without_an_exit_has_crashed(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.attach("run", "b")
    stages.handler.process(message(log("run", "a", 1), log("run", "b", 1)))
    stages.sessions.detach(session)
    stages.step()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert found.state["writers"]["a"]["state"] == "crashed" and found.state["state"] == "running"
    assert found.log[-1].client == ""
    stages.handler.process(message(log("run", "a", 2)))
    assert stages.intake.losses == {"refused: client": 1}


def window_of(stages: Stages, run: str, client: str, count: int) -> Window:
    window = Window(stages.root / "runs" / run, run, client, {"parent": None}, Losses(), 1 << 30)
    for seq in range(1, count + 1):
        with window.lock:
            window.append("log", {"step": seq, "data": {"x": seq}})
    return window


def test_the_rest_is_taken_from_the_window_of_a_client_that_is_gone(stages: Stages) -> None:
    window = window_of(stages, "run", "a", 50)
    session, _ = stages.attach("run", "a", window=str(window.directory), place=machine_id())
    stages.handler.process(message(*(log("run", "a", seq, x=seq) for seq in range(1, 21))))
    stages.step()
    stages.sessions.detach(session)
    assert "a" in stages.sessions.by_client, "its owner lives"
    window.close()
    stages.step()
    stages.step()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert found.stored("a") == [(seq, {"x": seq}) for seq in range(1, 51)]
    assert found.state["state"] == "crashed"
    assert not window.directory.exists()


def test_the_window_of_a_client_that_never_attached_is_taken_too(stages: Stages) -> None:
    session, _ = stages.attach("run", "b")
    window_of(stages, "run", "a", 5).close()
    stages.handler.process(message(log("run", "b", 1)))
    stages.sessions.detach(session)
    for _ in range(3):
        stages.step()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert len(found.logged("a")) == 5
    assert stages.sessions.drained()


def test_only_a_window_of_the_client_itself_is_ever_taken(stages: Stages, tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.mkdir()
    OwnerLock.make(victim, {}).release()
    session, _ = stages.attach("run", "a", window=str(victim), place=machine_id())
    assert session.window is None
    for strange in ("\0", "relative/a", "/nowhere/a", "x" * 5000 + "/a"):
        other, _ = stages.attach("run", f"c{len(strange)}", window=strange, place=machine_id())
        assert other.window is None
    stages.sessions.detach(session)
    assert victim.exists()


@pytest.mark.parametrize("resume", ["allow", "must", "never", None])
def test_a_run_that_is_only_in_a_window_exists_and_is_never_lost(stages: Stages, resume: str | None) -> None:
    """Trainer and sidecar were killed before anything had reached the log."""
    window_of(stages, "run", "a", 5).close()
    if resume == "never":
        with pytest.raises(RefusedError) as caught:
            stages.attach("run", "b", resume=resume)
        assert caught.value.code == "exists"
    elif resume is not None:
        session, answers = stages.attach("run", "b", resume=resume)
        stages.step()
        assert answers[0]["state"]["step"] == 5 and session.run.existed
    else:
        with pytest.raises(RefusedError, match="resume='allow'"):
            stages.attach("run", "b")
    with LogReader(stages.root / "runs" / "run" / "transactions.log") as reader:
        found = [record.seq for batch in reader.batches() for record in batch.records if record.client == "a"]
    assert found == [1, 2, 3, 4, 5]


def test_a_store_behind_its_log_is_brought_up_before_a_client_is_told_the_state(stages: Stages) -> None:
    """An earlier sidecar died with much in the log and little in the store."""
    stages.attach("run", "a")
    for first in range(1, 8001, 1000):
        stages.handler.process(
            message(*(log("run", "a", s, loss=float(s), text="x" * 100) for s in range(first, first + 1000)))
        )
    stages.write()
    stages.close()
    (stages.root / "runs" / "run" / "store.db").unlink(missing_ok=True)
    later = Stages(stages.root)
    try:
        _, answers = later.attach("run", "b", resume="allow")
        later.write()
        later.send()
        assert answers[0]["state"]["step"] == 8000
        assert answers[0]["state"]["records"] == 8000
    finally:
        later.close()


def test_a_store_ahead_of_its_log_is_set_aside_and_rebuilt(stages: Stages) -> None:
    """After a power loss, the log may have lost its tail; it may grow past that before the Sender looks."""
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 101))))
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    directory = stages.root / "runs" / "run"
    log_path = directory / "transactions.log"
    os.truncate(log_path, log_path.stat().st_size // 2)
    later = Stages(stages.root)
    try:
        later.attach("run", "b", resume="allow")
        later.handler.process(message(*(log("run", "b", seq) for seq in range(1, 1001))))
        later.write()
        later.send()
        found = ReadBack(directory).check()
        assert len(found.stored()) == len(found.logged()) > 1000
        assert StoreReader(directory / "store.db.before").state()["writers"]["a"]["seq"] == 100
    finally:
        later.close()


def test_draining(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    stages.handler.close(Deadline(5.0))
    with pytest.raises(RefusedError, match="about to exit"):
        stages.attach("run", "b")
    stages.step()
    assert stages.sessions.drained()
    assert (stages.root / "runs" / "run" / "lock").exists(), "nothing says that it ended: it needs a recovery"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_control_socket_takes_only_its_own_kinds(kind: str) -> None:
    if KINDS[kind].way == "control" and kind in ("attach", "change", "read", "status", "stop"):
        bodies: dict[str, dict[str, Any]] = {"attach": {"protocol": 1}, "change": {"edit": {}}, "read": {"id": 1}}
        body = bodies.get(kind, {})
        assert read_request(encode(Record(kind, "", "", 0, 1.0, body))).kind == kind
    elif KINDS[kind].way != "control":
        with pytest.raises(RecordError, match="attach, change, read, status, stop"):
            read_request(encode(Record(kind, "", "", 0, 1.0, {})))


def test_what_is_handed_on_is_what_came(root: Path) -> None:
    handed: list[Any] = []
    stages = Stages(root)
    intake = Intake(handed.append, lambda client, result: None)
    stages.sessions = Sessions(root, "", handed.append, intake, stages.events.append)
    handler = Handler(stages.sessions, intake, handed.append)
    session, _ = stages.attach("run", "a")
    data = message(*(log("run", "a", seq, x=float(seq)) for seq in range(1, 200)))
    handler.process(data)
    appended = [item for item in handed if isinstance(item, Append)]
    assert b"".join(item.frames for item in appended) == data
    assert appended[-1].marks == ((session, 199),)
    session.run.release()
    assert os.path.getsize(session.run.log.path) == 16


def test_a_run_of_records_without_a_client_is_not_removed(stages: Stages, root: Path) -> None:
    """They make no writer, so the run looks as if no client had written to it."""
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(log("run", "", 0, x=1.0), log("run", "", 0, x=2.0)))
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    with pytest.raises(RefusedError):
        Stages(root).attach("run", "b", resume="must")
    assert seqs(stages) == [("log", 0), ("log", 0)]


def test_records_not_in_the_log_are_not_durable_for_a_client_that_attaches_again(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.attach("run", "b")
    failing = let_fail(session.run)
    failing.full = True
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 4))))
    stages.write()
    stages.sessions.detach(session)
    again, _ = stages.attach("run", "a", again=True)
    assert (again.ledger.durable, again.ledger.accepted) == (0, 3)
    failing.full = False
    stages.retry()
    assert again.ledger.durable == 3
    assert [body["seq"] for body in stages.told("ack", "a")][-1] == 3


def test_losses_over_64_bits_are_cut(stages: Stages) -> None:
    stages.attach("run", "a")
    counts = {"window full": 2**64 - 1, "less than nothing": -(2**63)}
    said = [Record("losses", "run", "a", seq, 1.0, {"source": f"{seq}", "counts": counts}) for seq in (1, 2)]
    stages.handler.process(message(*said))
    stages.step()
    assert StoreReader(stages.root / "runs" / "run" / "store.db").state()["losses"] == {"window full": limits.MAX_SEQ}


def test_a_message_made_to_mislead_costs_little(stages: Stages) -> None:
    """Every eighth byte seems to begin a frame of a megabyte; checking each would take a minute."""
    stages.attach("run", "a")
    stages.handler.process(b"\xc1\x0f\xff\xff\x00\x00\x00\x00" * 300_000)
    assert set(stages.intake.losses) == {"refused: checksum"}
    stages.handler.process(message(log("run", "a", 1)))
    assert seqs(stages) == [("log", 1)]


@pytest.mark.parametrize("start_time", [float("nan"), float("inf"), -1e300, 1_790_000_000_000_000_000])
def test_a_start_time_out_of_range_is_refused(stages: Stages, start_time: float) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(Record("run", "run", "a", 1, 1.0, {"start_time": start_time})))
    assert [body["code"] for body in stages.told("problem", "a")] == ["value"]


def test_a_window_is_where_its_link_led_when_the_client_attached(stages: Stages, tmp_path: Path) -> None:
    victim, window, link = tmp_path / "victim" / "a", tmp_path / "real" / "a", tmp_path / "links" / "a"
    for path in (victim, window, link.parent):
        path.mkdir(parents=True)
    OwnerLock.make(window, {"run": "run", "client": "a"}).release()
    (victim / "precious").touch()
    link.symlink_to(window)
    session, _ = stages.attach("run", "a", window=str(link), place=machine_id())
    link.unlink()
    link.symlink_to(victim)
    stages.sessions.detach(session)
    stages.step()
    assert (victim / "precious").exists() and not window.exists()
