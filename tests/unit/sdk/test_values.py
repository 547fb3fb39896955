"""Values: what users log and configure, as plain data."""

from __future__ import annotations

import dataclasses
import enum
import math
from argparse import Namespace
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.codec import decode, encode
from sidecar.protocol.limits import MAX_DEPTH, MAX_KEYS
from sidecar.protocol.records import Record
from tests.support import exact
from tracker.media.histogram import Histogram
from tracker.sdk.values import as_mapping, metrics, plain, step_number


class Tensor:
    """What a 0-d tensor of any framework looks like."""

    shape = ()

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (1.5, 1.5),
        (-0.0, -0.0),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (True, True),
        ("text", "text"),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (Number.ONE, 1),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.float32("nan"), math.nan),
        (np.int64(-3), -3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array(0.5), 0.5),
        (np.array(3), 3),
        (Tensor(0.5), 0.5),
        (Tensor(3), 3),
    ],
)
def test_a_metric_is_read_back_as_what_it_was(value: Any, expected: Any) -> None:
    assert exact(metrics({"x": value})) == exact({"x": expected})


def test_nested_keys_join_with_dots() -> None:
    data = OrderedDict(loss=1.0, val={"acc": 0.5, "per": {"class": 1}, "none": {}})
    assert list(metrics(data).items()) == [("loss", 1.0), ("val.acc", 0.5), ("val.per.class", 1)]


def test_half_a_character_in_a_text_is_replaced() -> None:
    assert metrics({"x": "a\ud800b"}) == {"x": "a?b"}
    assert plain("a\ud800b") == "a?b"


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({"x": [1]}, TypeError, "'x' is a list"),
        ({"a": {"b": None}}, TypeError, "'a.b' is a NoneType"),
        ({"x": np.zeros((2, 3))}, TypeError, r"'x' is a ndarray of shape \(2, 3\)"),
        ({"x": Tensor([1])}, TypeError, "'x' is a Tensor"),
        ({"x": 2**64}, ValueError, "'x' is an integer of"),
        ({"x": 10**400}, ValueError, "'x' is an integer of"),
        ({1: 1}, TypeError, "key 1 is a int"),
        ({"a": {1: 1}}, TypeError, "key 1 in 'a' is a int"),
        ({"": 1}, ValueError, "empty"),
        ({"_timestamp": 1}, ValueError, "'_timestamp' is reserved"),
        ({"k" * 513: 1}, ValueError, "513 characters, at most 512"),
        ({str(key): 1 for key in range(MAX_KEYS + 1)}, ValueError, "10001 metrics"),
        (5, TypeError, "not a int"),
    ],
)
def test_what_cannot_be_logged_is_named(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        metrics(data)


@given(st.integers())
def test_any_integer_is_a_step_or_an_error(number: int) -> None:
    if -(2**63) <= number < 2**63:
        assert step_number(number) == number
    else:
        with pytest.raises(ValueError, match="64-bit"):
            step_number(number)


def test_steps_of_other_libraries() -> None:
    for one in (np.int32(5), np.uint8(5), np.array(5), Number.ONE):
        assert type(step_number(one)) is int
    for other in (1.0, "1", None, True, np.float32(1), np.array([1, 2])):
        with pytest.raises(TypeError, match="step"):
            step_number(other)


@dataclasses.dataclass
class Options:
    lr: float = 0.1
    inner: dict[str, Any] = dataclasses.field(default_factory=lambda: {"path": Path("/data")})


def test_configs_of_all_kinds() -> None:
    assert as_mapping(None, "config") == {}
    assert as_mapping({"a": 1}, "config") == {"a": 1}
    assert as_mapping(Namespace(a=1), "config") == {"a": 1}
    assert as_mapping(Options(), "config") == {"lr": 0.1, "inner": {"path": Path("/data")}}
    for bad in ("text", [1], 5, Options, {1: 2}, {"": 2}):
        with pytest.raises(TypeError, match="config"):
            as_mapping(bad, "config")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, str(2**70)),
        (math.nan, math.nan),
        (Path("/data"), "/data"),
        ((1, 2), [1, 2]),
        ({1: {2}}, {"1": [2]}),
        (Number.ONE, 1),
        (Options(), {"lr": 0.1, "inner": {"path": "/data"}}),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.array(2), 2),
        (Decimal("0.5"), 0.5),
        (b"bytes", "b'bytes'"),
        (int, "<class 'int'>"),
    ],
)
def test_what_has_a_plain_form_is_kept_and_the_rest_as_text(value: Any, expected: Any) -> None:
    assert exact(plain(value)) == exact(expected)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=20,
)


@given(anything)
def test_any_config_is_a_record(value: Any) -> None:
    record = Record("config", "run", "client", 1, 1.0, {"set": {"x": plain(value)}})
    assert exact(decode(encode(record)).body) == exact(record.body)


def test_a_config_that_is_deep_or_holds_itself_is_a_record_too() -> None:
    deep: Any = 1
    for _ in range(3 * MAX_DEPTH):
        deep = {"k": [deep]}
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    for value in (deep, loop):
        decode(encode(Record("config", "run", "client", 1, 1.0, {"set": {"x": plain(value)}})))
        decode(encode(Record("summary", "run", "client", 1, 1.0, {"set": {"x": plain(value)}})))


def test_histograms() -> None:
    made = Histogram([0.0, 1.0, 1.0, math.nan, math.inf], num_bins=2).to_map()
    assert made == {"_type": "histogram", "counts": [1.0, 2.0], "edges": [0.0, 0.5, 1.0], "left_out": 2}
    assert Histogram(np_histogram=np.histogram(np.arange(10), 5)).to_map()["counts"] == [2.0] * 5  # type: ignore[arg-type]
    assert sum(Histogram(np.ones((3, 4)), num_bins=3).counts) == 12
    assert Histogram([]).counts == [0.0] * 64
    decode(encode(Record("log", "r", "c", 1, 1.0, {"step": 1, "data": metrics({"h": Histogram([1, 2])})})))
    with pytest.raises(ValueError, match="2 counts and 2 edges"):
        Histogram(np_histogram=([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="num_bins is 513"):
        Histogram([1], num_bins=513)


def test_a_histogram_over_all_floats() -> None:
    assert sum(Histogram([-1.7e308, 1.7e308, 0.0], num_bins=4).counts) == 3
