"""A log truncated at every length, with a flipped bit in every byte, and with overwritten ranges."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from sidecar.log.reader import HEADER_BYTES, LogReader
from sidecar.log.verify import check_log
from sidecar.log.writer import LogWriter
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.frames import HEAD_BYTES, frame, scan
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.rows import ROW, SCHEMA, word_of
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer

_CALLS = 80
_BATCHES = (64, 256, 4096, 1 << 17, 1 << 20)
_OVERWRITES = 400


class _Frame(NamedTuple):
    """A frame of the undamaged log.

    Attributes:
        start, end: where it is.
        record: the record, a ``log`` record for a row.
        schema: id of the schema of a row, or of the one that the record declares; None for any other record.
    """

    start: int
    end: int
    record: Record
    schema: int | None


class _Log:
    """A log that is repeatedly damaged and restored.

    Attributes:
        frames: the frames of the undamaged log.
        read, lost: number of undamaged records that were read back, and that were not.
        duplicated: number of records that were read more than once, or were never written.
    """

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.frames: list[_Frame] = []
        self._rng = rng
        self.read = self.lost = self.duplicated = 0
        with LogReader(path) as reader:
            records = [record for batch in reader.batches() for record in batch.records]
        for (start, end, payload), record in zip(scan(self.data, HEADER_BYTES), records, strict=True):
            assert payload is not None, "the log is damaged from the start"
            row = bytes(payload) if payload[0] == ROW else b""
            schema = word_of(row) >> 8 if row else record.body["id"] if record.kind == SCHEMA else None
            self.frames.append(_Frame(start, end, record, schema))
        assert self.frames[-1].end == len(self.data), "the log is damaged from the start"

    def without_schema(self, untouched: list[_Frame]) -> list[_Frame]:
        """Return the untouched rows whose schema no untouched record before them declares."""
        declared: set[int] = set()
        found = []
        for one in untouched:
            if one.record.kind == SCHEMA and one.schema is not None:
                declared.add(one.schema)
            elif one.schema is not None and one.schema not in declared:
                found.append(one)
        return found

    def check(self, damaged: str, untouched: list[_Frame]) -> list[tuple[int, int]]:
        """Read the file and count its records; return the damage that the reader reports."""
        lost = self.without_schema(untouched)
        untouched = [frame for frame in untouched if frame not in lost] if lost else untouched
        try:
            with LogReader(self.path) as reader:
                records = [record for batch in reader.batches(self._rng.choice(_BATCHES)) for record in batch.records]
                damage = reader.damage
        except Exception as error:
            raise AssertionError(f"{damaged}: the reader raised {error!r}") from error
        if records == [frame.record for frame in untouched]:
            self.read += len(records)
        else:
            numbers = [record.seq for record in records]
            expected = {frame.record.seq for frame in untouched}
            self.read += len(expected.intersection(numbers))
            self.lost += len(expected.difference(numbers))
            self.duplicated += len(numbers) - len(expected.intersection(numbers))
        assert self.lost == self.duplicated == 0, f"{damaged}: {self.lost} lost, {self.duplicated} too many"
        return damage

    def verify(self, damaged: str, touched: list[_Frame], damage: list[tuple[int, int]]) -> None:
        """Check that `verify` reports all of the touched frames, and nothing else."""
        check = check_log(self.path)
        assert check.error is None, f"{damaged}: verify: {check.error}"
        undeclared = self.without_schema([frame for frame in self.frames if frame not in touched])
        counts = Counter(frame.schema for frame in undeclared)
        assert check.undeclared == counts, f"{damaged}: verify reports rows without a schema: {check.undeclared}"
        touched = touched + undeclared
        assert check.damage == damage, f"{damaged}: verify reports {check.damage}, the reader {damage}"
        reported = [*check.damage, (check.end, check.size)] if check.tail != "none" else check.damage
        for start, end, record, _ in touched:
            inside = any(one <= start and end <= other for one, other in reported)
            assert inside, (
                f"{damaged}: verify does not report bytes {start} to {end} (seq {record.seq}): {check.problems}"
            )
        allowed = [(0, HEADER_BYTES)] + [(frame.start, frame.end) for frame in touched]
        for one, other in reported:
            covered = sum(max(0, min(other, end) - max(one, start)) for start, end in allowed)
            assert covered == other - one, f"{damaged}: verify reports too much: bytes {one} to {other}"
        whole = [frame.record.seq for frame in self.frames if frame not in touched]
        missing = [
            (frame.record.seq, frame.record.seq) for frame in touched if 0 < frame.record.seq < max(whole, default=0)
        ]
        gaps = [gap for numbers in check.clients.values() for gap in numbers.missing]
        assert _numbers(gaps) == _numbers(missing), f"{damaged}: verify reports {gaps} as missing, not {missing}"

    def touched(self, start: int, end: int) -> list[_Frame]:
        return [frame for frame in self.frames if frame.start < end and start < frame.end]


def _numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def _truncate(log: _Log) -> int:
    """Truncate the log byte by byte; read it each time, and sometimes append to it as the next sidecar would."""
    rng = log._rng
    copy = log.path.with_name("copy.log")
    with open(log.path, "r+b") as file:
        for size in range(len(log.data), -1, -1):
            file.truncate(size)
            damaged = f"truncated to {size} bytes"
            whole = [frame for frame in log.frames if frame.end <= size]
            assert log.check(damaged, whole) == [], f"{damaged}: a torn tail is reported as damage"
            check = check_log(log.path)
            torn = size > HEADER_BYTES and size not in {HEADER_BYTES} | {frame.end for frame in whole}
            assert check.problems == [], f"{damaged}: verify: {check.problems}"
            assert check.tail == ("torn" if torn else "none"), f"{damaged}: verify reports the tail {check.tail}"
            assert check.size == size and check.end == (whole[-1].end if whole else HEADER_BYTES), f"{damaged}: {check}"
            if rng.random() < 0.05:
                copy.write_bytes(log.data[:size])
                following = log.frames[len(whole)] if len(whole) < len(log.frames) else None
                with LogWriter.open(copy) as writer:
                    if following is not None:
                        writer.append(log.data[following.start : following.end])
                end = following.end if following else len(log.data)
                assert copy.read_bytes() == log.data[:end], f"{damaged}: the appended frame is in the wrong place"
    log.path.write_bytes(log.data)
    return len(log.data) + 1


def _flip(log: _Log) -> int:
    """Flip one bit of each byte in turn, and restore the byte."""
    with open(log.path, "r+b", buffering=0) as file:
        for position, byte in enumerate(log.data):
            bit = log._rng.randrange(8)
            damaged = f"bit {bit} of byte {position} flipped"
            os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
            touched = log.touched(position, position + 1)
            damage = log.check(damaged, [frame for frame in log.frames if frame not in touched])
            log.verify(damaged, touched, damage)
            os.pwrite(file.fileno(), bytes([byte]), position)
    return len(log.data)


def _overwrite(log: _Log) -> int:
    """Overwrite ranges with zeros (as a block that never reached the disk), noise, or bytes that begin a frame."""
    rng = log._rng
    for _ in range(_OVERWRITES):
        data = bytearray(log.data)
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.randrange(1, 600))
        filling = rng.choice((bytes(end - start), rng.randbytes(end - start), b"\xc1" * (end - start)))
        data[start:end] = filling
        log.path.write_bytes(data)
        touched = [frame for frame in log.frames if data[frame.start : frame.end] != log.data[frame.start : frame.end]]
        damaged = f"bytes {start} to {end} overwritten with {filling[:4]!r}…"
        damage = log.check(damaged, [frame for frame in log.frames if frame not in touched])
        log.verify(damaged, touched, damage)
    log.path.write_bytes(log.data)
    return _OVERWRITES


def _declared_again(data: bytes) -> bytes:
    """Return a log with its first schema declared again in the middle of its rows, as a sidecar does after a while."""
    frames = [data[start:end] for start, end, _ in scan(data, HEADER_BYTES)]
    first = next(decode(one[HEAD_BYTES:]) for one in frames if one[HEAD_BYTES] != ROW and SCHEMA.encode() in one)
    rows = [place for place, one in enumerate(frames) if one[HEAD_BYTES] == ROW]
    assert len(rows) > 10, "the trainer logs rows"
    repeated = first._replace(client="", seq=0, body={**first.body, "client": first.client})
    frames.insert(rows[len(rows) // 2], frame(encode(repeated)))
    return data[:HEADER_BYTES] + b"".join(frames)


def run(directory: Path, seed: int) -> Figures:
    """Damage a copy of the log of a real run."""
    rng = random.Random(seed)
    root = directory / "root"
    with Trainer(root, "steady", calls=rng.randrange(_CALLS // 2, _CALLS), rate=5000) as trainer:
        trainer.wait()
        worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    path = directory / "damaged.log"
    path.write_bytes(_declared_again((root / RUNS_NAME / "run" / LOG_NAME).read_bytes()))
    log = _Log(path, rng)
    lengths, bits, ranges = _truncate(log), _flip(log), _overwrite(log)
    calls = log.read + log.lost
    note = f"{lengths} lengths, {bits} bits, {ranges} ranges; calls: records not touched by damage"
    return Figures(calls, log.read, log.lost, log.duplicated, worst, p99, note)


SCENARIO = Scenario(
    6,
    "log truncated at every length, a bit flipped in every byte, ranges overwritten",
    run,
    rounds_in_ci=1,
    requirement="the reader never raises and loses only the touched frames, and rows whose declarations before them "
    "were all touched; verify reports both",
)
