"""tracker.cli.table: alignment, widths, headings, colours."""

from __future__ import annotations

from tracker.cli.table import Column, table
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
