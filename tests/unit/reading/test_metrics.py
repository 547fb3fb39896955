"""What a metric's definition says: its aggregates, and which of two numbers is better."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.reading.metrics import aggregate, aggregates, aggregates_text, direction, short


@pytest.mark.parametrize(
    ("definition", "key", "expected"),
    [
        ({"goal": "maximize"}, "x", 1),
        ({"goal": "minimize"}, "x", -1),
        ({"goal": "minimize", "summary": ["max"]}, "x", -1),
        ({"summary": ["max"]}, "x", 1),
        ({"summary": ["min"]}, "x", -1),
        ({"summary": ["min", "max"]}, "x", 0),
        ({"summary": ["mean"]}, "x", 0),
        ({"goal": "maximize", "summary": ["min", "max"]}, "x.max", 1),
        ({"goal": "maximize"}, "x.other", 0),
        ({}, "x", 0),
    ],
)
def test_which_number_is_better(definition: dict[str, Any], key: str, expected: int) -> None:
    assert direction({"x": definition}, key) == expected


def test_aggregates_are_those_beside_the_first_and_the_last_value() -> None:
    definitions = {"one": {"summary": ["max"]}, "two": {"summary": ["first", "min", "best"]}, "none": {"summary": []}}
    summary = {"one": 0.97, "two.first": 1, "two.min": 0.123456, "two.best": "text", "none": 2}
    assert aggregates(definitions, summary, "one") == (("max", 0.97),)
    assert aggregates(definitions, summary, "two") == (("min", 0.123456),)
    assert aggregates(definitions, summary, "none") == aggregates(definitions, summary, "other") == ()
    assert [aggregate(definitions, key) for key in ("one", "two", "none", "other")] == ["max", "", "", ""]


def test_how_numbers_are_written() -> None:
    assert (short(0.123456), short(1_000_000), short(None)) == ("0.1235", "1000000", "")
    assert aggregates_text((("min", 0.123456), ("max", 3.0))) == "min 0.1235, max 3"
