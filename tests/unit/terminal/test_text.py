"""Text for people: nothing foreign reaches the terminal raw, widths are those that a terminal shows."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.terminal.text import clean, clean_lines, counted, duration, fit, number, pad, size, some, width


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1b]0;never ends", "0;never ends"),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x1b(Bx", "x"),
        ("a\nb\tc\x00d", "a b c d"),
        ("right\u202eto left", "right to left"),
        ("file\udce4", "file\ufffd"),
        ("grün 日本", "grün 日本"),
    ],
)
def test_foreign_text_is_made_harmless(text: str, cleaned: str) -> None:
    assert clean(text).strip() == cleaned


def test_line_breaks_stay_where_they_are_meant() -> None:
    assert clean_lines("a\x1b[1m\nb\r\n") == "a\nb \n"


@given(st.text())
def test_cleaned_text_has_no_control_characters_and_can_be_written(text: str) -> None:
    found = clean(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in found)
    found.encode()


@pytest.mark.parametrize("part", ["\x1b]", "\x9d", "\x9b", "\x1b[", "\x1bP1", "\x1b"])
def test_cleaning_takes_linear_time(part: str) -> None:
    started = time.perf_counter()
    clean(part * 300_000)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("👩‍💻", 4), ("\x1b[32mok\x1b[0m", 2), ("", 0)]
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(0, 12))
def test_what_was_fitted_fits(text: str, columns: int) -> None:
    found = fit(text, columns)
    assert width(found) <= columns
    assert found == text or found.endswith("…") or columns == 0
    if width(text) <= columns:
        assert found == text


def test_a_long_text_is_cut_in_linear_time() -> None:
    started = time.perf_counter()
    assert fit("日" * 1_000_000, 11) == "日日日日日…"
    assert time.perf_counter() - started < 1


def test_pad() -> None:
    assert pad("日", 4) == "日  "
    assert pad("7", 3, right=True) == "  7"
    assert pad("too long", 3) == "too long"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (1e-9, "1e-09"),
        (float("nan"), "nan"),
        (3, "3"),
        (True, "true"),
        (None, "none"),
        ("a\nb", "a b"),
        ({"_type": "histogram", "bins": []}, "<histogram>"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_number(value: object, text: str) -> None:
    assert number(value) == text


def test_number_with_fewer_digits() -> None:
    assert number(0.00345678, 3) == "0.00346"


def test_lengths_and_counts() -> None:
    assert [duration(seconds) for seconds in (-1, 0.04, 9.96, 59.6, 61, 7500)] == [
        "0.0 s", "0.0 s", "10 s", "1 min", "1 min 1 s", "2 h 5 min",
    ]  # fmt: skip
    assert [size(count) for count in (0, 1023, 1536, 5 * 1024**4)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
    assert [counted(1, "run"), counted(2000, "run")] == ["1 run", "2,000 runs"]
    assert some([]) == "nothing"
    assert some(list("abcdefg")) == "a, b, c, d, e and 2 more"
