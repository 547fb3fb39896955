"""tracker tail, of runs that have ended and of live ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sidecar.protocol.layout import STORE_NAME
from tests.unit.cli.commands import Captured
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main
from tracker.cli.tail import last_rows
from tracker.reading.api import Api


def test_tail_of_a_run_that_has_ended(root: Path, capsys: Captured) -> None:
    assert main(["tail", "first001", "-n", "2"]) == 0
    captured = capsys.readouterr()
    assert [line.split("  ")[1] for line in captured.out.splitlines()] == ["step 2", "step 3"]
    assert "loss=inf  ok=true" in captured.out
    assert "hist=<histogram>" in captured.out
    assert captured.err.startswith("run first001 finished after")
    assert main(["tail", "first001", "--json", "--keys", "ok", "--no-follow"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["ok"] for line in captured.out.splitlines()] == [True]
    assert captured.err == ""


@pytest.mark.parametrize("n", [0, 1, 5, 300, 1000])
def test_last_rows_are_those_with_the_highest_steps(root: Path, n: int) -> None:
    builder = RunBuilder(root, "gaps0001")
    steps = [*range(0, 100_000, 500), *range(100_000, 100_100)]
    for step in steps:
        builder.row(step, None, loss=float(step))
    builder.finish()
    run = Api(root).run("gaps0001")
    assert [row["_step"] for row in last_rows(run, n, None, run.step)] == (steps[-n:] if n else [])


def test_tail_follows_a_live_run_until_it_ends(root: Path) -> None:
    run = RunBuilder(root, "live0001")
    run.row(0, None, loss=0.0)
    run.store()
    run.row(1, None, loss=1.0)  # in the log, and not yet in the store
    with run.held():
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker.cli.main", "tail", "live0001", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TRACKER_DIR": str(root)},
        )
        watchdog = threading.Timer(60.0, process.kill)
        watchdog.start()
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            steps = [json.loads(process.stdout.readline())["_step"] for _ in range(2)]
            run.row(2, None, loss=2.0)
            steps.append(json.loads(process.stdout.readline())["_step"])
            run.row(1, None, loss=3.0)  # a late step comes when it comes
            steps.append(json.loads(process.stdout.readline())["_step"])
            run.finish()
            assert process.stdout.read() == ""
            assert "run live0001 finished after" in process.stderr.read()
        watchdog.cancel()
    assert steps == [0, 1, 2, 1]
    assert process.returncode == 0


def test_tail_of_a_run_that_has_no_store_yet(root: Path, capsys: Captured) -> None:
    run = RunBuilder(root, "new00001")
    run.row(0, None, loss=0.0)
    run.finish()
    (run.dir / STORE_NAME).unlink()
    assert main(["tail", "new00001"]) == 0
    assert "loss=0" in capsys.readouterr().out


def test_a_metric_that_is_not_logged_yet_is_waited_for(root: Path, capsys: Captured) -> None:
    run = RunBuilder(root, "live0003", start_time=time.time())
    run.row(0, None, loss=0.0)
    run.store()
    run.row(1, None, late=1.0, loss=2.0)
    run.write("exit", {"state": "finished", "exit_code": 0})  # in the log, and not yet in the store
    run.log.close()
    assert main(["tail", "live0003", "--json", "--keys", "late"]) == 0
    captured = capsys.readouterr()
    assert [(row["_step"], row["late"]) for row in map(json.loads, captured.out.splitlines())] == [(1, 1.0)]
    assert captured.err.startswith("run live0003 has not logged late yet; it logged loss\n")


@pytest.mark.parametrize("writers", [1, 2])
def test_rows_from_the_log_have_the_same_keys_as_those_from_the_store(
    root: Path, capsys: Captured, writers: int
) -> None:
    run = RunBuilder(root, "live0004", start_time=time.time())
    run.row(0, None, loss=0.0)
    for number in range(1, writers):
        run.row(0, f"client00000{number + 1}", loss=1.0)
    run.store()
    run.row(1, None, loss=2.0)
    run.write("exit", {"state": "finished", "exit_code": 0})
    for number in range(1, writers):
        run.write("exit", {"state": "finished", "exit_code": 0}, f"client00000{number + 1}")
    run.log.close()
    assert main(["tail", "live0004", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == writers + 1
    assert {"_label" in row for row in rows} == {writers > 1}


@pytest.mark.parametrize("options", [[], ["--keys", "loss"], ["--keys", "loss,acc"], ["--keys", "other"]])
def test_packed_rows_are_shown_as_records_are(root: Path, capsys: Captured, options: list[str]) -> None:
    shown = []
    for name in ("packed01", "plain001"):
        run = RunBuilder(root, name, start_time=1e9, client="client000001")
        run.row(0, None, other=0.0, loss=0.0)
        run.store()
        losses, hits = [step / 3 for step in range(40)], [step % 2 == 0 for step in range(40)]
        if name == "packed01":
            run.rows(1, None, loss=losses, acc=hits)
        else:
            run.write("config", {"set": {"a": 1}})
            for step, (loss, hit) in enumerate(zip(losses, hits, strict=True), 1):
                run.row(step, None, loss=loss, acc=hit)
        run.row(50, None, loss=1, acc=1)
        run.write("exit", {"state": "finished", "exit_code": 0})  # in the log, and not yet in the store
        run.log.close()
        assert main(["tail", name, "--json", *options]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert len(shown[0].splitlines()) == (1 if options[1:] == ["other"] else 42)
