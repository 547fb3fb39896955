"""Buckets of a run on a ClickHouse server: the server sums up the points, whatever their number.

Two or three queries for all keys together: the extent and the number of points of each series, then the points of the
series that have few, and the buckets of the others. Over another metric, all points are read; see `reader`.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sidecar.projections.store.buckets import Buckets, Grid, bucketed
from sidecar.projections.store.pieces import Line
from sidecar.sinks.clickhouse.schema import KINDS, quoted
from sidecar.sinks.clickhouse.wire import RowBinary

Answer = Callable[[str], contextlib.AbstractContextManager[RowBinary]]
"""Runs a query."""

_SCALE = 2.0**64
"""Values are divided by it before they are averaged, since their sum may be too large for a float64."""


class Source(NamedTuple):
    """The points of a run.

    Attributes:
        answer: runs a query.
        table: the table of points, in SQL.
        where: the condition for the points of the run and of the keys, in SQL.
        origin: start of the run for relative times, Unix seconds; else 0.
    """

    answer: Answer
    table: str
    where: str
    origin: float


class _Extent(NamedTuple):
    """A series: the range of its x and the number of its points inside the grid's range."""

    first: float
    last: float
    inside: int


def read_buckets(
    source: Source, keys: Sequence[str], x: str, grid: Grid, writers: Mapping[str, str | None]
) -> Iterator[Buckets]:
    """Yield the buckets of each key and writer over steps or times, as `StoreReader.buckets` does.

    Args:
        source: the points.
        keys: the metrics.
        x: ``"step"``, ``"time"`` or ``"relative"``.
        grid: the range and its division.
        writers: client id -> label, in the order of the writers.
    """
    points = _points(source, x)
    totals = _totals(source)
    extents = _extents(source.answer, points, grid)
    few = {name for name, extent in extents.items() if 0 < extent.inside <= grid.count}
    many = [name for name, extent in extents.items() if extent.inside > grid.count]
    lines = _read_points(source.answer, points, grid) if few else {}
    summed = _read_sums(source.answer, points, grid, {name: extents[name] for name in many}) if many else {}
    for key in keys:
        for client, label in writers.items():
            name = (key, client)
            if name not in totals:
                continue
            if name in summed:
                yield Buckets(key, client, label, *summed[name], totals[name], False)
            else:
                line = lines.get(name, Line()) if name in few else Line()
                yield bucketed(key, client, label, line, totals[name], grid)


def _points(source: Source, x: str) -> str:
    """Return the subquery for the points that count: of several with a step, the last one logged."""
    at = "toFloat64(step)" if x == "step" else f"argMax(time, seq) - {source.origin!r}" if source.origin else ""
    return (
        f"(SELECT key, client, step, {at or 'argMax(time, seq)'} AS x, argMax(number, seq) AS y"
        f" FROM {source.table} WHERE {source.where} AND {_numeric()} GROUP BY key, client, step)"
    )


def _numeric() -> str:
    return f"toInt8(kind) IN ({', '.join(str(KINDS[kind]) for kind in ('float', 'int', 'uint', 'bool'))})"


def _inside(grid: Grid) -> str:
    """Return the condition for points in the grid's range."""
    conditions = ["x > 0"] if grid.log else []
    if grid.low is not None:
        conditions.append(f"x >= {grid.low!r}")
    if grid.high is not None:
        conditions.append(f"x <= {grid.high!r}")
    return " AND ".join(conditions) or "1"


def _totals(source: Source) -> dict[tuple[str, str], int]:
    sql = (
        f"SELECT key, client, toInt64(uniqExact(seq)) FROM {source.table}"
        f" WHERE {source.where} AND {_numeric()} GROUP BY key, client"
    )
    with source.answer(sql) as rows:
        totals = {}
        while not rows.done():
            name = rows.text(), rows.text()
            totals[name] = rows.int64()
        return totals


