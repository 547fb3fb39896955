"""Buckets of a run whose reader has none of its own: made from every point of the blocks that it reads."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import Block
from tracker.reading.api import StoredRun


class PlainBuckets(NamedTuple):
    """The buckets of one key and writer, in ascending order of x.

    Attributes:
        key, writer, label: the metric, the writer's client id, the writer's name.
        x_first, x_last: x of the first and the last point.
        low, high, mean: of the finite values; NaN without any.
        last: the last value, finite or not.
        n, bad: number of finite values, and of others.
        total: number of points of the series.
        raw: whether each bucket is one point.
    """

    key: str
    writer: str
    label: str | None
    x_first: array[float]
    x_last: array[float]
    low: array[float]
    high: array[float]
    mean: array[float]
    last: array[float]
    n: array[int]
    bad: array[int]
    total: int
    raw: bool


def plain_buckets(
    run: StoredRun,
    keys: Sequence[str],
    x: str = "step",
    low: float | None = None,
    high: float | None = None,
    count: int = 400,
    log_x: bool = False,
) -> Iterator[PlainBuckets]:
    """Yield the buckets of each key and writer; see `PlainBuckets`."""
    points: dict[tuple[str, str], tuple[array[float], array[float]]] = {}
    labels: dict[str, str | None] = {}
    wanted = [*keys, x] if x not in ("step", "relative", "time") else list(keys)
    start = run.start_time or 0.0
    for block in run.store().columns(wanted):
        labels[block.writer] = block.label
        along = _along(block, x, start)
        for key in keys:
            if key in block.columns:
                rows, values = block.columns[key]
                xs, ys = points.setdefault((key, block.writer), (array("d"), array("d")))
                for row, value in zip(range(len(values)) if rows is None else rows, values, strict=True):
                    at = along[row]
                    if at is not None and isinstance(value, int | float):
                        xs.append(at)
                        ys.append(value)
    for (key, writer), (xs, ys) in points.items():
        yield _bucketed(key, writer, labels[writer], xs, ys, low, high, count, log_x)


def _along(block: Block, x: str, start: float) -> Sequence[float | None]:
    if x == "step":
        return block.steps
    if x == "time":
        return block.times
    if x == "relative":
        return [moment - start for moment in block.times]
    found: list[float | None] = [None] * len(block.steps)
    rows, values = block.columns.get(x, ((), ()))
    for row, value in zip(range(len(values)) if rows is None else rows, values, strict=True):
        if isinstance(value, int | float) and math.isfinite(value):
            found[row] = value
    return found


def _bucketed(
    key: str,
    writer: str,
    label: str | None,
    xs: Sequence[float],
    ys: Sequence[float],
    low: float | None,
    high: float | None,
    count: int,
    log_x: bool,
) -> PlainBuckets:
    total = len(xs)
    pairs: list[tuple[float, float]] = sorted(zip(xs, ys, strict=True), key=_first)
    pairs = [
        (at, value)
        for at, value in pairs
        if (low is None or at >= low) and (high is None or at <= high) and not (log_x and at <= 0)
    ]
    groups: Iterable[list[tuple[float, float]]]
    raw = len(pairs) <= count
    if raw:
        groups = ([pair] for pair in pairs)
    else:
        groups = _cut(pairs, low, high, count, log_x)
    columns: list[Any] = [array("d") for _ in range(6)] + [array("q"), array("q")]
    for group in groups:
        values = [value for _, value in group if math.isfinite(value)]
        n = len(values)
        row = (
            group[0][0],
            group[-1][0],
            min(values, default=math.nan),
            max(values, default=math.nan),
            sum(value / n for value in values) if n else math.nan,
            group[-1][1],
            n,
            len(group) - n,
        )
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    x_first, x_last, lows, highs, means, lasts, n, bad = columns
    return PlainBuckets(key, writer, label, x_first, x_last, lows, highs, means, lasts, n, bad, total, raw)


def _first(pair: tuple[float, float]) -> float:
    return pair[0]


def _cut(
    pairs: Sequence[tuple[float, float]], low: float | None, high: float | None, count: int, log_x: bool
) -> Iterator[list[tuple[float, float]]]:
    place = math.log if log_x else float
    least = place(pairs[0][0] if low is None or (log_x and low <= 0) else low)
    most = place(pairs[-1][0] if high is None else high)
    scale = count / (most - least) if most > least else 0.0
    current = -1
    group: list[tuple[float, float]] = []
    for pair in pairs:
        index = min(count - 1, int((place(pair[0]) - least) * scale))
        if index != current and group:
            yield group
            group = []
        current = index
        group.append(pair)
    if group:
        yield group
