"""PyramidWriter: adds a store's full blocks to its pyramid, in short transactions of its own, as time allows.

So neither commits nor answers wait for it. How far it has come is in the store's settings, written in the same
transactions: for each writer an entry ``pyramid <id>``, with the number of the first row of the block that is next and
the id of the last key that is done in it. Used by the store's writer, on its thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sidecar.projections.store.blocks import Column, ascending, decode_column, decode_floats, decode_steps
from sidecar.projections.store.database import Database
from sidecar.projections.store.pyramid import (
    ROW_COLUMNS,
    TOP_LEVEL,
    Pieces,
    Row,
    coarser,
    decode_pieces,
    encode_pieces,
    joined,
    last_of_each,
    numbers_of,
    pieces_of,
    row_of,
)

ROW_PIECES = 128
"""Maximum number of pieces in a row of the table."""

MIN_VALUES = 512
"""Minimum number of values of a key in a block for pieces of it: fewer are read as fast themselves."""

TURN_SECONDS = 0.01
"""Length of a transaction that adds pieces, in seconds; it ends with the column that is being summed up then."""


class FullBlock:
    """A full block, whose columns are summed up one by one.

    Attributes:
        id: its id in the store.
        first, end: numbers of the first row of the writer that it holds, and of the one after the last.
        steps, times: of its rows.
        order: the rows that count, by step; None for all, as they are.
        in_time: whether the times ascend.
    """

    __slots__ = ("end", "first", "id", "in_time", "order", "steps", "times")

    def __init__(self, id_: int, first: int, count: int, steps: bytes, times: bytes) -> None:
        self.id, self.first, self.end = id_, first, first + count
        self.steps = decode_steps(steps, count)
        self.times: Sequence[float] = decode_floats(times, count)
        self.order = last_of_each(self.steps)
        self.in_time = ascending(self.times)

    def pieces(self, column: Column) -> tuple[Row, Pieces] | None:
        """Return the row of level 0 of a column, and its pieces; None if it has too few values."""
        rows, values = numbers_of(*column)
        count = len(values)
        if count < MIN_VALUES:
            return None
        steps, times, order, in_time = self.steps, self.times, self.order, self.in_time
        if rows is not None:
            steps, times = [steps[row] for row in rows], [times[row] for row in rows]
            order = None if order is None else last_of_each(steps)
        if order is not None:
            steps, times = [steps[i] for i in order], [times[i] for i in order]
            values = [values[i] for i in order]
        pieces = pieces_of(steps, times, values, in_time if times is self.times else ascending(times))
        return row_of(0, self.first, self.end, count, pieces), pieces


class PyramidWriter:
    """Adds the full blocks of a store to its pyramid.

    Args:
        database: the store's, for writing, with the table.
        block_rows: number of rows of a full block.
    """

    def __init__(self, database: Database, block_rows: int) -> None:
        self._database = database
        self._block_rows = block_rows
        writers = database.run("SELECT id FROM writer WHERE rows >= ? ORDER BY id", (block_rows,))
        self._pending: dict[int, None] = {writer: None for (writer,) in writers}
        self._block: FullBlock | None = None

    @property
    def pending(self) -> bool:
        """Whether blocks may have no pieces yet."""
        return bool(self._pending)

    def note(self, writer: int) -> None:
        """Note that a writer has another full block."""
        self._pending[writer] = None

    def make(self, seconds: float | None) -> bool:
        """Make the pieces of blocks that have none, in short transactions.

        Args:
            seconds: ends with the first column after it; None: ends when no block is without pieces.

        Returns:
            whether blocks may be left.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._pending:
            before = dict(self._pending)
            try:
                with self._database.transaction(write=True):
                    self._turn(time.monotonic() + (TURN_SECONDS if seconds is None else min(seconds, TURN_SECONDS)))
            except BaseException:
                self._pending = before
                raise
            if deadline is not None and time.monotonic() >= deadline:
                break
        self._block = None if not self._pending else self._block
        return bool(self._pending)

    def _turn(self, until: float) -> None:
        for writer in list(self._pending):
            first, key = self._position(writer)
            while (block := self._next_block(writer, first)) is not None:
                if block.first > first:
                    first, key = block.first, 0
                while (column := self._next_column(block, key)) is not None:
                    key = column[0]
                    self._add(writer, key, block, column[1])
                    if time.monotonic() >= until:
                        self._mark(writer, first, key)
                        return
                first, key = block.end, 0
            self._mark(writer, first, key)
            del self._pending[writer]

    def _position(self, writer: int) -> tuple[int, int]:
        """Return how far the pyramid of a writer has come: first row of the next block, last key done in it."""
        found = self._database.run("SELECT value FROM meta WHERE name = ?", (f"pyramid {writer}",))
        try:
            first, key = map(int, found[0][0].split())
            return first, key
        except (IndexError, ValueError, AttributeError):
            self._database.run("DELETE FROM pyramid WHERE writer = ?", (writer,))  # made without the entry
            return 0, 0

    def _mark(self, writer: int, first: int, key: int) -> None:
        self._database.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"pyramid {writer}", f"{first} {key}"))

    def _next_block(self, writer: int, first: int) -> FullBlock | None:
        """Return the first full block at or after a row of a writer."""
        found = self._database.run(
            "SELECT id, first, rows FROM block WHERE writer = ? AND first >= ? AND rows >= ? ORDER BY first LIMIT 1",
            (writer, first, self._block_rows),
        )
        if not found:
            return None
        if self._block is None or self._block.id != found[0][0]:
            content = self._database.run("SELECT steps, times FROM block WHERE id = ?", (found[0][0],))[0]
            self._block = FullBlock(*found[0], *content)
        return self._block

    def _next_column(self, block: FullBlock, key: int) -> tuple[int, Column] | None:
        """Return the key and the content of the first column of a block after that of another key."""
        found = self._database.run(
            "SELECT key, type, rows, data FROM column WHERE block = ? AND key > ? ORDER BY key LIMIT 1", (block.id, key)
        )
        if not found:
            return None
        key, type_, rows, data = found[0]
        return key, decode_column(type_, rows, data, block.end - block.first)

    def _add(self, writer: int, key: int, block: FullBlock, column: Column) -> None:
        made = block.pieces(column)
        if made is not None:
            self._put(key, writer, *made)
            self._continue(key, writer, 1, made[0], coarser(made[1]))

    def _continue(self, key: int, writer: int, level: int, row: Row, pieces: Pieces) -> None:
        """Add pieces to the last row of a level, or begin another one."""
        found = self._database.run(
            f"SELECT {ROW_COLUMNS}, data FROM pyramid WHERE key = ? AND writer = ? AND level = ?"
            " ORDER BY first DESC LIMIT 1",
            (key, writer, level),
        )
        if found:
            last, before = Row(*found[0][:-1]), decode_pieces(found[0][-1], found[0][3])
            follows = last.end == row.first and last.step_last < row.step_first
            if follows and last.pieces + len(pieces.step_first) <= ROW_PIECES:
                both = joined(before, pieces)
                self._put(key, writer, row_of(level, last.first, row.end, last.values + row.values, both), both)
                return
            if level < TOP_LEVEL:
                self._continue(key, writer, level + 1, last, coarser(before))
        self._put(key, writer, row_of(level, row.first, row.end, row.values, pieces), pieces)

    def _put(self, key: int, writer: int, row: Row, pieces: Pieces) -> None:
        self._database.run(
            f"INSERT OR REPLACE INTO pyramid (key, writer, {ROW_COLUMNS}, data) VALUES ({', '.join('?' * 12)})",
            (key, writer, *row, encode_pieces(pieces)),
        )


__all__ = ["TURN_SECONDS", "FullBlock", "PyramidWriter"]
