"""rebuild and verify: a store is compared with its log, and rebuilt from it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from sidecar.projections.rebuild import RunHeldError, hold, rebuild, verify
from sidecar.projections.store import pyramid, pyramid_writer, writer
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import StoreError
from tests.unit.run_builder import RunBuilder


def finished_run(root: Path, rows: int = 100) -> RunBuilder:
    run = RunBuilder(root, "run00001")
    for step in range(rows):
        run.row(step, None, loss=step / 2, text="a")
    return run.finish()


def test_a_valid_run_has_no_problems(tmp_path: Path) -> None:
    verified = verify(finished_run(tmp_path).dir)
    assert verified.problems == []
    assert (verified.log.records, verified.log.log_records, verified.log.points) == (102, 100, 200)
    assert (verified.store.records, verified.store.points, verified.store.checkpoint) == (100, 200, verified.log.size)
    assert verified.log.clients["client000001"].last == 102
    assert verified.to_map()["ok"] is True


def test_a_store_that_holds_records_lost_from_a_damaged_log_is_a_note(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    offsets = [run.row(step, None, loss=1.0) for step in range(10)]
    run.finish()
    run.damage(offsets[3] + 10, offsets[3] + 11)
    run.damage(offsets[7] + 1, offsets[7] + 4)
    verified = verify(run.dir)
    assert verified.store.problems == []
    assert "still holds 2 records" in verified.store.notes[0]


def test_a_store_that_reached_a_damaged_tail_is_ahead_of_the_log(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    size = run.log_path.stat().st_size
    run.damage(size - 2, size)
    assert any("ahead of the log" in line for line in verify(run.dir).store.problems)


def test_a_missing_log_a_foreign_log_and_a_missing_store_are_findings(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.store_path.unlink()
    assert any("no store" in line for line in verify(run.dir).problems)
    run.log_path.write_bytes(b"this is not a log at all, by any means")
    assert "not a transaction log" in verify(run.dir).problems[0]
    run.log_path.unlink()
    assert "there is no transaction log" in verify(run.dir).problems[0]


def test_a_store_behind_its_log_is_a_problem_unless_it_is_being_written(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.row(1, None, loss=1.0)
    run.store()
    run.row(2, None, loss=1.0)
    assert any("behind the log" in line for line in verify(run.dir).problems)
    with run.held():
        verified = verify(run.dir)
    assert verified.live
    assert verified.problems == []
    assert "behind the log" in verified.store.notes[0]
    run.log.close()


def test_a_store_with_content_other_than_its_log_is_a_problem(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    other = RunBuilder(tmp_path, "other001")
    for step in range(99):
        other.row(step, None, loss=0.0)
    other.finish()
    end = run.log_path.stat().st_size
    other.store_path.replace(run.store_path)
    with StoreWriter(run.store_path) as store:
        store.add([], end)
        store.commit()
    assert any("holds 99 records with 99 values, the log 100 with 200" in line for line in verify(run.dir).problems)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and pieces of a few rows, so that a small store has a pyramid of all levels."""
    monkeypatch.setattr(writer, "BLOCK_ROWS", 8)
    monkeypatch.setattr(pyramid, "PIECE_VALUES", 2)
    monkeypatch.setattr(pyramid, "FAN_OUT", 2)
    monkeypatch.setattr(pyramid_writer, "ROW_PIECES", 4)
    monkeypatch.setattr(pyramid_writer, "MIN_VALUES", 3)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("harm", ["data = ?1", "total = 7", "step_last = 9000", "end = end + 1", "data = x'00'"])
