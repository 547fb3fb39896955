"""The progress bar."""

from __future__ import annotations

import io

import pytest

from tracker.terminal.progress import Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_bar_is_for_terminals_and_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen, pipe = Screen(), io.StringIO()
    with Progress("work", screen) as bar, Progress("work", pipe) as silent:
        now = 0.9
        bar(1, 4)
        assert screen.getvalue() == ""
        now = 1.5
        bar(2, 4)
        silent(2, 4)
        assert "work  [###############...............]  50%" in screen.getvalue()
        now = 2.5
        bar(7, 0)
        assert "work  7" in screen.getvalue()
    assert screen.getvalue().endswith("\r")
    assert pipe.getvalue() == ""
