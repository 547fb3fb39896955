"""Rows on their way through the three stages of a sidecar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.log.reader import LogReader
from sidecar.pipeline import held_run
from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.limits import MAX_SCHEMAS
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, log, message


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def schema(id: int = 7, keys: str = "xy", client: str = "a") -> Schema:
    return Schema(id, "run", client, tuple(keys), "d" * len(keys))


def declaration(one: Schema, seq: int = 1) -> Record:
    return Record("schema", "run", one.client, seq, 1.0, one.body())


def rows(one: Schema, first: int, count: int) -> bytes:
    packed = [
        one.pack(one.word, seq, float(seq), seq, *[seq / 2] * len(one.keys)) for seq in range(first, first + count)
    ]
    return b"".join(map(frame, packed))


def records(stages: Stages) -> list[Record]:
    stages.step()
    with LogReader(stages.root / "runs" / "run" / "transactions.log") as reader:
        found = [record for batch in reader.batches() for record in batch.records]
        assert reader.damage == []
    return found


@pytest.mark.parametrize("count", [1, 3, 40])
def test_rows_reach_the_log_the_client_and_the_store(stages: Stages, count: int) -> None:
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(message(declaration(one)) + rows(one, 2, count))
    assert [(record.kind, record.seq) for record in records(stages)] == [
        ("schema", 1),
        *(("log", seq) for seq in range(2, count + 2)),
    ]
    assert stages.told("ack", "a")[-1] == {"seq": count + 1}
    stored = ReadBack(stages.root / "runs" / "run").check().stored("a")
    assert stored == [(seq, {"x": seq / 2, "y": seq / 2}) for seq in range(2, count + 2)]
    assert stages.intake.records == count + 1 and stages.intake.losses == {}


def test_rows_and_records_are_numbered_together(stages: Stages) -> None:
    stages.attach("run", "a")
    one, other = schema(), schema(8, "z")
    parts = [message(declaration(one)), rows(one, 2, 1), message(log("run", "a", 3), declaration(other, 4))]
    parts += [rows(other, 5, 1), rows(one, 6, 20), message(log("run", "a", 26), log("run", "a", 27))]
    parts += [rows(other, 28, 2)]
    stages.handler.process(b"".join(parts))
    assert [record.seq for record in records(stages)] == list(range(1, 30))


def test_rows_that_were_seen_are_dropped_and_a_gap_brings_a_reattach(stages: Stages) -> None:
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(message(declaration(one)) + rows(one, 2, 40))
    stages.handler.process(rows(one, 2, 40))
    stages.handler.process(rows(one, 22, 40))
    stages.handler.process(rows(one, 70, 40) + rows(one, 62, 1))
    assert stages.told("reattach", "a") == [{"expected": 62}]
    assert [record.seq for record in records(stages)] == list(range(1, 62))


def test_the_rows_of_a_refused_schema_are_refused_by_their_numbers(stages: Stages) -> None:
    stages.attach("run", "a")
    accepted = [schema(id + 1, chr(0x100 + id)) for id in range(MAX_SCHEMAS)]
    stages.handler.process(message(*(declaration(one, seq) for seq, one in enumerate(accepted, 1))))
    refused, seq = schema(10_000, "r"), MAX_SCHEMAS + 1
    stages.handler.process(message(declaration(refused, seq)) + rows(refused, seq + 1, 1) + rows(refused, seq + 2, 30))
    stages.handler.process(rows(accepted[0], seq + 32, 20))
    found = records(stages)
    assert [record.seq for record in found] == list(range(1, seq + 52))
    assert [record.kind for record in found[seq - 1 :]] == ["rejected"] * 32 + ["log"] * 20
    assert stages.told("ack", "a")[-1] == {"seq": seq + 51}


def test_a_schema_is_declared_again_for_rows_that_come_one_by_one(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_run, "REPEAT_BYTES", 500)
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(message(declaration(one)))
    for seq in range(2, 42):
        stages.handler.process(rows(one, seq, 1))
        stages.write()
    found = records(stages)
    own = [index for index, record in enumerate(found) if record.kind == "schema" and not record.client]
    assert all(found[index].body == {**one.body(), "client": "a"} for index in own)
    assert 3 <= len(own) <= 10
    assert [record.seq for record in found if record.client] == list(range(1, 42))
    assert ReadBack(stages.root / "runs" / "run").check().stored("a")[-1] == (41, {"x": 20.5, "y": 20.5})


def test_a_schema_with_number_0_is_not_kept_but_its_rows_are(stages: Stages) -> None:
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(message(declaration(one, 0)) + rows(one, 1, 3))
    assert [(record.kind, record.client, record.seq) for record in records(stages)] == [
        ("schema", "", 0),
        *(("log", "a", seq) for seq in (1, 2, 3)),
    ]


def test_another_clients_schema_cannot_be_declared_and_its_id_not_taken(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.attach("run", "b")
    one, stolen = schema(), schema(client="b")
    stages.handler.process(message(declaration(one)))
    stages.handler.process(message(declaration(stolen)))
    assert [body["code"] for body in stages.told("problem", "b")] == ["value"]
    named = Record("schema", "run", "b", 2, 1.0, {**schema(9).body(), "client": "a"})
    stages.handler.process(frame(encode(named)))
    assert [body["code"] for body in stages.told("problem", "b")] == ["value", "value"]
    stages.handler.process(rows(one, 2, 20))
    assert [record.kind for record in records(stages) if record.client == "a"] == ["schema"] + ["log"] * 20
