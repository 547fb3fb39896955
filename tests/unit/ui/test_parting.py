"""tracker.ui.parting: the first step at which two curves differ."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.run_builder import RunBuilder
from tracker import Api
from tracker.reading.reader import RunReader
from tracker.ui.parting import Parting, Split, parting, parts

Make = Callable[[Sequence[tuple[int, float]]], RunReader]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a run with the points of one metric, in the order given."""
    count = 0

    def run(points: Sequence[tuple[int, float]]) -> RunReader:
        nonlocal count
        count += 1
        builder = RunBuilder(tmp_path, f"run{count:05}")
        for step, value in points:
            builder.row(step, None, x=value)
        builder.finish()
        return Api(tmp_path).run(builder.id).store()

    return run


def test_the_same_curve(make: Make) -> None:
    points = [(step, math.sin(step)) for step in range(20_000)]
    assert parting(make(points), make(points), "x") == Parting(None, None, 20_000, min(p[1] for p in points), max(
        p[1] for p in points
    ))  # fmt: skip


def test_a_small_difference_then_a_clear_one(make: Make) -> None:
    one = [(step, step / 10_000) for step in range(20_000)]
    other = [(step, value + (1e-9 if step >= 9_000 else 0) + (0.1 if step >= 15_000 else 0)) for step, value in one]
    found = parting(make(other), make(one), "x")
    assert found.exact == Split(9_000, 0.9 + 1e-9, 0.9)
    assert found.clear is not None and found.clear.step == 15_000
    assert found.common == 15_001


def test_steps_that_only_one_run_has_are_left_out(make: Make) -> None:
    dense = [(step, float(step)) for step in range(20_000)]
    sparse = [(step, float(step) if step < 12_000 else 0.0) for step in range(0, 30_000, 7)]
    found = parting(make(dense), make(sparse), "x")
    assert found.exact == found.clear == Split(12_005, 12_005.0, 0.0)
    assert found.common == 12_005 // 7 + 1
    never = parting(make([(1, 1.0)]), make([(2, 1.0)]), "x")
    assert never.common == 0 and never.exact is None and never.clear is None


def test_nan_differs_from_a_number_and_not_from_itself(make: Make) -> None:
    one = make([(0, math.nan), (1, math.inf), (2, 1.0), (3, 2.0)])
    other = make([(0, math.nan), (1, math.inf), (2, 1.0), (3, math.nan)])
    found = parting(one, other, "x")
    assert found.exact is not None and found.exact.step == 3
    assert found.clear is not None and found.clear.step == 3
    assert (found.low, found.high) == (1.0, 2.0)


def test_late_and_repeated_steps(make: Make) -> None:
    points = [(step, float(step)) for step in range(10_000)]
    shuffled = [*points[5_000:], (3, -1.0), *points[:5_000]]
    assert parting(make(shuffled), make(points), "x").exact is None


def test_several_writers_count_by_their_mean(tmp_path: Path, make: Make) -> None:
    builder = RunBuilder(tmp_path, "shared01", label="left")
    builder.write("run", {"label": "right"}, "client000002")
    for step in range(10):
        builder.row(step, None, x=1.0)
        builder.row(step, "client000002", x=3.0)
    builder.finish()
    shared = Api(tmp_path).run("shared01").store()
    assert parting(shared, make([(step, 2.0) for step in range(10)]), "x") == Parting(None, None, 10, 1.0, 3.0)


def test_other_values_and_unknown_metrics(make: Make, tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path, "mixed001")
    for step, value in enumerate(["a", 1, 2**64 - 1, 2.5, True]):
        builder.row(step, None, x=value)
    builder.finish()
    mixed = Api(tmp_path).run("mixed001").store()
    assert [tuple(part.values) for part in parts(mixed.columns(["x"]), "x")] == [(1.0, 2.0**64, 2.5, 1.0)]
    assert parting(mixed, make([(0, 1.0)]), "nope") == Parting(None, None, 0, None, None)


def test_a_run_in_order_is_not_copied(make: Make) -> None:
    reader = make([(step, 0.5) for step in range(9_000)])
    assert all(isinstance(part.values, array) for part in parts(reader.columns(["x"]), "x"))