def test_wrong_pieces_are_a_problem(tmp_path: Path, tiny: None, level: int, harm: str) -> None:
    run = finished_run(tmp_path, 400)
    with contextlib.closing(sqlite3.connect(run.store_path)) as connection, connection:
        assert verify(run.dir).problems == []
        (other,) = connection.execute("SELECT data FROM pyramid WHERE level = ? AND first > 0", (level,)).fetchone()
        harm = harm.replace("?1", f"x'{other.hex()}'")
        assert connection.execute(f"UPDATE pyramid SET {harm} WHERE level = ? AND first = 0", (level,)).rowcount == 1
    (problem,) = verify(run.dir).problems
    assert problem.startswith("store: pieces of level") and "'loss'" in problem and "'rebuild'" in problem
    rebuild(run.dir)
    assert verify(run.dir).problems == []


def test_pieces_of_values_that_do_not_exist_are_a_problem_and_missing_ones_are_not(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 8192 + 10)
    with contextlib.closing(sqlite3.connect(run.store_path)) as connection, connection:
        connection.execute("UPDATE pyramid SET first = first + 1, end = end + 1")
    assert "pieces of level 0" in verify(run.dir).problems[0]
    with contextlib.closing(sqlite3.connect(run.store_path)) as connection, connection:
        connection.execute("DELETE FROM pyramid")
    assert verify(run.dir).problems == []


def test_progress_is_reported(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    reports: list[tuple[int, int]] = []
    verify(run.dir, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (run.log_path.stat().st_size,) * 2


def test_rebuild_gives_the_same_store(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = StoreReader(run.store_path).state()
    run.store_path.unlink()
    done = rebuild(run.dir)
    assert (done.records, done.points, done.damage, done.old_store) == (102, 200, [], None)
    assert done.size == run.store_path.stat().st_size
    assert StoreReader(run.store_path).state() == before
    assert verify(run.dir).problems == []
    assert sorted(path.name for path in run.dir.iterdir()) == ["store.db", "transactions.log"]


def test_rebuild_replaces_a_file_that_is_not_a_store(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.store_path.write_bytes(b"garbage" * 1000)
    (run.dir / "store.db-wal").write_bytes(b"stale")
    with pytest.raises(StoreError):
        StoreReader(run.store_path).state()
    rebuild(run.dir)
    assert verify(run.dir).problems == []


def test_rebuild_refuses_a_held_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = run.store_path.read_bytes()
    with run.held(), pytest.raises(RunHeldError, match="held by a live sidecar") as caught:
        rebuild(run.dir)
    assert caught.value.where == "/somewhere/connection.json"
    assert run.store_path.read_bytes() == before


def test_rebuild_from_a_damaged_log_keeps_a_store_that_holds_more(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    offsets = [run.row(step, None, loss=float(step)) for step in range(10)]
    run.finish()
    run.damage(offsets[4], offsets[6])
    done = rebuild(run.dir)
    assert done.damage == [(offsets[4], offsets[6])]
    assert done.old_store == run.dir / "store.db.before"
    assert StoreReader(done.old_store).state()["records"] == 10
    assert StoreReader(run.store_path).state()["records"] == 8
    assert rebuild(run.dir).old_store is None


def test_rebuild_from_a_truncated_log_keeps_a_store_that_holds_more(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    offsets = [run.row(step, None, loss=float(step)) for step in range(10)]
    run.finish()
    os.truncate(run.log_path, offsets[5])
    done = rebuild(run.dir)
    assert (done.damage, done.old_store) == ([], run.dir / "store.db.before")
    assert StoreReader(run.dir / "store.db.before").state()["records"] == 10
    assert StoreReader(run.store_path).state()["records"] == 5


def test_rebuild_without_a_log_leaves_the_store_alone(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.log_path.unlink()
    with pytest.raises(FileNotFoundError, match="no transaction log"):
        rebuild(run.dir)
    assert StoreReader(run.store_path).state()["records"] == 100


def test_hold_leaves_a_lock_file_that_marks_the_run_for_recovery(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    with hold(run.dir):
        assert (run.dir / "lock").exists()
    assert not (run.dir / "lock").exists()
    (run.dir / "lock").touch()
    with hold(run.dir):
        pass
    assert (run.dir / "lock").exists()
