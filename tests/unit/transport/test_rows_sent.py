"""Rows in a window, in an orphaned window and on their way: what is stored, taken, sent again, and read by others."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.protocol.codec import decode, decode_frames, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import REMOTE_NAME
from sidecar.protocol.limits import MAX_KEYS, MAX_MESSAGE_BYTES, MAX_SCHEMA_KEYS, MAX_SCHEMAS
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema, records_of
from sidecar.protocol.segments import read_window
from tests.unit.pipeline.stages import Stages
from tests.unit.transport.peer import CLIENT, Peer
from tracker.transport import segment as segment_module
from tracker.transport import window as window_module
from tracker.transport.backend import Attached
from tracker.transport.losses import Losses
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Pump
from tracker.transport.resend import OrphanedWindow
from tracker.transport.window import Window

SMALL_SEGMENT = 4096
function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "SEGMENT_BYTES", SMALL_SEGMENT)


def make(base: Path, losses: Losses | None = None, limit_bytes: int = 1 << 28) -> Window:
    return Window(base, "run", CLIENT, {"pid": 1}, losses or Losses(), limit_bytes)


def put(window: Window, keys: tuple[str, ...], value: float) -> bool:
    """Log a value under each key, as a row where the window has room for its schema."""
    with window.lock:
        schema = window.schema(keys, "d" * len(keys))
        if schema is None:
            return window.append("log", {"step": 0, "data": dict.fromkeys(keys, value)})
        return window.append_row(schema, 0, [value] * len(keys))


def keys_of(number: int, count: int = 2, size: int = 10) -> tuple[str, ...]:
    return tuple(f"{number}/{place}".ljust(size, "k") for place in range(count))


def stored(window: Window, after: int = 0) -> list[Record]:
    """Return the records that another process reads from the files."""
    return [record for one in read_window(window.directory, after) for record in one.records]


def taken(source: Window | OrphanedWindow, schemas: dict[int, Schema] | None = None) -> list[Record]:
    """Take all records, as a pump and a sidecar do that know `schemas`."""
    known = {schema.word: schema for schema in source.schemas()} if schemas is None else schemas
    found: list[Record] = []
    while (part := source.take()) is not None:
        start = 0
        while start < len(part[0]):
            items, ends = decode_frames(part[0], start, schemas=known)
            assert items, "bytes that are not a record, or a row whose schema is not known"
            start = ends[-1]
            found += records_of(items)
            if found[-1].kind == "schema":
                schema = Schema.of(found[-1])
                known[schema.word] = schema
        assert found[-1].seq == part[1]
    return found


def logged(records: list[Record]) -> list[tuple[tuple[str, ...], float]]:
    """Return keys and value of each ``log`` record."""
    return [
        (tuple(record.body["data"]), next(iter(record.body["data"].values())))
        for record in records
        if record.kind == "log"
    ]


@pytest.mark.usefixtures("small")
@function_scoped
@given(seed=st.integers(0, 1 << 30))
def test_rows_of_many_schemas_over_many_segments_are_taken_and_read_like_records(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    losses = Losses()
    window = make(tmp_path_factory.mktemp("window"), losses, 12 * SMALL_SEGMENT)
    everything: list[tuple[tuple[str, ...], float]] = []
    by_number: dict[int, tuple[tuple[str, ...], float]] = {}
    lost = 0
    for turn in range(200):
        what = rng.choice(["row", "row", "row", "rows", "log", "release", "rewind", "take", "prepare"])
        if what in ("row", "rows", "log"):
            keys = keys_of(rng.randrange(5), rng.choice([1, 3, 40]), rng.choice([10, 100]))
            for _ in range(40 if what == "rows" else 1):
                value = float(len(everything))
                if what == "log":
                    with window.lock:
                        put_in = window.append("log", {"step": 0, "data": dict.fromkeys(keys, value)})
                else:
                    put_in = put(window, keys, value)
                lost += not put_in
                if put_in:
                    everything.append((keys, value))
                    by_number[window.seq] = everything[-1]
        elif what == "release":
            window.release(rng.randint(window.acked, window.sent))
        elif what == "rewind":
            window.rewind(rng.randint(window.acked, window.sent))
        elif what == "prepare":
            window.prepare()
        elif what == "take":
            first = window.sent + 1
            records = taken(window)
            assert [record.seq for record in records] == list(range(first, window.seq + 1))
            assert logged(records) == [by_number[one.seq] for one in records if one.kind == "log"]
        if turn % 10 == 0:
            records = stored(window, window.acked)
            assert [record.seq for record in records] == list(range(window.acked + 1, window.seq + 1))
            assert logged(records) == [by_number[one.seq] for one in records if one.kind == "log"]
    assert losses.total() == lost
    window.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("filled", range(3700, 4060, 8))
def test_a_schema_and_its_row_are_in_one_segment_however_much_of_it_is_left(tmp_path: Path, filled: int) -> None:
    window = make(tmp_path)
    with window.lock:
        window.append("log", {"x": "x" * (filled - 100)})
    for value in range(3):
        assert put(window, ("x", "y"), float(value))
    records = stored(window)
    assert [record.kind for record in records if record.kind != "schema"] == ["log"] * 4
    assert [record.seq for record in records] == list(range(1, window.seq + 1))
    assert taken(window, {}) == records
    window.close()


@pytest.mark.parametrize(("count", "size", "value"), [(MAX_KEYS, 512, 0.5), (MAX_KEYS, 10, 0.5), (1, 512, 0.5)])
def test_a_schema_larger_than_a_segment(tmp_path: Path, count: int, size: int, value: float) -> None:
    window = make(tmp_path)
    for number in range(2):
        for _ in range(3):
            assert put(window, keys_of(number, count, size), value)
    records = stored(window)
    assert [record.kind for record in records].count("log") == 6
    assert [record.seq for record in records] == list(range(1, window.seq + 1))
    assert taken(window) == records
    window.close()


def test_what_fits_into_a_record_fits_into_a_schema_and_a_row(tmp_path: Path) -> None:
    """8,370,000 bytes of keys; the schema, with the room for its row, would be too large for a record."""
    window = make(tmp_path)
    keys = tuple(f"{place:06d}" + "é" * 414 for place in range(MAX_KEYS))
    with window.lock:
        schema = window.schema(keys, "q" * MAX_KEYS)
        assert schema is not None and window.append_row(schema, 1, [1] * MAX_KEYS)
    assert [record.kind for record in stored(window)] == ["schema", "log"]
    window.close()


def test_a_window_has_a_bounded_number_of_schemas(tmp_path: Path) -> None:
    window = make(tmp_path)
    for number in range(1000):
        assert put(window, keys_of(number), 0.5)
    assert len(window.schemas()) == MAX_SCHEMAS
    kinds = [record.kind for record in stored(window)]
    assert kinds.count("schema") == MAX_SCHEMAS and kinds.count("log") == 1000
    window.close()
    wide = make(tmp_path / "wide")
    for number in range(20):
        assert put(wide, keys_of(number, MAX_KEYS // 2), 0.5)
    assert len(wide.schemas()) == 2 * MAX_SCHEMA_KEYS // MAX_KEYS
    wide.close()


@pytest.mark.usefixtures("small")
def test_rows_of_a_full_window_are_counted_and_later_ones_have_their_schema(tmp_path: Path) -> None:
    losses = Losses()
    window = make(tmp_path, losses, 2 * SMALL_SEGMENT)
    put_in = sum(put(window, keys_of(number % 7, 20), 0.5) for number in range(200))
    assert 0 < put_in < 200 and losses.counts() == {"window full": 200 - put_in}
    before = window.seq
    assert logged(taken(window)) == logged(stored(window)) and len(logged(stored(window))) == put_in
    window.release(before)
    for number in range(7):
        assert put(window, keys_of(number, 20), 0.5)
    assert len(logged(stored(window, before))) == len(logged(taken(window))) == 7
    window.close()


@pytest.mark.usefixtures("small")
def test_rows_are_kept_in_memory_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    losses = Losses()
    window = make(tmp_path, losses)
    allocate = segment_module._allocate

    def fail(fd: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment_module, "_allocate", fail)
    for number in range(200):
        assert put(window, keys_of(number % 7, 20), 0.5)
    in_files = len(logged(stored(window)))
    monkeypatch.setattr(segment_module, "_allocate", allocate)
    window._files_after = 0.0
    for number in range(50):
        assert put(window, keys_of(number % 7, 20), 0.5)
    assert [record.getMessage() for record in caplog.records] == [
        "run run: no file can be made for what is logged (No space left on device); it is kept in memory until the "
        "sidecar has it, and would be lost with this process"
    ]
    sent = taken(window)
    assert [record.seq for record in sent] == list(range(1, window.seq + 1))
    assert 0 < in_files < 200 and losses.counts() == {}
    window.rewind(10)
    window.release(window.seq)
    window.close()
    assert losses.counts() == {}


@pytest.mark.usefixtures("small")
def test_records_in_memory_that_were_not_sent_are_counted_when_the_window_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Losses()
    window = make(tmp_path, losses)

    def fail(fd: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment_module, "_allocate", fail)
    for number in range(200):
        assert put(window, keys_of(number % 7, 20), 0.5)
    kept = len(stored(window))
    window.release(kept + 5)
    window.close()
    assert losses.counts() == {"not on disk": window.seq - kept - 5}


class Interrupting:
    """Values that call a function when they are packed, as a signal handler may be called then."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[float]:
        self._call()
        yield 0.5


