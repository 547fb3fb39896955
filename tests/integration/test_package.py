"""Type checkers on a user's script, and the current run while a real run starts and ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import REPOSITORY, Scripts

USERS_SCRIPT = """\
import tracker


def train(lr: float) -> float:
    run = tracker.init(project="digits", config={"lr": lr}, mode="offline", resume="allow", tags=["a"], dir="/data")
    run.define_metric("val.*", step_metric="epoch", summary=["min", "max"], goal="maximize")
    run.define_metric("loss", summary="min")
    with run as same:
        same.log({"loss": 0.1, "val": {"acc": 0.5}}, step=1)
    tracker.log({"loss": 0.1})
    lr = tracker.config["lr"]
    tracker.summary["best"] = 1
    if tracker.run is not None:
        print(tracker.run.name, tracker.run.id, tracker.run.state)
    tracker.save("model.pt")
    tracker.flush(timeout=1.0)
    tracker.mark_preempting()
    try:
        tracker.finish(0)
    except tracker.TrackerError as error:
        print(error.args)
    settings = tracker.Settings(silent=True)
    print(settings.silent, tracker.Api, tracker.Histogram([1.0]))
    return float(lr)


tracker.int(project="digits")  # wrong
tracker.nothing  # wrong
tracker.init(mode="ofline")  # wrong
tracker.init(resume="perhaps")  # wrong
tracker.init(reinit="no")  # wrong
tracker.init(entity="me")  # wrong
tracker.init(prject="me")  # wrong
tracker.init(tags=5)  # wrong
tracker.define_metric("loss", summary="maxx")  # wrong
tracker.define_metric("loss", goal="up")  # wrong
tracker.define_metric("loss", "min")  # wrong
tracker.run.log({"x": 1})  # wrong
tracker.log("loss")  # wrong
tracker.finish("0")  # wrong
"""

WRONG_LINES = [number for number, line in enumerate(USERS_SCRIPT.splitlines(), 1) if line.endswith("# wrong")]


def check(directory: Path, *command: str) -> str:
    """Run a type checker on the user's script, as a user's project does; return its output."""
    (directory / "train.py").write_text(USERS_SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", *command, "train.py"],
        cwd=directory,
        env={**os.environ, "MYPYPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_finds_the_typos_of_a_script_and_nothing_else(tmp_path: Path) -> None:
    out = check(tmp_path, "mypy", "--strict", "--follow-imports", "silent", "--cache-dir", str(tmp_path / "cache"))
    assert sorted({int(line) for line in re.findall(r"^train\.py:(\d+): error:", out, re.M)}) == WRONG_LINES, out
    assert not [line for line in out.splitlines() if "error:" in line and not line.startswith("train.py")], out


def test_pyright_finds_the_typos_of_a_script_and_nothing_else(tmp_path: Path) -> None:
    config = {"typeCheckingMode": "strict", "extraPaths": [str(REPOSITORY)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    report = json.loads(check(tmp_path, "pyright", "--pythonpath", sys.executable, "--outputjson"))
    lines = {
        diagnostic["range"]["start"]["line"] + 1: diagnostic["message"]
        for diagnostic in report["generalDiagnostics"]
        if diagnostic["severity"] == "error" and diagnostic.get("rule") != "reportUnusedExpression"
    }
    assert sorted(lines) == WRONG_LINES, lines


def test_the_current_run_before_and_after(scripts: Scripts) -> None:
    scripts.run(
        """
        import tracker
        assert tracker.run is None
        run = tracker.init(id="one")
        assert tracker.run is run and tracker.config is run.config and tracker.summary is run.summary
        tracker.finish()
        assert tracker.run is None and not hasattr(tracker, "config")
        try:
            tracker.log({"x": 1})
        except tracker.TrackerError as error:
            assert "'one' is finished" in str(error), error
        with tracker.init(id="two") as run:
            assert tracker.run is run
        assert tracker.run is None
        try:
            with tracker.init(id="three"):
                raise ValueError
        except ValueError:
            assert tracker.run is None
        outer = tracker.init(id="outer")
        inner = tracker.init(id="inner", reinit="create_new")
        assert tracker.run is inner
        inner.finish()
        assert tracker.run is outer
        """
    )
