from __future__ import annotations

import math
import struct
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.codec import Damage, Stretch, decode_frames, encode, expand_rows, read_message
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import ROW, Rows, Schema, new_schema_id, read_rows, record_ends, records_of

TYPES = {"d": st.floats(), "q": st.integers(-(2**63), 2**63 - 1), "?": st.booleans()}


def schema(types: str = "d", id: int = 7, client: str = "a") -> Schema:
    return Schema(id, "run", client, tuple(f"k{place}" for place in range(len(types))), types)


def row(one: Schema, seq: int, *values: Any, step: int = 0, time: float = 1.5) -> bytes:
    return frame(one.pack(one.word, seq, time, step, *values))


def rows(one: Schema, count: int, first: int = 1) -> bytes:
    return b"".join(row(one, first + i, *[i] * len(one.types), step=i, time=1.0 + i) for i in range(count))


def exact(record: Record) -> Any:
    """Return what tells NaN, -0.0, 1, 1.0 and True apart."""
    data = {
        key: struct.pack("<d", value) if type(value) is float else value for key, value in record.body["data"].items()
    }
    return record[:5], record.body["step"], [(key, type(value), value) for key, value in data.items()]


@st.composite
def logged(draw: Any) -> tuple[Schema, list[Record]]:
    types = draw(st.text(st.sampled_from("dq?"), min_size=1, max_size=4))
    one = schema(types, draw(st.integers(0, 2**56 - 1)))
    count, first = draw(st.sampled_from([1, 2, 15, 16, 17, 40])), draw(st.integers(1, 2**63 - 100))
    records = [
        Record(
            "log",
            "run",
            "a",
            first + i,
            draw(st.floats(-1e14, 1e14)),
            {
                "step": draw(st.integers(-(2**63), 2**63 - 1)),
                "data": dict(zip(one.keys, [draw(TYPES[type_]) for type_ in types], strict=True)),
            },
        )
        for i in range(count)
    ]
    return one, records


@given(logged())
def test_a_row_is_the_log_record_that_was_packed_value_by_value(made: tuple[Schema, list[Record]]) -> None:
    one, records = made
    packed = [row(one, r.seq, *r.body["data"].values(), step=r.body["step"], time=r.time) for r in records]
    data = b"".join(packed)
    items, ends = decode_frames(data, schemas={one.word: one})
    assert [exact(record) for record in records_of(items)] == [exact(record) for record in records]
    assert list(record_ends(items, ends)) == [len(b"".join(packed[: i + 1])) for i in range(len(packed))]
    assert (len(items) == 1) == (len(records) == 1 or len(records) >= 16), "many rows come in columns"
    messages = list(expand_rows(data, {one.word: one}, records[-1].seq, most=200))
    assert all(len(message) < 500 for message, _ in messages) and messages[-1][1] == records[-1].seq
    parts = [part for message, _ in messages for part in read_message(message) if isinstance(part, Stretch)]
    assert [records_of(part.items)[-1].seq for part in parts] == [last for _, last in messages]
    expanded = [record for part in parts for record in records_of(part.items)]
    assert [exact(record) for record in expanded] == [exact(record) for record in records]


def test_a_row_of_ten_floats_takes_120_bytes_with_its_frame() -> None:
    assert schema("d" * 10).frame_bytes == len(rows(schema("d" * 10), 1)) == 120


@pytest.mark.parametrize("at", [0, 1, 15, 16, 20, 39])
@pytest.mark.parametrize(
    "damage", ["checksum", "size", "schema", "gap", "time", "infinite time", "boolean", "cut", "another frame"]
)
def test_the_rows_before_a_wrong_one_are_read(at: int, damage: str) -> None:
    one = schema("d?")
    frames = [row(one, i + 1, i, True) for i in range(40)]
    wrong = {
        "checksum": frames[at][:-1] + b"\x07",
        "size": frame(one.pack(one.word, at + 1, 1.5, 0, 0.5, 1) + bytes(8)),
        "schema": row(schema("d?", id=8), at + 1, 0.5, True),
        "gap": row(one, at + 2, 0.5, True),
        "time": row(one, at + 1, 0.5, True, time=math.nan),
        "infinite time": row(one, at + 1, 0.5, True, time=1e15),
        "boolean": row(one, at + 1, 0.5, 2),
        "cut": frames[at][:20],
        "another frame": frame(encode(Record("run", "run", "a", at + 1, 1.0, {}))),
    }
    data = b"".join(frames[:at]) + wrong[damage] + b"".join(frames[at + 1 :] if damage != "cut" else ())
    items, _ = decode_frames(data, schemas={one.word: one})
    first = list(records_of(items)[:at])
    assert [record.seq for record in first] == list(range(1, at + 1))
    following = records_of(items)[at : at + 1]
    if damage in ("gap", "another frame"):
        assert following[0].seq == at + (2 if damage == "gap" else 1), "it is valid, but in no order with the others"
    else:
        assert not following


