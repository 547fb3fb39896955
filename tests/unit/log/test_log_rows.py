"""Rows in a log: readers from every offset agree, damage costs only itself, and a lost declaration is named."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.log import reader as reader_module
from sidecar.log.reader import HEADER_BYTES, LogReader, header
from sidecar.log.verify import check_log
from sidecar.log.writer import LogWriter
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import LogFormatError
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema

function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def schema(id: int, client: str = "a", keys: tuple[str, ...] = ("x", "y")) -> Schema:
    return Schema(id, "run", client, keys, "d" * len(keys))


def declare(one: Schema, seq: int) -> bytes:
    return frame(encode(Record("schema", "run", one.client, seq, 1.0, one.body())))


def repeat(one: Schema) -> bytes:
    """The record with which a sidecar declares a schema again."""
    return frame(encode(Record("schema", "run", "", 0, 1.0, {**one.body(), "client": one.client})))


def row(one: Schema, seq: int) -> bytes:
    return frame(one.pack(one.word, seq, 1.0 + seq, seq, *[seq / 3] * len(one.keys)))


def log(client: str, seq: int, **data: Any) -> bytes:
    return frame(encode(Record("log", "run", client, seq, 1.0, {"step": seq, "data": data or {"x": 0.5}})))


def write(path: Path, frames: list[bytes]) -> list[int]:
    """Write a log; return the offset of each frame, and of its end."""
    path.write_bytes(header() + b"".join(frames))
    offsets = [HEADER_BYTES]
    for one in frames:
        offsets.append(offsets[-1] + len(one))
    return offsets


def read(path: Path, offset: int = 0, max_bytes: int = 1 << 20) -> list[tuple[int, Record]]:
    """Return the records from an offset on, each with the offset of its end."""
    with LogReader(path, offset) as reader:
        return [pair for batch in reader.batches(max_bytes) for pair in zip(batch.ends, batch.records, strict=True)]


@st.composite
def mixed_log(draw: Any) -> list[bytes]:
    """Frames of several clients: schemas, rows of them, records, repeated schemas."""
    frames: list[bytes] = []
    numbers = {"a": 0, "b": 0}
    declared: list[Schema] = []

    def next_of(client: str) -> int:
        numbers[client] += 1
        return numbers[client]

    for _ in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(["schema", "row", "rows", "log", "repeat"]))
        client = draw(st.sampled_from(["a", "b"]))
        if what == "log":
            frames.append(log(client, next_of(client), text="schema \xc1 schema"))
        elif what == "schema" or not declared:
            declared.append(schema(len(declared) + 1, client, ("x", "y", "z")[: draw(st.integers(1, 3))]))
            frames.append(declare(declared[-1], next_of(client)))
        else:
            one = draw(st.sampled_from(declared))
            if what == "repeat":
                frames.append(repeat(one))
            count = {"row": 1, "rows": draw(st.sampled_from([2, 16, 70]))}.get(what, 0)
            frames += [row(one, next_of(one.client)) for _ in range(count)]
    return frames


@function_scoped
@given(frames=mixed_log(), max_bytes=st.sampled_from([1, 100, 1 << 20]), look_back=st.sampled_from([1, 40, 1 << 20]))
def test_a_reader_from_every_offset_sees_what_one_from_the_beginning_sees(
    tmp_path: Path, frames: list[bytes], max_bytes: int, look_back: int
) -> None:
    path = tmp_path / "transactions.log"
    offsets = write(path, frames)
    everything = read(path)
    assert [end for end, _ in everything] == offsets[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "_LOOK_BACK_BYTES", look_back)
        for number, offset in enumerate(offsets):
            assert read(path, offset, max_bytes) == everything[number:]


@function_scoped
@given(frames=mixed_log(), seed=st.integers(0, 1 << 30), damages=st.integers(1, 3))
def test_damage_costs_itself_and_the_rows_whose_every_declaration_before_them_it_hit(
    tmp_path: Path, frames: list[bytes], seed: int, damages: int
) -> None:
    path = tmp_path / "transactions.log"
    offsets = write(path, frames)
    everything = read(path)
    rng = random.Random(seed)
    hit = set()
    data = bytearray(path.read_bytes())
    for _ in range(damages):
        number = rng.randrange(len(frames))
        data[rng.randrange(offsets[number], offsets[number + 1])] ^= 1 << rng.randrange(8)
        hit.add(number)
    path.write_bytes(data)
    expected: list[tuple[int, Record]] = []
    known: set[int] = set()
    lost: dict[int, int] = {}
    for number, (end, record) in enumerate(everything):
        if frames[number] == bytes(data[offsets[number] : offsets[number + 1]]):
            if record.kind == "schema":
                known.add(record.body["id"])
            elif frames[number][8] == 1:
                id_ = int.from_bytes(frames[number][9:16], "little")
                if id_ not in known:
                    lost[id_] = lost.get(id_, 0) + 1
                    hit.add(number)
                    continue
            expected.append((end, record))
    assert read(path) == expected
    check = check_log(path)
    assert check.undeclared == lost
    for id_, count in lost.items():
        rows = "1 row" if count == 1 else f"{count} rows"
        assert f"{rows} of schema {id_} cannot be read: its declaration is damaged" in check.problems
    for start, end in check.damage:
        assert {number for number in range(len(frames)) if offsets[number] < end and start < offsets[number + 1]} <= hit
    for offset in [end for end, _ in expected]:
        assert read(path, offset) == [pair for pair in expected if pair[0] > offset]


def test_many_rows_without_their_declaration_are_counted_in_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "transactions.log"
    one, other = schema(1), schema(2)
    frames = [declare(one, 1), *(row(one, seq) for seq in range(2, 100_000)), declare(other, 100_000)]
    frames += [row(other, seq) for seq in range(100_001, 100_101)]
    offsets = write(path, frames)
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), b"\0", offsets[0] + 20)
    check = check_log(path)
    assert check.undeclared == {1: 99_998} and check.damage == [(offsets[0], offsets[99_999])]
    assert check.records == 101
    assert check.to_map()["undeclared"] == {"1": 99_998}


class CountingReader(LogReader):
    """A reader that counts the bytes it reads."""

    bytes_read = 0

    def _read(self, size: int, offset: int) -> bytes:
        self.bytes_read += len(data := super()._read(size, offset))
        return data


def test_rows_of_many_schemas_that_are_declared_nowhere_make_a_reader_search_the_log_once(tmp_path: Path) -> None:
    path = tmp_path / "transactions.log"
    before = [log("a", seq, text="schema" * 100) for seq in range(1, 2000)]
    lost = [row(schema(id_), 1) for id_ in range(3000)]
    offsets = write(path, [*before, *lost, log("b", 1)])
    reader = CountingReader(path, offsets[1999])
    with reader:
        assert [record.client for batch in reader.batches() for record in batch.records] == ["b"]
        assert reader.bytes_read < 20 * path.stat().st_size
        assert len(reader.undeclared) == 1000, "a bound"


@pytest.mark.parametrize(("trap", "found"), [(b"\xc1\x7f\xff\xff1234\x96\xa6schema", False), (b"\xc1\0schema", True)])
def test_text_that_looks_like_schemas_takes_a_reader_linear_time(tmp_path: Path, trap: bytes, found: bool) -> None:
    path = tmp_path / "transactions.log"
    chunk = frame(encode(Record("file", "run", "a", 1, 1.0, {"name": "f", "size": 1, "data": trap * 50_000})))
    one = schema(1)
    offsets = write(path, [declare(one, 1), *[chunk] * 20, row(one, 2)])
    reader = CountingReader(path, offsets[21])
    with reader:
        assert bool(list(reader.batches())) == found
        assert reader.bytes_read < 30 * path.stat().st_size


@pytest.mark.parametrize("rows", [0, 3])
def test_a_header_that_was_torn_while_the_format_was_raised_is_mended_and_nothing_is_lost(
    tmp_path: Path, rows: int
) -> None:
    path = tmp_path / "transactions.log"
    frames = [log("a", seq) for seq in range(1, rows + 1)]
    for torn in range(17):
        path.write_bytes(header()[:torn] + header(1)[torn:] + b"".join(frames))
        assert [record.seq for _, record in read(path)] == list(range(1, rows + 1))
        with LogWriter.open(path) as writer:
            writer.append(log("a", rows + 1))
        assert path.read_bytes()[:HEADER_BYTES] == header()
        assert [record.seq for _, record in read(path)] == list(range(1, rows + 2))
        assert check_log(path).problems == []


@pytest.mark.parametrize("offset", [0, 16, 60])
def test_a_log_of_a_later_format_is_refused_from_any_offset_and_keeps_its_header(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "transactions.log"
    path.write_bytes(header(3) + log("a", 1))
    with pytest.raises(LogFormatError, match="log format 3; this program reads formats 1 to 2"):
        LogReader(path, offset)
    with LogWriter.open(path, path.stat().st_size):
        pass
    assert path.read_bytes()[:HEADER_BYTES] == header(3)
