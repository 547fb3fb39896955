"""replay: the records of a real log reach every projection once, in order, from any checkpoint up to any offset."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.log.reader import HEADER_BYTES, Batch, LogReader
from sidecar.log.writer import LogWriter
from sidecar.projections.replay import EachBatch, Replayed, advance, records, replay
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import LogFormatError
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import records_of

FRAMES = [
    frame(encode(Record("log", "run", "client", seq, float(seq), {"step": seq, "data": {"x": seq / 3}})))
    for seq in range(1, 8)
]
ENDS = [HEADER_BYTES + len(b"".join(FRAMES[:count])) for count in range(len(FRAMES) + 1)]


class Memory:
    """A projection that notes what happens to it, in a list that may be shared."""

    def __init__(self, events: list[str], name: str = "", failing: bool = False) -> None:
        self.events = events
        self.name = name
        self.seqs: list[int] = []
        self.end = 0
        self.committed = 0
        self.failing = failing

    def apply(self, batch: Batch) -> None:
        if self.failing:
            raise OSError("the disk is full")
        self.events.append(f"{self.name} apply")
        self.seqs += [record.seq for record in batch.records]
        self.end = batch.end

    def commit(self) -> int:
        self.events.append(f"{self.name} commit")
        self.committed = self.end
        return self.end


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "transactions.log"
    with LogWriter.open(path) as writer:
        for one in FRAMES:
            writer.append(one)
    return path


def damage(log: Path, seq: int) -> None:
    """Damage the record with this number."""
    with open(log, "r+b") as file:
        file.seek(ENDS[seq] - 2)
        file.write(b"??")


def test_all_records_reach_every_projection_and_are_committed_in_order(log: Path) -> None:
    events: list[str] = []
    first, second = Memory(events, "first"), Memory(events, "second")
    assert replay(log, 0, first, second) == (ENDS[-1], 7, [])
    assert first.seqs == second.seqs == [1, 2, 3, 4, 5, 6, 7]
    assert events == ["first apply", "second apply", "first commit", "second commit"]
    assert first.committed == ENDS[-1]


@pytest.mark.parametrize("applied", range(len(FRAMES) + 1))
def test_it_continues_at_a_checkpoint(log: Path, applied: int) -> None:
    memory = Memory([])
    assert replay(log, ENDS[applied], memory) == (ENDS[-1], 7 - applied, [])
    assert memory.seqs == list(range(applied + 1, 8))


@pytest.mark.parametrize("start", [0, 2, 5])
@pytest.mark.parametrize("until", range(HEADER_BYTES, ENDS[-1] + 1, 7))
def test_it_stops_after_the_last_record_that_ends_before_an_offset(log: Path, start: int, until: int) -> None:
    whole = sum(end <= until for end in ENDS[1:])
    memory = Memory([])
    replayed = replay(log, ENDS[start], memory, until=until)
    assert memory.seqs == list(range(start + 1, whole + 1))
    assert replayed == Replayed(ENDS[max(start, whole)], max(0, whole - start), [])
    assert [record.seq for record in records(log, ENDS[start], until)] == memory.seqs
    replay(log, replayed.end, memory)
    assert memory.seqs == list(range(start + 1, 8)), "nothing is skipped, nothing is there twice"


@pytest.mark.parametrize("until", ENDS)
def test_it_stops_exactly_at_the_end_of_a_record_also_across_batches(log: Path, until: int) -> None:
    assert [record.seq for record in records(log, until=until, max_bytes=1)] == list(range(1, ENDS.index(until) + 1))


def test_damage_is_skipped_and_reported(log: Path) -> None:
    damage(log, 3)
    memory = Memory([])
    assert replay(log, 0, memory) == (ENDS[-1], 6, [(ENDS[2], ENDS[3])])
    assert memory.seqs == [1, 2, 4, 5, 6, 7]
    assert replay(log, 0, Memory([]), until=ENDS[5]).records == 4
    assert replay(log, ENDS[3], Memory([])) == (ENDS[-1], 4, [])


def test_damage_behind_the_last_record_that_is_handed_on_is_reported_when_it_is_passed(log: Path) -> None:
    damage(log, 3)
    damage(log, 6)
    assert replay(log, 0, Memory([]), until=ENDS[2]) == (ENDS[2], 2, [])
    assert replay(log, 0, Memory([]), until=ENDS[4]) == (ENDS[4], 3, [(ENDS[2], ENDS[3])])
    memory = Memory([])
    with LogReader(log) as reader:
        for until in range(ENDS[-1] + 1):
            advance(reader, memory, until=until)
        assert reader.damage == [(ENDS[2], ENDS[3]), (ENDS[5], ENDS[6])]
    assert memory.seqs == [1, 2, 4, 5, 7]


def test_a_torn_tail_is_a_normal_end(log: Path) -> None:
    data = log.read_bytes()
    for size in range(ENDS[5], ENDS[6]):
        log.write_bytes(data[:size])
        assert replay(log, ENDS[4], Memory([])) == (ENDS[5], 1, [])


def test_an_open_reader_is_advanced_by_what_was_appended(log: Path) -> None:
    memory = Memory([])
    with LogReader(log) as reader, LogWriter.open(log) as writer:
        assert advance(reader, memory) == 7
        assert advance(reader, memory) == 0
        writer.append(frame(encode(Record("log", "run", "client", 8, 8.0, {"step": 8, "data": {}}))))
        assert advance(reader, memory) == 1
    assert memory.seqs == [1, 2, 3, 4, 5, 6, 7, 8]
    assert memory.events == [" apply", " apply"], "advance commits nothing"


def test_after_an_error_of_one_projection_nothing_is_committed(log: Path) -> None:
    first = Memory([])
    with pytest.raises(OSError, match="disk is full"):
        replay(log, 0, first, Memory([], failing=True))
    assert (first.seqs, first.committed) == ([1, 2, 3, 4, 5, 6, 7], 0)


def test_each_batch_calls_a_function(log: Path) -> None:
    seqs: list[int] = []
    each = EachBatch(lambda items: seqs.extend(record.seq for record in records_of(items)))
    assert replay(log, 0, each).end == each.commit() == ENDS[-1]
    assert seqs == [1, 2, 3, 4, 5, 6, 7]


def test_progress_is_reported_in_bytes(log: Path) -> None:
    reports: list[tuple[int, int]] = []
    replay(log, 0, report=lambda done, size: reports.append((done, size)))
    assert reports == [(ENDS[-1], ENDS[-1])]


def test_a_missing_and_a_foreign_log(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replay(tmp_path / "missing.log", 0)
    foreign = tmp_path / "foreign.log"
    foreign.write_bytes(b"not a log at all, by any means")
    with pytest.raises(LogFormatError):
        replay(foreign, 0)
    with pytest.raises(LogFormatError):
        next(records(foreign))
