"""Sampling of a run on a ClickHouse server: some rows of a long history that keep the extremes of each metric.

The server finds the extremes of each interval, so that neither it nor this process holds more than the answer. Three
queries: the extent of the points, the extremes, and the rows that have them. See also `projections.store.sampling`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sidecar.sinks.clickhouse.buckets import Source
from sidecar.sinks.clickhouse.points import decode_one
from sidecar.sinks.clickhouse.schema import quoted

MIN_POINTS = 100_000
"""Minimum number of points for which sampling by the server is worth it."""

_STEPS_AT_ONCE = 5_000
"""Maximum number of rows that a query names."""


class SupersededError(Exception):
    """An extreme was replaced by a later value of its step: the run must be sampled by reading all of it."""


class _Choice(NamedTuple):
    """A value that is to be in the sample; None: any value."""

    client: str
    step: int
    key: str
    value: float | None


_Extreme = tuple[float, float, int, int, str]
"""Value, x, ordinal of the writer, step, and the writer."""


def sample(
    source: Source, keys: Sequence[str], samples: int, x: str, writers: Mapping[str, str | None]
) -> dict[str, list[Any]] | None:
    """Return at most `samples` rows as `rows.history` does; None if the run is short: then all rows can be read.

    Args:
        source: the points of the keys.
        keys: the metrics.
        samples: maximum number of rows, at least 1.
        x: ``"step"`` or ``"time"``.
        writers: client id -> label, in the order of the writers.

    Raises:
        SupersededError: it must be done by reading all rows.
    """
    column = "toFloat64(step)" if x == "step" else "time"
    with source.answer(
        f"SELECT toInt64(count()), min({column}), max({column}) FROM {source.table} WHERE {source.where}"
    ) as rows:
        points, low, high = rows.int64(), rows.float64(), rows.float64()
    if points < MIN_POINTS or points <= samples * len(keys):
        return None
    count = max(1, samples // (2 * len(keys)))
    ordinals = {client: number for number, client in enumerate(writers)}
    chosen = _choose(source, column, _interval(column, low, high, count), ordinals)
    found = []
    for (client, step), (time, row) in _rows(source, chosen).items():
        found.append((time if x == "time" else step, ordinals.get(client, 0), step, time, writers.get(client), row))
    found.sort(key=itemgetter(0, 1, 2))
    if len(found) > samples:  # two for each key were too many
        found = [found[i * len(found) // samples] for i in range(samples)]
    columns: dict[str, list[Any]] = {
        "_step": [one[2] for one in found],
        "_timestamp": [one[3] for one in found],
        "_label": [one[4] for one in found],
    }
    columns.update((key, [one[5].get(key) for one in found]) for key in keys)
    return columns


def _interval(x: str, low: float, high: float, count: int) -> str:
    """Return the SQL for the number of the interval of a point; a bound is in the interval above it."""
    width = (high - low) / count
    if not 0 < width < math.inf:
        return "0"
    near = f"floor(({x} - ({low!r})) / {width!r})"  # rounded: it may be the one below or above
    number = f"{near} - ({x} < {low!r} + {width!r} * {near}) + ({x} >= {low!r} + {width!r} * ({near} + 1))"
    return f"least({count - 1}, greatest(0, toInt64({number})))"


def _choose(source: Source, x: str, interval: str, ordinals: Mapping[str, int]) -> list[_Choice]:
    """Return the smallest and the largest number of each key in each interval; without numbers, the first value."""
    number = "NOT isNaN(number)"  # of other values it is NaN
    least = f"tuple(number, {x}, step)"
    most = f"tuple(-number, {x}, step)"
    sql = (
        f"SELECT key, client, {interval} AS part, toInt64(countIf({number})),"
        f" minIf(number, {number}), maxIf(number, {number}),"
        f" argMinIf({x}, {least}, {number}), argMinIf(step, {least}, {number}),"
        f" argMinIf({x}, {most}, {number}), argMinIf(step, {most}, {number}),"
        f" min({x}), argMin(step, tuple({x}, step))"
        f" FROM {source.table} WHERE {source.where} GROUP BY key, client, part"
    )
    smallest: dict[tuple[str, int], _Extreme] = {}
    largest: dict[tuple[str, int], _Extreme] = {}
    first: dict[tuple[str, int], tuple[float, int, int, str]] = {}
    with source.answer(sql) as rows:
        while not rows.done():
            key, client = rows.text(), rows.text()
            place, numbers = (key, rows.int64()), rows.int64()
            low, high = rows.float64(), rows.float64()
            low_x, low_step, high_x, high_step = rows.float64(), rows.int64(), rows.float64(), rows.int64()
            first_x, first_step = rows.float64(), rows.int64()
            ordinal = ordinals.get(client, 0)
            if numbers:
                one = (low, low_x, ordinal, low_step, client)
                smallest[place] = min(smallest.get(place, one), one)
                other = (-high, high_x, ordinal, high_step, client)
                largest[place] = min(largest.get(place, other), other)
            value = (first_x, ordinal, first_step, client)
            first[place] = min(first.get(place, value), value)
    chosen = [_Choice(one[4], one[3], key, one[0]) for (key, _), one in smallest.items()]
    chosen += [_Choice(one[4], one[3], key, -one[0]) for (key, _), one in largest.items()]
    chosen += [_Choice(one[3], one[2], place[0], None) for place, one in first.items() if place not in smallest]
    return chosen


def _rows(source: Source, chosen: Sequence[_Choice]) -> dict[tuple[str, int], tuple[float, dict[str, Any]]]:
    """Return (client, step) -> time and values of the chosen rows; of several values of a key, the last."""
    rows: dict[tuple[str, int], tuple[float, dict[str, Any]]] = {}
    numbers: dict[tuple[str, int, str], float] = {}
    wanted = {(choice.client, choice.step, choice.key) for choice in chosen}
    for where in _conditions({(choice.client, choice.step) for choice in chosen}):
        sql = (
            "SELECT client, step, key, argMax(toInt8(kind), seq), argMax(number, seq), argMax(integer, seq),"
            f" argMax(text, seq), argMax(time, seq) FROM {source.table} WHERE {source.where} AND ({where})"
            " GROUP BY client, step, key"
        )
        with source.answer(sql) as answer:
            while not answer.done():
                client, step, key, kind = answer.text(), answer.int64(), answer.text(), answer.int8()
                number, integer, raw, time = answer.float64(), answer.int64(), answer.raw(), answer.float64()
                latest, row = rows.get((client, step), (time, {}))
                row[key] = decode_one(kind, number, integer, raw)
                rows[client, step] = max(latest, time), row
                if (client, step, key) in wanted:
                    numbers[client, step, key] = number
    if any(one.value is not None and numbers.get(one[:3]) != one.value for one in chosen):
        raise SupersededError
    return rows


def _conditions(places: set[tuple[str, int]]) -> Iterator[str]:
    """Yield conditions for (client, step), several at a time."""
    ordered = sorted(places)
    for start in range(0, len(ordered), _STEPS_AT_ONCE):
        steps: dict[str, list[str]] = {}
        for client, step in ordered[start : start + _STEPS_AT_ONCE]:
            steps.setdefault(client, []).append(str(step))
        yield " OR ".join(
            f"(client = {quoted(client)} AND step IN ({', '.join(some)}))" for client, some in steps.items()
        )


__all__ = ["SupersededError", "sample"]
