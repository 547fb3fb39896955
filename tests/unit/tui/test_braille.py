"""Dots of braille: what is drawn, and what is kept of a spike."""

from __future__ import annotations

import math

from tracker.tui.braille import Canvas, plot


def text(canvas: Canvas) -> list[str]:
    return ["".join(character for character, _ in row) for row in canvas.cells()]


def test_a_full_character_and_an_empty_one() -> None:
    canvas = Canvas(2, 1)
    canvas.bar(0, 0, 3)
    canvas.bar(1, 0, 3)
    assert text(canvas) == ["⣿ "]


def test_each_dot_has_its_place() -> None:
    canvas = Canvas(1, 1)
    for x, y, expected in ((0, 0, "⠁"), (0, 3, "⡁"), (1, 1, "⡑"), (1, 3, "⣑")):
        canvas.bar(x, y, y)
        assert text(canvas) == [expected]


def test_dots_outside_are_left_out() -> None:
    canvas = Canvas(1, 1)
    canvas.bar(-1, 0, 3)
    canvas.bar(2, 0, 3)
    canvas.bar(0, -5, -1)
    canvas.bar(0, 4, 9)
    assert text(canvas) == [" "]


def test_one_value_among_many_is_a_needle_to_the_top() -> None:
    canvas = Canvas(10, 4)
    xs = [float(x) for x in range(20)]
    lows, means = [0.0] * 20, [0.01] * 20
    highs = [1.0 if x == 12 else 0.02 for x in range(20)]
    plot(canvas, xs, lows, highs, means, (0.0, 19.0, 0.0, 1.0))
    rows = text(canvas)
    assert [row[6] for row in rows] == ["⡇"] * 3 + ["⣇"]
    assert all(row.replace("⡇", "").strip() == "" for row in rows[:3])


def test_a_line_is_not_joined_over_a_gap() -> None:
    canvas = Canvas(6, 1)
    values = [0.0, 0.0, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0, 0.0, 0.0]
    plot(canvas, [float(x) for x in range(12)], values, values, values, (0.0, 11.0, 0.0, 1.0))
    assert text(canvas) == ["⣀   ⣀⣀"]


def test_steep_lines_have_no_holes() -> None:
    canvas = Canvas(2, 5)
    plot(canvas, [0.0, 3.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], (0.0, 3.0, 0.0, 1.0))
    dots = sum(bin(ord(character) - 0x2800).count("1") for row in text(canvas) for character in row if character != " ")
    assert dots == canvas.height


def test_the_colour_is_that_of_the_line_drawn_last() -> None:
    canvas = Canvas(1, 1)
    canvas.bar(0, 0, 0, "red")
    canvas.bar(1, 0, 0, "green")
    assert canvas.cells() == [[("⠉", "green")]]
