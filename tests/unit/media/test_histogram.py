"""Histograms of lists and arrays: the same counts for both."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.protocol.codec import decode, encode
from sidecar.protocol.records import Record
from tracker.media.histogram import Histogram
from tracker.sdk.values import metrics


def test_histograms() -> None:
    made = Histogram([0.0, 1.0, 1.0, math.nan, math.inf], num_bins=2).to_map()
    assert made == {"_type": "histogram", "counts": [1.0, 2.0], "edges": [0.0, 0.5, 1.0], "left_out": 2}
    assert Histogram(np_histogram=np.histogram(np.arange(10), 5)).to_map()["counts"] == [2.0] * 5  # type: ignore[arg-type]
    assert sum(Histogram(np.ones((3, 4)), num_bins=3).counts) == 12
    assert Histogram([]).counts == [0.0] * 64
    assert repr(Histogram([1, 2, 4], num_bins=3)) == "<tracker.Histogram of 3 values from 1 to 4, 3 bins>"
    decode(encode(Record("log", "r", "c", 1, 1.0, {"step": 1, "data": metrics({"h": Histogram([1, 2])})})))
    with pytest.raises(ValueError, match="2 counts and 2 edges"):
        Histogram(np_histogram=([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="num_bins must be from 1 to 512, not 513"):
        Histogram([1], num_bins=513)


def test_a_histogram_over_all_floats() -> None:
    assert sum(Histogram([-1.7e308, 1.7e308, 0.0], num_bins=4).counts) == 3
    assert sum(Histogram(np.array([-1.7e308, 1.7e308, 0.0]), num_bins=4).counts) == 3


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50), st.integers(1, 512))
@example([1.7976931348623157e308, -8.988465674311579e307], 3)  # the distance is more than the largest float
@example([1.7976931348623157e308, -9.9792015476736e291], 1)
@example([0.0, 5e-324], 512)
def test_an_array_is_counted_as_a_list_is(values: list[float], num_bins: int) -> None:
    counted = Histogram(values, num_bins)
    assert Histogram(np.array(values), num_bins).to_map() == counted.to_map()
    assert sum(counted.counts) + counted.left_out == len(values)
    assert counted.edges == sorted(counted.edges) and len(counted.edges) == num_bins + 1
    assert all(math.isfinite(edge) for edge in counted.edges)


@pytest.mark.parametrize("values", [[1e300], [1.7976931348623157e308], [0.0, 5e-324], [-1e300] * 2, [3]])
def test_one_value_or_almost_one(values: list[float]) -> None:
    for each in (values, np.array(values)):
        counted = Histogram(each, num_bins=3)
        assert sum(counted.counts) == len(values)
        assert (
            counted.edges[0] <= min(values) <= max(values) <= counted.edges[-1] and counted.edges[0] < counted.edges[-1]
        )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", "bool", "longdouble", "object"])
def test_arrays_of_all_types_and_shapes(dtype: str) -> None:
    expected = Histogram([0.0, 1.0, 1.0, 1.0], num_bins=2).to_map()
    assert Histogram(np.array([[0, 1], [1, 1]], dtype), num_bins=2).to_map() == expected


def test_a_long_list_is_counted_by_numpy_if_that_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[Any] = [0.5 * number for number in range(3000)] + [math.nan]
    fast = Histogram(values).to_map()
    monkeypatch.delitem(sys.modules, "numpy")
    assert Histogram(values).to_map() == fast
    assert "numpy" not in sys.modules


def test_a_tensor_on_a_device_that_requires_a_gradient() -> None:
    class Tensor:
        """As of PyTorch: it gives its values only after ``detach`` and ``cpu``."""

        shape = (2, 2)

        def __init__(self, steps: tuple[str, ...] = ()) -> None:
            self.steps = steps

        def detach(self) -> Tensor:
            return Tensor((*self.steps, "detach"))

        def cpu(self) -> Tensor:
            return Tensor((*self.steps, "cpu"))

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            assert self.steps == ("detach", "cpu")
            return np.array([[0.0, 1.0], [1.0, 1.0]], np.float32)

    assert Histogram(Tensor(), num_bins=2).counts == [1.0, 3.0]


def test_an_array_that_numpy_cannot_read_is_read_as_a_list() -> None:
    class Brain:
        """As a tensor of type bfloat16."""

        shape = (3,)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise TypeError("Got unsupported ScalarType BFloat16")

        def tolist(self) -> list[float]:
            return [0.0, 1.0, 1.0]

    assert Histogram(Brain(), num_bins=2).counts == [1.0, 2.0]
