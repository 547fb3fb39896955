"""Media: what can be logged besides numbers and strings. Each becomes a map with ``_type``; pure, any thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


class Media:
    """The root of what has a map form."""

    def to_map(self) -> dict[str, Any]:
        """Return plain data with ``_type``."""
        raise NotImplementedError


class Histogram(Media):
    """A distribution.

    Args:
        values: numbers, any sequence or array; NaN and infinities are left out and counted.
        num_bins: how many bins of equal width, 1 to 512; default 64.
        np_histogram: instead of `values`: the pair ``(counts, edges)`` that ``numpy.histogram`` returns.

    Attributes:
        counts: how many values fall into each bin, shape ``[bins]``.
        edges: where the bins begin and end, shape ``[bins + 1]``.
        left_out: how many values were not finite.

    Raises:
        ValueError: `num_bins` out of range, or a pair that does not fit.
    """

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
                    f"np_histogram has {len(self.counts)} counts and {len(self.edges)} edges; one edge more"
                )
            return
        if not 1 <= num_bins <= 512:
            raise ValueError(f"num_bins is {num_bins}; 1 to 512")
        numbers = [float(value) for value in _flat(values)]
        finite = [number for number in numbers if math.isfinite(number)]
        self.left_out = len(numbers) - len(finite)
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        width = high / num_bins - low / num_bins  # the difference alone may be infinite
        self.edges = [low + width * index for index in range(num_bins)] + [high]
        self.counts = [0.0] * num_bins
        for number in finite:
            self.counts[min(num_bins - 1, int(number / width - low / width))] += 1

    def to_map(self) -> dict[str, Any]:
        found: dict[str, Any] = {"_type": "histogram", "counts": self.counts, "edges": self.edges}
        if self.left_out:
            found["left_out"] = self.left_out
        return found


def _flat(values: Any) -> Any:
    """Return an iterable of numbers, whatever array it comes in."""
    if values is None:
        return ()
    for name in ("detach", "cpu", "flatten", "ravel"):
        method = getattr(values, name, None)
        if callable(method):
            values = method()
    return values.tolist() if callable(getattr(values, "tolist", None)) else values
