"""Histogram: a distribution of numbers. Any thread."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tracker.media.base import Media

_MAX_BINS = 512
_LONG = 1000
"""Length from which a list is counted by NumPy, if that is imported."""


class Histogram(Media):
    """A distribution.

    Args:
        values: numbers, any sequence or array; NaN and infinities are left out and counted.
        num_bins: number of bins of equal width, 1 to 512.
        np_histogram: instead of `values`: the pair ``(counts, edges)`` that ``numpy.histogram`` returns.

    Attributes:
        counts: number of values in each bin, shape ``[bins]``.
        edges: bounds of the bins, shape ``[bins + 1]``.
        left_out: number of values that were not finite.

    Raises:
        ValueError: `num_bins` is out of range, or the pair has other lengths.
    """

    type = "histogram"

    def __init__(
        self,
        values: Any = None,
        num_bins: int = 64,
        np_histogram: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        self.left_out = 0
        if np_histogram is not None:
            counts, edges = np_histogram
            self.counts = [float(count) for count in counts]
            self.edges = [float(edge) for edge in edges]
            if len(self.edges) != len(self.counts) + 1 or not self.counts:
                raise ValueError(
                    f"np_histogram must have one more edge than counts, not {len(self.counts)} counts and "
                    f"{len(self.edges)} edges"
                )
            return
        if not 1 <= num_bins <= _MAX_BINS:
            raise ValueError(f"num_bins must be from 1 to {_MAX_BINS}, not {num_bins}")
        array = _as_array(values)
        if array is not None:
            self._count_array(array, num_bins)
        else:
            self._count([float(value) for value in _flat(values)], num_bins)

    def __repr__(self) -> str:
        low, high = self.edges[0], self.edges[-1]
        return f"<tracker.Histogram of {sum(self.counts):g} values from {low:g} to {high:g}, {len(self.counts)} bins>"

    def to_map(self) -> dict[str, Any]:
        body: dict[str, Any] = {"_type": self.type, "counts": self.counts, "edges": self.edges}
        if self.left_out:
            body["left_out"] = self.left_out
        return body

    def _count(self, numbers: list[float], num_bins: int) -> None:
        finite = [number for number in numbers if math.isfinite(number)]
        self.left_out = len(numbers) - len(finite)
        scale, low, width = self._set_edges(min(finite, default=0.0), max(finite, default=1.0), num_bins)
        self.counts = [0.0] * num_bins
        for number in finite:
            self.counts[min(num_bins - 1, int(number * scale / width - low / width))] += 1

    def _count_array(self, array: Any, num_bins: int) -> None:
        """Count as `_count` does, a hundred times as fast."""
        numpy = sys.modules["numpy"]
        finite = array[numpy.isfinite(array)]
        self.left_out = len(array) - len(finite)
        bounds = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        scale, low, width = self._set_edges(*bounds, num_bins)
        indices = (finite * scale / width - low / width).astype(numpy.int64)
        self.counts = numpy.bincount(numpy.minimum(indices, num_bins - 1), minlength=num_bins).astype(float).tolist()

    def _set_edges(self, low: float, high: float, num_bins: int) -> tuple[float, float, float]:
        """Set the edges; return a factor for all values, then the first edge and the width times that factor."""
        scale = 1.0 if math.isfinite(high - low) else 0.5  # half of all floats span less than the largest float
        width = (high * scale - low * scale) / num_bins
        if not width:  # a single value, or values too close to be divided
            margin = max(0.5, abs(high) * 1e-9)
            low, high = max(low - margin, -sys.float_info.max), min(high + margin, sys.float_info.max)
            width = (high * scale - low * scale) / num_bins
        self.edges = [min((low * scale + width * index) / scale, high) for index in range(num_bins)] + [high]
        return scale, low * scale, width


def _as_array(values: Any) -> Any:
    """Return `values` as a flat NumPy array of floats; None if NumPy cannot read them, or is not worth it.

    A program that has arrays or tensors has imported NumPy, so it is not imported here.
    """
    numpy = sys.modules.get("numpy")
    long = isinstance(values, list) and len(values) >= _LONG
    if numpy is None or not (hasattr(values, "shape") or long):
        return None
    for name in ("detach", "cpu"):  # of a tensor of PyTorch
        method = getattr(values, name, None)
        values = method() if callable(method) else values
    try:
        array = numpy.asarray(values)
        readable = array.dtype.kind in "biuf" and (array.ndim == 1 or not long)
        return array.astype(numpy.float64).ravel() if readable else None
    except Exception:  # whatever a library raises for a type that NumPy lacks, such as bfloat16
        return None


def _flat(values: Any) -> Iterable[Any]:
    """Return numbers from a sequence, or from an array or tensor of any shape."""
    if values is None:
        return ()
    for name in ("detach", "cpu", "flatten", "ravel"):
        method = getattr(values, name, None)
        values = method() if callable(method) else values
    numbers: Iterable[Any] = values.tolist() if callable(getattr(values, "tolist", None)) else values
    return numbers
