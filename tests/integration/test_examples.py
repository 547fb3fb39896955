"""Examples, run as a user runs them; their output is compared with the stored runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.serving import environment
from tests.support import REPOSITORY, ReadBack, wait_until
from tracker.reading.api import Api

HAS_TORCH = importlib.util.find_spec("torch") is not None


def run_example(name: str, root: Path) -> tuple[str, str]:
    """Run an example that must succeed; return its standard output and standard error."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / name)],
        capture_output=True,
        text=True,
        env=environment(TRACKER_DIR=str(root), TRACKER_SILENT="1", OMP_NUM_THREADS="1"),
        cwd=root.parent,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def check_run(root: Path, labels: list[str], losses: int) -> str:
    """Check the only run: its writers, that it has finished, how many losses were logged; return its id."""
    (directory,) = (root / "runs").iterdir()
    wait_until(lambda: not (directory / "lock").exists(), "the run is closed")
    state = ReadBack(directory).check().state
    assert state["state"] == "finished" and state["losses"] == {}
    run = Api(root).run(directory.name)
    assert sorted(writer["label"] for writer in run.writers.values()) == labels
    rows = [row for row in run.scan_history() if "loss" in row]
    assert len(rows) == losses and {row["_label"] for row in rows} <= set(labels)
    return directory.name


def accuracy(out: str) -> float:
    match = re.search(r"[Tt]est accuracy.*: ([0-9.]+)%", out)
    assert match, out
    return float(match[1])


WORKERS = ["parent", "worker 0", "worker 1", "worker 2", "worker 3"]


def test_multiprocess_example(root: Path) -> None:
    out, err = run_example("multiprocess.py", root)
    assert check_run(root, WORKERS, losses=4 * 240) in out
    assert "is finished; 5 processes wrote to it" in out and accuracy(out) > 90 and err == ""


def test_distributed_example(root: Path) -> None:
    """Two ranks with PyTorch, which is optional; without it the example says so and uses multiprocessing."""
    out, err = run_example("distributed.py", root)
    if not HAS_TORCH:
        assert err == "PyTorch is not installed (pip install torch): running multiprocess.py instead.\n"
        assert check_run(root, WORKERS, losses=4 * 240) in out
        return
    assert check_run(root, ["rank 0", "rank 1"], losses=2 * 8 * (1348 // 2 // 32)) in out
    assert "is finished; 2 ranks wrote to it" in out and accuracy(out) > 85
    assert os.path.isdir(root)


def test_quickstart_example(root: Path) -> None:
    out, _ = run_example("quickstart.py", root)
    runs = Api(root).runs()
    assert len(runs) == 3 and {run.state for run in runs} == {"finished"}
    best = max(runs, key=lambda run: run.summary["test.accuracy"])
    assert best.id in out and str(root) in out and best.summary["test.accuracy"] > 0.9
