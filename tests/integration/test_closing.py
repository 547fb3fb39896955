"""What a run prints when it ends, also while a server is unreachable."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil

from tests.support import Scripts, wait_until

TRAIN = """
import tracker
with tracker.init(project="digits", name="lr=0.1"{arguments}) as run:
    run.define_metric("val.acc", summary="max")
    for step in range(50):
        run.log({{"loss": 1 / (step + 1), "val": {{"acc": step / 50 if step < 40 else 0.1}}}})
print(run.id)
"""


def train(scripts: Scripts, arguments: str = "") -> tuple[str, list[str]]:
    """Run a script; return the run's id and the lines that it printed to standard error."""
    loud = {"TRACKER_SILENT": None, "PYTHONIOENCODING": "utf-8", "FORCE_COLOR": None}
    done = scripts.run(TRAIN.format(arguments=arguments), env=loud)
    return done.out.strip(), done.err.splitlines()


def test_finished_run_prints_its_curves_and_the_next_commands(scripts: Scripts, root: Path) -> None:
    first, _ = train(scripts)
    second, lines = train(scripts)
    end = next(index for index, line in enumerate(lines) if "finished" in line)
    assert lines[end].startswith(f"tracker: run lr=0.1 ({second}) finished in ")
    assert lines[end].endswith(", 50 steps")
    assert lines[end + 1].split()[0] == "val.acc"
    assert lines[end + 1].endswith("  0.1   (max 0.78)")
    assert lines[end + 2].split()[0] == "loss"
    assert "█" in lines[end + 2]
    assert lines[end + 3] == f"         tracker show {second}  ·  tracker compare {second} {first}"
    assert len(lines) == end + 4
    assert (root / ".gitignore").read_text() == "*\n"


def test_silent_run_prints_nothing(scripts: Scripts) -> None:
    _, lines = train(scripts, ', settings={"silent": True}')
    assert lines == []


def test_unreachable_server_is_reported_at_once(scripts: Scripts, root: Path) -> None:
    sink = ', sinks="mlflow+http://127.0.0.1:9", settings={"finish_timeout": 4.0}'
    run_id, lines = train(scripts, sink)
    (connection,) = (root / "sidecars").glob("*.json")
    sidecar = json.loads(connection.read_text())["pid"]
    os.kill(sidecar, signal.SIGTERM)  # it would keep trying
    wait_until(lambda: not psutil.pid_exists(sidecar), "the sidecar stops")
    waiting = [index for index, line in enumerate(lines) if line.startswith("tracker: waiting up to ")]
    assert len(waiting) == 1
    assert lines[waiting[0]].endswith(" s for mlflow (connection refused); Ctrl-C leaves it to the sidecar")
    ended = next(index for index, line in enumerate(lines) if f"({run_id}) finished in" in line)
    assert waiting[0] < ended
