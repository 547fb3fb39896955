"""Blocks and buckets as plain data, in the forms of the store's own columns, to be sent elsewhere. Pure, no I/O."""

from __future__ import annotations

from typing import Any

from sidecar.projections.store.blocks import (
    Block,
    decode_column,
    decode_floats,
    decode_ints,
    encode_column,
    encode_floats,
    encode_ints,
)
from sidecar.projections.store.buckets import Buckets

_FLOATS = ("x_first", "x_last", "low", "high", "mean", "last")
_COUNTS = ("n", "bad")


def block_to_plain(block: Block) -> list[Any]:
    """Return a block as plain data."""
    columns = {key: list(encode_column(column)) for key, column in block.columns.items()}
    steps, times = encode_ints(block.steps), encode_floats(block.times)
    count = len(block.steps)
    return [block.writer, block.label, block.ordinal, block.first, block.floor, count, steps, times, columns]


def block_from_plain(plain: Any) -> Block:
    """Return what `block_to_plain` was given.

    Raises:
        ValueError, TypeError, AttributeError, RecordError: it is not valid.
    """
    writer, label, ordinal, first, floor, count, steps, times, columns = plain
    decoded = {key: decode_column(type_, rows, data, count) for key, (type_, rows, data) in columns.items()}
    return Block(writer, label, ordinal, first, decode_ints(steps, count), decode_floats(times, count), decoded, floor)


def buckets_to_plain(buckets: Buckets) -> list[Any]:
    """Return buckets as plain data."""
    floats = [encode_floats(getattr(buckets, name)) for name in _FLOATS]
    counts = [encode_ints(getattr(buckets, name)) if buckets.n else b"" for name in _COUNTS]
    return [buckets.key, buckets.writer, buckets.label, buckets.total, buckets.raw, len(buckets.n), *floats, *counts]


def buckets_from_plain(plain: Any) -> Buckets:
    """Return what `buckets_to_plain` was given.

    Raises:
        ValueError, TypeError, RecordError: it is not valid.
    """
    key, writer, label, total, raw, count, *arrays = plain
    floats = [decode_floats(data, count) for data in arrays[: len(_FLOATS)]]
    counts = [decode_ints(data if count else b"q", count) for data in arrays[len(_FLOATS) :]]
    x_first, x_last, low, high, mean, last = floats
    n, bad = counts
    return Buckets(key, writer, label, x_first, x_last, low, high, mean, last, n, bad, total, raw)
