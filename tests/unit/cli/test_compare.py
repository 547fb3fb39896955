"""tracker compare: what it chooses, what it marks, how it folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails, run_json
from tests.unit.cli.screens import on_terminal
from tests.unit.run_builder import RunBuilder
from tracker.cli.compare import shorten
from tracker.cli.main import main
from tracker.terminal.text import width


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs of one script; more of "acc" is better, by its definition."""
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    for number, rate in enumerate((0.1, 0.2, 0.3, 0.4)):
        run = RunBuilder(tmp_path, f"sweep{number:03}", name=f"rate={rate}", start_time=1_700_000_000.0 + number)
        run.write("config", {"set": {"rate": rate, "model": {"layers": 2}, "seed": None}})
        run.write("define", {"metric": "acc", "summary": ["max"], "goal": "maximize"})
        for step in range(8):
            run.row(step, None, acc=rate * step, loss=1 / (1 + rate * step))
        run.finish("finished" if number else "failed")
    return tmp_path


def lines_of(capsys: Captured, *arguments: str) -> dict[str, list[str]]:
    assert main(["compare", *arguments]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    return {words[0]: words[1:] for words in lines}


def test_the_last_two_without_arguments(sweep: Path, capsys: Captured) -> None:
    lines = lines_of(capsys)
    assert lines["rate=0.3"] == ["rate=0.4"] and lines["sweep002"] == ["sweep003"]
    assert lines["rate"] == ["0.3", "0.4"]
    assert "seed" not in lines and "model.layers" not in lines
    assert lines["config"] == ["(1", "of", "3", "keys;", "--all", "shows", "all)"]
    assert lines["acc"][:2] == ["(max)", "2.1"] and "2.8*" in lines["acc"]
    assert not any("*" in word for word in lines["loss"]), "which way is better is not known"
    assert lines["*"] == ["best"]


def test_runs_are_named_as_everywhere_and_all_of_the_config_is_shown_on_demand(sweep: Path, capsys: Captured) -> None:
    lines = lines_of(capsys, "rate=0.1", "sweep001", "last", "--all", "--min", "loss")
    assert lines["sweep000"] == ["sweep001", "sweep003"]
    assert lines["state"] == ["failed", "finished", "finished"]
    assert lines["model.layers"] == ["2", "2", "2"] and lines["seed"] == ["none"] * 3
    assert [word for word in lines["loss"] if word.endswith("*")] == ["0.26316*"]


def test_where_chooses_and_diff_is_another_name(sweep: Path, capsys: Captured) -> None:
    assert main(["diff", "--where", "config.rate>0.1"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["rate=0.2", "rate=0.3", "rate=0.4"]
    assert main(["compare", "--project", "none"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "no runs match (4 in " in captured.err


def test_json(sweep: Path, capsys: Captured) -> None:
    found = run_json(capsys, "compare", "sweep000", "sweep003")
    assert isinstance(found, dict)
    assert [run["id"] for run in found["runs"]] == ["sweep000", "sweep003"]
    assert found["config"] == {"rate": {"sweep000": 0.1, "sweep003": 0.4}}
    assert found["best"] == {"acc": ["sweep003"]}
    assert set(found["summary"]) == {"acc", "loss"}


def test_too_few_runs(sweep: Path, tmp_path: Path, capsys: Captured) -> None:
    assert "give two runs or more" in fails(capsys, 2, "compare", "last")
    assert "give two runs or more" in fails(capsys, 2, "compare", "last", "sweep003")
    assert "not both" in fails(capsys, 2, "compare", "last", "--project", "demo")
    assert "'nope' not found" in fails(capsys, 1, "compare", "last", "nope")
    alone = tmp_path / "alone"
    RunBuilder(alone, "alone001").finish()
    assert "there is only one run" in fails(capsys, 1, "compare", "--dir", str(alone))
    assert main(["compare", "--dir", str(tmp_path / "alone" / "runs")]) == 0


def test_curves_share_a_scale(sweep: Path, capsys: Captured) -> None:
    lines = lines_of(capsys, "sweep000", "sweep003")
    low, high = (word for word in lines["acc"] if word[0] == "▁")
    assert high.endswith("█") and low[-1] < "▅"
    assert "▁" not in " ".join(lines_of(capsys, "sweep000", "sweep003", "--no-curves")["acc"])


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_runs_fold_on_a_narrow_terminal(sweep: Path, columns: int) -> None:
    screen = on_terminal(sweep, "compare", "--project", "demo", columns=columns)
    assert screen.code == 0
    assert max(map(width, screen.lines)) <= columns
    shown = [word for line in screen.lines for word in line.split() if word.startswith("sweep")]
    assert shown == ["sweep000", "sweep001", "sweep002", "sweep003"]
    assert "\x1b[31mfailed\x1b[0m" in screen.raw and "\x1b[32mfinished\x1b[0m" in screen.raw
    plain = on_terminal(sweep, "compare", "--project", "demo", columns=columns, NO_COLOR="1")
    assert "\x1b" not in plain.raw and plain.lines == screen.lines


def test_a_run_that_cannot_be_read_does_not_hide_the_others(sweep: Path, capsys: Captured) -> None:
    run = sweep / "runs" / "sweep003"
    (run / "store.db").unlink()
    (run / "transactions.log").write_bytes(b"not a log")
    assert main(["compare", "sweep002", "sweep003"]) == 0
    captured = capsys.readouterr()
    assert "unreadable" in captured.out and "no charts of run sweep003" in captured.err


def test_long_names_are_cut_in_the_middle() -> None:
    assert shorten("a-run-with-a-long-name-kill", 12) == "a-run…e-kill"
    assert shorten("short", 12) == "short"
    assert width(shorten("日本語" * 9, 11)) <= 11
