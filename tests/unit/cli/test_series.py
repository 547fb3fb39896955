"""tracker.cli.series: what it keeps of a metric, in one pass."""

from __future__ import annotations

import math
from array import array

from sidecar.projections.store.blocks import Block
from tracker.cli.series import Series, read_series


def block(steps: list[int], **columns: list[object] | array[float] | array[int]) -> Block:
    times = array("d", [0.0] * len(steps))
    return Block("w", None, 1, 0, array("q", steps), times, {key: (None, v) for key, v in columns.items()}, 0)


def test_ends_and_bounds() -> None:
    series = read_series(
        [
            block([5, 6, 7], loss=array("d", [3.0, 9.0, 2.0]), text=["a", "b", "c"]),
            block([0, 7, 1], loss=[1, 4.0, True], other=array("q", [1, 2, 3])),
        ]
    )
    loss = series["loss"]
    assert (loss.count, loss.first, loss.last, loss.low, loss.high) == (5, 1, 4.0, 1, 9.0)
    assert loss.numbers() == [1, 3.0, 9.0, 2.0, 4.0]
    assert set(series) == {"loss", "other"}
    assert set(read_series([block([0], a=array("d", [1.0]), b=array("d", [2.0]))], ["b"])) == {"b"}


def test_only_some_rows_have_a_metric() -> None:
    rows = Block(
        "w", None, 1, 0, array("q", range(4)), array("d", [0.0] * 4), {"a": ([1, 3], array("d", [5.0, 6.0]))}, 0
    )
    series = read_series([rows])["a"]
    assert series.points == [(1, 5.0), (3, 6.0)]


def test_nan_and_infinities() -> None:
    series = Series()
    series.add([0, 1, 2, 3], array("d", [math.nan, math.inf, 1.0, math.nan]))
    assert series.count == 4 and (series.low, series.high) == (1.0, math.inf)
    assert math.isnan(series.first or 0.0) and math.isnan(series.last or 0.0)
    alone = Series()
    alone.add([0], [math.nan])
    assert (alone.low, alone.high) == (None, None) and alone.draw(5) == "×"
    huge = Series()
    huge.add(list(range(200)), array("d", [1.7e308] * 200))
    assert set(huge.draw(10)) == {"▁"}


def test_memory_does_not_grow_and_the_shape_stays() -> None:
    series = Series()
    for first in range(0, 1_000_000, 8192):
        series.add(array("q", range(first, first + 8192)), array("d", map(float, range(first, first + 8192))))
    assert len(series.points) <= 4096
    assert series.draw(8) == "▁▂▃▄▅▆▇█"
    assert series.draw(8, low=0.0, high=10e6)[-1] == "▂"