def _extents(answer: Answer, points: str, grid: Grid) -> dict[tuple[str, str], _Extent]:
    sql = (
        f"SELECT key, client, min(x), max(x), toInt64(count()) FROM {points} WHERE {_inside(grid)} GROUP BY key, client"
    )
    with answer(sql) as rows:
        extents = {}
        while not rows.done():
            name = rows.text(), rows.text()
            extents[name] = _Extent(rows.float64(), rows.float64(), rows.int64())
        return extents


def _read_points(answer: Answer, points: str, grid: Grid) -> dict[tuple[str, str], Line]:
    sql = (
        "SELECT key, client, groupArray(step), groupArray(x), groupArray(y)"
        f" FROM (SELECT * FROM {points} WHERE {_inside(grid)} ORDER BY key, client, step"
        f" LIMIT {grid.count} BY key, client) GROUP BY key, client"
    )
    lines = {}
    with answer(sql) as rows:
        while not rows.done():
            name = rows.text(), rows.text()
            steps, xs, values = rows.numbers("q"), rows.numbers("d"), rows.numbers("d")
            line = Line()
            line.add_points(steps, xs, values)
            lines[name] = line if list(steps) == sorted(steps) else line.ordered(steps)
    return lines


_Floats: TypeAlias = "array[float]"
_Ints: TypeAlias = "array[int]"
_Columns: TypeAlias = tuple[_Floats, _Floats, _Floats, _Floats, _Floats, _Floats, _Ints, _Ints]


def _read_sums(
    answer: Answer, points: str, grid: Grid, extents: Mapping[tuple[str, str], _Extent]
) -> dict[tuple[str, str], _Columns]:
    names, lows, widths = [], [], []
    for (key, client), extent in extents.items():
        low = extent.first if grid.low is None or (grid.log and grid.low <= 0) else grid.low
        high = extent.last if grid.high is None else grid.high
        if grid.log:
            low, high = math.log(low), math.log(high)
        names.append(f"({quoted(key)}, {quoted(client)})")
        lows.append(repr(low))
        widths.append(repr((high / grid.count - low / grid.count) or 1.0))
    position = "log(x)" if grid.log else "x"
    keys = quoted_array([key for key, _ in extents])
    clients = quoted_array([client for _, client in extents])
    number = f"arrayFirstIndex((k, c) -> k = key AND c = client, {keys}, {clients})"
    sql = (
        "SELECT key, client, min(x), max(x), minIf(y, isFinite(y)), maxIf(y, isFinite(y)),"
        f" avgIf(y / {_SCALE!r}, isFinite(y)), argMax(y, x), toInt64(countIf(isFinite(y))), toInt64(count())"
        f" FROM (SELECT key, client, x, y, {number} AS number FROM {points} WHERE {_inside(grid)})"
        f" WHERE number > 0 GROUP BY key, client, least({grid.count - 1}, greatest(0, toInt64(floor(({position}"
        f" - [{', '.join(lows)}][number]) / [{', '.join(widths)}][number])))) AS bucket ORDER BY key, client, bucket"
    )
    found: dict[tuple[str, str], _Columns] = {}
    with answer(sql) as rows:
        while not rows.done():
            name = rows.text(), rows.text()
            if name not in found:
                found[name] = _empty()
            x_first, x_last, low, high, mean, last = (rows.float64() for _ in range(6))
            n, count = rows.int64(), rows.int64()
            if not n:
                low = high = mean = math.nan
            else:
                mean = min(max(mean * _SCALE, low), high)
            *floats, counts, bad = found[name]
            for column, value in zip(floats, (x_first, x_last, low, high, mean, last), strict=True):
                column.append(value)
            counts.append(n)
            bad.append(count - n)
    return found


def _empty() -> _Columns:
    one, two, three, four, five, six = (array("d") for _ in range(6))
    return one, two, three, four, five, six, array("q"), array("q")


def quoted_array(texts: Sequence[str]) -> str:
    """Return an array of strings in SQL."""
    return f"[{', '.join(map(quoted, texts))}]"


__all__ = ["Source", "read_buckets"]
