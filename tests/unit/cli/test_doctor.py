"""tracker doctor, where there are no servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails, run_json
from tests.unit.cli.screens import on_terminal
from tracker.cli import doctor
from tracker.cli.main import main
from tracker.reading import catalog


def test_a_healthy_directory(root: Path, capsys: Captured) -> None:
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    facts = {line.split()[0]: line for line in captured.out.splitlines()}
    assert str(root) in facts["directory"] and "GiB free" in facts["disk"] and "none running" in facts["sidecars"]
    assert facts["runs"].split()[1] == "2," and facts["runs"].endswith("KiB")
    assert facts["no"] == "no problems found" and captured.err == ""
    report = run_json(capsys, "doctor")
    assert isinstance(report, dict) and report["problems"] == [] and report["sinks"] == []
    assert [fact["what"] for fact in report["facts"]] == ["tracker", "directory", "disk", "sidecars", "runs"]


def test_the_catalog_is_named_where_there_is_one(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(catalog, "LEAST_RUNS", 1)
    for path in root.glob("runs/*/*"):
        os.utime(path, (1e9, 1e9))
    assert main(["ls"]) == 0 and (root / "catalog.db").is_file()
    capsys.readouterr()
    assert main(["doctor"]) == 0
    assert f"{root}/catalog.db, " in capsys.readouterr().out


def test_a_run_that_cannot_be_read_is_a_problem(root: Path, capsys: Captured) -> None:
    (root / "runs" / "first001" / "store.db").unlink()
    (root / "runs" / "first001" / "transactions.log").write_bytes(b"nonsense, all of it, and more of it")
    line = fails(capsys, 1, "doctor")
    assert line.endswith("1 problem: first001 cannot be read: 'tracker verify' says why")


def test_a_full_disk_is_a_problem(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 1 << 62)
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "   <- only " in captured.out and captured.err.startswith("tracker doctor: 1 problem: only ")


def test_a_directory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert fails(capsys, 1, "doctor", "--dir", "/nope") == "tracker doctor: there is no directory /nope"
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path / "nope"))
    assert "there is no directory" in (line := fails(capsys, 1, "doctor")) and line.endswith("(from TRACKER_DIR)")
    monkeypatch.delenv("TRACKER_DIR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["doctor"]) == 0
    assert f"{tmp_path}/.tracker, which the first run creates" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_colours(root: Path) -> None:
    assert "\x1b[32mno problems found\x1b[0m" in on_terminal(root, "doctor").raw