def test_no_more_rows_are_read_than_were_asked_for() -> None:
    one = schema()
    data = rows(one, 100)
    for stop in (1, one.frame_bytes, 20 * one.frame_bytes - 1, 20 * one.frame_bytes):
        _items, ends = decode_frames(data, 0, stop, {one.word: one})
        assert stop <= ends[-1] < stop + one.frame_bytes
    assert read_rows(data[:-1], 99 * one.frame_bytes, len(data), one) is None


def test_numbers_end_where_a_record_number_ends() -> None:
    one = schema()
    last = b"".join(row(one, 2**63 - 20 + i, 0.5) for i in range(20))
    assert records_of(decode_frames(last, schemas={one.word: one})[0])[-1].seq == 2**63 - 1
    beyond = b"".join(row(one, 2**63 - 19 + i, 0.5) for i in range(20))
    assert all(record.seq < 2**63 for record in records_of(decode_frames(beyond, schemas={one.word: one})[0]))
    assert not decode_frames(row(one, 0, 0.5) * 20, schemas={one.word: one})[0]


def test_a_stretch_ends_after_a_schema_so_that_its_rows_can_follow() -> None:
    one = schema("d" * 3)
    declaration = frame(encode(Record("schema", "run", "a", 1, 1.0, one.body())))
    message = declaration + rows(one, 30, first=2)
    schemas: dict[int, Schema] = {}
    found: list[Record] = []
    for part in read_message(message, schemas=schemas):
        assert isinstance(part, Stretch)
        found += records_of(part.items)
        if found[-1].kind == "schema":
            schemas[one.word] = Schema.of(found[-1])
    assert [record.seq for record in found] == list(range(1, 32))


def test_a_row_without_a_schema_is_named_and_what_follows_is_read() -> None:
    one, other = schema(), schema(id=2**56 - 1)
    message = rows(one, 3) + rows(other, 2) + rows(one, 20, first=4)
    parts = list(read_message(message, schemas={one.word: one}))
    problems = [part.error for part in parts if isinstance(part, Damage)]
    assert [error.code for error in problems] == ["schema", "schema"]
    assert str(2**56 - 1) in str(problems[0]) and problems[0].record is None
    assert (
        sum(item.count if isinstance(item, Rows) else 1 for p in parts if isinstance(p, Stretch) for item in p.items)
        == 23
    )


def test_a_row_that_is_not_valid_names_its_number() -> None:
    one = schema("?")
    (damage,) = read_message(row(one, 9, 3), schemas={one.word: one})
    assert isinstance(damage, Damage) and damage.error.code == "form"
    assert damage.error.record is not None and damage.error.record[:4] == ("log", "run", "a", 9)
    (damage,) = read_message(frame(bytes([ROW])), schemas={one.word: one})
    assert isinstance(damage, Damage) and damage.error.code == "schema"


@given(st.binary(max_size=300))
def test_no_bytes_raise(junk: bytes) -> None:
    one = schema("dq?")
    for data in (junk, frame(bytes([ROW]) + junk), rows(one, 20) + junk, frame(one.word.to_bytes(8, "little") + junk)):
        decode_frames(data, schemas={one.word: one})
        list(read_message(data, schemas={one.word: one}))


def test_a_part_of_rows_keeps_numbers_and_values() -> None:
    one = schema("dq?")
    data = b"".join(row(one, i + 1, i / 2, i, i % 2, step=i) for i in range(30))
    item = decode_frames(data, schemas={one.word: one})[0][0]
    assert isinstance(item, Rows) and (item.first, item.last, item.count) == (1, 30, 30)
    part = item.part(10, 13)
    assert (part.first, part.last, part.steps) == (11, 13, array("q", [10, 11, 12]))
    assert list(part.records()) == list(item.records())[10:13]


def test_ids_are_of_seven_random_bytes() -> None:
    ids = {new_schema_id() for _ in range(1000)}
    assert len(ids) == 1000 and all(0 <= id < 2**56 for id in ids)
