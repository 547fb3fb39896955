"""replay: reads a log once and hands its records to projections. The one loop over a log's records.

A projection is something made of a log's records that can be deleted and made again: the store, files, a run's state.
It may lag behind the log; its checkpoint says how far it is. Applying records twice changes nothing.

Runs on the caller's thread. Knows nothing of runs, locks or sinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import NamedTuple, Protocol

from sidecar.log.reader import BATCH_BYTES, Batch, LogReader
from sidecar.log.verify import Report
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Item


class Projection(Protocol):
    """Takes the records of one log, in order. Used by one thread at a time.

    After a crash it is given records again, from its checkpoint on or from an earlier one: that must change nothing.
    """

    def apply(self, batch: Batch) -> None:
        """Take the records of a batch; they may be lost in a crash until the next `commit`."""

    def commit(self) -> int:
        """Store what was applied; return the checkpoint, the offset in the log up to which everything is stored."""


class EachBatch:
    """A projection that calls a function with the items of each batch and stores nothing, such as a state's `take`.

    Args:
        take: called with `Batch.items`.
    """

    def __init__(self, take: Callable[[Sequence[Item]], object]) -> None:
        self._take = take
        self._end = 0

    def apply(self, batch: Batch) -> None:
        self._take(batch.items)
        self._end = batch.end

    def commit(self) -> int:
        return self._end


class Replayed(NamedTuple):
    """What a replay read.

    Attributes:
        end: the offset after the last record that was handed on; where to begin the next time.
        records: how many records were handed on.
        damage: byte ranges ``(start, end)`` of the log that were skipped because they are damaged.
    """

    end: int
    records: int
    damage: list[tuple[int, int]]


def replay(
    log: str | PathLike[str],
    start: int,
    *to: Projection,
    until: int | None = None,
    report: Report | None = None,
) -> Replayed:
    """Hand the records of `log` to all of `to`, batch by batch, then commit them, in their order.

    Args:
        log: path of the log.
        start: offset of the first record, a checkpoint; 0 for the beginning.
        to: the projections.
        until: do not hand on records that end after this offset; None for all that are in the log now.
        report: called after each batch with the bytes read and the size of the log.

    Raises:
        LogFormatError: the file is not a transaction log. FileNotFoundError: the file does not exist.
        Errors of the projections: nothing is committed then.
    """
    with LogReader(log, start) as reader:
        count = advance(reader, *to, until=until, report=report)
        for projection in to:
            projection.commit()
        return Replayed(reader.offset, count, list(reader.damage))


def advance(reader: LogReader, *to: Projection, until: int | None = None, report: Report | None = None) -> int:
    """Hand the next records of an open reader to all of `to`; return how many. As `replay`, without the commit."""
    count = 0
    for batch in batches(reader, until):
        for projection in to:
            projection.apply(batch)
        count += batch.count
        if report is not None:
            report(batch.end, reader.size())
    return count


def records(
    log: str | PathLike[str], start: int = 0, until: int | None = None, max_bytes: int = BATCH_BYTES
) -> Iterator[Record]:
    """Yield the records of `log` from the offset `start` to the offset `until`, or to its current end.

    Raises:
        LogFormatError: the file is not a transaction log. FileNotFoundError: the file does not exist.
    """
    with LogReader(log, start) as reader:
        for batch in batches(reader, until, max_bytes):
            yield from batch.records


def items(log: str | PathLike[str], until: int | None = None) -> Iterator[Item]:
    """Yield the records of `log` up to the offset `until`, or to its current end; see `Batch.items`.

    Raises:
        LogFormatError: the file is not a transaction log. FileNotFoundError: the file does not exist.
    """
    with LogReader(log) as reader:
        for batch in batches(reader, until):
            yield from batch.items


def batches(reader: LogReader, until: int | None = None, max_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
    """Yield the batches of an open reader, the last one cut after the last record that ends at or before `until`.

    The reader's offset is then the end of the last batch that was yielded.
    """
    end = reader.offset
    for batch in reader.batches(max_bytes):
        if until is not None and batch.end > until:
            part = batch.before(until)
            reader.rewind(part.end if part else end)
            if part:
                yield part
            return
        yield batch
        end = batch.end
        if end == until:
            return
