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
from tracker.sdk.plain import as_mapping, plain
from tracker.sdk.values import metrics, step_number


class Tensor:
    """A tensor of any framework with one element."""

    def __init__(self, value: Any, shape: tuple[int, ...] = ()) -> None:
        self.value = value
        self.shape = shape

    def item(self) -> Any:
        return self.value


class Eager:
    """A 0-d tensor without ``item``, as TensorFlow has."""

    shape = ()

    def __init__(self, value: Any) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)


class EagerInt(Eager):
    def __index__(self) -> int:
        return int(self.value)


class Shapeless:
    """A symbolic tensor: it does not know its shape."""

    @property
    def shape(self) -> Any:
        return self

    def __iter__(self) -> Any:
        raise ValueError("unknown rank")


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
        (np.array([0.5]), 0.5),
        (np.array([[7]]), 7),
        (np.array([True]), True),
        (np.array(["text"]), "text"),
        (np.array([2.5], np.float16), 2.5),
        (np.array([0.5], np.longdouble), 0.5),
        (Tensor(0.5, (1, 1)), 0.5),
        (Eager(0.5), 0.5),
        (Eager(3), 3.0),
        (EagerInt(2**60 + 1), 2**60 + 1),
    ],
)
def test_a_metric_is_read_back_as_what_it_was(value: Any, expected: Any) -> None:
    assert exact(metrics({"x": value})) == exact({"x": expected})


def test_nested_keys_join_with_dots() -> None:
    data = OrderedDict(loss=1.0, val={"acc": 0.5, "per": {"class": 1}, "none": {}})
    assert list(metrics(data).items()) == [("loss", 1.0), ("val.acc", 0.5), ("val.per.class", 1)]


def test_none_is_no_value() -> None:
    assert metrics({"a": None, "b": {"c": None, "d": 1}}) == {"b.d": 1}
    assert metrics({"a": None}) == {}
    with pytest.raises(ValueError, match="reserved"):
        metrics({"_step": None})


def test_half_a_character_in_a_text_is_replaced() -> None:
    assert metrics({"x": "a\ud800b"}) == {"x": "a?b"}
    assert plain("a\ud800b") == "a?b"


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({"x": [1, 2.5, 3]}, TypeError, r"'x' is a list of 3 numbers; log a number, or tracker\.Histogram\(\.\.\.\)"),
        ({"x": [1]}, TypeError, "'x' is a list of 1 number;"),
        ({"x": ("a", 1)}, TypeError, "'x' is a tuple of 2 items;"),
        ({"x": set()}, TypeError, "'x' is a set of 0 items;"),
        ({"x": [0] * 1001}, TypeError, "'x' is a list of 1001 items;"),
        ({"x": np.zeros(0)}, TypeError, r"'x' is an ndarray of shape \(0,\)"),
        ({"x": np.array(["2020-01-01"], "M8[D]")}, TypeError, r"'x' is an ndarray of shape \(1,\)"),
        ({"x": 1j}, TypeError, "'x' is a complex number;"),
        ({"x": np.array([1j])}, TypeError, "'x' is an ndarray"),
        ({"x": Shapeless()}, TypeError, "'x' is a Shapeless;"),
        ({"x": Decimal("sNaN")}, ValueError, "'x' is a Decimal that is not a 64-bit float"),
        ({"x": Fraction(10**400)}, ValueError, "'x' is a Fraction that is not a 64-bit float"),
        ({"a": {"b": object()}}, TypeError, "'a.b' is an object"),
        ({"x": np.zeros((2, 3))}, TypeError, r"'x' is an ndarray of shape \(2, 3\)"),
        ({"x": Tensor([1])}, TypeError, "'x' is a Tensor"),
        ({"x": 2**64}, ValueError, "'x' is an integer of"),
        ({"x": 10**400}, ValueError, "'x' is an integer of"),
        ({1.5: 1}, TypeError, "key 1.5 is a float; keys are strings or integers"),
        ({"a": {None: 1}}, TypeError, "key None in 'a' is None"),
        ({1: 1, "1": 2}, ValueError, "'1' is given twice"),
        ({"": 1}, ValueError, "empty"),
        ({"_timestamp": 1}, ValueError, "'_timestamp' is reserved"),
        ({"k" * 513: 1}, ValueError, "513 characters, at most 512"),
        ({str(key): 1 for key in range(MAX_KEYS + 1)}, ValueError, "at most 10000 metrics at once, not 10001"),
        (5, TypeError, "not an int"),
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
    for one in (
        np.int32(5),
        np.uint8(5),
        np.array(5),
        np.array([[5]]),
        Tensor(5, (1,)),
        EagerInt(5),
        5.0,
        np.float32(5),
    ):
        assert type(step_number(one)) is int and step_number(one) == 5
    for other in (1.5, "1", None, True, math.nan, math.inf, np.float32(1.5), np.array([1, 2]), Tensor("1"), object()):
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
        ({"b", "a", 3, 20.5, None}, [3, 20.5, None, "a", "b"]),
        (Number.ONE, 1),
        (Options(), {"lr": 0.1, "inner": {"path": "/data"}}),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.array(2), 2),
        (Decimal("0.5"), 0.5),
        (b"bytes", "b'bytes'"),
        (int, "int"),
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
