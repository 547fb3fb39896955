"""StoreWriter: puts a log's records into the run's store, in columns, with the checkpoint they reach up to.

Owns the store's file for writing; one writer at a time, which whoever holds the run's lock is. One thread at a time.
Knows nothing of logs, sinks or sockets: it is handed records and the offset behind them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from sidecar.log.reader import Batch
from sidecar.projections.run_state import RunState
from sidecar.projections.store.blocks import (
    BLOCK_ROWS,
    Column,
    Values,
    ascending,
    concatenate,
    decode_column,
    decode_floats,
    decode_ints,
    encode_column,
    encode_floats,
    encode_ints,
    join_columns,
    slice_column,
)
from sidecar.projections.store.database import StoreDamagedError, delete, open_to_write
from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import Record

MAX_PENDING_ROWS = 8_192
MAX_PENDING_BYTES = 1 * 1024 * 1024
"""More than this of the log is not kept in memory, where it takes 3 to 4 times as much: `apply` commits first."""

_Group = tuple[list[int], list[tuple[Any, ...]]]
_Part = tuple[Values, Values, dict[str, Column]]


class _Buffer:
    """The rows of one writer that are not committed: steps, times, and values by the keys that came together."""

    __slots__ = ("groups", "steps", "times")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.groups: dict[tuple[str, ...], _Group] = {}

    def parts(self) -> list[_Part]:
        """Return the rows in pieces of a block's size at most."""
        columns = self._columns()
        return [
            (
                array("q", self.steps[start : start + BLOCK_ROWS]),
                array("d", self.times[start : start + BLOCK_ROWS]),
                _cut(columns, start, start + BLOCK_ROWS),
            )
            for start in range(0, len(self.steps), BLOCK_ROWS)
        ]

    def _columns(self) -> dict[str, Column]:
        flat: dict[str, tuple[list[int], list[Any]]] = {}
        for keys, (rows, tuples) in self.groups.items():
            for key, values in zip(keys, zip(*tuples, strict=True), strict=True):
                if key not in flat:
                    flat[key] = ([], [])
                flat[key][0].extend(rows)
                flat[key][1].extend(values)
        return {key: _column(rows, values, len(self.steps)) for key, (rows, values) in flat.items()}


def _column(rows: list[int], values: list[Any], total: int) -> Column:
    if not ascending(rows):  # it came together with different other keys
        order = sorted(range(len(rows)), key=rows.__getitem__)
        rows, values = [rows[i] for i in order], [values[i] for i in order]
    return (None if len(rows) == total else rows), values


def _cut(columns: Mapping[str, Column], start: int, end: int) -> dict[str, Column]:
    parts = {key: slice_column(column, start, end) for key, column in columns.items()}
    return {key: part for key, part in parts.items() if part is not None}


class _Place:
    """Where the rows of one writer are in the file: its number there, its rows, and its last blocks as (id, rows)."""

    __slots__ = ("number", "rows", "tail")

    def __init__(self, number: int, rows: int, tail: list[tuple[int, int]]) -> None:
        self.number = number
        self.rows = rows
        self.tail = tail


