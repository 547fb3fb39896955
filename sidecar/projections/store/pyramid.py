"""Pyramid: pieces of each series of numbers in several sizes, so that a chart of any width reads few of them.

Derived from the blocks, and optional: a store without it gives the same buckets, only more slowly. Made by
`PyramidWriter` from blocks that are full and committed, as time allows; what has no pieces yet is read point by point.

The finest pieces, of level 0, have 64 values, those of each further level 16 times more. A row of the table ``pyramid``
holds up to 128 neighbouring pieces of one level::

    level 0    pieces of      64 values, one row for each full block
    level 1    pieces of   1,024 values, up to    16 blocks in a row
    level 2    pieces of  16,384 values, up to   256 blocks in a row
    level 3    pieces of 262,144 values, up to 4,096 blocks in a row

Within a row of the table steps increase strictly: a block's values are sorted by step, and of equal steps only the
last is used; a block that does not follow the one before it begins another row. When another row of a level begins,
the pieces of the one before are grouped into pieces of the next level; so at each level, the rows of the level above
are continued by the one row that is not yet grouped. A block with few values of a key has no pieces of it, and is
always read itself.

Times ascend with the steps, too; where they do not, the times of the pieces are infinite, and a reader that asks for
times reads finer pieces or the points.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import islice
from operator import le, lt
from typing import NamedTuple

from sidecar.projections.store.blocks import (
    Values,
    decode_floats,
    decode_ints,
    encode_floats,
    encode_ints,
)
from sidecar.projections.store.database import Database
from sidecar.projections.store.pieces import Figures, grouped, of_values
from sidecar.protocol.codec import pack, unpack

PIECE_VALUES = 64
"""Number of values in a piece of level 0."""

FAN_OUT = 16
"""Number of pieces that make a piece of the next level."""

TOP_LEVEL = 3
"""The coarsest level."""

FORMAT = 1
"""Version of the table, in the store's settings under ``pyramid``; a pyramid of another version is not used."""

TABLE = """
CREATE TABLE pyramid (
    key INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    level INTEGER NOT NULL,
    first INTEGER NOT NULL,
    end INTEGER NOT NULL,
    pieces INTEGER NOT NULL,
    total INTEGER NOT NULL,
    step_first INTEGER NOT NULL,
    step_last INTEGER NOT NULL,
    time_first REAL NOT NULL,
    time_last REAL NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (key, writer, level, first)
) WITHOUT ROWID
"""

_NUMBERS = {float, int, bool}


class Pieces(NamedTuple):
    """Neighbouring pieces of one series, in the order of steps.

    Attributes:
        step_first, step_last: smallest and largest step in each.
        time_first, time_last: smallest and largest time in each.
        figures: of the values.
    """

    step_first: Sequence[int]
    step_last: Sequence[int]
    time_first: Sequence[float]
    time_last: Sequence[float]
    figures: Figures


class Row(NamedTuple):
    """A row of the table, without its pieces.

    Attributes:
        level: see the module's documentation.
        first, end: numbers of the first row of the writer that it covers, and of the one after the last.
        pieces: number of its pieces.
        values: number of the values in the covered rows, those included that were replaced.
        step_first, step_last, time_first, time_last: range of its steps and times.
    """

    level: int
    first: int
    end: int
    pieces: int
    values: int
    step_first: int
    step_last: int
    time_first: float
    time_last: float


ROW_COLUMNS = "level, first, end, pieces, total, step_first, step_last, time_first, time_last"


def numbers_of(rows: Sequence[int] | None, values: Values) -> tuple[Sequence[int] | None, Sequence[float]]:
    """Return the values of a column that are numbers, as floats, and their rows; booleans are 0 and 1."""
    if isinstance(values, array):
        return rows, values if values.typecode == "d" else array("d", values)
    if not set(map(type, values)) <= _NUMBERS:
        chosen = [i for i, value in enumerate(values) if type(value) in _NUMBERS]
        values = [values[i] for i in chosen]
        rows = chosen if rows is None else [rows[i] for i in chosen]
    return rows, array("d", map(_float, values))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def last_of_each(steps: Sequence[int]) -> Sequence[int] | None:
    """Return the indexes of the points that count, in the order of steps; None for all, as they are."""
    if isinstance(steps, range) or all(map(lt, steps, islice(steps, 1, None))):
        return None
    last = {step: i for i, step in enumerate(steps)}
    return [last[step] for step in sorted(last)]


