"""Checks a transaction log: every checksum, and every client's numbers. Reads only; knows nothing of stores.

Findings are data: `LogCheck.problems` is empty if all is right. A torn tail is a normal end and no problem.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.protocol.errors import LogFormatError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK
from sidecar.protocol.limits import MAX_RECORD_BYTES

Report = Callable[[int, int], None]
"""Called now and then with (bytes done, bytes in all)."""

_SHOWN = 5


def _ranges(ranges: list[tuple[int, int]]) -> str:
    shown = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges[:_SHOWN])
    left = len(ranges) - _SHOWN
    return shown + (f" and {left} more stretches" if left > 0 else "")


def _count(ranges: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _add(ranges: list[tuple[int, int]], number: int) -> None:
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1] = (ranges[-1][0], number)
    else:
        ranges.append((number, number))


@dataclass
class Numbers:
    """The numbers of one client's records, in the order in which they stand in the log.

    Attributes:
        records: how many there are.
        last: the highest.
        missing: ranges ``(first, last)`` below `last` that are not there.
        repeated: ranges that are there again.
        late: ranges that stand behind a higher one.
    """

    records: int = 0
    last: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    repeated: list[tuple[int, int]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)

    def take(self, seq: int) -> None:
        """Take in the next record's number."""
        self.records += 1
        if seq == self.last + 1:
            self.last = seq
        elif seq > self.last:
            self.missing.append((self.last + 1, seq - 1))
            self.last = seq
        elif self._fill(seq):
            _add(self.late, seq)
        else:
            _add(self.repeated, seq)

    def _fill(self, seq: int) -> bool:
        for position, (first, last) in enumerate(self.missing):
            if first <= seq <= last:
                parts = [(first, seq - 1), (seq + 1, last)]
                self.missing[position : position + 1] = [part for part in parts if part[0] <= part[1]]
                return True
        return False

    def problems(self, client: str) -> list[str]:
        """Return what is wrong with the numbers of `client`, a line each."""
        found = []
        for what, ranges in (("missing", self.missing), ("there twice", self.repeated), ("out of order", self.late)):
            if ranges:
                verb = "is" if _count(ranges) == 1 else "are"
                noun = "number" if _count(ranges) == 1 else "numbers"
                found.append(f"client {client}: {noun} {_ranges(ranges)} {verb} {what} ({_count(ranges)} in all)")
        return found


@dataclass
class LogCheck:
    """What is in a log, and what is wrong with it.

    Attributes:
        path: the log.
        size: of the file, in bytes.
        end: the offset after the last good record.
        records: good records of all kinds.
        log_records: those of kind ``log``.
        points: the values in them.
        clients: client -> its numbers; the nameless ones, who do not count, are left out.
        damage: byte ranges ``(start, end)`` that hold no good record.
        tail: ``"none"``, ``"torn"`` (a record that was begun and not ended) or ``"damaged"``.
        error: why the file could not be read at all, or None.
    """

    path: Path
    size: int = 0
    end: int = 0
    records: int = 0
    log_records: int = 0
    points: int = 0
    clients: dict[str, Numbers] = field(default_factory=dict)
    damage: list[tuple[int, int]] = field(default_factory=list)
    tail: str = "none"
    error: str | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each; empty if nothing is."""
        if self.error is not None:
            return [self.error]
        found = [f"bytes {start} to {end} are damaged ({end - start} bytes)" for start, end in self.damage]
        if self.tail == "damaged":
            found.append(f"bytes {self.end} to {self.size}, at the end, are damaged ({self.size - self.end} bytes)")
        for client in sorted(self.clients):
            found.extend(self.clients[client].problems(client))
        return found

    def to_map(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {
            "bytes": self.size,
            "end": self.end,
            "records": self.records,
            "log_records": self.log_records,
            "points": self.points,
            "damage": [list(stretch) for stretch in self.damage],
            "tail": self.tail,
            "clients": {
                client: {
                    "records": numbers.records,
                    "last": numbers.last,
                    "missing": [list(stretch) for stretch in numbers.missing],
                    "repeated": [list(stretch) for stretch in numbers.repeated],
                    "out_of_order": [list(stretch) for stretch in numbers.late],
                }
                for client, numbers in sorted(self.clients.items())
            },
        }


def check_log(path: str | os.PathLike[str], report: Report | None = None) -> LogCheck:
    """Read the log at `path` from its beginning to the end that is there now, and return what was found.

    Never raises for what is in the file, nor for a missing one: both are findings.
    """
    check = LogCheck(Path(path))
    try:
        with LogReader(path) as reader:
            _read(reader, check, report)
    except FileNotFoundError:
        check.error = f"there is no transaction log at {path}"
    except (LogFormatError, OSError) as error:
        check.error = str(error)
    return check


def _read(reader: LogReader, check: LogCheck, report: Report | None) -> None:
    for batch in reader.batches():
        check.records += len(batch.records)
        for record in batch.records:
            if record.kind == "log":
                check.log_records += 1
                check.points += len(record.body["data"])
            if record.seq and record.client:
                numbers = check.clients.get(record.client)
                if numbers is None:
                    numbers = check.clients[record.client] = Numbers()
                numbers.take(record.seq)
        if report is not None:
            report(batch.end, reader.size())
    check.end = reader.offset
    check.damage = list(reader.damage)
    check.size = reader.size()
    check.tail = _tail(check.path, check.end)


def _tail(path: Path, end: int) -> str:
    """Say what stands after the last good record."""
    with open(path, "rb") as file:
        file.seek(end)
        head = file.read(HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
    if not head:
        return "none"
    if head[0] != MARK:
        return "damaged"
    if len(head) < HEAD_BYTES:
        return "torn"
    length = HEAD.unpack(head)[0] & LENGTH_BITS
    begun = 0 < length <= MAX_RECORD_BYTES and end + HEAD_BYTES + length > size
    return "torn" if begun else "damaged"
