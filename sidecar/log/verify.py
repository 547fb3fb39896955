"""Checks a transaction log: every checksum, and the numbers of every client. Reads only; knows nothing of stores.

Findings are data: `LogCheck.problems` is empty if nothing is wrong. A torn tail is a normal end, not a problem.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.log.reader import Batch, LogReader
from sidecar.protocol.errors import LogFormatError, reason
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK
from sidecar.protocol.limits import MAX_RECORD_BYTES, MAX_SEQ
from sidecar.protocol.rows import Rows

Report = Callable[[int, int], None]
"""Progress callback, called with (bytes done, total bytes)."""

_MAX_LISTED = 5
"""Maximum number of ranges that a message lists."""

Ranges = list[tuple[int, int]]
"""Ranges of numbers, each ``(first, last)``, both included."""


def _listed(ranges: Ranges) -> str:
    listed = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges[:_MAX_LISTED])
    remaining = len(ranges) - _MAX_LISTED
    return listed + (f" and {remaining} more ranges" if remaining > 0 else "")


def _count(ranges: Ranges) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _append(ranges: Ranges, number: int) -> None:
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1] = (ranges[-1][0], number)
    else:
        ranges.append((number, number))


@dataclass
class Numbers:
    """The numbers of one client's records, taken in the order in which they appear in the log.

    Attributes:
        records: count of the records.
        last: the highest number.
        missing: ranges below `last` that do not appear, in ascending order.
        repeated: ranges that appear again.
        late: ranges that appear after a higher number.
    """

    records: int = 0
    last: int = 0
    missing: Ranges = field(default_factory=list)
    repeated: Ranges = field(default_factory=list)
    late: Ranges = field(default_factory=list)

    def take(self, seq: int) -> None:
        """Take the number of the next record."""
        self.records += 1
        if seq == self.last + 1:
            self.last = seq
        elif seq > self.last:
            self.missing.append((self.last + 1, seq - 1))
            self.last = seq
        elif self._fill(seq):
            _append(self.late, seq)
        else:
            _append(self.repeated, seq)

    def take_all(self, first: int, last: int) -> None:
        """Take the numbers of the next records, from `first` to `last`."""
        if first == self.last + 1:
            self.records += last - first + 1
            self.last = last
        else:
            for seq in range(first, last + 1):
                self.take(seq)

    def _fill(self, seq: int) -> bool:
        """Remove `seq` from the missing numbers; return whether it was one of them."""
        position = bisect_right(self.missing, (seq, MAX_SEQ)) - 1  # the last range that does not begin after `seq`
        if position < 0:
            return False
        first, last = self.missing[position]
        if seq > last:
            return False
        parts = [(first, seq - 1), (seq + 1, last)]
        self.missing[position : position + 1] = [part for part in parts if part[0] <= part[1]]
        return True

    def problems(self, client: str) -> list[str]:
        """Return what is wrong with the numbers of `client`, one line each."""
        lines = []
        for what, ranges in (("missing", self.missing), ("there twice", self.repeated), ("out of order", self.late)):
            if ranges:
                count = _count(ranges)
                noun, verb = ("number", "is") if count == 1 else ("numbers", "are")
                lines.append(f"client {client}: {noun} {_listed(ranges)} {verb} {what} ({count} in all)")
        return lines


@dataclass
class LogCheck:
    """The content of a log, and what is wrong with it.

    Attributes:
        path: the log.
        size: size of the file, in bytes.
        end: the offset after the last valid record.
        records: count of valid records of all kinds.
        log_records: count of those of kind ``log``.
        points: count of the values in them.
        clients: client -> its numbers; records without a client are not numbered.
        damage: byte ranges ``(start, end)`` without a valid record.
        undeclared: schema id -> count of the rows in `damage` that are whole, but whose schema is declared nowhere
            before them.
        tail: ``"none"``, ``"torn"`` (the last record is incomplete) or ``"damaged"``.
        error: why the file could not be read at all, or None.
    """

    path: Path
    size: int = 0
    end: int = 0
    records: int = 0
    log_records: int = 0
    points: int = 0
    clients: dict[str, Numbers] = field(default_factory=dict)
    damage: Ranges = field(default_factory=list)
    undeclared: dict[int, int] = field(default_factory=dict)
    tail: str = "none"
    error: str | None = None

    def apply(self, batch: Batch) -> None:
        """Count the records of a batch, and take their numbers."""
        for item in batch.items:
            if isinstance(item, Rows):
                self._count(item.count, len(item.schema.keys))
                self._numbers(item.schema.client).take_all(item.first, item.last)
                continue
            if item.kind == "log":
                self._count(1, len(item.body["data"]))
            else:
                self.records += 1
            if item.seq and item.client:
                self._numbers(item.client).take(item.seq)

    def _count(self, rows: int, keys: int) -> None:
        self.records += rows
        self.log_records += rows
        self.points += rows * keys

    def _numbers(self, client: str) -> Numbers:
        numbers = self.clients.get(client)
        if numbers is None:
            numbers = self.clients[client] = Numbers()
        return numbers

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each; empty if nothing is."""
        if self.error is not None:
            return [self.error]
        lines = [f"bytes {start} to {end} are damaged ({end - start} bytes)" for start, end in self.damage]
        if self.tail == "damaged":
            lines.append(f"bytes {self.end} to {self.size}, at the end, are damaged ({self.size - self.end} bytes)")
        for schema, count in self.undeclared.items():
            rows = "1 row" if count == 1 else f"{count} rows"
            lines.append(f"{rows} of schema {schema} cannot be read: its declaration is damaged")
        for client in sorted(self.clients):
            lines.extend(self.clients[client].problems(client))
        return lines

    def to_map(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {
            "bytes": self.size,
            "end": self.end,
            "records": self.records,
            "log_records": self.log_records,
            "points": self.points,
            "damage": [list(one) for one in self.damage],
            "undeclared": {str(schema): count for schema, count in self.undeclared.items()},
            "tail": self.tail,
            "clients": {
                client: {
                    "records": numbers.records,
                    "last": numbers.last,
                    "missing": [list(one) for one in numbers.missing],
                    "repeated": [list(one) for one in numbers.repeated],
                    "out_of_order": [list(one) for one in numbers.late],
                }
                for client, numbers in sorted(self.clients.items())
            },
        }


def check_log(path: str | os.PathLike[str], report: Report | None = None) -> LogCheck:
    """Check the log at `path` from its beginning to its current end.

    Never raises for the content of the file, nor for a missing file: both are findings.
    """
    check = LogCheck(Path(path))
    try:
        with LogReader(path) as reader:
            for batch in reader.batches():
                check.apply(batch)
                if report is not None:
                    report(batch.end, reader.size())
            check.end = reader.offset
            check.damage = list(reader.damage)
            check.undeclared = {word >> 8: count for word, count in reader.undeclared.items()}
            check.size = reader.size()
        check.tail = _tail(check.path, check.end)
    except FileNotFoundError:
        check.error = f"there is no transaction log at {path}"
    except (LogFormatError, OSError) as error:
        check.error = reason(error)
    return check


def _tail(path: Path, end: int) -> str:
    """Return what follows the last valid record."""
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
    incomplete = 0 < length <= MAX_RECORD_BYTES and end + HEAD_BYTES + length > size
    return "torn" if incomplete else "damaged"
