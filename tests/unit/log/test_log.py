"""The transaction log: appended records are read back, and damage is data."""

from __future__ import annotations

import errno
import os
import resource
import signal
import tracemalloc
import zlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.log.reader import HEADER_BYTES, MAGIC, LogReader, header
from sidecar.log.writer import LogWriter
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import LogFormatError
from sidecar.protocol.frames import HEAD_BYTES, MARK, frame
from sidecar.protocol.limits import MAX_RECORD_BYTES
from sidecar.protocol.records import Record

function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def record(seq: int, **data: float | str) -> Record:
    return Record("log", "run", "client", seq, float(seq), {"step": seq, "data": data})


def framed(seq: int, **data: float | str) -> bytes:
    return frame(encode(record(seq, **data)))


def large_frame(seq: int, size: int) -> bytes:
    """Return a frame of exactly `size` bytes, with a record that may be so large: a metric's text may not."""
    empty = frame(encode(Record("config", "run", "client", seq, float(seq), {"set": {"text": "x" * 70_000}})))
    text = "x" * (size - len(empty) + 70_000)
    made = frame(encode(Record("config", "run", "client", seq, float(seq), {"set": {"text": text}})))
    assert len(made) == size
    return made


def make(path: Path, frames: list[bytes]) -> bytes:
    """Write a log with these frames; return the content of the file."""
    path.unlink(missing_ok=True)
    with LogWriter.open(path) as log:
        for one in frames:
            log.append(one)
    return path.read_bytes()