def test_a_signal_handler_that_logs_within_a_row(tmp_path: Path) -> None:
    window = make(tmp_path)
    with window.lock:
        outer, inner = window.schema(("outer",), "d"), window.schema(("inner",), "d")
        assert outer is not None and inner is not None
        assert window.append_row(outer, 1, Interrupting(lambda: window.append_row(inner, 2, [1.5])))
        assert window.append_row(inner, 3, [2.5])
    assert logged(stored(window)) == [(("outer",), 0.5), (("inner",), 1.5), (("inner",), 2.5)]
    assert taken(window) == stored(window)
    window.close()


def test_an_invalid_record_of_a_signal_handler_is_counted_and_the_interrupted_call_is_recorded_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    losses = Losses()
    window = make(tmp_path, losses)
    with window.lock:
        outer, inner = window.schema(("outer",), "d"), window.schema(("inner",), "q")
        assert outer is not None and inner is not None
        assert window.append_row(outer, 1, Interrupting(lambda: window.append_row(inner, 2, [2**80])))
        assert window.append_row(outer, 3, [2.5])
    assert logged(stored(window)) == [(("outer",), 0.5), (("outer",), 2.5)]
    assert losses.counts() == {"not valid": 1} and "a signal handler" in caplog.text
    window.close()


def test_a_process_that_is_killed_between_a_schema_and_its_row_leaves_the_schema(tmp_path: Path) -> None:
    window = make(tmp_path)
    copy = tmp_path / "copy" / CLIENT
    with window.lock:
        one = window.schema(("x",), "d")
        assert one is not None
        window.append_row(one, 1, Interrupting(lambda: shutil.copytree(window.directory, copy)))
    left = [record for framed in read_window(copy) for record in framed.records]
    assert [(record.kind, record.seq) for record in left] == [("schema", 1)]
    window.close()


