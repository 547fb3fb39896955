"""Buckets of a store, compared with the simplest implementation."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.projections.store import pyramid, pyramid_writer, writer
from sidecar.projections.store.buckets import Buckets, checked_grid
from sidecar.projections.store.cache import BucketCache
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import StoreError
from sidecar.protocol.records import Record

CACHE = BucketCache()
"""Shared by all examples, as a server does."""


class Point(NamedTuple):
    client: str
    step: int
    time: float
    data: dict[str, Any]


def write(path: Path, batches: Sequence[Sequence[Point]], turns: Sequence[int] = (1000,)) -> StoreReader:
    """Return the reader of a store to which these points were added, with a commit per batch.

    Args:
        turns: how many columns get pieces after each batch, again and again.
    """
    with StoreWriter(path) as store:
        for number, batch in enumerate(batches):
            records = [Record("log", "r", p.client, 1, p.time, {"step": p.step, "data": p.data}) for p in batch]
            store.add(records, store.checkpoint + len(batch))
            store.commit()
            for _ in range(turns[number % len(turns)]):
                if not store.make_pieces(0.0):
                    break
    return StoreReader(path)


def series_of(points: Sequence[Point], key: str, client: str) -> dict[int, tuple[float, float]]:
    """Return step -> (time, value) of the numbers of a key, the last of each step."""
    return {
        p.step: (p.time, float(p.data[key]))
        for p in points
        if p.client == client and type(p.data.get(key)) in (int, float, bool)
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
@settings(max_examples=120)
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
        numbers = [p for p in points if p.client == one.writer and type(p.data.get(one.key)) in (int, float, bool)]
        assert one.total == len(numbers)
        check(one, plain_points(points, one.key, one.writer, x), low, high, count)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and pieces of a few rows, so that small stores have pyramids of all levels."""
    monkeypatch.setattr(writer, "BLOCK_ROWS", 8)
    for module, name, value in (
        (pyramid, "PIECE_VALUES", 2),
        (pyramid, "FAN_OUT", 2),
        (pyramid_writer, "ROW_PIECES", 4),
        (pyramid_writer, "MIN_VALUES", 3),
    ):
        monkeypatch.setattr(module, name, value)


PARTS = st.lists(
    st.tuples(
        st.integers(1, 60),  # rows
        st.sampled_from([0, 0, 0, -5, -30, 7]),  # how far the steps jump before them
        st.sampled_from([1, 1, 1, 2, 0, -1]),  # from step to step
        st.sampled_from([1.0, 1.0, 0.0, 2.5]),  # from time to time
        st.sampled_from("aab"),  # the writer
        st.sampled_from([("y",), ("y", "z"), ("z",), ("y", "z", "w")]),
        st.randoms(use_true_random=False),
        st.booleans(),  # NaN, infinities and text among the values
    ),
    min_size=1,
    max_size=8,
)


def points_of(parts: Any) -> list[Point]:
    points: list[Point] = []
    step, time = 0, 0.0
    for rows, jump, stride, seconds, client, keys, random, odd in parts:
        step += jump
        for _ in range(rows):
            values: list[Any] = [random.gauss(0, 1) for _ in keys]
            if odd and random.random() < 0.3:
                values[0] = random.choice([math.nan, math.inf, -math.inf, "text", True, 7, 2**63])
            points.append(Point(client, step, time, dict(zip(keys, values, strict=True))))
            step, time = step + stride, time + seconds
    return points


