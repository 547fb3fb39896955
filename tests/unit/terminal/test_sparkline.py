"""Sparklines: the shape of a curve, its spikes included, whatever the values are."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.terminal.sparkline import ASCII_BLOCKS, BLOCKS, shows_blocks, sparkline


def test_few_values_have_a_character_each() -> None:
    assert sparkline(list(range(8))) == BLOCKS
    assert sparkline([3, 1, 2]) == "█▁▄" or sparkline([3, 1, 2]) == "█▁▅"
    assert sparkline([]) == ""
    assert sparkline([1.0], 0) == ""


def test_constant_values_are_a_flat_line() -> None:
    assert sparkline([5] * 100, 10) == "▁" * 10


def test_a_falling_curve_falls() -> None:
    line = sparkline([1 / (step + 1) for step in range(1000)], 12)
    heights = [BLOCKS.index(character) for character in line]
    assert len(line) == 12
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (7, 0)


@pytest.mark.parametrize("spike", [100.0, -100.0])
def test_one_spike_among_many_values_is_seen(spike: float) -> None:
    values = [math.sin(step) for step in range(10_000)]
    values[5_003] = spike
    line = sparkline(values, 20)
    assert line.index("█" if spike > 0 else "▁") == 10
    assert line.count("█" if spike > 0 else "▁") == 1


def test_noise_is_drawn_as_its_mean() -> None:
    line = sparkline([step / 1000 + (step % 2) for step in range(1000)], 10)
    heights = [BLOCKS.index(character) for character in line]
    assert heights == sorted(heights)


def test_what_is_not_finite() -> None:
    assert sparkline([1, math.nan, 2]) == "▁×█"
    assert sparkline([1, None, "text", 2]) == "▁  █"
    assert sparkline([1, math.inf, 2, -math.inf]) == "▁██▁"
    assert sparkline([math.nan, math.nan]) == "××"
    assert sparkline([0, 10**400, 1]) == "▁██"
    assert sparkline([-1.7e308, 0.0, 1.7e308]) in ("▁▄█", "▁▅█")
    assert sparkline([math.nan, 1.0] * 50, 10) == "▁" * 10


def test_values_stand_where_their_x_is() -> None:
    line = sparkline([1, 1, 1, 9], 4, at=[0, 1, 2, 100])
    assert line == "▁▁▁█", "no more values than characters: one each"
    assert sparkline([1, 1, 1, 1, 9], 4, at=[0, 1, 2, 3, 100]) == "▁  █"
    assert len(sparkline([1, 2, 3, 4, 5], 4, at=[7, 7, 7, 7, 7])) == 4


def test_ascii() -> None:
    line = sparkline([1, math.nan, 8, None], ascii_only=True)
    assert line.isascii()
    assert line == f"{ASCII_BLOCKS[0]}x{ASCII_BLOCKS[-1]} "
    assert shows_blocks(io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert not shows_blocks(io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert not shows_blocks(io.TextIOWrapper(io.BytesIO(), "latin-1"))
    assert shows_blocks(io.StringIO())


values = st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=2)))


@given(values, st.integers(0, 30))
def test_any_values_make_a_line(found: list[object], width: int) -> None:
    line = sparkline(found, width)
    assert len(line) == min(width, len(found))
    assert set(line) <= set(BLOCKS + "× ")
