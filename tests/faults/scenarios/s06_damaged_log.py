"""A log that is cut off at every length, one that has a flipped bit in every byte, and one with larger wounds."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import NamedTuple

from sidecar.log.reader import HEADER_BYTES, LogReader
from sidecar.log.verify import check_log
from sidecar.log.writer import LogWriter
from sidecar.protocol.frames import scan
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME
from sidecar.protocol.records import Record
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer

_CALLS = 80
_BATCHES = (64, 256, 4096, 1 << 17, 1 << 20)
_WOUNDS = 400


class _Good(NamedTuple):
    """A frame of the log as it was before anything happened to it."""

    start: int
    end: int
    record: Record


class _Log:
    """A log that is damaged and made whole again, over and over.

    Attributes:
        frames: those that were in it.
        read, lost, twice: records that were untouched by a damage: those read back, those that were not, and those that
            came more than once or were never written.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.frames: list[_Good] = []
        self._chance = chance
        self.read = self.lost = self.twice = 0
        with LogReader(path) as reader:
            records = [record for batch in reader.batches() for record in batch.records]
        for (start, end, _), record in zip(scan(self.data, HEADER_BYTES), records, strict=True):
            self.frames.append(_Good(start, end, record))
        assert self.frames[-1].end == len(self.data), "the log was whole at first"

    def check(self, what: str, untouched: list[_Good]) -> list[tuple[int, int]]:
        """Read the file and count; return the damage that the reader names."""
        try:
            with LogReader(self.path) as reader:
                found = [record for batch in reader.batches(self._chance.choice(_BATCHES)) for record in batch.records]
                damage = reader.damage
        except Exception as error:
            raise AssertionError(f"{what}: the reader raised {error!r}") from error
        if found == [good.record for good in untouched]:
            self.read += len(found)
        else:
            numbers = [record.seq for record in found]
            wanted = {good.record.seq for good in untouched}
            self.read += len(wanted.intersection(numbers))
            self.lost += len(wanted.difference(numbers))
            self.twice += len(numbers) - len(wanted.intersection(numbers))
        assert self.lost == self.twice == 0, f"{what}: {self.lost} lost, {self.twice} too many"
        return damage

    def verify(self, what: str, touched: list[_Good], damage: list[tuple[int, int]]) -> None:
        """Check that what `verify` says names each frame that was touched, and nothing else."""
        check = check_log(self.path)
        assert check.error is None, f"{what}: verify: {check.error}"
        assert check.damage == damage, f"{what}: verify says {check.damage}, the reader {damage}"
        named = [*check.damage, (check.end, check.size)] if check.tail != "none" else check.damage
        for start, end, record in touched:
            inside = any(one <= start and end <= other for one, other in named)
            assert inside, (
                f"{what}: verify does not name bytes {start} to {end} (number {record.seq}): {check.problems}"
            )
        allowed = [(0, HEADER_BYTES)] + [(good.start, good.end) for good in touched]
        for one, other in named:
            covered = sum(max(0, min(other, end) - max(one, start)) for start, end in allowed)
            assert covered == other - one, f"{what}: verify names bytes {one} to {other}, not all of them touched"
        whole = [good.record.seq for good in self.frames if good not in touched]
        missing = [(good.record.seq, good.record.seq) for good in touched if good.record.seq < max(whole, default=0)]
        said = [gap for numbers in check.clients.values() for gap in numbers.missing]
        assert _numbers(said) == _numbers(missing), f"{what}: verify says {said} are missing, not {missing}"

    def touched(self, start: int, end: int) -> list[_Good]:
        return [good for good in self.frames if good.start < end and start < good.end]


def _numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def _cut(log: _Log) -> int:
    """Cut one byte after the other from the end; each time read, and now and then append as the next sidecar would."""
    chance = log._chance
    again = log.path.with_name("again.log")
    with open(log.path, "r+b") as file:
        for size in range(len(log.data), -1, -1):
            file.truncate(size)
            what = f"cut to {size} bytes"
            whole = [good for good in log.frames if good.end <= size]
            assert log.check(what, whole) == [], f"{what}: a torn tail is no damage"
            check = check_log(log.path)
            torn = size > HEADER_BYTES and size not in {HEADER_BYTES} | {good.end for good in whole}
            assert check.problems == [], f"{what}: verify: {check.problems}"
            assert check.tail == ("torn" if torn else "none"), f"{what}: verify says its tail is {check.tail}"
            assert check.size == size and check.end == (whole[-1].end if whole else HEADER_BYTES), f"{what}: {check}"
            if chance.random() < 0.05:
                again.write_bytes(log.data[:size])
                following = log.frames[len(whole)] if len(whole) < len(log.frames) else None
                with LogWriter.open(again) as writer:
                    if following is not None:
                        writer.append(log.data[following.start : following.end])
                end = following.end if following else len(log.data)
                assert again.read_bytes() == log.data[:end], f"{what}: what was appended is not where it belongs"
    log.path.write_bytes(log.data)
    return len(log.data) + 1


def _flip(log: _Log) -> int:
    """Flip one bit of each byte, and undo it."""
    with open(log.path, "r+b", buffering=0) as file:
        for position, byte in enumerate(log.data):
            bit = log._chance.randrange(8)
            what = f"bit {bit} of byte {position}"
            os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
            touched = log.touched(position, position + 1)
            damage = log.check(what, [good for good in log.frames if good not in touched])
            log.verify(what, touched, damage)
            os.pwrite(file.fileno(), bytes([byte]), position)
    return len(log.data)


def _wound(log: _Log) -> int:
    """Overwrite stretches: with zeros (a block that never reached the disk), noise, or another part of the log."""
    chance = log._chance
    for _ in range(_WOUNDS):
        data = bytearray(log.data)
        start = chance.randrange(len(data))
        end = min(len(data), start + chance.randrange(1, 600))
        filling = chance.choice((bytes(end - start), chance.randbytes(end - start), b"\xc1" * (end - start)))
        data[start:end] = filling
        log.path.write_bytes(data)
        touched = [good for good in log.frames if data[good.start : good.end] != log.data[good.start : good.end]]
        what = f"bytes {start} to {end} overwritten with {filling[:4]!r}…"
        damage = log.check(what, [good for good in log.frames if good not in touched])
        log.verify(what, touched, damage)
    log.path.write_bytes(log.data)
    return _WOUNDS


def run(directory: Path, seed: int) -> Figures:
    """A real run's log, taken aside and damaged."""
    chance = random.Random(seed)
    root = directory / "root"
    with Trainer(root, "steady", calls=chance.randrange(_CALLS // 2, _CALLS), rate=5000) as trainer:
        trainer.wait()
        worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    path = directory / "damaged.log"
    path.write_bytes((root / RUNS_NAME / "run" / LOG_NAME).read_bytes())
    log = _Log(path, chance)
    cuts, flips, wounds = _cut(log), _flip(log), _wound(log)
    calls = log.read + log.lost
    note = f"{cuts} lengths, {flips} bits, {wounds} stretches; calls: records that no damage touched"
    return Figures(calls, log.read, log.lost, log.twice, worst, p99, note)


SCENARIO = Scenario(
    6,
    "the log cut at every length, single bits flipped in every byte, stretches overwritten",
    run,
    rounds_in_ci=1,
    must="the reader never raises and loses only the frames touched; verify names them",
)
