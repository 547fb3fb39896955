"""The buckets of several writers of one run, joined to one series. Pure functions."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sidecar.projections.store.buckets import Buckets

Read = Callable[[float, float], Sequence[Buckets]]
"""Reads the series of all writers in a range of x."""


class _Piece(NamedTuple):
    """One bucket of one writer."""

    x_first: float
    x_last: float
    low: float
    high: float
    mean: float
    last: float
    n: int
    bad: int


def joined(
    found: Sequence[Buckets], read: Read, low: float | None, high: float | None, count: int, log: bool
) -> Buckets:
    """Return the series of several writers as one.

    Args:
        found: the series of each writer, at least one, all of one key.
        read: reads them again, on a common grid.
        low, high: the range that was asked for; None for that of all writers.
        count: maximum number of buckets.
        log: whether buckets have equal ratios of x.
    """
    if len(found) == 1:
        return found[0]
    filled = [one for one in found if len(one.x_first)]
    total = sum(one.total for one in found)
    if filled and not (all(one.raw for one in filled) and sum(len(one.x_first) for one in filled) <= count):
        low = min(one.x_first[0] for one in filled) if low is None else low
        high = max(one.x_last[-1] for one in filled) if high is None else high
        filled = [one for one in read(low, high) if len(one.x_first)]
    pieces = heapq.merge(*map(_pieces, filled), key=attrgetter("x_first"))
    if all(one.raw for one in filled) and sum(len(one.x_first) for one in filled) <= count:
        return _series(found[0].key, list(pieces), total, raw=True)
    assert low is not None and high is not None
    index = _interval(low, high, count, log)
    groups = groupby(sorted(pieces, key=index), key=index)
    return _series(found[0].key, [_merged(list(group)) for _, group in groups], total, raw=False)


def _pieces(one: Buckets) -> Iterator[_Piece]:
    return map(_Piece, one.x_first, one.x_last, one.low, one.high, one.mean, one.last, one.n, one.bad)


def _interval(low: float, high: float, count: int, log: bool) -> Callable[[_Piece], int]:
    """Return the function from a piece to the number of the interval that its middle lies in."""
    log = log and low > 0
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    scale = count / (end - start) if end > start else 0.0

    def index(piece: _Piece) -> int:
        middle = piece.x_first + (piece.x_last - piece.x_first) / 2
        return min(count - 1, int(((math.log(middle) if log else middle) - start) * scale))

    return index


def _merged(pieces: Sequence[_Piece]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    finite = [piece for piece in pieces if piece.n]
    n = sum(piece.n for piece in finite)
    return _Piece(
        min(piece.x_first for piece in pieces),
        max(piece.x_last for piece in pieces),
        min((piece.low for piece in finite), default=math.nan),
        max((piece.high for piece in finite), default=math.nan),
        sum(piece.mean * (piece.n / n) for piece in finite) if n else math.nan,
        max(pieces, key=attrgetter("x_last")).last,
        n,
        sum(piece.bad for piece in pieces),
    )


def _series(key: str, pieces: Sequence[_Piece], total: int, *, raw: bool) -> Buckets:
    columns: list[Any] = [
        array("d" if index < 6 else "q", column) for index, column in enumerate(zip(*pieces, strict=True))
    ]
    x_first, x_last, low, high, mean, last, n, bad = columns or [
        *(array("d") for _ in range(6)),
        array("q"),
        array("q"),
    ]
    return Buckets(key, "", None, x_first, x_last, low, high, mean, last, n, bad, total, raw)
