"""ReadBack: a run as it is stored on disk, for comparison with what was logged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.records import Record


def exact(value: Any) -> Any:
    """Return a key that is equal for two values only if they have the same type and the same bits."""
    if isinstance(value, float):
        return float, struct.pack(">d", value) if value == value else "nan"
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return type(value), value


class StoredRow(NamedTuple):
    """One ``log`` record as read from the store."""

    client: str
    step: int
    time: float
    data: dict[str, Any]


class ReadBack:
    """A run on disk, read from the transaction log and from the store.

    Attributes:
        log: all records of the log.
        damage: the damaged ranges of the log.
        state: the run's state, from the store.
        rows: the logged rows, from the store; those of each client in order of arrival.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log: list[Record] = []
        with LogReader(directory / "transactions.log") as reader:
            for batch in reader.batches():
                self.log.extend(batch.records)
            self.damage = reader.damage
        store = StoreReader(directory / "store.db")
        self.state = store.state()
        self.rows: list[StoredRow] = []
        for block in sorted(store.columns(), key=lambda block: block.first):  # they come ordered by step
            data: list[dict[str, Any]] = [{} for _ in block.steps]
            for key, (present, values) in block.columns.items():
                for index, value in zip(range(len(data)) if present is None else present, values, strict=True):
                    data[index][key] = value
            rows = zip(block.steps, block.times, data, strict=True)
            self.rows += [StoredRow(block.writer, step, moment, row) for step, moment, row in rows]

    def logged(self, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Return step and data of each ``log`` record, in the order of the log."""
        return [
            (record.body["step"], record.body["data"])
            for record in self.log
            if record.kind == "log" and client in (None, record.client)
        ]

    def stored(self, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Return step and data of each row in the store."""
        return [(row.step, row.data) for row in self.rows if client in (None, row.client)]

    def kinds(self) -> list[str]:
        return [record.kind for record in self.log]

    def check(self) -> ReadBack:
        """Check the invariants of a run: sequence numbers without gaps or repeats, and a store that equals the log."""
        assert self.damage == []
        numbers: dict[str, list[int]] = {}
        for record in self.log:
            if record.client:
                numbers.setdefault(record.client, []).append(record.seq)
        for client, sequence in numbers.items():
            assert sequence == list(range(1, len(sequence) + 1)), f"sequence numbers of {client}"
        for client in {record.client for record in self.log if record.kind == "log"}:
            assert exact(sorted(self.stored(client), key=_step)) == exact(sorted(self.logged(client), key=_step))
        replayed = RunState()
        for record in self.log:
            replayed.apply(record)
        assert exact(replayed.to_map()) == exact(self.state)
        return self


def _step(row: tuple[int, dict[str, Any]]) -> int:
    return row[0]
