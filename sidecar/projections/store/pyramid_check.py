"""Checks a store's pyramid against the blocks that it was made from. Reads only, in short transactions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

from sidecar.projections.store.blocks import decode_column
from sidecar.projections.store.database import Database
from sidecar.projections.store.pyramid import (
    ROW_COLUMNS,
    Pieces,
    Row,
    coarser,
    decode_pieces,
    encode_pieces,
    has_pyramid,
    joined,
    row_of,
)
from sidecar.projections.store.pyramid_writer import FullBlock
from sidecar.protocol.errors import RecordError


class PyramidCheck:
    """Makes the pieces again, and compares them: those of a block with its values, others with the next finer ones.

    Args:
        database: the store, for reading.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._block: FullBlock | None = None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, a line for each row of the pyramid."""
        if not has_pyramid(self._database):
            return
        names = dict(self._database.run("SELECT id, name FROM key"))
        places = self._database.run("SELECT level, writer, first, key FROM pyramid ORDER BY 1, 2, 3, 4")
        for level, writer, first, key in places:
            with self._database.transaction():
                right = self._is_right(level, writer, first, key)
            if not right:
                yield (
                    f"pieces of level {level} of {names.get(key)!r}, from row {first} of writer {writer} on, do not "
                    "agree with the values, so charts would be wrong"
                )

    def _is_right(self, level: int, writer: int, first: int, key: int) -> bool:
        rows = self._read("level = ? AND first = ?", (key, writer, level, first))
        if not rows:
            return True  # it was extended or replaced since
        row, data = rows[0]
        try:
            made = self._of_finer(row, writer, key) if level else self._of_block(row, writer, key)
        except (ValueError, TypeError, RecordError):
            return False
        return made is not None and made[0] == row and encode_pieces(made[1]) == data

    def _read(self, condition: str, values: tuple[int, ...]) -> list[tuple[Row, bytes]]:
        found = self._database.run(
            f"SELECT {ROW_COLUMNS}, data FROM pyramid WHERE key = ? AND writer = ? AND {condition} ORDER BY first",
            values,
        )
        return [(Row(*one[:-1]), one[-1]) for one in found]

    def _of_block(self, row: Row, writer: int, key: int) -> tuple[Row, Pieces] | None:
        found = self._database.run(
            "SELECT block.id, block.first, block.rows, steps, times, type, column.rows, data FROM block"
            " JOIN column ON block = block.id AND key = ? WHERE writer = ? AND first = ?",
            (key, writer, row.first),
        )
        if not found:
            return None
        id_, first, count, steps, times, type_, rows, data = found[0]
        if self._block is None or self._block.id != id_:
            self._block = FullBlock(id_, first, count, steps, times)
        return self._block.pieces(decode_column(type_, rows, data, count))

    def _of_finer(self, row: Row, writer: int, key: int) -> tuple[Row, Pieces] | None:
        finer = self._read("level = ? AND first >= ? AND first < ?", (key, writer, row.level - 1, row.first, row.end))
        if not finer:
            return None
        pieces = reduce(joined, [coarser(decode_pieces(data, one.pieces)) for one, data in finer])
        values = sum(one.values for one, _ in finer)
        return row_of(row.level, finer[0][0].first, finer[-1][0].end, values, pieces), pieces


__all__ = ["PyramidCheck"]
