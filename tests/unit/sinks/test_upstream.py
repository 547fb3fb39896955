"""Relay: which records go to the sidecar upstream, under which numbers. No sockets."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from hypothesis import given

from sidecar.log.reader import Batch, header
from sidecar.protocol.codec import decode
from sidecar.protocol.frames import HEAD_BYTES, frame
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import MAX_CHUNK_BYTES
from sidecar.protocol.records import Record
from sidecar.sinks.upstream.relay import DAMAGED, Item, Relay, ended_clients, relay_id
from tests.support import exact
from tests.unit.run_builder import RunBuilder
from tests.unit.sinks import row_logs
from tests.unit.sinks.row_logs import RUN, SCHEMAS, batch_of, mixed_logs, one_by_one


def batch(*records: Record) -> Batch:
    ends = [100 * (number + 1) for number in range(len(records))]
    return Batch(list(records), ends)


def record(kind: str, client: str = "c1", seq: int = 1, **body: object) -> Record:
    return Record(kind, "run1", client, seq, 5.0, body)


def content(item: Item) -> Record:
    return decode(item.frames[HEAD_BYTES:])


def file_record(data: bytes, client: str = "c1") -> Record:
    digest = hashlib.sha256(data).hexdigest()
    return record("file", client, 3 if client else 0, name="a/model.bin", size=len(data), sha256=digest)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / FILES_NAME / "a").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def relay(directory: Path) -> Relay:
    return Relay("run1", directory, "relay1")


def test_records_of_clients_keep_their_numbers(relay: Relay) -> None:
    sent = [record("run"), record("log", seq=2, step=0, data={"x": 1.0}), record("log", "c2", 7, step=0, data={})]
    items = list(relay.items(batch(*sent)))
    assert [(item.client, item.seq) for item in items] == [("c1", 1), ("c1", 2), ("c2", 7)]
    assert [content(item) for item in items] == sent
    assert relay.seq == 0, "the relay has nothing to say"


@given(mixed_logs())
def test_rows_are_the_records_that_they_stand_for(log: bytes) -> None:
    mixed = batch_of(log)
    packed = list(Relay(RUN, Path("nowhere"), "relay1").items(mixed))
    wanted = list(Relay(RUN, Path("nowhere"), "relay1").items(one_by_one(mixed)))
    found = [each for item in packed for each in item.records()]
    assert [(item.client, item.seq) for item in found] == [(item.client, item.seq) for item in wanted]
    assert exact([content(item) for item in found]) == exact([content(item) for item in wanted])
    for item in packed:
        for seq in range(item.first - 1, item.seq):
            rest = [each.seq for each in item.after(seq).records()]
            assert rest == list(range(seq + 1, item.seq + 1))


def test_rows_keep_their_frames_and_come_many_at_a_time() -> None:
    schema = SCHEMAS[2]
    packed = [frame(schema.pack(schema.word, seq, seq * 0.5, -seq, 1 / seq, seq, seq % 2)) for seq in range(2, 10_002)]
    declared = row_logs.record("schema", schema.client, 1, schema.body())
    first, *others = Relay(RUN, Path("nowhere"), "relay1").items(
        batch_of(header() + declared + b"".join(packed) + row_logs.record("log", "", 0, {"step": 1, "data": {}}))
    )
    rows, own = others[:-2], others[-2:]
    assert (first.client, first.seq, first.frames, first.schema) == (schema.client, 1, declared, None)
    assert b"".join(item.frames for item in rows) == b"".join(packed)
    assert len(rows) == 3 and [item.first for item in rows] == [2, *[item.seq + 1 for item in rows[:-1]]]
    assert all(item.schema is not None and item.schema.same(schema) for item in rows)
    assert [item.client for item in own] == ["relay1", "relay1"]


@pytest.mark.parametrize("count", [1, 15])
def test_a_few_rows_are_rows_too(count: int) -> None:
    schema = SCHEMAS[2]
    packed = [frame(schema.pack(schema.word, seq, 0.5, 0, 1 / seq, seq, 1)) for seq in range(2, count + 2)]
    declared = row_logs.record("schema", schema.client, 1, schema.body())
    _, *rows = Relay(RUN, Path("nowhere"), "relay1").items(batch_of(header() + declared + b"".join(packed)))
    assert [item.frames for item in rows] == packed
    assert all(item.schema is not None for item in rows)


def test_records_without_a_number_get_one_from_the_relay(relay: Relay) -> None:
    items = list(relay.items(batch(record("log", "", 0, step=1, data={}), record("exit", "", 0, state="crashed"))))
    assert [(item.client, item.seq) for item in items] == [("relay1", 1), ("relay1", 2), ("relay1", 3)]
    introduced, *others = map(content, items)
    assert (introduced.kind, introduced.body["parent"]) == ("run", "relay")
    assert [(each.kind, each.time) for each in others] == [("log", 5.0), ("exit", 5.0)]
    more = list(relay.items(batch(record("exit", "", 0, state="crashed"))))
    assert [(item.seq, content(item).kind) for item in more] == [(4, "exit")]


def test_a_file_in_the_directory_is_sent_in_parts(relay: Relay, directory: Path) -> None:
    data = bytes(range(256)) * (MAX_CHUNK_BYTES // 256) + b"rest"
    (directory / FILES_NAME / "a" / "model.bin").write_bytes(data)
    own, introduced, *parts = map(content, relay.items(batch(file_record(data))))
    assert (own.client, own.seq, own.body["relayed"]) == ("c1", 3, True)
    assert introduced.kind == "run"
    assert [part.body["offset"] for part in parts] == [0, MAX_CHUNK_BYTES]
    assert b"".join(part.body["data"] for part in parts) == data


def test_a_file_record_with_content_is_sent_as_it_is(relay: Relay) -> None:
    whole = file_record(b"abc")._replace(body={**file_record(b"abc").body, "offset": 0, "data": b"abc"})
    assert [content(item) for item in relay.items(batch(whole))] == [whole]


@pytest.mark.parametrize("harm", ["changed", "deleted"])
def test_a_file_that_is_not_what_was_saved_takes_as_many_numbers(
    relay: Relay, directory: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    """So that a later resend, with or without the file, gives every record the same number."""
    data = b"x" * (MAX_CHUNK_BYTES + 1)
    path = directory / FILES_NAME / "a" / "model.bin"
    path.write_bytes(data)
    before = [(item.client, item.seq) for item in relay.items(batch(file_record(data)))]
    if harm == "changed":
        path.write_bytes(data[:-1] + b"y")
    else:
        path.unlink()
    again = Relay("run1", directory, "relay1")
    with caplog.at_level(logging.WARNING):
        items = list(again.items(batch(file_record(data))))
    assert [(item.client, item.seq) for item in items] == before
    assert [content(item).kind for item in items] == ["file", "run", "file missing", "file missing"]
    assert all("a/model.bin" in line and "Errno" not in line for line in caplog.messages) and caplog.messages


def test_a_damaged_record_has_a_substitute(relay: Relay) -> None:
    item = relay.damaged("c1", 9)
    assert (item.client, item.seq) == ("c1", 9)
    assert (content(item).kind, content(item).body["code"]) == ("rejected", DAMAGED)


def test_the_relay_of_a_log_and_a_server_is_always_the_same(root: Path) -> None:
    one, other = RunBuilder(root, "run1"), RunBuilder(root, "run2")
    first = relay_id(one.dir, "sidecar+tcp://a:1")
    one.row(0, x=1.0)
    assert relay_id(one.dir, "sidecar+tcp://a:1") == first
    assert len({first, relay_id(one.dir, "sidecar+tcp://b:1"), relay_id(other.dir, "sidecar+tcp://a:1")}) == 3
    for run in (one, other):
        run.log.close()


def test_a_client_with_rows_after_its_end_has_not_ended() -> None:
    schema = SCHEMAS[0]
    rows = b"".join(frame(schema.pack(schema.word, seq, 0.5, 0, 1.5)) for seq in range(3, 43))
    declared = row_logs.record("schema", schema.client, 1, schema.body())
    ended = row_logs.record("exit", schema.client, 2, {"state": "finished"})
    assert ended_clients(batch_of(header() + declared + ended + rows)) == set()
    later = row_logs.record("exit", schema.client, 43, {"state": "finished"})
    assert ended_clients(batch_of(header() + declared + ended + rows + later)) == {schema.client}


def test_which_clients_have_ended() -> None:
    ended = record("exit", state="finished")
    assert ended_clients(batch(record("log", step=0, data={}), ended)) == {"c1"}
    assert ended_clients(batch(ended, record("log", seq=2, step=0, data={}))) == set(), "it was resumed"
    assert ended_clients(batch(record("exit", "", 0, state="crashed", writer="c2"))) == {"c2"}
    assert ended_clients(batch(record("exit", "", 0, state="crashed"))) == set()
