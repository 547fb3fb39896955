"""StoreWriter: writes a log's records into the run's store, in columns, with the checkpoint that they reach.

Owns the store's file for writing; the one writer is the process that holds the run's lock. Used by one thread at a
time. Reads no log, knows nothing of sinks or sockets: it is given records and the offset after them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
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
    typed,
)
from sidecar.projections.store.database import StoreDamagedError, delete, open_to_write
from sidecar.projections.store.pyramid import ensure_pyramid
from sidecar.projections.store.pyramid_writer import PyramidWriter
from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.rows import Item, Rows

MAX_PENDING_ROWS = 8_192
MAX_PENDING_BYTES = 1 * 1024 * 1024
"""Maximum part of the log held in memory, where it takes 3 to 4 times the space; beyond it, `add` commits first."""

MAX_TAIL_BLOCKS = 64
"""Maximum number of blocks that are joined to a full one; older stores may have more small blocks in a row."""

_Piece = tuple[Sequence[int], Sequence[Values]]
"""Rows of a buffer that have the same keys, and the values of each key."""

_Part = tuple[Values, Values, dict[str, Column]]


class _Group:
    """Uncommitted rows with the same keys: in pieces, the last of which is still made, row by row."""

    __slots__ = ("pieces", "rows", "tuples")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.tuples: list[tuple[Any, ...]] = []
        self.pieces: list[_Piece] = []

    def all_pieces(self) -> list[_Piece]:
        """Return all rows in pieces."""
        if self.rows:
            self.pieces.append((self.rows, list(zip(*self.tuples, strict=True))))
            self.rows, self.tuples = [], []
        return self.pieces


class _Buffer:
    """Uncommitted rows of one writer: steps, times, and values grouped by the keys that were logged together."""

    __slots__ = ("groups", "steps", "times")

    def __init__(self) -> None:
        self.steps: array[int] = array("q")
        self.times: array[float] = array("d")
        self.groups: dict[tuple[str, ...], _Group] = {}

    def add_record(self, step: int, time: float, data: Mapping[str, Any]) -> None:
        """Add a ``log`` record."""
        keys = tuple(data)
        group = self.groups.get(keys)
        if group is None:
            group = self.groups[keys] = _Group()
        group.rows.append(len(self.steps))
        group.tuples.append(tuple(data.values()))
        self.steps.append(step)
        self.times.append(time)

    def add_rows(self, rows: Rows) -> None:
        """Add rows."""
        group = self.groups.get(rows.schema.keys)
        if group is None:
            group = self.groups[rows.schema.keys] = _Group()
        start = len(self.steps)
        group.all_pieces().append((range(start, start + rows.count), rows.columns))
        self.steps.extend(rows.steps)
        self.times.extend(rows.times)

    def parts(self, room: int) -> list[_Part]:
        """Return the rows in pieces: at most `room` in the first, then at most `BLOCK_ROWS`."""
        columns = self._columns()
        count = len(self.steps)
        starts = [0, *range(room, count, BLOCK_ROWS)]
        return [
            (self.steps[start:end], self.times[start:end], _cut(columns, start, end))
            for start, end in zip(starts, [*starts[1:], count], strict=True)
        ]

    def _columns(self) -> dict[str, Column]:
        by_key: dict[str, list[tuple[Sequence[int], Values]]] = {}
        for keys, group in self.groups.items():
            for rows, columns in group.all_pieces():
                for key, values in zip(keys, columns, strict=True):
                    by_key.setdefault(key, []).append((rows, values))
        return {key: _column(pieces, len(self.steps)) for key, pieces in by_key.items()}


def _column(pieces: list[tuple[Sequence[int], Values]], total: int) -> Column:
    if len(pieces) == 1 and len(pieces[0][0]) == total:
        return None, typed(pieces[0][1])
    values = concatenate([typed(part) for _, part in pieces])
    rows = array("q", chain.from_iterable(rows for rows, _ in pieces))
    if not ascending(rows):  # it was logged together with various other keys
        order = sorted(range(len(rows)), key=rows.__getitem__)
        rows, values = array("q", [rows[i] for i in order]), typed([values[i] for i in order])
    return (None if len(rows) == total else rows), values


def _cut(columns: Mapping[str, Column], start: int, end: int) -> dict[str, Column]:
    parts = {key: slice_column(column, start, end) for key, column in columns.items()}
    return {key: part for key, part in parts.items() if part is not None}


class _Stored:
    """What the file holds of one writer.

    Attributes:
        number: the writer's id.
        rows: number of its rows.
        tail: (id, rows) of its last blocks, which the next rows are joined with; together less than `BLOCK_ROWS`.
    """

    __slots__ = ("number", "rows", "tail")

    def __init__(self, number: int, rows: int, tail: list[tuple[int, int]]) -> None:
        self.number = number
        self.rows = rows
        self.tail = tail

    @property
    def room(self) -> int:
        """Number of rows that make a full block of the tail."""
        return BLOCK_ROWS - sum(size for _, size in self.tail)


class StoreWriter:
    """The one writer of a run's store; a projection. A context manager; `close` may be called twice.

    Args:
        path: the store's file, created if it does not exist; its directory must exist.
        draft: see `open_to_write`.

    Raises:
        StoreDamagedError: the file is not a store, or is damaged; see `create_new`. StoreError: it cannot be written
            now.
    """

    def __init__(self, path: str | PathLike[str], *, draft: bool = False) -> None:
        self.path = Path(path)
        self._database = open_to_write(self.path, draft=draft)
        self._buffers: dict[str, _Buffer] = {}
        self._pending_rows = 0
        self._keys: dict[str, int] = {}
        self._stored: dict[str, _Stored] = {}
        try:
            ensure_pyramid(self._database)
            self._pyramid = PyramidWriter(self._database, BLOCK_ROWS)
            self._load()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create_new(cls, path: str | PathLike[str]) -> StoreWriter:
        """Delete the file at `path`, whatever it is, and create an empty store."""
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
        """The log offset after the last record that was applied, 0 at first."""
        return self._checkpoint

    @property
    def committed(self) -> int:
        """The log offset after the last record that is in the file."""
        return self._committed

    @property
    def pending_rows(self) -> int:
        """Number of rows that a `commit` would write."""
        return self._pending_rows

    @property
    def full(self) -> bool:
        """Whether so much is pending that the next `add` commits it first.

        Also if it makes a full block: then few rows are left over, and written again with those that follow.
        """
        if self._pending_rows > MAX_PENDING_ROWS or self._checkpoint - self._committed > MAX_PENDING_BYTES:
            return True
        return self._pending_rows > MAX_PENDING_ROWS // 2 and any(
            len(buffer.steps) >= (self._stored[client].room if client in self._stored else BLOCK_ROWS)
            for client, buffer in self._buffers.items()
        )

    def apply(self, batch: Batch) -> None:
        """Take a batch; see `add`."""
        self.add(batch.items, batch.end)

    def add(self, items: Sequence[Item], checkpoint: int) -> None:
        """Take the next records of the log; readers see them after the next `commit`.

        If much is pending, it is committed first.

        Args:
            items: checked records, and rows, in the order of the log.
            checkpoint: the log offset after the last of them.

        Raises:
            StoreError: what was pending could not be written. Nothing was taken: add the same records again later.
        """
        if self.full:
            self.commit()
        self.state.take(items)
        buffers = self._buffers
        rows = 0
        for item in items:
            if isinstance(item, Rows):
                client, count = item.schema.client, item.count
            elif item.kind == "log":
                client, count = item.client, 1
            else:
                continue
            buffer = buffers.get(client)
            if buffer is None:
                buffer = buffers[client] = _Buffer()
            if isinstance(item, Rows):
                buffer.add_rows(item)
            else:
                buffer.add_record(item.body["step"], item.time, item.body["data"])
            rows += count
        self._pending_rows += rows
        self._checkpoint = checkpoint

    def commit(self) -> int:
        """Write what is pending, with the state and the checkpoint; after an error nothing was written.

        Returns:
            the checkpoint.

        Raises:
            StoreError: it could not be written. It is still pending, and `commit` can be called again.
        """
        if self._checkpoint == self._committed and not self._pending_rows:
            return self._committed
        try:
            with self._database.transaction(write=True):
                for client, buffer in self._buffers.items():
                    stored = self._stored_of(client)
                    for part in buffer.parts(stored.room):
                        self._append(stored, part)
                    self._database.run("UPDATE writer SET rows = ? WHERE id = ?", (stored.rows, stored.number))
                self._database.run("UPDATE meta SET value = value + 1 WHERE name = 'commits'")
                self._database.run_many(
                    "UPDATE meta SET value = ? WHERE name = ?",
                    [(pack(self.state.to_map()), "state"), (self._checkpoint, "checkpoint")],
                )
        except BaseException:
            self._keys, self._stored = {}, {}  # they may hold ids that were rolled back
            raise
        self._buffers = {}
        self._pending_rows = 0
        self._committed = self._checkpoint
        return self._committed

    def _stored_of(self, client: str) -> _Stored:
        stored = self._stored.get(client)
        if stored is None:
            database = self._database
            database.run("INSERT OR IGNORE INTO writer (client, rows) VALUES (?, 0)", (client,))
            number, rows = database.run("SELECT id, rows FROM writer WHERE client = ?", (client,))[0]
            tail: list[tuple[int, int]] = []
            open_rows = 0
            for block, size in database.run(
                "SELECT id, rows FROM block WHERE writer = ? ORDER BY first DESC LIMIT ?", (number, MAX_TAIL_BLOCKS)
            ):
                open_rows += size
                if open_rows >= BLOCK_ROWS:
                    break
                tail.insert(0, (block, size))
            stored = self._stored[client] = _Stored(number, rows, tail)
        return stored

    def _append(self, stored: _Stored, part: _Part) -> None:
        """Add a block, joined with the blocks before it that are not larger, as a binary counter carries.

        A row is rewritten about 14 times at most, and a slow run does not end up as thousands of small blocks. Blocks
        that are full together are joined whatever their sizes; the part has no more rows than that.
        """
        steps, times, columns = part
        count = len(steps)
        full = count == stored.room
        joined: list[int] = []
        while stored.tail and (full or stored.tail[-1][1] <= count):
            block, size = stored.tail.pop()
            joined.append(block)
            count += size
        if joined:
            before = [self._take(block) for block in reversed(joined)]
            columns = join_columns([(len(one[0]), one[2]) for one in [*before, part]])
            steps = concatenate([one[0] for one in [*before, part]])
            times = concatenate([one[1] for one in [*before, part]])
        first = len(part[0]) + stored.rows - count
        block = self._insert(stored, first, steps, times, columns)
        stored.rows += len(part[0])
        if count < BLOCK_ROWS:
            stored.tail.append((block, count))
        else:
            self._pyramid.note(stored.number)

    def _take(self, block: int) -> _Part:
        """Remove a block from the file, and return its content."""
        database = self._database
        count, steps, times = database.run("SELECT rows, steps, times FROM block WHERE id = ?", (block,))[0]
        rows = database.run(
            "SELECT key.name, type, column.rows, data FROM column JOIN key ON key.id = column.key WHERE block = ?",
            (block,),
        )
        database.run("DELETE FROM column WHERE block = ?", (block,))
        database.run("DELETE FROM block WHERE id = ?", (block,))
        try:
            columns = {name: decode_column(type_, present, data, count) for name, type_, present, data in rows}
            return decode_ints(steps, count), decode_floats(times, count), columns
        except (ValueError, TypeError, RecordError) as error:
            raise StoreDamagedError(f"the store {self.path} is damaged: {error}") from error

    def _insert(self, stored: _Stored, first: int, steps: Values, times: Values, columns: Mapping[str, Column]) -> int:
        database = self._database
        block = database.insert(
            "INSERT INTO block (writer, first, rows, step_min, step_max, steps, times) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (stored.number, first, len(steps), min(steps), max(steps), encode_ints(steps), encode_floats(times)),
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

    @property
    def pieces_pending(self) -> bool:
        """Whether full blocks in the file may have no pieces yet; see `pyramid`."""
        return self._pyramid.pending

    def make_pieces(self, seconds: float | None = None) -> bool:
        """Make pieces of full blocks in the file that have none; what is pending stays so.

        Args:
            seconds: how long, approximately; None: until all are made.

        Returns:
            whether there may be more to make.

        Raises:
            StoreError: they could not be written. Nothing else is affected.
        """
        try:
            return self._pyramid.make(seconds)
        except (ValueError, TypeError, RecordError) as error:
            raise StoreDamagedError(f"the store {self.path} is damaged: {error}") from error

    def close(self) -> None:
        """Close the file without a commit, as a single file unless a reader prevents that."""
        self._database.settle()
        self._database.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["MAX_PENDING_BYTES", "MAX_PENDING_ROWS", "StoreWriter"]
