"""Rows on their way through the stages: declared again where readers need it, refused by number, never mixed up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.log.reader import LogReader
from sidecar.log.reader import header as log_header
from sidecar.log.verify import check_log
from sidecar.pipeline import held_run as held_run_module
from sidecar.pipeline import sessions as sessions_module
from sidecar.pipeline.held_run import HeldRun
from sidecar.projections.rebuild import rebuild, verify
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.frames import frame
from sidecar.protocol.limits import MAX_SCHEMAS
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema
from sidecar.protocol.segments import OwnerLock, header
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, let_fail, log, message

function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def schema(id: int = 1, client: str = "a", run: str = "run", keys: tuple[str, ...] = ("x", "y")) -> Schema:
    return Schema(id, run, client, keys, "d" * len(keys))


def declare(one: Schema, seq: int) -> bytes:
    return frame(encode(Record("schema", one.run, one.client, seq, 1.0, one.body())))


def rows(one: Schema, first: int, count: int) -> bytes:
    return b"".join(
        frame(one.pack(one.word, seq, 1.0, seq, *[seq / 2] * len(one.keys))) for seq in range(first, first + count)
    )


def in_log(root: Path, run: str = "run") -> list[Record]:
    with LogReader(root / "runs" / run / "transactions.log") as reader:
        records = [record for batch in reader.batches() for record in batch.records]
        assert reader.damage == []
    return records


def numbers(root: Path, client: str = "a", run: str = "run") -> list[tuple[str, int]]:
    return [(record.kind, record.seq) for record in in_log(root, run) if record.client == client and record.seq]


# -- declared again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_a_time", [1, 5, 40])
def test_a_schema_is_declared_again_before_its_next_rows_however_few_come_at_a_time(
    stages: Stages, root: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(held_run_module, "REPEAT_BYTES", 1000)
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(declare(one, 1))
    for first in range(2, 202, at_a_time):
        stages.handler.process(rows(one, first, at_a_time))
        stages.write()
    records = in_log(root)
    repeated = [place for place, record in enumerate(records) if record.kind == "schema" and not record.client]
    size = one.frame_bytes * 200
    assert size / 1500 - 2 * at_a_time < len(repeated) < size / 1000 + 2
    assert all(records[place + 1].kind == "log" for place in repeated)
    assert numbers(root) == [("schema", 1), *[("log", seq) for seq in range(2, 202)]]


def test_rows_that_come_one_by_one_after_a_restart_are_declared_in_the_log(root: Path) -> None:
    one = schema()
    first = Stages(root)
    first.attach("run", "a")
    first.handler.process(declare(one, 1) + rows(one, 2, 1))
    first.write()
    first.sessions.runs["run"].release()  # as a sidecar that is killed
    second = Stages(root)
    second.attach("run", "a", again=True)
    second.handler.process(encode(Record("schema", "run", "a", 0, 1.0, one.body())))
    for seq in range(3, 6):
        second.handler.process(rows(one, seq, 1))
        second.write()
    records = in_log(root)
    assert [(record.kind, record.client, record.seq) for record in records] == [
        ("schema", "a", 1),
        ("log", "a", 2),
        ("schema", "", 0),
        *[("log", "a", seq) for seq in range(3, 6)],
    ]
    second.close()


def test_a_schema_is_declared_once_by_a_writer_that_is_held_up(stages: Stages, root: Path) -> None:
    session, _ = stages.attach("run", "a")
    failing = let_fail(session.run)
    one = schema()
    stages.handler.process(encode(Record("schema", "run", "a", 0, 1.0, one.body())))
    failing.full = True
    for seq in range(1, 6):
        stages.handler.process(rows(one, seq, 1))
        stages.write()
        stages.later(1.0)
    stages.handler.process(rows(one, 6, 30))
    assert failing.tried > 0
    stages.write()
    failing.full = False
    stages.writer.close(Deadline(10.0))
    assert [(record.kind, record.seq) for record in in_log(root)] == [
        ("schema", 0),
        *[("log", seq) for seq in range(1, 36)],
    ]


# -- refused ----------------------------------------------------------------------------------------------------------


def too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_run_module, "MAX_RUN_KEYS", 3)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_rows_of_a_schema_that_was_refused_are_rejected_by_number_so_that_the_next_records_are_taken(
    stages: Stages, root: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    too_many_keys(monkeypatch)
    stages.attach("run", "a")
    refused, taken = schema(1, keys=("a", "b", "c", "d")), schema(2)
    whole = declare(refused, 1) + rows(refused, 2, count) + declare(taken, count + 2) + rows(taken, count + 3, 20)
    for _ in range(2):  # and once more, as after a re-attach
        stages.handler.process(encode(Record("schema", "run", "a", 0, 1.0, refused.body())) + whole[:0])
        stages.handler.process(whole)
    stages.step()
    assert stages.told("reattach") == []
    assert numbers(root) == [
        *[("rejected", seq) for seq in range(1, count + 2)],
        ("schema", count + 2),
        *[("log", seq) for seq in range(count + 3, count + 23)],
    ]
    assert stages.told("ack", "a")[-1] == {"seq": count + 22}


def write_window(root: Path, client: str, frames: bytes, first: int = 1) -> None:
    directory = root / "runs" / "run" / "windows" / client
    directory.mkdir(parents=True)
    OwnerLock.make(directory, {"run": "run", "client": client}).release()
    (directory / "00000001.seg").write_bytes(header(first) + frames + bytes(100))


@pytest.mark.parametrize("count", [1, 40])
def test_rows_in_a_window_whose_schema_is_refused_are_rejected(
    root: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    too_many_keys(monkeypatch)
    refused, taken = schema(1, keys=("a", "b", "c", "d")), schema(2)
    frames = declare(refused, 1) + rows(refused, 2, count) + declare(taken, count + 2) + rows(taken, count + 3, 20)
    write_window(root, "a", frames)
    HeldRun.open(root, "run", "").release()
    assert numbers(root)[:-1] == [
        *[("rejected", seq) for seq in range(1, count + 2)],
        ("schema", count + 2),
        *[("log", seq) for seq in range(count + 3, count + 23)],
    ] or numbers(root)[-1] == ("log", count + 22)
    assert check_log(root / "runs" / "run" / "transactions.log").problems == []


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("after", [0, 1])
def test_rows_in_a_window_under_another_clients_schema_are_not_taken_for_its_rows(
    stages: Stages, root: Path, count: int, after: int
) -> None:
    first, _ = stages.attach("run", "a")
    stages.handler.process(declare(schema(7), 1) + rows(schema(7), 2, 20))
    second, _ = stages.attach("run", "b")
    if after:
        stages.handler.process(message(log("run", "b", 1)))
    stages.write()
    other = schema(7, client="b", keys=("x", "other"))
    write_window(root, "b", declare(other, 1) + rows(other, 2, count))
    second.window = root / "runs" / "run" / "windows" / "b"
    stages.sessions.detach(second)
    stages.step()
    assert numbers(root, "a") == [("schema", 1), *[("log", seq) for seq in range(2, 22)]]
    expected = [("log", 1)] if after else [("rejected", 1)]
    assert numbers(root, "b") == [*expected, *[("rejected", seq) for seq in range(2, count + 2)]]
    assert first.ledger.accepted == 21


def test_a_client_has_at_most_so_many_schemas_and_an_id_is_one_schemas_only(stages: Stages, root: Path) -> None:
    stages.attach("run", "a")
    stages.attach("run", "b")
    stages.handler.process(b"".join(declare(schema(number), number) for number in range(1, 301)))
    stages.handler.process(declare(schema(1, client="b"), 1) + declare(schema(1, client="b", keys=("z",)), 2))
    stages.handler.process(declare(schema(1), 301) + declare(schema(1, keys=("z",)), 302))
    stages.step()
    kinds = dict.fromkeys(range(1, MAX_SCHEMAS + 1), "schema") | dict.fromkeys(range(MAX_SCHEMAS + 1, 301), "rejected")
    assert numbers(root) == [*[(kind, seq) for seq, kind in kinds.items()], ("schema", 301), ("rejected", 302)]
    assert numbers(root, "b") == [("rejected", 1), ("rejected", 2)]
    stages.handler.process(b"".join(declare(schema(number), number) for number in range(303, 1000)))
    assert len(stages.sessions.schemas) <= 2 * MAX_SCHEMAS


# -- forgotten --------------------------------------------------------------------------------------------------------


def test_the_schemas_of_clients_that_are_gone_are_forgotten_and_those_of_one_that_came_back_are_not(
    stages: Stages, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "_MAX_DETACHED", 3)
    stages.attach("run", "stays")
    stages.attach("other", "stays2")
    back, _ = stages.attach("run", "back")
    stages.handler.process(declare(schema(1, client="back"), 1))
    stages.sessions.detach(back)
    back, _ = stages.attach("run", "back", again=True)
    for number in range(2, 30):
        run = "run" if number % 2 else "other"
        session, _ = stages.attach(run, f"c{number}")
        stages.handler.process(declare(schema(number, run=run, client=f"c{number}"), 1))
        stages.sessions.detach(session)
    assert len(stages.sessions.schemas) == 4
    stages.handler.process(rows(schema(1, client="back"), 2, 20))
    assert back.ledger.accepted == 21


@pytest.mark.parametrize("count", [1, 40])
def test_rows_that_come_after_their_run_was_closed_are_not_counted_as_refused(stages: Stages, count: int) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(declare(schema(1), 1) + rows(schema(1), 2, count))
    stages.sessions.detach(session)
    for late in range(2):
        stages.handler.process(rows(schema(1), 2, count))
        assert stages.intake.losses == {}
        if not late:
            stages.step()
            stages.step()
            assert stages.sessions.drained() and stages.sessions.schemas == {}


def test_the_schemas_of_a_run_that_cannot_be_opened_are_forgotten(
    stages: Stages, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_window(root, "a", declare(schema(1), 1) + rows(schema(1), 2, 20))

    def fail(log: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr("sidecar.log.writer.LogWriter.sync", fail)
    stages.sessions._sync = True
    with pytest.raises(Exception, match="cannot be opened"):
        stages.attach("run", "b")
    assert stages.sessions.schemas == {}


# -- anything ---------------------------------------------------------------------------------------------------------


@st.composite
def pieces(draw: Any) -> bytes:
    """Return one piece of a message: both kinds, valid or not."""
    client = draw(st.sampled_from(["a", "b", "gone", ""]))
    run = draw(st.sampled_from(["run", "run", "run", "other"]))
    seq = draw(st.integers(0, 60))
    keys = ("x", "y", "z")[: draw(st.integers(1, 3))]
    types = "".join(draw(st.sampled_from("dq?")) for _ in keys)
    one = Schema(draw(st.integers(0, 3)), run, client, keys, types)
    what = draw(st.sampled_from(["log", "schema", "schema", "row", "row", "row", "noise", "short", "other"]))
    if what == "log":
        return frame(encode(Record("log", run, client, seq, 1.0, {"step": 1, "data": {"x": 1.0}})))
    if what == "schema":
        body = one.body()
        if draw(st.integers(0, 5)) == 0:
            body[draw(st.sampled_from(["id", "keys", "types", "client"]))] = draw(
                st.sampled_from([None, -1, 2**56, "b", "dd", [], ["x", "x"], "x", 1.5])
            )
        return frame(encode(Record("schema", run, client, seq, 1.0, body)))
    if what == "row":
        count = draw(st.sampled_from([1, 3, 16, 70]))
        values = [draw(st.sampled_from([0, 1, 2, -1])) for _ in types]
        moment = draw(st.sampled_from([1.0, 1.0, 1.0, float("nan"), 1e300]))
        return b"".join(frame(one.pack(one.word, seq + i, moment, i, *values)) for i in range(count))
    if what == "noise":
        return bytes(draw(st.binary(max_size=40)))
    if what == "short":
        return frame(b"\x01" + bytes(draw(st.binary(max_size=60))))
    kind = draw(st.sampled_from(["detach", "beat", "config", "ack", "nonsense"]))
    return frame(encode(Record(kind, run, client, seq, 1.0, {})))


@function_scoped
@given(messages=st.lists(st.lists(pieces(), max_size=12), max_size=5))
def test_whatever_comes_the_handler_takes_it_and_the_log_is_whole(
    tmp_path_factory: pytest.TempPathFactory, messages: list[list[bytes]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    stages = Stages(root)
    for client in ("a", "b"):
        stages.attach("run", client)
    for one in messages:
        stages.handler.process(b"".join(one))
    ledgers = dict(stages.sessions.runs["run"].clients) if "run" in stages.sessions.runs else {}
    stages.close()
    path = root / "runs" / "run" / "transactions.log"
    check = check_log(path)
    assert check.problems == [] and check.tail == "none" and check.undeclared == {}
    for client, numbers_of in check.clients.items():
        if client in ledgers:
            assert numbers_of.last == ledgers[client].accepted
    assert stages.sessions.schemas == {}
    ReadBack(root / "runs" / "run").check()
    with LogReader(path) as reader:
        everything = [pair for b in reader.batches() for pair in zip(b.ends, b.records, strict=True)]
    for number, (end, _) in enumerate(everything):
        with LogReader(path, end) as reader:
            rest = [pair for b in reader.batches() for pair in zip(b.ends, b.records, strict=True)]
        assert repr(rest) == repr(everything[number + 1 :])


def test_many_rows_that_cannot_be_used_are_rejected_one_by_one(stages: Stages) -> None:
    stages.attach("run", "a")
    one = Schema(1, "run", "a", ("x",), "?")
    bad = [frame(one.pack(one.word, seq, 1.0, 1, 2 if seq % 3 else 1)) for seq in range(2, 20_002)]
    stages.handler.process(declare(one, 1))
    stages.handler.process(b"".join(bad))
    stages.step()
    assert stages.told("ack", "a")[-1] == {"seq": 20_001}


# -- attached late, again, or with an older format --------------------------------------------------------------------


def test_rows_of_a_client_that_did_not_declare_them_are_counted_and_taken_once_it_has(
    stages: Stages, root: Path
) -> None:
    one = schema()
    stages.handler.process(rows(one, 2, 20))
    assert stages.intake.losses == {"refused: schema": 20}
    stages.attach("run", "a")
    stages.handler.process(rows(one, 1, 20) + message(log("run", "a", 21)))
    assert stages.told("reattach", "a") == [{"expected": 1}] and stages.intake.losses == {"refused: schema": 40}
    stages.attach("run", "a", again=True)
    stages.handler.process(encode(Record("schema", "run", "a", 0, 1.0, one.body())))
    stages.handler.process(rows(one, 1, 20) + message(log("run", "a", 21)))
    stages.step()
    assert numbers(root) == [("log", seq) for seq in range(1, 22)]


@pytest.mark.parametrize("first", [1, 2, 10, 21, 22])
@pytest.mark.parametrize("count", [1, 40])
def test_rows_that_were_taken_in_part_are_taken_from_the_next_one_on_and_none_behind_a_gap(
    stages: Stages, root: Path, first: int, count: int
) -> None:
    stages.attach("run", "a")
    one = schema()
    stages.handler.process(encode(Record("schema", "run", "a", 0, 1.0, one.body())))
    stages.handler.process(rows(one, 1, 20))
    stages.handler.process(rows(one, first, count))
    stages.step()
    last = 20 if first > 21 else max(20, first + count - 1)
    assert numbers(root) == [("log", seq) for seq in range(1, last + 1)]
    assert stages.told("reattach", "a") == ([{"expected": 21}] if first > 21 else [])


def test_two_clients_with_the_same_keys_and_numbers_are_kept_apart(stages: Stages, root: Path) -> None:
    stages.attach("run", "a")
    stages.attach("run", "b")
    ours, theirs = schema(1, "a"), schema(2, "b")
    for part in (1, 40):
        first = 1 if part == 1 else 3
        stages.handler.process(b"".join(declare(one, first) + rows(one, first + 1, part) for one in (ours, theirs)))
    stages.step()
    expected = [("schema", 1), ("log", 2), ("schema", 3), *[("log", seq) for seq in range(4, 44)]]
    assert numbers(root, "a") == numbers(root, "b") == expected


@pytest.mark.parametrize("damaged", [False, True])
def test_a_log_and_a_window_of_format_1_are_continued_with_rows(root: Path, damaged: bool) -> None:
    directory = root / "runs" / "run"
    old = directory / "windows" / "old"
    old.mkdir(parents=True)
    OwnerLock.make(old, {"run": "run", "client": "old"}).release()
    (old / "00000001.seg").write_bytes(header(3, 1) + message(log("run", "old", 3), log("run", "old", 4)) + bytes(50))
    torn = message(log("run", "old", 3))[:-1]
    noise = b"\xc1 damaged" if damaged else b""
    path = directory / "transactions.log"
    path.write_bytes(log_header(1) + message(log("run", "old", 1)) + noise + message(log("run", "old", 2)) + torn)
    one = schema(client="new")
    write_window(root, "new", declare(one, 1) + rows(one, 2, 30))
    HeldRun.open(root, "run", "").release(clean=True)
    assert path.read_bytes()[:16] == log_header()
    check = check_log(path)
    assert check.tail == "none" and len(check.damage) == damaged and check.undeclared == {}
    assert {client: (each.records, each.last) for client, each in check.clients.items()} == {
        "old": (4, 4),
        "new": (31, 31),
    }
    rebuild(directory)
    with StoreReader(directory / "store.db") as store:
        assert store.state()["records"] == 34
    assert verify(directory).problems == [f"log: {problem}" for problem in check.problems]
