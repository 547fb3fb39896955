"""tracker show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, run_json
from tests.unit.cli.screens import on_terminal
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main
from tracker.cli.show import sink_text
from tracker.terminal.text import width


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


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with two metrics, of which one has a maximum, and options of argparse that were not given."""
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    run = RunBuilder(tmp_path, "trained1", name="a run")
    run.write("config", {"set": {"lr": 0.1, "resume": None, "mode": None, "tags": ""}})
    run.write("define", {"metric": "acc", "summary": ["max"]})
    for step in range(64):
        run.row(step, None, loss=1 - step / 64, acc=min(step, 40) - max(0, step - 40))
    run.write("summary", {"set": {"note": "good"}})
    run.finish()
    return tmp_path


def test_metrics_have_a_chart_and_their_ends(trained: Path, capsys: Captured) -> None:
    assert main(["show", "a run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["METRIC", "FIRST", "LAST", "MIN", "MAX", "SUMMARY"] in lines
    (loss,) = [words for words in lines if words[:1] == ["loss"]]
    assert loss[1][0] == "█" and loss[1][-1] == "▁" and len(loss[1]) == 24
    assert loss[2:] == ["1", "0.01562", "0.01562", "1"]
    (acc,) = [words for words in lines if words[:1] == ["acc"]]
    assert acc[2:] == ["0", "17", "0", "40", "max", "40"]
    assert ["note", "good"] in lines
    assert ["not", "set:", "mode,", "resume"] in lines and ["tags", '""'] in lines
    assert main(["show", "last", "--no-curves"]) == 0
    shown = capsys.readouterr().out
    assert "METRIC" not in shown and "40 (max)" in shown and "0.015625" in shown


@pytest.mark.parametrize("columns", [50, 80, 140])
def test_a_page_fits_its_terminal(trained: Path, columns: int) -> None:
    screen = on_terminal(trained, "show", "trained1", columns=columns)
    assert screen.code == 0
    assert max(map(width, screen.lines)) <= columns
    assert "\x1b[32mfinished\x1b[0m" in screen.raw and "\x1b[1mconfig\x1b[0m" in screen.raw
    assert any("▁" in line for line in screen.lines)


def test_a_run_whose_history_cannot_be_read_is_shown(trained: Path, capsys: Captured) -> None:
    run = trained / "runs" / "trained1"
    (run / "store.db").unlink()
    (run / "transactions.log").write_bytes(b"not a log")
    assert main(["show", "trained1"]) == 0
    shown = capsys.readouterr().out
    assert "unreadable" in shown and "no charts: " in shown


@pytest.mark.parametrize(
    ("sink", "text"),
    [
        ({"behind_bytes": 0, "error": None, "offline": False}, "sent"),
        ({"behind_bytes": 6350, "error": "refused", "offline": False}, "6.2 KiB pending: refused"),
        ({"behind_bytes": 10, "error": None, "offline": True}, "10 B pending: offline; 'tracker sync' sends it"),
        ({"behind_bytes": 10, "error": None, "offline": False}, "10 B pending: being sent"),
    ],
)
def test_how_far_a_server_is(sink: dict[str, object], text: str) -> None:
    assert sink_text(sink) == text


def test_what_the_table_of_metrics_shows_is_not_shown_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    run = RunBuilder(tmp_path, "several1")
    run.write("define", {"metric": "acc", "summary": ["min", "max"]})
    run.write("define", {"metric": "start", "summary": ["first"]})
    for step in range(4):
        run.row(step, None, acc=float(step), start=float(step))
    run.write("summary", {"set": {"note": "good"}})
    run.finish()
    assert main(["show", "several1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (acc,) = [line for line in lines if line.startswith("  acc")]
    assert acc.endswith("min 0, max 3")
    summary = lines[lines.index("summary") + 1 :]
    assert [line.split() for line in summary if line] == [["note", "good"]]
