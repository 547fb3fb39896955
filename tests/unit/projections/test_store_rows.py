"""Rows and histories: blocks as users see them, compared with the simplest implementation."""

from __future__ import annotations

import math
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.projections.store.blocks import Block
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.rows import columns_for, history, rows
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.records import Record

Point = tuple[str, int, dict[str, Any]]
"""Client, step, data."""


def blocks_of(batches: Sequence[Sequence[Point]], keys: list[str] | None = None) -> list[Block]:
    """Return the blocks of a store to which these points were added, with a commit per batch; times count from 0."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        with StoreWriter(path) as writer:
            for batch in batches:
                start = writer.checkpoint
                records = [
                    Record("log", "r", client, 1, float(start + i), {"step": step, "data": data})
                    for i, (client, step, data) in enumerate(batch)
                ]
                writer.add(records, start + len(batch))
                writer.commit()
        return list(StoreReader(path).columns(keys))


def plainly(points: Sequence[Point], keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows as the module's docstring defines them."""
    order = list(dict.fromkeys(client for client, _, _ in points))
    labels = {client: None if not client or client == order[0] else client for client in order}
    if order and not order[0]:
        labels.update(dict.fromkeys(order[1:2]))
    found: list[tuple[tuple[int, str], dict[str, Any]]] = []
    for time, (client, step, data) in sorted(
        enumerate(points), key=lambda item: (item[1][1], order.index(item[1][0]), item[0])
    ):
        chosen = {key: value for key, value in data.items() if keys is None or key in keys}
        if not chosen:
            continue
        own = {"_step": step, "_timestamp": float(time), "_label": labels[client]}
        if found and found[-1][0] == (step, client) and not found[-1][1].keys() & chosen.keys():
            found[-1][1].update({**chosen, **own})
        else:
            found.append(((step, client), {**own, **chosen}))
    return [row for _, row in found]


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    own = ("_step", "_timestamp", "_label")
    return [
        {key: value for key, value in zip(columns, values, strict=True) if key in own or value is not None}
        for values in zip(*columns.values(), strict=True)
    ]


values = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=1), st.booleans())
points = st.tuples(
    st.sampled_from(["a", "a", "b", "c", ""]),
    st.integers(-4, 4),
    st.dictionaries(st.sampled_from("xyz"), values, max_size=3),
)
batches = st.lists(st.lists(points, max_size=12), max_size=5)
some_keys = st.one_of(st.none(), st.lists(st.sampled_from(["x", "y", "never"]), unique=True, max_size=2))


@given(batches, some_keys)
@settings(deadline=None)
def test_rows_and_history_equal_the_simple_implementation(batches: list[list[Point]], keys: list[str] | None) -> None:
    everything = [point for batch in batches for point in batch]
    wanted = plainly(everything, keys)
    assert list(rows(blocks_of(batches, keys), keys)) == wanted
    assert list(rows(blocks_of(batches), keys)) == wanted
    assert as_rows(history(blocks_of(batches, keys), keys)) == wanted


@given(batches, st.integers(-5, 5), st.integers(-5, 5))
@settings(deadline=None)
def test_rows_between_steps(batches: list[list[Point]], low: int, high: int) -> None:
    everything = [point for batch in batches for point in batch]
    wanted = [row for row in plainly(everything) if low <= row["_step"] <= high]
    assert list(rows(blocks_of(batches), min_step=low, max_step=high)) == wanted


@given(batches, st.sampled_from(["step", "time", "x"]), st.integers(1, 30), some_keys)
@settings(deadline=None)
def test_samples_are_rows_of_the_history(
    batches: list[list[Point]], x: str, samples: int, keys: list[str] | None
) -> None:
    blocks = blocks_of(batches)
    whole, found = as_rows(history(blocks, keys, x=x)), as_rows(history(blocks, keys, samples, x))
    assert len(found) <= samples
    times = {row["_timestamp"]: row for row in whole}
    for row in found:
        assert row.items() <= times[row["_timestamp"]].items()
    axis = {"step": "_step", "time": "_timestamp"}.get(x, x)
    for some in (whole, found):
        assert [row[axis] for row in some] == sorted(row[axis] for row in some)


def test_points_of_a_step_form_a_row_until_a_key_repeats() -> None:
    blocks = blocks_of([[("a", 1, {"x": 1}), ("a", 1, {"y": 2})], [("a", 1, {"x": 3}), ("a", 0, {"y": 4})]])
    assert list(rows(blocks)) == [
        {"_step": 0, "_timestamp": 3.0, "_label": None, "y": 4},
        {"_step": 1, "_timestamp": 1.0, "_label": None, "x": 1, "y": 2},
        {"_step": 1, "_timestamp": 2.0, "_label": None, "x": 3},
    ]
    assert history(blocks) == {
        "_step": [0, 1, 1],
        "_timestamp": [3.0, 1.0, 2.0],
        "_label": [None, None, None],
        "x": [None, 1, 3],
        "y": [4, 2, None],
    }


