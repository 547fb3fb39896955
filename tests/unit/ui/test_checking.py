"""tracker.ui.checking: a check of a log runs on its own thread, once, and its result stays."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sidecar.projections.rebuild import Verified, verify
from tests.support import TIMEOUT, wait_until
from tests.unit.run_builder import RunBuilder
from tracker.ui import checking
from tracker.ui.checking import BusyError, Checks


def done(checks: Checks, ref: str) -> bool:
    progress = checks.progress(ref)
    return progress is not None and progress["state"] != "running"


def test_damage_is_found(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "damaged1")
    start = run.row(0, None, loss=1.0)
    end = run.row(1, None, loss=1.0)
    run.row(2, None, loss=1.0)
    run.finish()
    run.damage(start, end)
    checks = Checks()
    assert checks.progress("damaged1") is None
    assert checks.start("damaged1", run.dir)["state"] in ("running", "done")
    wait_until(lambda: done(checks, "damaged1"))
    progress = checks.progress("damaged1")
    assert progress is not None and progress["state"] == "done" and progress["done"] == progress["total"] > 0
    assert progress["result"]["log"]["damage"] == [[start, end]] and not progress["result"]["ok"]


def test_a_check_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(checking, "verify", fail)
    checks = Checks()
    checks.start("a", tmp_path)
    wait_until(lambda: done(checks, "a"))
    progress = checks.progress("a")
    assert progress is not None and (progress["state"], progress["error"]) == ("failed", "disk gone")


def test_few_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    checked = verify(RunBuilder(tmp_path, "checked1").finish().dir)

    def wait(*_: object) -> Verified:
        go_on.wait(TIMEOUT)
        return checked

    monkeypatch.setattr(checking, "verify", wait)
    checks = Checks()
    first = checks.start("a", tmp_path)
    assert checks.start("a", tmp_path)["started"] == first["started"], "it is running already"
    checks.start("b", tmp_path)
    with pytest.raises(BusyError, match="2 logs are being checked"):
        checks.start("c", tmp_path)
    go_on.set()
    wait_until(lambda: done(checks, "a") and done(checks, "b"))
