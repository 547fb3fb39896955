"""tracker show."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.commands import Captured, run_json
from tracker.cli.main import main


def test_show(root: Path, capsys: Captured) -> None:
    assert main(["show", "second02"]) == 0
    text = capsys.readouterr().out
    assert "failed, exit code 1" in text
    assert "  boom" in text
    assert main(["show", "first001"]) == 0
    text = capsys.readouterr().out
    assert "opt.name" in text
    assert "4 rows, 7 values" in text
    shown = run_json(capsys, "show", "first001")
    assert isinstance(shown, dict)
    assert shown["summary"]["loss"] == 0.1 + 0.2
    assert shown["files"] == []
