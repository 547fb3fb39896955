"""Recovery of runs whose sidecar died, stepped in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.pipeline.held_run import HeldRun
from sidecar.pipeline.recovery import orphaned_runs, recover
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import LOCK_NAME, is_held
from sidecar.protocol.records import Record
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, log, message
from tests.unit.pipeline.windows import write_orphan, write_window

EXIT = {"state": "finished"}


def abandon(root: Path, run: str, *records: Record) -> Path:
    """Leave a run as a sidecar does that dies when everything is in the log and nothing in the store."""
    stages = Stages(root)
    stages.attach(run, "a")
    stages.handler.process(message(*records))
    while stages.to_writer:
        stages.writer.process(stages.to_writer.popleft())
    stages.writer.idle(stages.now)
    stages.sessions.runs[run].release()
    return root / "runs" / run


def test_there_is_nothing_to_recover_where_nothing_is(root: Path) -> None:
    assert orphaned_runs(root) == [] and recover(root, None, Deadline(None)) == []


@pytest.mark.parametrize("ended", [True, False])
def test_the_store_gets_what_is_in_the_log_and_an_open_client_a_crash_record(root: Path, ended: bool) -> None:
    last = Record("exit", "run", "a", 3, 3.0, EXIT) if ended else log("run", "a", 3)
    directory = abandon(root, "run", log("run", "a", 1), log("run", "a", 2), last)
    assert orphaned_runs(root) == ["run"] and not (directory / "store.db").exists()
    assert recover(root, None, Deadline(None)) == ["run"]
    assert ReadBack(directory).check().state["state"] == ("finished" if ended else "crashed")
    assert sorted(path.name for path in directory.iterdir()) == ["store.db", "transactions.log"]
    assert orphaned_runs(root) == []


def test_recovering_again_changes_nothing(root: Path) -> None:
    directory = abandon(root, "run", log("run", "a", 1))
    recover(root, None, Deadline(None))
    before = (directory / "transactions.log").read_bytes()
    assert recover(root, ["run"], Deadline(None)) == ["run"]
    assert (directory / "transactions.log").read_bytes() == before
    assert ReadBack(directory).check().stored("a") == [(1, {"x": 1})]


def test_a_run_that_is_only_in_a_window(root: Path) -> None:
    directory = root / "runs" / "run"
    write_orphan(directory / "windows" / "a", [log("run", "a", seq) for seq in (1, 2, 3)], run="run")
    assert orphaned_runs(root) == ["run"]
    recover(root, None, Deadline(None))
    found = ReadBack(directory).check()
    assert found.state["state"] == "crashed" and len(found.logged("a")) == 3
    assert not (directory / "windows").exists()


def test_a_window_without_records_leaves_no_run(root: Path) -> None:
    write_orphan(root / "runs" / "run" / "windows" / "a", [], run="run")
    recover(root, None, Deadline(None))
    assert list((root / "runs").iterdir()) == []


def test_a_client_that_is_alive_keeps_its_window_and_the_run_asks_for_another_recovery(root: Path) -> None:
    directory = abandon(root, "run", log("run", "a", 1))
    owner = write_window(directory / "windows" / "a", [log("run", "a", 1), log("run", "a", 2)], run="run")
    assert recover(root, None, Deadline(None)) == ["run"]
    assert ReadBack(directory).state["state"] == "running"
    assert (directory / LOCK_NAME).exists() and is_held(directory) is None
    owner.release()
    assert recover(root, None, Deadline(None)) == ["run"]
    found = ReadBack(directory).check()
    assert found.state["state"] == "crashed" and len(found.logged("a")) == 2


def test_a_run_that_a_sidecar_holds_is_left_as_it_is(root: Path) -> None:
    run = HeldRun.open(root, "held", "connection.json")
    abandon(root, "run", log("run", "a", 1))
    assert recover(root, ["held", "run"], Deadline(None)) == ["run"]
    assert is_held(run.directory) == "connection.json"
    run.give_back()


def test_a_run_that_cannot_be_recovered_does_not_stop_the_others(root: Path) -> None:
    broken = abandon(root, "a-broken-run", log("a-broken-run", "a", 1))
    (broken / "transactions.log").write_bytes(b"something else " * 1000)
    abandon(root, "run", log("run", "a", 1))
    assert recover(root, None, Deadline(None)) == ["run"]
    assert orphaned_runs(root) == ["a-broken-run"]


def test_after_the_deadline_no_run_is_started(root: Path) -> None:
    abandon(root, "run", log("run", "a", 1))
    assert recover(root, None, Deadline(0.0)) == []
    assert orphaned_runs(root) == ["run"]
