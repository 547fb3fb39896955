"""tracker rm."""

from __future__ import annotations

import fcntl
import io
import os
import re
from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails
from tests.unit.cli.screens import on_terminal
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main


def test_rm(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "--yes" in fails(capsys, 2, "rm", "first001")
    assert (root / "runs" / "first001").exists()
    assert main(["rm", "--yes", "first001"]) == 0
    assert "removed 1 run, " in capsys.readouterr().err
    assert [path.name for path in (root / "runs").iterdir()] == ["second02"]
    assert "run 'first001' not found" in fails(capsys, 1, "rm", "--yes", "second02", "first001")
    assert (root / "runs" / "second02").exists(), "one that is not there keeps all from being removed"


@pytest.mark.parametrize(
    ("answer", "removed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_rm_asks_on_a_terminal(
    root: Path, answer: str, removed: bool, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["rm", "first001"]) == (0 if removed else 1)
    assert (root / "runs" / "first001").exists() is not removed
    assert re.search(r"Remove this run \([\d.]+ KiB\) for good\? \[y/N\]", capsys.readouterr().err)


def test_rm_refuses_a_live_run_unless_forced(root: Path, capsys: Captured) -> None:
    live = RunBuilder(root, "live0001")
    fd = os.open(live.dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    line = fails(capsys, 1, "rm", "--yes", "live0001")
    assert "held by a live sidecar" in line and line.endswith("finish the run first, or pass --force")
    assert live.dir.exists()
    assert main(["rm", "--yes", "--force", "live0001"]) == 0
    assert not live.dir.exists()
    os.close(fd)
    live.log.close()


def test_rm_of_all_that_a_condition_selects(root: Path) -> None:
    for number in range(3):
        RunBuilder(root, f"failed{number:02}").finish("failed")
    screen = on_terminal(root, "rm", "--where", "state=failed", answer="n\n")
    assert screen.code == 1 and screen.lines[-1].endswith("nothing was removed")
    assert any(re.match(r"Remove these 4 runs \([\d.]+ KiB\) for good\? \[y/N\] ", line) for line in screen.lines)
    assert len(list((root / "runs").iterdir())) == 5
    assert on_terminal(root, "rm", "--where", "state=failed", answer="y\n").code == 0
    assert [path.name for path in (root / "runs").iterdir()] == ["first001"]


def test_rm_needs_to_know_what(root: Path, capsys: Captured) -> None:
    assert "give either RUN or --where" in fails(capsys, 2, "rm")
    assert "give either RUN or --where" in fails(capsys, 2, "rm", "first001", "--where", "state=failed")
    assert main(["rm", "--yes", "--where", "state=killed"]) == 0
    assert f"no runs match (2 in {root})" in capsys.readouterr().err
    assert main(["rm", "--yes", "one", "second02"]) == 0, "a name and an id"
    assert list((root / "runs").iterdir()) == []


def test_a_prefix_removes_nothing_without_confirmation(root: Path, capsys: Captured) -> None:
    for run_id in ("exp1", "exp10"):
        RunBuilder(root, run_id, name=f"name of {run_id}", start_time=1_900_000_000.0).finish()
    assert main(["rm", "--yes", "exp1"]) == 0
    capsys.readouterr()
    assert main(["rm", "--yes", "exp1"]) == 2, "the same command again"
    assert "'exp1' is a prefix; with --yes give the whole id: exp10" in capsys.readouterr().err
    assert main(["rm", "--yes", "first001", "exp1"]) == 2
    assert (root / "runs" / "exp10").is_dir() and (root / "runs" / "first001").is_dir()
    assert main(["rm", "--yes", "demo/name of exp10", "last"]) == 0
    assert not (root / "runs" / "exp10").exists()
