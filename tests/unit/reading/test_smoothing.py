"""Smoothing in units of x: the same curve however it was logged, and the kernels' known answers."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.projections.store.blocks import Block
from sidecar.projections.store.buckets import buckets, checked_grid
from tracker.reading.smoothing import Kind, middles, smooth, smooth_buckets

KINDS: tuple[Kind, ...] = ("ema", "gaussian", "mean")


def curve(x: float) -> float:
    return math.exp(-x / 700) + 0.1 * math.sin(x / 90)


def smoothed(xs: list[float], width: float, kind: Kind) -> dict[float, float]:
    return dict(zip(xs, smooth(xs, [curve(x) for x in xs], [1] * len(xs), width, kind), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(2, 40), st.floats(50, 500))
@settings(max_examples=25, deadline=None)
def test_density_does_not_change_a_curve(kind: Kind, spacing: int, width: float) -> None:
    dense = smoothed([float(x) for x in range(4001)], width, kind)
    sparse = smoothed([float(x) for x in (*range(0, 4000, spacing), 4000)], width, kind)
    values = list(dense.values())
    assert max(abs(dense[x] - sparse[x]) for x in sparse) <= 0.01 * (max(values) - min(values))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_density_on_the_way_does_not_either(kind: Kind) -> None:
    dense = smoothed([float(x) for x in range(4001)], 150, kind)
    mixed = smoothed([float(x) for x in [*range(2000), *range(2000, 4001, 20)]], 150, kind)
    assert max(abs(dense[x] - mixed[x]) for x in mixed) <= 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_do_not_change_a_curve(kind: Kind) -> None:
    steps = range(100_000)
    values = array("d", [curve(step / 25) for step in steps])
    block = Block("a", None, 1, 0, array("q", steps), array("d", steps), {"y": (None, values)}, 0)
    (fine,) = buckets([block], ["y"], "step", checked_grid(None, None, 4000, False), None)
    (coarse,) = buckets([block], ["y"], "step", checked_grid(None, None, 400, False), None)
    reference = dict(zip(middles(fine), smooth_buckets(fine, 3000, kind), strict=True))
    near = sorted(reference)
    for x, value in zip(middles(coarse), smooth_buckets(coarse, 3000, kind), strict=True):
        assert value == pytest.approx(reference[min(near, key=lambda other: abs(other - x))], abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays(kind: Kind) -> None:
    xs = sorted(random.Random(7).uniform(0, 100) for _ in range(300))
    assert smooth(xs, [2.5] * 300, [1] * 300, 7.0, kind) == pytest.approx([2.5] * 300)


@pytest.mark.parametrize("kind", KINDS)
def test_many_points_at_one_x_count_by_their_number(kind: Kind) -> None:
    xs, means = [0.0, 0.0, 0.0, 0.0, 1000.0], [1.0, 1.0, 1.0, 5.0, 9.0]
    assert smooth(xs, means, [1] * 5, 1.0, kind)[:4] == pytest.approx([2.0] * 4, abs=0.01)
    assert smooth([0.0, 0.0, 1000.0], [1.0, 5.0, 9.0], [3, 1, 1], 1.0, kind)[:2] == pytest.approx([2.0] * 2, abs=0.01)


def test_half_life() -> None:
    """After a jump from 0 to 1, the average has moved half of the way after one half-life."""
    xs = [x / 10 for x in range(-2000, 2001)]
    means = [0.0 if x <= 0 else 1.0 for x in xs]
    result = dict(zip(xs, smooth(xs, means, [1] * len(xs), 10.0), strict=True))
    assert result[0.0] == pytest.approx(0.0, abs=0.02)
    assert result[10.0] == pytest.approx(0.5, abs=0.02)
    assert result[20.0] == pytest.approx(0.75, abs=0.02)


def test_gaussian_and_running_mean_are_centered() -> None:
    xs = [float(x) for x in range(-500, 501)]
    line = dict(zip(xs, smooth(xs, xs, [1] * len(xs), 20.0, "gaussian"), strict=True))
    assert line[0.0] == pytest.approx(0.0, abs=1e-6) and line[100.0] == pytest.approx(100.0, abs=0.1)
    line = dict(zip(xs, smooth(xs, xs, [1] * len(xs), 20.0, "mean"), strict=True))
    assert line[-100.0] == pytest.approx(-100.0, abs=1e-6)
    assert line[500.0] == pytest.approx(495.0, abs=0.1), "at the end of the data the window is cut"


@pytest.mark.parametrize("kind", KINDS)
def test_points_without_finite_values_are_left_out(kind: Kind) -> None:
    result = smooth([0.0, 1.0, 2.0], [1.0, math.nan, 1.0], [1, 0, 1], 5.0, kind)
    assert math.isnan(result[1]) and [result[0], result[2]] == pytest.approx([1.0, 1.0])
    assert all(map(math.isnan, smooth([0.0], [math.nan], [0], 5.0, kind)))
    assert smooth([], [], [], 5.0, kind) == []


def test_no_width_leaves_the_means() -> None:
    assert smooth([0.0, 1.0], [3.0, 4.0], [1, 1], 0.0) == [3.0, 4.0]


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind must be 'ema', 'gaussian' or 'mean', not 'median'"):
        smooth([0.0], [1.0], [1], 1.0, "median")  # type: ignore[arg-type]
