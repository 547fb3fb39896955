"""A canvas of braille characters: each character is two dots wide and four high. Pure, any thread.

The dots of U+2800 to U+28FF: https://www.unicode.org/charts/PDF/U2800.pdf.
"""

from __future__ import annotations

from collections.abc import Sequence

DOTS_X, DOTS_Y = 2, 4
"""Dots of a character, across and down."""

_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of each dot, by column and row from the top."""

_BLANK = 0x2800

Cell = tuple[str, str]
"""A character and the name of its colour, ``""`` for none."""


class Canvas:
    """Dots in colour. Where lines cross, a character has the colour of the line that was drawn last.

    Args:
        columns, rows: size in characters, each at least 1.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = max(1, columns), max(1, rows)
        self.width, self.height = self.columns * DOTS_X, self.rows * DOTS_Y
        self._bits = [[0] * self.columns for _ in range(self.rows)]
        self._colours = [[""] * self.columns for _ in range(self.rows)]

    def bar(self, x: int, top: int, bottom: int, colour: str = "") -> None:
        """Set the dots of column `x` from `top` to `bottom`, both included, counted from the upper left corner."""
        if not 0 <= x < self.width:
            return
        column, bits = x // DOTS_X, _BITS[x % DOTS_X]
        for y in range(max(0, top), min(self.height - 1, bottom) + 1):
            row = y // DOTS_Y
            self._bits[row][column] |= bits[y % DOTS_Y]
            self._colours[row][column] = colour

    def line(self, x0: int, y0: int, x1: int, y1: int, colour: str = "") -> None:
        """Connect two dots, without the first."""
        steps = max(abs(x1 - x0), 1)
        before = y0
        for step in range(1, steps + 1):
            y = round(y0 + (y1 - y0) * step / steps)
            x = round(x0 + (x1 - x0) * step / steps)
            low, high = (before + 1, y) if y > before else (y, before - 1) if y < before else (y, y)
            self.bar(x, low, high, colour)
            before = y

    def cells(self) -> list[list[Cell]]:
        """Return the characters by row; a character without dots is a space."""
        return [
            [(chr(_BLANK + bits) if bits else " ", colour) for bits, colour in zip(row, colours, strict=True)]
            for row, colours in zip(self._bits, self._colours, strict=True)
        ]


def plot(
    canvas: Canvas,
    xs: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    means: Sequence[float],
    bounds: tuple[float, float, float, float],
    colour: str = "",
) -> None:
    """Draw a curve of buckets: each from its lowest to its highest value, the means joined.

    Args:
        canvas: where.
        xs: middle of each bucket, ascending; a NaN among the means is a gap.
        lows, highs, means: of each bucket.
        bounds: x and y of the left, right, lower and upper edge; each pair differs.
        colour: name of the colour.
    """
    left, right, bottom, top = bounds
    x_scale = (canvas.width - 1) / (right - left)
    y_scale = (canvas.height - 1) / (top - bottom)
    last: tuple[int, int] | None = None

    def y_of(value: float) -> int:
        return round((top - min(max(value, bottom), top)) * y_scale)

    for x, low, high, mean in zip(xs, lows, highs, means, strict=True):
        if mean != mean or not left <= x <= right:
            last = None
            continue
        at = round((x - left) * x_scale)
        canvas.bar(at, y_of(high), y_of(low), colour)
        here = (at, y_of(mean))
        if last is not None and at > last[0]:
            canvas.line(*last, *here, colour)
        last = here