def pieces_of(steps: Sequence[int], times: Sequence[float], values: Sequence[float], in_time: bool) -> Pieces:
    """Return the pieces of level 0 of values whose steps increase strictly; `in_time`: whether the times ascend."""
    count = len(values)
    cuts = [(start, min(start + PIECE_VALUES, count)) for start in range(0, count, PIECE_VALUES)]
    figures = of_values(values.tolist() if isinstance(values, array) else values, cuts)
    return Pieces(
        [steps[start] for start, _ in cuts],
        [steps[end - 1] for _, end in cuts],
        [times[start] if in_time else -math.inf for start, _ in cuts],
        [times[end - 1] if in_time else math.inf for _, end in cuts],
        figures,
    )


def _in_time(pieces: Pieces) -> bool:
    """Return whether the times of pieces ascend."""
    return all(map(le, pieces.time_last, islice(pieces.time_first, 1, None)))


def coarser(pieces: Pieces) -> Pieces:
    """Return the pieces of the next level."""
    count = len(pieces.step_first)
    cuts = [(start, min(start + FAN_OUT, count)) for start in range(0, count, FAN_OUT)]
    in_time = _in_time(pieces)
    return Pieces(
        [pieces.step_first[start] for start, _ in cuts],
        [pieces.step_last[end - 1] for _, end in cuts],
        [pieces.time_first[start] if in_time else -math.inf for start, _ in cuts],
        [pieces.time_last[end - 1] if in_time else math.inf for _, end in cuts],
        grouped(pieces.figures, cuts),
    )


def joined(one: Pieces, other: Pieces) -> Pieces:
    """Return the pieces of both."""
    before, after = one.figures, other.figures
    return Pieces(
        [*one.step_first, *other.step_first],
        [*one.step_last, *other.step_last],
        [*one.time_first, *other.time_first],
        [*one.time_last, *other.time_last],
        Figures(
            [*before.low, *after.low],
            [*before.high, *after.high],
            [*before.mean, *after.mean],
            [*before.last, *after.last],
            [*before.n, *after.n],
            [*before.bad, *after.bad],
        ),
    )


def encode_pieces(pieces: Pieces) -> bytes:
    """Return pieces as bytes: their number, and each column as `blocks` encodes it, in a msgpack array."""
    figures = pieces.figures
    return pack(
        [
            *map(encode_floats, (figures.low, figures.high, figures.mean, figures.last)),
            *map(encode_ints, (figures.n, figures.bad, pieces.step_first, pieces.step_last)),
            *map(encode_floats, (pieces.time_first, pieces.time_last)),
        ]
    )


def decode_pieces(data: bytes, count: int) -> Pieces:
    """Return the `count` pieces that `encode_pieces` encoded.

    Raises:
        ValueError, RecordError: the data is not an encoding of `count` pieces.
    """
    low, high, mean, last, n, bad, step_first, step_last, time_first, time_last = unpack(data)
    return Pieces(
        decode_ints(step_first, count),
        decode_ints(step_last, count),
        decode_floats(time_first, count),
        decode_floats(time_last, count),
        Figures(
            decode_floats(low, count),
            decode_floats(high, count),
            decode_floats(mean, count),
            decode_floats(last, count),
            decode_ints(n, count),
            decode_ints(bad, count),
        ),
    )


def has_pyramid(database: Database) -> bool:
    """Return whether the store has a pyramid that can be used."""
    return database.run(
        "SELECT value FROM meta, sqlite_master AS table_ WHERE meta.name = 'pyramid' AND table_.name = 'pyramid'"
    ) == [(FORMAT,)]


def ensure_pyramid(database: Database) -> None:
    """Create the table, if the store has none that can be used: one that was made without it, or by another version."""
    if has_pyramid(database):
        return
    with database.transaction(write=True):
        database.run("DROP TABLE IF EXISTS pyramid")
        database.run("DELETE FROM meta WHERE name LIKE 'pyramid %'")
        database.run(TABLE)
        database.run("INSERT OR REPLACE INTO meta VALUES ('pyramid', ?)", (FORMAT,))


def row_of(level: int, first: int, end: int, values: int, pieces: Pieces) -> Row:
    in_time = _in_time(pieces)
    return Row(
        level,
        first,
        end,
        len(pieces.step_first),
        values,
        pieces.step_first[0],
        pieces.step_last[-1],
        pieces.time_first[0] if in_time else -math.inf,
        pieces.time_last[-1] if in_time else math.inf,
    )


__all__ = [
    "ROW_COLUMNS",
    "TOP_LEVEL",
    "Pieces",
    "Row",
    "coarser",
    "decode_pieces",
    "encode_pieces",
    "ensure_pyramid",
    "has_pyramid",
    "joined",
    "last_of_each",
    "numbers_of",
    "pieces_of",
    "row_of",
]
