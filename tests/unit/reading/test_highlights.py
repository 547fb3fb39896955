"""Highlights: which metrics are chosen, what is shown of them, and how little is read of a long run."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sidecar.projections.store.blocks import BLOCK_ROWS
from tests.unit.run_builder import RunBuilder
from tracker.reading.curves import MAX_SAMPLED_BLOCKS
from tracker.reading.highlights import highlights
from tracker.reading.stored_run import StoredRun


@pytest.fixture
def run(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path, "run00001")


def read(run: RunBuilder) -> StoredRun:
    run.finish()
    return StoredRun(run.dir, 600.0)


def test_defined_metrics_come_first_and_axes_not_at_all(run: RunBuilder) -> None:
    run.write("define", {"metric": "val.*", "summary": ["max"], "step_metric": "epoch"})
    for step in range(20):
        run.row(step, None, loss=1 / (step + 1), epoch=step // 5, note="text")
        if step % 5 == 4:
            run.row(step, None, **{"val.acc": step / 20 if step < 15 else 0.1})
    found = highlights(read(run))
    assert [one.key for one in found] == ["val.acc", "loss"]
    assert found[0].curve.numbers() == [0.2, 0.45, 0.7, 0.1]
    assert (found[0].last, found[0].aggregates) == (0.1, (("max", 0.7),))
    assert found[1].curve.numbers() == [1 / (step + 1) for step in range(20)]
    assert (found[1].last, found[1].aggregates) == (1 / 20, ())


def test_constants_and_counters_are_chosen_last(run: RunBuilder) -> None:
    for step in range(10):
        run.row(step, None, lr=0.1, epoch=step, **{f"m{index}": step * index + math.sin(step) for index in range(7)})
    found = read(run)
    assert [one.key for one in highlights(found, most=7)] == [f"m{index}" for index in range(7)]
    assert {one.key for one in highlights(found, most=9)} >= {"lr", "epoch"}


@pytest.mark.parametrize(
    ("definition", "aggregates"),
    [
        ({"summary": ["min", "last"]}, (("min", 1.0),)),
        ({"summary": ["min", "max"]}, (("min", 1.0), ("max", 3.0))),
        ({"summary": ["best"], "goal": "maximize"}, (("best", 3.0),)),
        ({"goal": "maximize"}, (("max", 3.0),)),
        ({"goal": "minimize"}, (("min", 1.0),)),
        ({"summary": ["mean"]}, (("mean", 2.0),)),
        ({"summary": ["last"]}, ()),
        ({"summary": ["first"]}, ()),
        ({}, ()),
    ],
)
def test_the_aggregates_are_those_that_were_asked_for(
    run: RunBuilder, definition: dict[str, Any], aggregates: tuple[tuple[str, float], ...]
) -> None:
    run.write("define", {"metric": "x", **definition})
    for step, value in enumerate([1.0, 3.0, 2.0]):
        run.row(step, None, x=value)
    run.row(3, None, y=math.nan)
    (first, *_) = highlights(read(run))
    assert (first.key, first.last, first.aggregates) == ("x", 2.0, aggregates)


def test_points_are_in_the_order_of_steps(run: RunBuilder) -> None:
    for step in (3, 1, 2):
        run.row(step, None, x=float(step))
    assert highlights(read(run))[0].curve.numbers() == [1.0, 2.0, 3.0]


def test_what_is_not_a_number_is_no_curve(run: RunBuilder) -> None:
    run.row(0, None, note="text", histogram={"_type": "histogram", "counts": [1], "edges": [0, 1]})
    assert highlights(read(run)) == []


def test_named_metrics(run: RunBuilder) -> None:
    for step in range(3):
        run.row(step, None, a=step, b=-step)
    assert [one.key for one in highlights(read(run), ["b", "a", "never"])] == ["b", "a"]


def test_a_long_run_is_sampled_with_its_first_and_last_points(run: RunBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write("define", {"metric": "rare", "summary": ["last"]})
    count = (MAX_SAMPLED_BLOCKS + 4) * BLOCK_ROWS
    run.row(BLOCK_ROWS + 7, None, rare=5.0)
    for step in range(count):
        run.row(step, None, x=float(step), y=-1.0 * step)
    found = highlights(read(run))
    assert [one.key for one in found] == ["rare", "x", "y"]
    rare, x, _ = found
    assert rare.last == 5.0, "also where the block that has it is not read"
    values = x.curve.numbers()
    assert (values[0], values[-1], x.last) == (0.0, count - 1.0, count - 1.0)
    assert len(values) < 5000
    assert values == sorted(values)
    gaps = [after - before for before, after in pairwise(values)]
    assert max(gaps) < 3 * BLOCK_ROWS


def test_a_goal_is_judged_by_every_point_of_a_run_that_is_read_whole(run: RunBuilder) -> None:
    run.write("define", {"metric": "x", "goal": "maximize"})
    for step in range(5000):
        run.row(step, None, x=9.0 if step == 1234 else 1.0, y=float(step))
    x, y = highlights(read(run))
    assert (x.key, x.aggregates) == ("x", (("max", 9.0),))
    assert (y.curve.count, y.last) == (5000, 4999.0)
    assert len(y.curve.points) < 1000
