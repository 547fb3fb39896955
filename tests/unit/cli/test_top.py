"""``tracker top --once``: one frame as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.protocol.layout import make_root
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_root(tmp_path)
    for number in range(12):
        run = RunBuilder(tmp_path, f"run{number:02d}", start_time=1_700_000_000.0 + number)
        for step in range(10):
            run.row(step, loss=1 / (step + 1), accuracy=step / 10)
        run.finish()
    return tmp_path


def test_one_frame(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["top", "--once", "--dir", str(root)]) == 0
    out = capsys.readouterr().out
    assert "12 runs, 3 shown" in out and "2 more" in out
    assert "accuracy" in out and "loss" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_one_run_and_one_metric(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "run00", "--once", "-m", "loss", "--dir", str(root)]) == 0
    out = capsys.readouterr().out
    assert "1 shown" in out and "accuracy" not in out


def test_bad_usage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--dir", str(root)]) == 1
    assert "--once prints one frame" in capsys.readouterr().err
    assert main(["top", "--once", "--where", "state == == finished", "--dir", str(root)]) == 2
    assert main(["top", "missing", "--once", "--dir", str(root)]) == 1
    assert "not found" in capsys.readouterr().err