@pytest.mark.usefixtures("tiny")
@given(
    PARTS,
    st.integers(5, 50),
    st.sampled_from(["step", "time", "relative"]),
    st.tuples(st.none() | st.integers(-20, 200), st.none() | st.integers(201, 400)),
    st.sampled_from([1, 3, 10, 40]),
    st.booleans(),
    st.lists(st.sampled_from([0, 1, 2, 5, 1000]), min_size=1, max_size=4),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pyramids_change_nothing(
    parts: Any,
    batch: int,
    x: str,
    ends: tuple[int | None, int | None],
    count: int,
    log_x: bool,
    turns: list[int],
) -> None:
    points = points_of(parts)
    low, high = ends
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.db"
        reader = write(path, [points[at : at + batch] for at in range(0, len(points), batch)], turns)
        found = list(reader.buckets(["y", "z", "w"], x, low, high, count, log_x=log_x, cache=CACHE))
        again = list(reader.buckets(["y", "z", "w"], x, low, high, count, log_x=log_x, cache=CACHE))
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TABLE pyramid")
        plain = list(reader.buckets(["y", "z", "w"], x, low, high, count, log_x=log_x))
    assert repr(found) == repr(again)
    assert [(one.key, one.writer, one.label, one.total, one.raw) for one in found] == [
        (one.key, one.writer, one.label, one.total, one.raw) for one in plain
    ]
    floor = max(low or 5e-324, 5e-324) if log_x else low
    for one in found:
        pairs = plain_points(points, one.key, one.writer, x)
        if log_x:
            pairs = [pair for pair in pairs if pair[0] > 0]
        check(one, pairs, floor, high, count)


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


def test_one_value_of_many_is_seen_at_any_zoom(tmp_path: Path) -> None:
    """At the real size of blocks; a zoom ends in the points."""
    points = [Point("a", step, step / 10, {"y": math.sin(step / 1000)}) for step in range(200_000)]
    points[123_456].data["y"] = 77.0
    reader = write(tmp_path / "s.db", [points[at : at + 9000] for at in range(0, 200_000, 9000)])
    low, high = 0.0, 199_999.0
    while high - low > 100:
        for count in (1, 37, 400, 4000):
            for x, scale in (("step", 1.0), ("time", 0.1)):
                (series,) = reader.buckets(["y"], x, low * scale, high * scale, count)
                assert max(series.high) == 77.0
                at = series.high.index(77.0)
                assert series.x_first[at] <= 123_456 * scale <= series.x_last[at]
                assert sum(series.n) == sum(low * scale <= step * scale <= high * scale for step in _steps(low, high))
        low, high = low + (123_456 - low) * 0.6, high - (high - 123_456) * 0.6
    (series,) = reader.buckets(["y"], low=low, high=high)
    assert series.raw and series.last[series.x_first.index(123_456.0)] == 77.0


def _steps(low: float, high: float) -> range:
    return range(math.floor(low), math.ceil(high) + 1)


def test_an_older_store_is_read_and_continued(tmp_path: Path) -> None:
    """Without the table, its blocks are read point by point; the next writer makes the pieces of all."""
    path = tmp_path / "s.db"
    points = [Point("a", step, step, {"y": float(step % 1000)}) for step in range(40_000)]
    write(path, [points[:15_000]])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE pyramid")
        connection.execute("DELETE FROM meta WHERE name LIKE 'pyramid%'")
    (before,) = StoreReader(path).buckets(["y"], count=50)
    check(before, [(p.time, p.data["y"]) for p in points[:15_000]], None, None, 50)
    reader = write(path, [points[15_000:]])
    assert _covered(path) == [(0, 32_768)]
    (after,) = reader.buckets(["y"], count=50)
    check(after, [(p.time, p.data["y"]) for p in points], None, None, 50)


def _covered(path: Path) -> list[tuple[int, int]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT min(first), max(end) FROM pyramid").fetchall()


def test_a_pyramid_without_its_entry_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    points = [Point("a", step, step, {"y": float(step % 1000)}) for step in range(40_000)]
    write(path, [points])
    rows = _pyramid(path)
    assert len(rows) == 4 + 1
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE name LIKE 'pyramid %'")
    with StoreWriter(path) as store:
        assert store.pieces_pending
        assert not store.make_pieces()
    with StoreWriter(path) as store:
        assert store.pieces_pending, "only a turn finds out that all are made"
    assert _pyramid(path) == rows


def _pyramid(path: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM pyramid ORDER BY key, writer, level, first").fetchall()


def test_pieces_are_made_in_turns_after_the_commit(tmp_path: Path) -> None:
    """A turn ends with a column; the next writer continues where the last one stopped."""
    path = tmp_path / "s.db"
    points = [Point("a", step, step, {f"k{i}": float(step % (7 + i)) for i in range(3)}) for step in range(17_000)]
    write(path, [points], turns=[0])
    assert _pyramid(path) == []
    version = StoreReader(path).version()
    for columns in range(1, 7):
        with StoreWriter(path) as store:
            assert store.make_pieces(0.0)
        assert len([row for row in _pyramid(path) if row[2] == 0]) == columns
        for one in StoreReader(path).buckets(["k0", "k1", "k2"], count=50):
            check(one, [(p.time, p.data[one.key]) for p in points], None, None, 50)
    with StoreWriter(path) as store:
        assert not store.make_pieces(0.0)
    with StoreWriter(path) as store:
        assert store.pieces_pending and not store.make_pieces(0.0)
    assert StoreReader(path).version() == version, "what the store holds is the same"
    write(other := tmp_path / "other.db", [points])
    assert _pyramid(path) == _pyramid(other)


def test_pieces_that_cannot_be_written_are_made_later(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    points = [Point("a", step, step, {"y": float(step)}) for step in range(10_000)]
    write(path, [points], turns=[0])
    with StoreWriter(path) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TRIGGER t BEFORE INSERT ON pyramid BEGIN SELECT RAISE(ABORT, 'no'); END")
            with pytest.raises(StoreError, match="no"):
                store.make_pieces()
            assert store.pieces_pending and _pyramid(path) == []
            connection.execute("DROP TRIGGER t")
        assert not store.make_pieces()
    assert _covered(path) == [(0, 8192)]


def test_booleans_are_zeros_and_ones(tmp_path: Path) -> None:
    """Also those of full blocks, which have pieces."""
    points = [Point("a", step, float(step), {"passed": step % 4 == 0}) for step in range(20_000)]
    with contextlib.closing(write(tmp_path / "store.db", [points])) as reader:
        (one,) = reader.buckets(["passed"], count=10)
        assert one.total == 20_000 and set(one.mean) == {0.25} and set(one.low) == {0.0} and set(one.high) == {1.0}
        (few,) = reader.buckets(["passed"], low=0, high=4, count=10)
        assert list(few.mean) == [1.0, 0.0, 0.0, 0.0, 1.0] and few.raw
