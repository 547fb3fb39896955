"""tracker ls."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.commands import Captured, run_json
from tracker.cli.main import main


def test_ls(root: Path, capsys: Captured) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PROJECT", "STATE", "STARTED", "DURATION", "STEP"]
    assert [line.split()[0] for line in lines[1:]] == ["second02", "first001"]
    assert lines[2].split()[1:4] == ["one", "demo", "finished"]
    assert main(["ls", "--where", "summary.loss>1", "--columns", "summary.loss,config.lr"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["LOSS", "LR"]
    assert [line.split()[-1] for line in lines[1:]] == ["2"]
    assert main(["ls", "--project", "demo", "--where", "name~^o", "--where", 'tags="x"']) == 0
    assert "first001" in capsys.readouterr().out
    assert main(["ls", "-n", "1"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "1 of 2 runs" in captured.err


def test_ls_json(root: Path, capsys: Captured) -> None:
    runs = run_json(capsys, "ls")
    assert isinstance(runs, list)
    assert [run["id"] for run in runs] == ["second02", "first001"]
    assert runs[1]["config"] == {"lr": 0.1, "opt": {"name": "sgd"}}


def test_ls_of_nothing(tmp_path: Path, capsys: Captured) -> None:
    assert main(["ls", "--dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"no runs in {tmp_path}" in captured.err
    assert main(["--dir", str(tmp_path), "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
