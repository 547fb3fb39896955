"""A series of numbers as one line of block characters. Pure functions, any thread."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TextIO

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"
"""Used if the stream's encoding lacks `BLOCKS`."""

NAN, ASCII_NAN = "×", "x"
GAP = " "

_SPIKE = 3.0
"""A column shows its extreme instead of its mean if it deviates by more than this many times the usual deviation."""


def shows_blocks(stream: TextIO | None) -> bool:
    """Whether the encoding of `stream` has the block characters; True for one that has no encoding."""
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str):
        return True
    try:
        (BLOCKS + NAN).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(
    values: Sequence[Any],
    width: int = 20,
    *,
    at: Sequence[float] | None = None,
    low: float | None = None,
    high: float | None = None,
    ascii_only: bool = False,
) -> str:
    """Return `values` as at most `width` characters, the lowest as the smallest block.

    Each character stands for a stretch of values: their mean, or where one stands out (a spike, a drop) that one.
    A stretch without numbers is a space, one with only NaN a ``×``. Infinities are the lowest and the highest block.

    Args:
        values: numbers in order; anything else is a gap.
        width: maximum number of characters; fewer values give a shorter line.
        at: position of each value on the x axis, ascending; None: evenly spaced.
        low, high: the numbers drawn as the smallest and the largest block, to give several lines one scale; None: the
            lowest and the highest number drawn.
        ascii_only: use ASCII characters only.
    """
    columns = [_Column(stretch) for stretch in _stretches(values, width, at)]
    usual = [column.deviation for column in columns if column.mean is not None and column.count > 1]
    threshold = _SPIKE * sorted(usual)[len(usual) // 2] if usual else 0.0
    heights = [column.height(threshold) for column in columns]
    finite = [height for height in heights if height is not None and math.isfinite(height)]
    low = low if low is not None else min(finite, default=0.0)
    high = high if high is not None else max(finite, default=0.0)
    blocks, nan = (ASCII_BLOCKS, ASCII_NAN) if ascii_only else (BLOCKS, NAN)
    return "".join(GAP if height is None else _block(height, low, high, blocks, nan) for height in heights)


def _block(height: float, low: float, high: float, blocks: str, nan: str) -> str:
    if math.isnan(height):
        return nan
    if math.isinf(height):
        return blocks[-1] if height > 0 else blocks[0]
    if high == low:
        return blocks[0]
    # Halves, since the difference of two finite numbers may be infinite.
    share = (height / 2 - low / 2) / (high / 2 - low / 2) if high / 2 != low / 2 else 0.0
    return blocks[round(min(1.0, max(0.0, share)) * (len(blocks) - 1))]


def _stretches(values: Sequence[Any], width: int, at: Sequence[float] | None) -> list[Sequence[Any]]:
    """Return the values of each column."""
    count = len(values)
    if width < 1 or not count:
        return []
    if count <= width:
        return [values[index : index + 1] for index in range(count)]
    low, high = (float(at[0]), float(at[-1])) if at is not None else (0.0, 0.0)
    if at is None or not low < high:
        return [values[index * count // width : (index + 1) * count // width] for index in range(width)]
    starts = [bisect_left(at, low + (high - low) * column / width) for column in range(width)]
    return [values[start:end] or [None] for start, end in pairwise([*starts, count])]


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 1,023 bits
        return math.inf if value > 0 else -math.inf


class _Column:
    """One character's values.

    Attributes:
        count: finite numbers among them.
        mean: their mean; None if there are none.
        deviation: distance of the extreme from the mean.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        numbers = [_float(value) for value in values if isinstance(value, int | float)]
        finite = [value for value in numbers if math.isfinite(value)]
        self.count = len(finite)
        self.mean: float | None = None
        self.deviation = 0.0
        self._numbers = numbers
        if finite:
            low, high = min(finite), max(finite)
            mean = sum(value / len(finite) for value in finite)
            self.mean = min(high, max(low, mean))
            self._extreme = high if high - self.mean >= self.mean - low else low
            self.deviation = abs(self._extreme - self.mean)

    def height(self, threshold: float) -> float | None:
        """Return the value to draw, NaN, an infinity, or None for a gap."""
        infinite = [value for value in self._numbers if math.isinf(value)]
        if infinite:
            return infinite[-1]
        if self.mean is None:
            return math.nan if self._numbers else None
        return self._extreme if self.deviation > threshold else self.mean
