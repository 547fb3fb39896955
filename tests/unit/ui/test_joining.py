"""Several writers as one series, compared with one writer that logged everything."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.projections.store.buckets import Buckets
from tests.unit.run_builder import RunBuilder
from tracker.reading.api import Api
from tracker.ui.joining import joined


def series_of(points: Sequence[tuple[int, float]], low: float, high: float, count: int, writer: str) -> Buckets:
    """Return buckets as a store makes them, from points in the order of x."""
    inside = [(x, value) for x, value in points if low <= x <= high]
    raw = len(inside) <= count
    groups: dict[float, list[tuple[int, float]]] = {}
    for at, (x, value) in enumerate(inside):
        index = at if raw else min(count - 1, int((x - low) * count / (high - low)))
        groups.setdefault(index, []).append((x, value))
    columns = [array("d") for _ in range(6)]
    counts: array[int] = array("q")
    for group in groups.values():
        values = [value for _, value in group]
        row = (group[0][0], group[-1][0], min(values), max(values), sum(values) / len(values), values[-1])
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        counts.append(len(group))
    x_first, x_last, lows, highs, means, lasts = columns
    bad = array("q", [0] * len(counts))
    return Buckets("k", writer, writer, x_first, x_last, lows, highs, means, lasts, counts, bad, len(points), raw)


points = st.lists(st.tuples(st.integers(0, 100), st.integers(-50, 50).map(float)), max_size=60).map(
    lambda found: sorted(dict(found).items())
)


@given(first=points, second=points, count=st.integers(1, 50), asked=st.booleans())
def test_no_point_is_lost(
    first: list[tuple[int, float]], second: list[tuple[int, float]], count: int, asked: bool
) -> None:
    def read(low: float, high: float) -> list[Buckets]:
        return [series_of(part, low, high, count, name) for name, part in (("a", first), ("b", second))]

    every = sorted([*first, *second])
    found = [
        series_of(part, part[0][0] if part else 0, part[-1][0] if part else 0, count, name) if not asked else one
        for (name, part), one in zip((("a", first), ("b", second)), read(0, 100), strict=True)
    ]
    one = joined(found, read, 0.0 if asked else None, 100.0 if asked else None, count, False)
    assert one.total == len(every) and sum(one.n) == len(every) and len(one.x_first) <= max(count, 0)
    assert list(one.x_first) == sorted(one.x_first)
    assert one.raw == (len(every) <= count)
    if every:
        assert (one.x_first[0], max(one.x_last)) == (every[0][0], every[-1][0])
        assert (min(one.low), max(one.high)) == (min(v for _, v in every), max(v for _, v in every))
        mean = sum(map(math.prod, zip(one.mean, one.n, strict=True)))
        assert mean == pytest.approx(sum(value for _, value in every), abs=1e-9)


def test_a_run_of_two_writers(tmp_path: Path) -> None:
    built = RunBuilder(tmp_path, "run", label="a")
    built.write("run", {"label": "b"}, "client000002")
    for step in range(3000):
        built.row(step, loss=1.0)
        built.row(step, "client000002", loss=3.0 if step else math.nan)
    built.finish()
    store = Api(tmp_path).run("run").store()

    def read(low: float | None, high: float | None) -> list[Buckets]:
        return list(store.buckets(["loss"], "step", low, high, 100))

    one = joined(read(None, None), read, None, None, 100, False)
    assert len(one.x_first) <= 100 and one.total == 6000 and sum(one.n) == 5999 and sum(one.bad) == 1
    assert set(one.low) == {1.0} and set(one.high) == {3.0} and one.mean[-1] == 2.0
