"""tracker.cli.table: alignment, widths, headings, colours."""

from __future__ import annotations

from tracker.cli.table import Column, facts, short_heads, table
from tracker.terminal.style import Style
from tracker.terminal.text import clean, fit, width


def test_tables_are_aligned_and_fit() -> None:
    columns = [Column("NAME", least=5), Column("N", right=True)]
    assert table(columns, [["a", "1"], ["bc", "100"]]) == ["NAME    N", "a       1", "bc    100"]
    wide = table(columns, [["x" * 200, "1"], ["日本" * 60, "22"]], 100)
    assert max(map(width, wide)) <= 100
    assert [line.split()[-1] for line in wide] == ["N", "1", "22"]
    assert max(map(width, table([Column("A")] * 30, [["abcdefgh"] * 30], 100))) <= 100
    assert fit("日本語", 5) == "日本…"
    assert clean("a\x1b[0m\nb") == "a b"


def test_heads_are_the_shortest_endings_that_differ() -> None:
    assert short_heads(["summary.train.loss", "summary.val.loss", "config.lr"]) == ["TRAIN.LOSS", "VAL.LOSS", "LR"]
    assert short_heads(["loss", "val.loss"]) == ["LOSS", "VAL.LOSS"]
    assert short_heads(["config.lr", "summary.lr"]) == ["CONFIG.LR", "SUMMARY.LR"]
    assert short_heads(["lr", "lr"]) == ["LR", "LR"]


def test_colours_do_not_count_for_the_width_and_stay_when_a_row_is_cut() -> None:
    columns = [Column("NAME", least=4), Column("STATE", paint=Style(True).state), Column("N", right=True)]
    lines = table(columns, [["a long name", "failed", "1"], ["b", "running", "22"]], 18)
    assert lines == [
        "NAME   STATE     N",
        "a lo…  \x1b[31mfailed\x1b[0m    1",
        "b      \x1b[36mrunning\x1b[0m  22",
    ]
    narrow = table(columns, [["a long name", "failed", "1"]], 9)
    assert narrow[1] == "a l…  \x1b[31mfa…\x1b[0m"
    assert max(map(width, narrow)) <= 9


def test_facts_are_aligned_and_clean() -> None:
    assert facts({"a": "1", "long": "two\nlines\x1b[31m"}) == ["a     1", "long  two lines"]
    assert facts({"a": "x" * 50}, "  ", 20) == ["  a  " + "x" * 14 + "…"]


def test_heads_are_made_harmless() -> None:
    assert table([Column("L\x1b]0;title\x07\x1b[31mX\n")], [["1"]]) == ["LX", "1"]
