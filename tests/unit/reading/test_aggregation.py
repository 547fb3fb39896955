"""Groups of lines as one: the figures of `statistics`, and what counts where."""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.projections.store.blocks import Block
from sidecar.projections.store.buckets import Buckets, buckets, checked_grid
from tracker.reading.aggregation import aggregate, t_quantile


def line(values: Sequence[float], count: int = 10, low: float = 0, high: float = 10) -> Buckets:
    """Return a series with a value at each step from 0."""
    steps = array("q", range(len(values)))
    block = Block("a", None, 1, 0, steps, array("d", steps), {"y": (None, array("d", values))}, 0)
    (series,) = buckets([block], ["y"], "step", checked_grid(low, high, count, False), None)
    return series


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=10), min_size=1, max_size=6))
def test_figures_of_each_step(values: list[list[float]]) -> None:
    found = aggregate([line(one) for one in values], 0, 10, 10)
    for step, n in enumerate(found.n):
        present = [one[step] for one in values if len(one) > step]
        assert n == len(present) and found.x[step] == pytest.approx(step)
        assert found.mean[step] == pytest.approx(statistics.fmean(present), abs=1e-6)
        assert (found.low[step], found.high[step]) == (min(present), max(present))
        if n > 1:
            assert found.std[step] == pytest.approx(statistics.stdev(present), abs=1e-4)
            assert found.sem[step] == pytest.approx(found.std[step] / math.sqrt(n))
            assert found.ci95[step] == pytest.approx(t_quantile(n - 1) * found.sem[step])
        else:
            assert math.isnan(found.std[step]) and math.isnan(found.ci95[step])
    assert len(found.n) == max(map(len, values))


def test_a_run_that_ended_early_counts_no_longer() -> None:
    found = aggregate([line([1] * 10), line([3] * 4)], 0, 10, 10)
    assert found.n == [2] * 4 + [1] * 6 and found.mean == [2] * 4 + [1] * 6


def test_each_line_counts_the_same_however_dense_it_is() -> None:
    dense = line([1.0] * 1000, 2, 0, 1000)
    sparse = line([3.0], 2, 0, 1000)
    assert aggregate([dense, sparse], 0, 1000, 2).mean[0] == 2.0


def test_extremes_are_those_of_the_values() -> None:
    spike = line([0.0] * 99 + [50.0], 1, 0, 100)
    found = aggregate([spike, line([1.0] * 100, 1, 0, 100)], 0, 100, 1)
    assert (found.low, found.high) == ([0.0], [50.0])


def test_writers_of_a_run_count_as_one_line() -> None:
    found = aggregate([[line([1.0]), line([2.0])], line([3.5])], 0, 10, 10)
    assert (found.mean, found.n) == ([2.5], [2])


def test_values_that_are_not_finite_do_not_count() -> None:
    found = aggregate([line([math.nan, 1.0]), line([2.0, math.inf])], 0, 10, 10)
    assert (found.mean, found.n) == ([2.0, 1.0], [1, 1])


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (4, 2.7764), (13, 2.16037), (29, 2.04523), (120, 1.97993)]
)
def test_quantiles(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=0.0002)
