"""Plain data in other forms: nested maps as leaves with their paths, and values that strict JSON allows."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sidecar.protocol.plain import flatten, json_default, json_value

MEDIA = {"_type": "histogram", "counts": [1]}


def test_leaves_are_in_order_with_their_paths() -> None:
    values: dict[str, Any] = {"b": {"y": 1, "x": {"z": [2]}}, "a": {}, "b.y": 3}
    assert list(flatten(values)) == [(("b", "y"), 1), (("b", "x", "z"), [2]), (("a",), {}), (("b.y",), 3)]


def test_a_media_object_is_a_leaf_unless_it_is_to_be_opened() -> None:
    assert list(flatten({"m": MEDIA})) == [(("m",), MEDIA)]
    assert list(flatten({"m": MEDIA}, open_media=True)) == [(("m", "_type"), "histogram"), (("m", "counts"), [1])]


def test_nesting_deeper_than_the_interpreter_recurses() -> None:
    value: Any = 1
    for _ in range(5000):
        value = {"k": value}
    assert [len(path) for path, _ in flatten(value)] == [5000]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        ({"a": [-math.inf, b"\x01\xff", (1, None)]}, {"a": ["-Infinity", "01ff", [1, None]]}),
        (True, True),
    ],
)
def test_values_that_strict_json_allows(value: Any, expected: Any) -> None:
    assert json_value(value) == expected
    json.dumps(json_value(value), allow_nan=False)


def test_default_for_values_without_a_json_form() -> None:
    assert json.dumps([b"\x01", 1 + 2j], default=json_default) == '["01", "(1+2j)"]'
