"""The Writer, stepped by hand: nothing is acked before it is in the log, nothing is lost or overtaken when it fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.pipeline import held_run
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, let_fail, log, message


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def in_log(stages: Stages, run: str = "run") -> list[int]:
    stages.later(1.0)
    stages.write()
    stages.send()
    return [record.seq for record in ReadBack(stages.root / "runs" / run).log if record.kind == "log"]


def acked(stages: Stages, client: str = "a") -> int:
    return max((body["seq"] for body in stages.told("ack", client)), default=0)


def test_nothing_is_acked_before_it_is_written(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1), log("run", "a", 2)))
    while stages.to_writer:
        stages.writer.process(stages.to_writer.popleft())
    assert (acked(stages), session.ledger.durable, stages.writer.backlog_bytes > 0) == (0, 0, True)
    stages.write()
    assert (acked(stages), session.ledger.durable, stages.writer.backlog_bytes) == (2, 2, 0)
    assert in_log(stages) == [1, 2]


def test_acks_are_few_and_the_last_is_never_forgotten(stages: Stages) -> None:
    stages.attach("run", "a")
    for seq in range(1, 201):
        stages.handler.process(message(log("run", "a", seq)))
        while stages.to_writer:
            stages.writer.process(stages.to_writer.popleft())
        stages.writer.idle(stages.now)
    assert len(stages.told("ack")) < 100
    wait = stages.writer.idle(stages.now)
    assert wait <= 1.0
    stages.later(0.1)
    stages.writer.idle(stages.now)
    assert acked(stages) == 200


def test_a_full_disk_keeps_everything_back_in_order(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    stages.write()
    failing = let_fail(session.run)
    failing.full = True
    stages.handler.process(message(log("run", "a", 2)))
    stages.write()
    question = Record("request", "run", "a", 0, 1.0, {"id": 1, "ask": "flush"})
    stages.handler.process(message(log("run", "a", 3), question, log("run", "a", 4)))
    for _ in range(3):
        stages.retry()
    assert (acked(stages), session.ledger.durable) == (1, 1)
    assert stages.told("answer") == [], "a request behind them is not answered"
    assert failing.tried >= 3
    assert stages.writer.error is not None and "No space left" in stages.writer.error
    assert stages.writer.backlog_bytes > 0
    failing.full = False
    stages.handler.process(message(log("run", "a", 5)))
    stages.retry()
    assert in_log(stages) == [1, 2, 3, 4, 5]
    assert acked(stages) == 5
    assert stages.told("answer") == [{"id": 1, "seq": 3}]
    assert stages.writer.backlog_bytes == 0


def test_while_a_disk_is_full_the_log_is_retried_after_a_back_off(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    failing = let_fail(session.run)
    failing.full = True
    for seq in range(1, 50):
        stages.handler.process(message(log("run", "a", seq)))
        stages.write()
    assert failing.tried == 1
    failing.full = False
    stages.retry()
    assert in_log(stages) == list(range(1, 50))


def test_a_disk_that_cannot_sync_has_nothing_acked_and_nothing_written_twice(root: Path) -> None:
    stages = Stages(root, durability="disk")
    session, _ = stages.attach("run", "a")
    failing = let_fail(session.run)
    failing.unsyncable = True
    stages.handler.process(message(log("run", "a", 1)))
    stages.write()
    stages.handler.process(message(log("run", "a", 2)))
    for _ in range(3):
        stages.retry()
    assert (acked(stages), failing.tried >= 2) == (0, True)
    failing.unsyncable = False
    stages.retry()
    assert acked(stages) == 2 and in_log(stages) == [1, 2]
    stages.close()


def test_a_long_backlog_is_written_in_order(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.attach("run", "b")
    failing = let_fail(session.run)
    failing.full = True
    for seq in range(1, 300):
        stages.handler.process(message(*(log("run", client, seq, text="x" * 5000) for client in "ab")))
        if seq % 50 == 0:
            stages.handler.process(message(Record("request", "run", "a", 0, 1.0, {"id": seq, "ask": "flush"})))
        stages.write()
    failing.full = False
    stages.retry()
    stages.send()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert [record.seq for record in found.log if record.client == "a"] == list(range(1, 300))
    assert [(body["id"], body["seq"] >= body["id"]) for body in stages.told("answer")] == [
        (seq, True) for seq in range(50, 300, 50)
    ]


def test_at_the_end_it_gives_up_at_the_deadline_and_nothing_was_acked(root: Path) -> None:
    stages = Stages(root)
    session, _ = stages.attach("run", "a")
    failing = let_fail(session.run)
    failing.full = True
    stages.handler.process(message(log("run", "a", 1)))
    stages.write()
    stages.writer.close(Deadline(0.0))
    assert (acked(stages), session.ledger.durable) == (0, 0)
    failing.full = False
    stages.retry()
    stages.close()


def test_closing_writes_and_acks_the_rest(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    while stages.to_writer:
        stages.writer.process(stages.to_writer.popleft())
    stages.writer.close(Deadline(5.0))
    assert acked(stages) == 1 and in_log(stages) == [1]


@pytest.mark.parametrize("together", [False, True])
def test_the_schema_of_few_rows_is_in_the_log_though_it_was_only_declared_with_number_0(
    stages: Stages, together: bool
) -> None:
    stages.attach("run", "a")
    schemas = [Schema(id, "run", "a", ("x",), "d") for id in (5, 6)]
    frames = [message(Record("schema", "run", "a", 0, 1.0, one.body())) for one in schemas]
    frames += [frame(schemas[seq % 2].pack(schemas[seq % 2].word, seq, 1.0, seq, 0.5)) for seq in range(1, 6)]
    frames.append(message(log("run", "a", 6)))
    for part in [b"".join(frames)] if together else frames:
        stages.handler.process(part)
        stages.write()
    assert in_log(stages) == [1, 2, 3, 4, 5, 6]


def test_a_run_whose_log_cannot_be_written_delays_no_other(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.attach("other", "b")
    failing = let_fail(session.run)
    failing.full = True
    question = Record("request", "run", "a", 0, 1.0, {"id": 1, "ask": "flush"})
    for seq in range(1, 101):
        stages.handler.process(message(log("run", "a", seq), question if seq == 50 else log("other", "b", 2 * seq - 1)))
        stages.handler.process(message(log("other", "b", 2 * seq - 1), log("other", "b", 2 * seq)))
        stages.later(0.1)
        stages.write()
    assert (acked(stages, "a"), acked(stages, "b")) == (0, 200)
    assert in_log(stages, "other") == list(range(1, 201))
    assert stages.writer.moving_bytes == 0 < stages.writer.backlog_bytes
    stages.attach("third", "c")
    stages.handler.process(message(log("third", "c", 1)))
    assert in_log(stages, "third") == [1] and stages.told("answer") == []
    failing.full = False
    stages.retry()
    assert in_log(stages) == list(range(1, 101))
    assert stages.told("answer") == [{"id": 1, "seq": 50}] and acked(stages, "a") == 100


def test_records_of_a_run_that_cannot_be_written_stay_with_their_client_beyond_a_bound(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_run, "MAX_UNWRITTEN_BYTES", 10_000)
    session, _ = stages.attach("run", "a")
    failing = let_fail(session.run)
    failing.full = True
    for seq in range(1, 1001):
        stages.handler.process(message(log("run", "a", seq)))
        stages.write()
    taken = session.ledger.accepted
    assert 0 < taken < 1000 and stages.writer.backlog_bytes < 20_000 and stages.told("reattach") == []
    failing.full = False
    stages.retry()
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(taken + 1, 1001))))
    assert in_log(stages) == list(range(1, 1001))


def test_a_run_that_is_removed_while_it_is_written_is_made_again_from_its_open_log(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 11))))
    assert in_log(stages) == list(range(1, 11))
    shutil.rmtree(stages.root)
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(11, 21))))
    assert in_log(stages) == list(range(1, 21)) and acked(stages) == 20
    stages.step()
    found = ReadBack(stages.root / "runs" / "run").check()
    assert [step for step, _ in found.stored("a")] == list(range(1, 21))
    assert (stages.root / "runs" / "run" / "lock").exists()


def test_a_run_that_is_removed_and_made_again_by_another_is_left_alone(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    assert in_log(stages) == [1]
    shutil.rmtree(stages.root)
    other = Stages(stages.root)
    other.attach("run", "b")
    other.handler.process(message(log("run", "b", 1)))
    other.step()
    stages.handler.process(message(log("run", "a", 2)))
    stages.write()
    assert acked(stages) == 1 and "another process" in str(stages.writer.error)
    other.step()
    assert [record.client for record in ReadBack(stages.root / "runs" / "run").log] == ["b"]
    other.close()
    shutil.rmtree(stages.root)
    stages.retry()
    assert in_log(stages) == [1, 2] and acked(stages) == 2