# -- resent -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("acked", [0, 1, 2, 3, 20, 21, 22, 60, 61, 100])
@pytest.mark.parametrize("of_each", [1, 40])
def test_an_orphaned_window_is_resent_from_the_middle_of_a_segment_with_the_schemas_of_its_rows(
    tmp_path: Path, acked: int, of_each: int
) -> None:
    window = Window(tmp_path / REMOTE_NAME / "run", "run", CLIENT, {}, Losses(), 1 << 26)
    for number in range(120):
        put(window, keys_of(number // of_each % 2, 3), float(number))
    everything = stored(window)
    window.close()
    source = OrphanedWindow(window.directory)
    source.rewind(acked)
    records = taken(source)
    assert records[:-1] == everything[acked:] and records[-1].kind == "exit"

    stages = Stages(tmp_path / "sidecar")
    stages.attach("run", CLIENT)
    stages.sessions.by_client[CLIENT].ledger.accept(acked)
    source.rewind(acked)
    for schema in source.schemas():
        body = Record("schema", "run", CLIENT, 0, 1.0, schema.body())
        stages.handler.process(encode(body))
    while (part := source.take()) is not None:
        stages.handler.process(part[0])
    stages.step()
    assert stages.told("ack")[-1] == {"seq": len(everything) + 1} and stages.intake.losses == {}
    stages.close()


# -- to sidecars that know rows, and to those that do not -------------------------------------------------------------


class MixedPeer(Peer):
    """A peer that may be a sidecar of either kind; `rows` says which."""

    rows = True

    def attach(self, *arguments: Any) -> Attached:
        return super().attach(*arguments)._replace(rows=self.rows)


def messages_of(peer: Peer) -> list[bytes]:
    found = []
    while peer._records.wait(0.1):
        message = peer._records.receive()
        assert message is not None
        found.append(message)
    return found


def test_to_a_sidecar_without_rows_records_are_sent_in_messages_that_it_takes(tmp_path: Path) -> None:
    """A window's segment of rows with long keys is sixty times as large as records."""
    peer = MixedPeer()
    peer.rows = False
    window = make(tmp_path)
    now = [1000.0]
    pump = Pump(window, Mailbox(), peer.attach, lambda: True, 0.005, lambda: now[0])
    keys = keys_of(0, 10, 512)
    for value in range(4000):
        put(window, keys, float(value))
    records: list[Record] = []
    asked = pump.ask("flush", Deadline(None))
    while not records or records[-1].kind != "request":
        now[0] += 0.1
        pump.step(now[0])
        for message in messages_of(peer):
            assert len(message) <= MAX_MESSAGE_BYTES
            if message[:1] != b"\xc1":
                items = [decode(message)]
            else:
                items = list(records_of(decode_frames(message, most=1 << 30)[0]))
                if items[-1].kind == "schema":
                    items += records_of(decode_frames(message, _end_of(message), most=1 << 30)[0])
            records += items
            if items[-1].seq:
                peer.send("ack", seq=items[-1].seq)
    assert records.pop().body["id"] == asked, "the request comes last"
    assert [record.seq for record in records] == list(range(1, window.seq + 1))
    assert logged(records) == [(keys, float(value)) for value in range(4000)]
    pump._close_sockets()
    window.close()
    with peer:
        pass


def _end_of(message: bytes) -> int:
    return decode_frames(message, most=1 << 30)[1][-1]


def test_a_sidecar_that_knows_rows_follows_one_that_does_not_and_the_other_way_round(tmp_path: Path) -> None:
    peer = MixedPeer()
    window = make(tmp_path)
    now = [1000.0]
    pump = Pump(window, Mailbox(), peer.attach, lambda: True, 0.005, lambda: now[0])
    sent: dict[int, Record] = {}
    for turn in range(6):
        peer.rows = turn % 2 == 0
        for value in range(3):
            put(window, keys_of(turn % 3), turn * 10.0 + value)
        known: dict[int, Schema] = {}
        pump._lose_connection(now[0])
        for _ in range(3):
            now[0] += 3.0
            pump.step(now[0])
        for message in messages_of(peer):
            start = 0
            if message[:1] != b"\xc1":
                record = decode(message)
                if record.kind == "schema":
                    assert peer.rows
                    known[Schema.of(record).word] = Schema.of(record)
                continue
            while start < len(message):
                items, ends = decode_frames(message, start, schemas=known if peer.rows else {})
                assert items, "a row whose schema this sidecar was not told"
                start = ends[-1]
                for record in records_of(items):
                    sent[record.seq] = record
                    if record.kind == "schema":
                        known[Schema.of(record).word] = Schema.of(record)
        peer.durable = max(sent) - 1
    assert list(sent) == list(range(1, window.seq + 1))
    assert logged(list(sent.values())) == [(keys_of(turn % 3), turn * 10.0 + i) for turn in range(6) for i in range(3)]
    pump._close_sockets()
    window.close()
    with peer:
        pass