def test_keys_keep_the_requested_order_also_those_never_logged() -> None:
    found = history(blocks_of([[("a", 0, {"x": 1, "y": 2})]]), ["y", "never", "x", "y"])
    assert list(found) == ["_step", "_timestamp", "_label", "y", "never", "x"]
    assert found["never"] == [None]


def test_the_order_of_all_keys_does_not_depend_on_the_blocks() -> None:
    points: list[Point] = [("a", step, {"loss": 1.0}) for step in range(5)]
    late: list[Point] = [("a", -1, {"late": 1.0}), ("b", -2, {"other": 1.0})]
    in_one, in_two = history(blocks_of([points + late])), history(blocks_of([points, late]))
    assert list(in_one) == list(in_two) == ["_step", "_timestamp", "_label", "loss", "late", "other"]


def test_a_run_without_rows_has_an_empty_history() -> None:
    assert history([], ["x"], 10) == {"_step": [], "_timestamp": [], "_label": [], "x": []}
    assert history([], x="x") == {"_step": [], "_timestamp": [], "_label": []}
    assert list(rows([])) == []


def test_a_history_over_a_key_is_sorted_by_it() -> None:
    points = [("a", 0, {"epoch": 2, "x": 0.1}), ("a", 1, {"x": 9.9}), ("a", 2, {"epoch": 1, "x": 0.2})]
    points += [("a", 3, {"epoch": math.nan, "x": 1}), ("a", 4, {"epoch": 0})]
    assert columns_for(["x"], "epoch") == ["x", "epoch"]
    found = history(blocks_of([points], columns_for(["x"], "epoch")), ["x"], x="epoch")
    assert (found["epoch"], found["x"], found["_step"]) == ([1, 2], [0.2, 0.1], [2, 0])
    assert columns_for(None, "epoch") is None
    assert columns_for(["x", "epoch", "x"], "epoch") == ["x", "epoch"]
    assert columns_for(["x"], "time") == ["x"]


def test_samples_keep_the_peaks_and_the_last_of_a_repeated_step() -> None:
    points = [("a", step, {"x": math.sin(step / 50)}) for step in range(1000)]
    points[123] = ("a", 123, {"x": 99.0})
    points[500] = ("a", 500, {"x": -math.inf})
    points[700] = ("a", 700, {"x": math.nan})
    points += [("a", 300, {"x": 50.0}), ("a", 300, {"x": 0.0})]
    found = history(blocks_of([points]), ["x"], 100)
    assert 90 <= len(found["x"]) <= 100
    assert {99.0, -math.inf} <= set(found["x"])
    assert 50.0 not in found["x"]
    assert not any(math.isnan(value) for value in found["x"])
    assert len(history(blocks_of([points]), ["x"])["x"]) == 1002


@pytest.mark.parametrize("x", ["step", "time", "x", "t"])
def test_samples_of_values_without_a_minimum(x: str) -> None:
    points = [("a", 7, {"t": f"text {i}", "x": math.inf}) for i in range(50)]
    points += [("a", 7 + i, {"t": f"text {i}", "x": math.nan}) for i in range(50)]
    assert len(history(blocks_of([points]), ["t"], 10, x)["t"]) <= 10


def test_fewer_samples_than_keys_is_still_a_maximum() -> None:
    points = [("a", step, {f"k{i}": math.sin(step * i) for i in range(9)}) for step in range(100)]
    assert len(history(blocks_of([points]), samples=3)["_step"]) == 3
    with pytest.raises(ValueError, match=r"samples must be at least 1, .* not 0"):
        history([], samples=0)


def block(steps: list[int], floor: int | None = None, ordinal: int = 1, first: int = 0) -> Block:
    floor = min(steps) if floor is None else floor
    times = array("d", map(float, steps))
    return Block("a", None, ordinal, first, array("q", steps), times, {"x": (None, list(steps))}, floor)


def test_only_overlapping_blocks_are_read() -> None:
    taken = []

    def coming() -> Any:
        for number in range(5):
            taken.append(number)
            yield block(list(range(10 * number, 10 * number + 10)), first=10 * number)

    found = rows(coming())
    assert [next(found)["_step"] for _ in range(9)] == list(range(9))
    assert taken == [0, 1]
    assert [row["_step"] for row in found] == list(range(9, 50))


def test_a_part_of_a_block_may_start_later_than_its_floor() -> None:
    blocks = [block([5, 6], floor=0), block([3, 4], ordinal=2), block([6, 7], floor=6, first=2)]
    assert [row["_step"] for row in rows(blocks)] == [3, 4, 5, 6, 6, 7]


def test_blocks_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ordered by their smallest step, but 1 follows 5"):
        list(rows([block([5]), block([1], first=1)]))
