"""Buckets of a store, compared with the simplest implementation."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.projections.store.buckets import Buckets, checked_grid
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.records import Record


class Point(NamedTuple):
    client: str
    step: int
    time: float
    data: dict[str, Any]


def write(path: Path, batches: Sequence[Sequence[Point]]) -> StoreReader:
    """Return the reader of a store to which these points were added, with a commit per batch."""
    with StoreWriter(path) as writer:
        for batch in batches:
            records = [Record("log", "r", p.client, 1, p.time, {"step": p.step, "data": p.data}) for p in batch]
            writer.add(records, writer.checkpoint + len(batch))
            writer.commit()
    return StoreReader(path)


def series_of(points: Sequence[Point], key: str, client: str) -> dict[int, tuple[float, float]]:
    """Return step -> (time, value) of the numbers of a key, the last of each step."""
    return {
        p.step: (p.time, float(p.data[key]))
        for p in points
        if p.client == client and type(p.data.get(key)) in (int, float)
    }


def plain_points(points: Sequence[Point], key: str, client: str, x: str) -> list[tuple[float, float]]:
    """Return (x, value) of a series, by x."""
    series = sorted(series_of(points, key, client).items())
    start = points[0].time
    at = series_of(points, x, client)
    pairs = [
        (
            {"step": float(step), "time": time, "relative": time - start}.get(x, at.get(step, (0.0, math.nan))[1]),
            value,
        )
        for step, (time, value) in series
    ]
    return sorted((pair for pair in pairs if math.isfinite(pair[0])), key=lambda pair: pair[0])


def check(
    found: Buckets, pairs: Sequence[tuple[float, float]], low: float | None, high: float | None, count: int
) -> None:
    """Each point of the range is in one bucket, in the order of x, whose figures are those of its points."""
    inside = [(x, y) for x, y in pairs if (low is None or x >= low) and (high is None or x <= high)]
    assert sum(found.n) + sum(found.bad) == len(inside)
    assert found.raw == (len(inside) <= count)
    assert len(found.n) <= count
    if found.raw:
        assert [*found.x_first] == [*found.x_last] == [x for x, _ in inside]
        assert list(map(repr, found.last)) == [repr(y) for _, y in inside]
    start = 0
    for x_first, x_last, smallest, largest, mean, last, n, bad in zip(*found[3:11], strict=True):
        part = inside[start : start + n + bad]
        start += n + bad
        finite = [y for _, y in part if math.isfinite(y)]
        assert (x_first, x_last) == (part[0][0], part[-1][0])
        assert (n, bad) == (len(finite), len(part) - len(finite))
        assert repr(last) == repr(part[-1][1])
        if finite:
            assert (smallest, largest) == (min(finite), max(finite))
            wanted = math.fsum(y / len(finite) for y in finite)
            assert mean == pytest.approx(wanted, rel=1e-9, abs=1e-9 * max(map(abs, finite)))
        else:
            assert all(map(math.isnan, (smallest, largest, mean)))


VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from(["text", True, math.nan, math.inf, -math.inf, 1.5, 2**53 + 1]),
)
POINTS = st.builds(
    Point,
    st.sampled_from(["a", "b"]),
    st.integers(-3, 40) | st.sampled_from([2**62, -(2**62)]),
    st.floats(0, 100),
    st.dictionaries(st.sampled_from(["loss", "acc", "epoch"]), VALUES, min_size=1),
)


@given(
    st.lists(st.lists(POINTS, min_size=1, max_size=12), min_size=1, max_size=4),
    st.sampled_from(["step", "time", "relative", "epoch", "loss"]),
    st.tuples(st.none() | st.integers(-5, 20), st.none() | st.integers(20, 60)),
    st.integers(1, 12),
)
@settings(max_examples=300)
def test_buckets_are_those_of_the_points(
    batches: list[list[Point]], x: str, ends: tuple[float | None, float | None], count: int
) -> None:
    points = [point for batch in batches for point in batch]
    low, high = ends
    with tempfile.TemporaryDirectory() as directory:
        found = list(write(Path(directory) / "s.db", batches).buckets(["loss", "acc"], x, low, high, count))
    order = list(dict.fromkeys(point.client for point in points))
    expected = [(key, client) for key in ("loss", "acc") for client in order if series_of(points, key, client)]
    assert [(one.key, one.writer) for one in found] == expected
    for one in found:
        numbers = [p for p in points if p.client == one.writer and type(p.data.get(one.key)) in (int, float)]
        assert one.total == len(numbers)
        check(one, plain_points(points, one.key, one.writer, x), low, high, count)


def test_intervals_have_equal_widths_or_ratios(tmp_path: Path) -> None:
    reader = write(tmp_path / "s.db", [[Point("a", step, step, {"loss": step}) for step in range(1, 1001)]])
    (even,) = reader.buckets(["loss"], count=10)
    assert [*even.n] == [100] * 10
    (ratios,) = reader.buckets(["loss"], count=3, log_x=True)
    assert [*ratios.x_first] == pytest.approx([1, 10, 100], abs=1)
    (wide,) = reader.buckets(["loss"], low=-1000, high=1000, count=4)
    assert [*wide.n] == [499, 501] and [*wide.x_first] == [1, 500]


def test_zero_and_less_have_no_place_on_a_logarithmic_axis(tmp_path: Path) -> None:
    reader = write(tmp_path / "s.db", [[Point("a", step, step, {"loss": step}) for step in range(-5, 6)]])
    (series,) = reader.buckets(["loss"], low=-5, log_x=True)
    assert [*series.x_first] == [1, 2, 3, 4, 5] and series.total == 11


@pytest.mark.parametrize(
    ("low", "high", "count", "log_x", "message"),
    [
        (math.nan, None, 1, False, "low must be a finite number or None, not nan"),
        (None, math.inf, 1, False, "high must be a finite number or None, not inf"),
        (2, 1, 1, False, "low must be at most high, but 2 > 1"),
        (None, None, 0, False, "count must be at least 1, not 0"),
        (None, -1, 1, True, "high must be positive on a logarithmic axis, not -1"),
    ],
)
def test_invalid_ranges(low: float, high: float, count: int, log_x: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_grid(low, high, count, log_x)