class StoreWriter:
    """The one writer of a run's store. A context manager; `close` may be repeated.

    Args:
        path: the store's file, made if it is not there; its directory must be.

    Raises:
        StoreDamagedError: what is there is no store or damaged: `create_new`. StoreError: it cannot be written now.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._database = open_to_write(self.path)
        self._buffers: dict[str, _Buffer] = {}
        self._pending_rows = 0
        self._keys: dict[str, int] = {}
        self._places: dict[str, _Place] = {}
        try:
            self._load()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create_new(cls, path: str | PathLike[str]) -> StoreWriter:
        """Delete the store at `path`, whatever is there, and make an empty one."""
        delete(Path(path))
        return cls(path)

    def _load(self) -> None:
        meta = dict(self._database.run("SELECT name, value FROM meta"))
        try:
            self.state = RunState.from_map(unpack(meta["state"]) if meta["state"] else {})
            self._committed = self._checkpoint = int(meta["checkpoint"])
        except (KeyError, TypeError, ValueError, AttributeError, RecordError) as error:
            raise StoreDamagedError(f"the store {self.path} is damaged: {type(error).__name__}: {error}") from error

    @property
    def checkpoint(self) -> int:
        """The log offset behind the last record that was applied, 0 at first."""
        return self._checkpoint

    @property
    def committed(self) -> int:
        """The log offset behind the last record that is in the file."""
        return self._committed

    @property
    def pending_rows(self) -> int:
        """How many rows a `commit` would write."""
        return self._pending_rows

    def apply(self, batch: Batch) -> None:
        """Take a batch; see `add`."""
        self.add(batch.records, batch.end)

    def add(self, records: Sequence[Record], checkpoint: int) -> None:
        """Take records that follow those taken before; readers see them after the next `commit`.

        Commits first what is pending, if that is much.

        Args:
            records: checked ones, as the log has them.
            checkpoint: the log offset behind the last of them.

        Raises:
            StoreError: what is pending could not be written. Nothing was taken: apply the same again later.
        """
        if self._pending_rows > MAX_PENDING_ROWS or self._checkpoint - self._committed > MAX_PENDING_BYTES:
            self.commit()
        apply = self.state.apply
        buffers = self._buffers
        rows = 0
        for record in records:
            apply(record)
            kind, _, client, _, time, body = record
            if kind == "log":
                buffer = buffers.get(client)
                if buffer is None:
                    buffer = buffers[client] = _Buffer()
                data = body["data"]
                keys = tuple(data)
                group = buffer.groups.get(keys)
                if group is None:
                    group = buffer.groups[keys] = ([], [])
                group[0].append(len(buffer.steps))
                group[1].append(tuple(data.values()))
                buffer.steps.append(body["step"])
                buffer.times.append(time)
                rows += 1
        self._pending_rows += rows
        self._checkpoint = checkpoint

    def commit(self) -> int:
        """Write what is pending, with the state and the checkpoint: all of it or, on an error, nothing.

        Returns:
            the checkpoint.

        Raises:
            StoreError: it could not be written. It is still pending, and `commit` may be tried again.
        """
        if self._checkpoint == self._committed and not self._pending_rows:
            return self._committed
        try:
            with self._database.transaction(write=True):
                for client, buffer in self._buffers.items():
                    place = self._place(client)
                    for part in buffer.parts():
                        self._append(place, part)
                    self._database.run("UPDATE writer SET rows = ? WHERE id = ?", (place.rows, place.number))
                self._database.run("UPDATE meta SET value = value + 1 WHERE name = 'commits'")
                self._database.run_many(
                    "UPDATE meta SET value = ? WHERE name = ?",
                    [(pack(self.state.to_map()), "state"), (self._checkpoint, "checkpoint")],
                )
        except BaseException:
            self._keys, self._places = {}, {}  # what was learned in the transaction is not so
            raise
        self._buffers = {}
        self._pending_rows = 0
        self._committed = self._checkpoint
        return self._committed

    def _place(self, client: str) -> _Place:
        place = self._places.get(client)
        if place is None:
            database = self._database
            database.run("INSERT OR IGNORE INTO writer (client, rows) VALUES (?, 0)", (client,))
            number, rows = database.run("SELECT id, rows FROM writer WHERE client = ?", (client,))[0]
            last = database.run("SELECT id, rows FROM block WHERE writer = ? ORDER BY first DESC LIMIT 32", (number,))
            place = self._places[client] = _Place(number, rows, last[::-1])
        return place

    def _append(self, place: _Place, part: _Part) -> None:
        """Add a block, joined with those before it that are not larger, as a binary counter carries.

        So a row is written again about 13 times at most, and a slow run does not end as thousands of small blocks.
        """
        steps, times, columns = part
        count = len(steps)
        joined: list[int] = []
        while place.tail and place.tail[-1][1] <= count and place.tail[-1][1] + count <= BLOCK_ROWS:
            block, size = place.tail.pop()
            joined.append(block)
            count += size
        if joined:
            before = [self._take(block) for block in reversed(joined)]
            columns = join_columns([(len(one[0]), one[2]) for one in [*before, part]])
            steps = concatenate([one[0] for one in [*before, part]])
            times = concatenate([one[1] for one in [*before, part]])
        block = self._insert(place, len(part[0]) + place.rows - count, steps, times, columns)
        place.rows += len(part[0])
        place.tail.append((block, count))
        del place.tail[:-32]

    def _take(self, block: int) -> _Part:
        """Take a block out of the file."""
        database = self._database
        count, steps, times = database.run("SELECT rows, steps, times FROM block WHERE id = ?", (block,))[0]
        found = database.run(
            "SELECT key.name, type, column.rows, data FROM column JOIN key ON key.id = column.key WHERE block = ?",
            (block,),
        )
        database.run("DELETE FROM column WHERE block = ?", (block,))
        database.run("DELETE FROM block WHERE id = ?", (block,))
        try:
            columns = {name: decode_column(type_, rows, data, count) for name, type_, rows, data in found}
            return decode_ints(steps, count), decode_floats(times, count), columns
        except (ValueError, TypeError, RecordError) as error:
            raise StoreDamagedError(f"the store {self.path} is damaged: {error}") from error

    def _insert(self, place: _Place, first: int, steps: Values, times: Values, columns: Mapping[str, Column]) -> int:
        database = self._database
        block = database.insert(
            "INSERT INTO block (writer, first, rows, step_min, step_max, steps, times) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (place.number, first, len(steps), min(steps), max(steps), encode_ints(steps), encode_floats(times)),
        )
        ids = self._key_ids(columns)
        database.run_many(
            "INSERT INTO column (block, key, type, rows, data) VALUES (?, ?, ?, ?, ?)",
            ((block, ids[key], *encode_column(column)) for key, column in columns.items()),
        )
        return block

    def _key_ids(self, keys: Mapping[str, Any]) -> dict[str, int]:
        known = self._keys
        if not known:
            known.update(self._database.run("SELECT name, id FROM key"))
        new = [(key,) for key in keys if key not in known]
        if new:
            self._database.run_many("INSERT INTO key (name) VALUES (?)", new)
            highest = max(known.values(), default=0)
            known.update(self._database.run("SELECT name, id FROM key WHERE id > ?", (highest,)))
        return known

    def close(self) -> None:
        """Commit nothing, let go of the file, and leave it as one file where no reader is in the way."""
        self._database.settle()
        self._database.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["MAX_PENDING_BYTES", "MAX_PENDING_ROWS", "StoreWriter"]
