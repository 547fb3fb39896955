"""Curves: what is kept of a metric in one pass, whole or sampled."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

from sidecar.projections.store.blocks import Block, Column
from tests.unit.run_builder import RunBuilder
from tracker.reading.curves import Curve, curves_of, read_curves
from tracker.reading.stored_run import StoredRun


def block(steps: list[int], **columns: list[object] | array[float] | array[int]) -> Block:
    times = array("d", [0.0] * len(steps))
    return Block("w", None, 1, 0, array("q", steps), times, {key: (None, v) for key, v in columns.items()}, 0)


def test_ends_and_bounds() -> None:
    curves = curves_of(
        [
            block([5, 6, 7], loss=array("d", [3.0, 9.0, 2.0]), text=["a", "b", "c"]),
            block([0, 7, 1], loss=[1, 4.0, True], other=array("q", [1, 2, 3])),
        ]
    )
    loss = curves["loss"]
    assert (loss.count, loss.first, loss.last, loss.low, loss.high) == (5, 1, 4.0, 1, 9.0)
    assert loss.numbers() == [1, 3.0, 9.0, 2.0, 4.0]
    assert set(curves) == {"loss", "other"}


def test_only_some_rows_have_a_metric() -> None:
    rows = Block(
        "w", None, 1, 0, array("q", range(4)), array("d", [0.0] * 4), {"a": ([1, 3], array("d", [5.0, 6.0]))}, 0
    )
    curve = curves_of([rows])["a"]
    assert curve.points == [(1, 5.0), (3, 6.0)]


def test_nan_and_infinities() -> None:
    curve = Curve()
    curve.add([0, 1, 2, 3], array("d", [math.nan, math.inf, 1.0, math.nan]))
    assert curve.count == 4 and (curve.low, curve.high) == (1.0, math.inf)
    assert math.isnan(curve.first or 0.0) and math.isnan(curve.last or 0.0)
    alone = Curve()
    alone.add([0], [math.nan])
    assert (alone.low, alone.high) == (None, None) and alone.draw(5) == "×"
    huge = Curve()
    huge.add(list(range(200)), array("d", [1.7e308] * 200))
    assert set(huge.draw(10)) == {"▁"}


def test_memory_does_not_grow_and_the_shape_stays() -> None:
    curve = Curve()
    for first in range(0, 1_000_000, 8192):
        curve.add(array("q", range(first, first + 8192)), array("d", map(float, range(first, first + 8192))))
    assert len(curve.points) <= 4096
    assert curve.draw(8) == "▁▂▃▄▅▆▇█"
    assert curve.draw(8, low=0.0, high=10e6)[-1] == "▂"


def test_only_the_named_metrics_are_read(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.row(0, None, a=1.0, b=2.0)
    run.finish()
    assert set(read_curves(StoredRun(run.dir, 600.0), ["b"])) == {"b"}


def test_a_sample_has_both_ends_and_rare_points() -> None:
    count = 1000
    dense = array("d", map(float, range(count)))
    rare = ([3, 500, 998], array("d", [7.0, 8.0, 9.0]))
    mixed: list[object] = [step if step % 2 else float(step) for step in range(count)]
    steps = array("q", range(count))
    columns: dict[str, Column] = {"dense": (None, dense), "mixed": (None, mixed), "rare": rare, "exact": (None, dense)}
    one = Block("w", None, 1, 0, steps, array("d", [0.0] * count), columns, 0)
    curves = curves_of([one], 100, {"exact"})
    ends = {key: (curve.count, curve.first, curve.last) for key, curve in curves.items()}
    assert ends == {
        "dense": (count, 0.0, 999.0),
        "mixed": (count, 0.0, 999),
        "rare": (3, 7.0, 9.0),
        "exact": (count, 0.0, 999.0),
    }
    assert curves["dense"].numbers() == [*map(float, range(0, count, 100)), 999.0] == curves["mixed"].numbers()
    assert (curves["rare"].numbers(), len(curves["exact"].points)) == ([7.0, 8.0, 9.0], count)
