"""A root with two runs, built without a sidecar."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.run_builder import RunBuilder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with two runs, the first of which has all kinds of values."""
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    run = RunBuilder(tmp_path, "first001", name="one", tags=["x"])
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd"}}})
    run.row(0, None, loss=0.5, note='a "quoted", text')
    run.row(1, None, loss=math.nan)
    run.row(2, None, loss=math.inf, ok=True)
    run.row(3, None, loss=0.1 + 0.2, hist={"_type": "histogram", "bins": [1, 2]})
    run.finish()
    second = RunBuilder(tmp_path, "second02", name="two", start_time=1_800_000_000.0, project="other")
    second.row(0, None, loss=2.0)
    second.finish("failed", traceback="Traceback\n  boom")
    return tmp_path