def numbers(path: Path, max_bytes: int = 1 << 20) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the numbers of the records in a log, and its damage."""
    with LogReader(path) as reader:
        return [one.seq for batch in reader.batches(max_bytes) for one in batch.records], reader.damage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transactions.log"


FRAMES = [framed(seq, loss=seq / 3, text="x" * seq) for seq in range(1, 6)]
ENDS = [HEADER_BYTES + len(b"".join(FRAMES[:count])) for count in range(len(FRAMES) + 1)]


def test_appended_records_are_read_back(path: Path) -> None:
    make(path, FRAMES)
    with LogReader(path) as reader:
        (batch,) = reader.batches()
        assert batch.records == [record(seq, loss=seq / 3, text="x" * seq) for seq in range(1, 6)]
        assert batch.end == reader.offset == reader.size() == ENDS[-1]
        assert list(reader.batches()) == []


def test_it_begins_with_the_documented_header(path: Path) -> None:
    data = make(path, [])
    assert data == b"\x89TRKLOG\n" + b"\0\0\0\2" + zlib.crc32(b"\x89TRKLOG\n\0\0\0\2").to_bytes(4, "big")


@pytest.mark.parametrize("max_bytes", [1, 40, 100, 1000])
def test_it_is_read_in_batches_of_any_size(path: Path, max_bytes: int) -> None:
    make(path, FRAMES)
    assert numbers(path, max_bytes) == ([1, 2, 3, 4, 5], [])


def test_a_reader_can_start_at_any_batch_end(path: Path) -> None:
    make(path, FRAMES)
    for skipped, offset in enumerate(ENDS):
        with LogReader(path, offset) as reader:
            assert [one.seq for batch in reader.batches() for one in batch.records] == list(range(skipped + 1, 6))


def test_a_growing_log_is_read_live(path: Path) -> None:
    """Byte by byte: nothing is mistaken for damage, nothing is read twice."""
    data = make(path.with_name("whole"), FRAMES)
    path.touch()
    with open(path, "ab", buffering=0) as file, LogReader(path) as reader:
        found: list[int] = []
        for byte in data:
            file.write(bytes([byte]))
            found += [one.seq for batch in reader.batches() for one in batch.records]
            size = file.tell()
            assert len(found) == sum(end <= size for end in ENDS[1:])
        assert found == [1, 2, 3, 4, 5]
        assert reader.damage == []


def test_a_log_cut_at_any_length_has_its_complete_records_and_can_be_appended_to(path: Path) -> None:
    data = make(path, FRAMES)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ENDS[1:])
        assert numbers(path) == (list(range(1, whole + 1)), [])
        with LogWriter.open(path) as log:
            assert log.offset == ENDS[whole]
            log.append(framed(99))
        assert numbers(path) == ([*range(1, whole + 1), 99], [])


@function_scoped
@given(st.integers(0, ENDS[-1] * 8 - 1), st.sampled_from([1, 64, 1 << 20]))
def test_a_flipped_bit_costs_the_record_it_touches(path: Path, bit: int, max_bytes: int) -> None:
    data = bytearray(make(path, FRAMES))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    expected = [seq for seq in range(1, 6) if not ENDS[seq - 1] <= bit // 8 < ENDS[seq]]
    found, damage = numbers(path, max_bytes)
    assert found == expected
    if bit // 8 < HEADER_BYTES:
        assert damage == [(0, HEADER_BYTES)]
    elif bit // 8 < ENDS[4]:  # at the end it is a tail, not damage yet
        hit = next(seq for seq in range(1, 6) if bit // 8 < ENDS[seq])
        assert damage == [(ENDS[hit - 1], ENDS[hit])]


@function_scoped
@given(st.lists(st.tuples(st.integers(16, ENDS[-1] - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_is_skipped(path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(make(path, FRAMES))
    for position, value in changes:
        data[position] = value
    path.write_bytes(data)
    touched = {seq for seq in range(1, 6) for position, _ in changes if ENDS[seq - 1] <= position < ENDS[seq]}
    found, _ = numbers(path)
    assert found == sorted(found) and set(range(1, 6)) - touched <= set(found)


@pytest.mark.parametrize("junk", [b"\0" * 5000, b"\xc1" * 300, b"\xc1\0\0\x40" + b"\0" * 500, frame(b"\x91" * 900)])
@pytest.mark.parametrize("max_bytes", [64, 1 << 20])
def test_a_damaged_stretch_costs_no_other_record(path: Path, junk: bytes, max_bytes: int) -> None:
    data = make(path, FRAMES)
    path.write_bytes(data[: ENDS[2]] + junk + data[ENDS[2] :])
    assert numbers(path, max_bytes) == ([1, 2, 3, 4, 5], [(ENDS[2], ENDS[2] + len(junk))])
    with LogWriter.open(path) as log:
        log.append(framed(6))
    assert numbers(path)[0] == [1, 2, 3, 4, 5, 6]


def test_a_record_larger_than_a_batch(path: Path) -> None:
    make(path, [framed(1), large_frame(2, 5_000_000), framed(3)])
    assert numbers(path) == ([1, 2, 3], [])
    with open(path, "r+b") as file:
        file.seek(ENDS[0] + 2_000_000)
        file.write(b"damage")
    assert numbers(path)[0] == [1, 3]


def test_a_large_record_still_being_written_is_not_damage(path: Path) -> None:
    make(path, [framed(1)])
    large = large_frame(2, 3_000_000)
    with open(path, "ab", buffering=0) as file, LogReader(path) as reader:
        assert len(list(reader.batches())) == 1
        for start in range(0, len(large), 500_000):
            assert list(reader.batches()) == []
            file.write(large[start : start + 500_000])
        assert [one.seq for batch in reader.batches() for one in batch.records] == [2]
        assert reader.damage == []


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip file, not a log", b"\0" * 4096, b"x"])
def test_a_file_that_is_not_a_log_is_refused_with_its_first_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opened in (LogReader, LogWriter.open):
        with pytest.raises(LogFormatError) as caught:
            opened(path)
        assert str(path) in str(caught.value) and repr(content[:16]) in str(caught.value)
    assert path.read_bytes() == content


def test_a_later_format_is_refused_with_its_number(path: Path) -> None:
    start = MAGIC + (7).to_bytes(4, "big")
    content = start + zlib.crc32(start).to_bytes(4, "big") + framed(1)
    path.write_bytes(content)
    for opened in (LogReader, LogWriter.open):
        with pytest.raises(LogFormatError, match="format 7; this program reads formats 1 to 2"):
            opened(path)
    assert path.read_bytes() == content


def test_a_missing_log_is_an_error_for_a_reader_and_created_by_a_writer(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogReader(path)
    with LogWriter.open(path) as log:
        assert log.offset == HEADER_BYTES
    assert path.read_bytes() == header()
    with pytest.raises(OSError, match="transactions"):
        LogWriter.open(path / "transactions.log")


def test_a_payload_that_is_not_a_record_is_damage(path: Path) -> None:
    strange = frame(msgpack.packb({"no": "record"}))
    make(path, [framed(1), strange, framed(2)])
    assert numbers(path) == ([1, 2], [(ENDS[0] + len(framed(1)), ENDS[0] + len(framed(1)) + len(strange))])


def test_a_failed_append_changes_nothing_and_can_be_repeated(path: Path) -> None:
    """A limit on the file size has the effect of a full disk: one write is short, and the next fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with LogWriter.open(path) as log:
            log.append(framed(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.offset + 30, hard))
            for _ in range(3):
                with pytest.raises(OSError) as caught:
                    log.append(framed(2, loss=1.0, accuracy=2.0))
                assert caught.value.errno == errno.EFBIG
                assert path.stat().st_size == log.offset
            assert numbers(path) == ([1], [])
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            log.append(framed(2))
            assert numbers(path) == ([1, 2], [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_long_hole_is_skipped_in_bounded_memory(path: Path) -> None:
    """As after a crash of the machine: 200 MiB that were allocated and never written, between valid records."""
    hole = 200 << 20
    make(path, FRAMES[:2])
    with open(path, "r+b") as file:
        file.seek(ENDS[2] + hole)
        file.write(b"".join(FRAMES[2:]))
    tracemalloc.start()
    try:
        assert numbers(path) == ([1, 2, 3, 4, 5], [(ENDS[2], ENDS[2] + hole)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_RECORD_BYTES


def test_a_long_hole_at_the_end_is_a_tail(path: Path) -> None:
    make(path, FRAMES)
    os.truncate(path, ENDS[-1] + (50 << 20))
    with LogReader(path) as reader:
        assert [batch.end for batch in reader.batches()] == [ENDS[-1]]
        assert (reader.offset, reader.damage) == (ENDS[-1], [])


@pytest.mark.parametrize("shift", [-9, -8, -1, 0, 1, 8])
def test_a_record_of_the_largest_size_behind_a_long_hole(path: Path, shift: int) -> None:
    """Wherever the searched stretches end, one of them holds the whole record."""
    large = large_frame(3, MAX_RECORD_BYTES + HEAD_BYTES)
    make(path, FRAMES[:1])
    start = ENDS[1] + 2 * (MAX_RECORD_BYTES + HEAD_BYTES) + shift
    with open(path, "r+b") as file:
        file.seek(ENDS[1])
        file.write(bytes([MARK]))  # could be the beginning of a record
        file.seek(start)
        file.write(large + framed(4))
    assert numbers(path) == ([1, 3, 4], [(ENDS[1], start)])


def test_closing_twice(path: Path) -> None:
    log = LogWriter.open(path)
    log.append(framed(1))
    log.sync()
    log.close()
    log.close()
    reader = LogReader(path)
    reader.close()
    reader.close()
    assert os.path.getsize(path) == HEADER_BYTES + len(framed(1))


@pytest.mark.parametrize(
    "wrong",
    [
        Record("exit", "run", "client", 2, 2.0, {}),
        Record("exit", "run", "client", 2, 2.0, {"state": "fine"}),
        Record("log", "run", "client", 2, 2.0, {"step": 1, "data": {"x": [1]}}),
        Record("log", "run", "client", 2, 2.0, {"step": 1, "data": []}),
        Record("config", "run", "client", 2, 2.0, {"set": 5}),
        Record("log", "run", "client", -2, 2.0, {"step": 1, "data": {}}),
        Record("log", "run", "client", 2, float("nan"), {"step": 1, "data": {}}),
    ],
)
def test_a_record_that_is_not_valid_is_damage_like_a_wrong_checksum(path: Path, wrong: Record) -> None:
    between = frame(encode(wrong))
    make(path, [framed(1), between, framed(3), between])
    start = HEADER_BYTES + len(framed(1))
    assert numbers(path) == ([1, 3], [(start, start + len(between))])
    with LogReader(path, start) as reader:
        assert [one.seq for batch in reader.batches() for one in batch.records] == [3]


def test_a_record_of_an_unknown_kind_is_kept(path: Path) -> None:
    make(path, [framed(1), frame(encode(Record("of the future", "run", "client", 2, 2.0, {"x": [1, {"y": None}]})))])
    assert numbers(path) == ([1, 2], [])
