"""tracker.ui.histograms: one column per step, or neighbouring steps merged without losing a count."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.run_builder import RunBuilder
from tracker import Api, Histogram
from tracker.ui.histograms import histograms, spread


def series(run: RunBuilder, count: int = 400) -> dict[str, Any]:
    return histograms(Api(run.dir.parent.parent).run(run.id).store(), "w", count)


def test_few_are_returned_as_they_were_logged(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "few00001")
    logged = [Histogram([0.0, step, 2.0 * step], num_bins=4).to_map() for step in range(5)]
    for step, body in enumerate(logged):
        run.row(step * 10, None, w=body, loss=1.0)
    run.row(7, None, w="text")
    run.row(8, None, w={"_type": "histogram", "counts": [1], "edges": [0, "x"]})
    run.row(9, None, w={"_type": "histogram", "counts": [1, 2], "edges": [0, 1]})
    found = series(run.finish())
    assert found["steps"] == found["last_steps"] == [0, 10, 20, 30, 40] and found["total"] == 5
    assert found["counts"] == [body["counts"] for body in logged]
    assert found["edges"] == [body["edges"] for body in logged]
    assert found["samples"] == [1] * 5


@pytest.mark.parametrize("same_bins", [True, False])
def test_many_are_merged_and_no_count_is_lost(tmp_path: Path, same_bins: bool) -> None:
    run = RunBuilder(tmp_path, "many0001")
    for step in range(100):
        edges = [-1.0, 0.0, 1.0] if same_bins else [-1.0 - step, 0.0, 1.0 + step]
        run.row(step, None, w={"_type": "histogram", "counts": [1.0, 2.0], "edges": edges, "left_out": 1})
    found = series(run.finish(), 10)
    assert found["total"] == 100 and found["samples"] == [10] * 10 and found["left_out"] == [10] * 10
    assert found["steps"] == list(range(0, 100, 10)) and found["last_steps"] == list(range(9, 100, 10))
    assert [sum(counts) for counts in found["counts"]] == pytest.approx([30.0] * 10)
    for edges, counts in zip(found["edges"], found["counts"], strict=True):
        assert len(edges) == len(counts) + 1 == (3 if same_bins else 65)
        assert sum(counts[: len(counts) // 2]) == pytest.approx(10.0)


def test_a_metric_without_histograms(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "none0001")
    run.row(0, None, w=1.0)
    assert series(run.finish())["steps"] == []


def test_extreme_bins(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "wide0001")
    top = sys.float_info.max
    run.row(0, None, w={"_type": "histogram", "counts": [1.0], "edges": [-top, top]})
    run.row(0, None, w={"_type": "histogram", "counts": [4.0], "edges": [5.0, 5.0]})
    found = series(run.finish())
    assert found["samples"] == [2] and sum(found["counts"][0]) == pytest.approx(5.0)


def test_counts_are_spread_in_proportion() -> None:
    onto = [0.0, 0.0, 0.0, 0.0]
    spread([4.0, 2.0], [0.0, 2.0, 3.0], onto, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert onto == [2.0, 2.0, 2.0, 0.0]
