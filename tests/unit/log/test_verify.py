"""sidecar.log.verify and sidecar.rebuild: damage is named, numbers are checked, a store is made anew from its log."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from sidecar.log.verify import Numbers, check_log
from sidecar.projections.rebuild import RunHeldError, hold, rebuild, verify
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import StoreError
from tests.unit.run_builder import RunBuilder


def a_run(root: Path, rows: int = 100) -> RunBuilder:
    run = RunBuilder(root, "run00001")
    for step in range(rows):
        run.row(step, None, loss=step / 2, text="a")
    return run.finish()


def test_a_good_run_has_no_problems(tmp_path: Path) -> None:
    found = verify(a_run(tmp_path).dir)
    assert found.problems == []
    assert (found.log.records, found.log.log_records, found.log.points) == (102, 100, 200)
    assert (found.store.records, found.store.points, found.store.checkpoint) == (100, 200, found.log.size)
    assert found.log.clients["client000001"].last == 102
    assert found.to_map()["ok"] is True


def test_a_damaged_stretch_and_the_numbers_it_cost_are_named(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    offsets = [run.row(step, None, loss=1.0) for step in range(10)]
    run.finish()
    run.damage(offsets[3] + 10, offsets[3] + 11)
    run.damage(offsets[7] + 1, offsets[7] + 4)
    check = check_log(run.log_path)
    assert check.damage == [(offsets[3], offsets[4]), (offsets[7], offsets[8])]
    assert check.clients["client000001"].missing == [(5, 5), (9, 9)]
    text = "\n".join(check.problems)
    assert f"bytes {offsets[3]} to {offsets[4]}" in text
    assert "5, 9 are missing (2 in all)" in text
    found = verify(run.dir)
    assert found.store.problems == []
    assert "still holds 2 records" in found.store.notes[0]


@pytest.mark.parametrize(
    ("numbers", "missing", "repeated", "late"),
    [
        ([1, 2, 3], [], [], []),
        ([1, 2, 5, 6, 9], [(3, 4), (7, 8)], [], []),
        ([3], [(1, 2)], [], []),
        ([1, 2, 2, 3, 1], [], [(2, 2), (1, 1)], []),
        ([1, 5, 3, 4, 6], [(2, 2)], [], [(3, 4)]),
        ([1, 4, 3, 3], [(2, 2)], [(3, 3)], [(3, 3)]),
    ],
)
def test_numbers(
    numbers: list[int], missing: list[tuple[int, int]], repeated: list[tuple[int, int]], late: list[tuple[int, int]]
) -> None:
    taken = Numbers()
    for number in numbers:
        taken.take(number)
    assert (taken.missing, taken.repeated, taken.late) == (missing, repeated, late)
    assert bool(taken.problems("c")) is bool(missing or repeated or late)


def test_numbers_of_a_log_with_many_gaps() -> None:
    """Half a million gaps, then the missing numbers from the highest to the lowest, then all numbers again."""
    count = 1_000_000
    numbers = Numbers()
    for seq in range(2, count + 1, 2):
        numbers.take(seq)
    assert len(numbers.missing) == count // 2
    for seq in range(count - 1, 0, -2):
        numbers.take(seq)
    assert (numbers.missing, len(numbers.late), numbers.repeated) == ([], count // 2, [])
    for seq in range(1, count + 1):
        numbers.take(seq)
    assert numbers.repeated == [(1, count)]


def test_missing_numbers_that_come_in_any_order_are_found() -> None:
    numbers = Numbers()
    for seq in range(10, 200_001, 10):
        numbers.take(seq)
    missing = [seq for seq in range(1, 200_000) if seq % 10]
    random.Random(1).shuffle(missing)
    for seq in missing[1:]:
        numbers.take(seq)
    assert numbers.missing == [(missing[0], missing[0])]
    assert numbers.repeated == []


def test_fire_and_forget_records_have_no_numbers(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    for step in range(5):
        run.write("log", {"step": step, "data": {"x": 1.0}}, client="", seq=0)
    run.finish()
    found = verify(run.dir)
    assert found.problems == []
    assert list(found.log.clients) == ["client000001"]
    assert found.log.log_records == 5


def test_a_torn_tail_is_a_normal_end(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    end = run.log_path.stat().st_size
    whole = run.log_path.read_bytes()[16:60]
    with open(run.log_path, "ab") as file:
        file.write(whole[:30])
    found = verify(run.dir)
    assert (found.log.tail, found.log.end, found.problems) == ("torn", end, [])


def test_a_damaged_last_record_is_no_torn_tail(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    size = run.log_path.stat().st_size
    run.damage(size - 2, size)
    found = verify(run.dir)
    assert found.log.tail == "damaged"
    assert any(f"to {size}, at the end, are damaged" in line for line in found.log.problems)
    assert any("ahead of the log" in line for line in found.store.problems)


def test_a_missing_log_a_foreign_log_and_a_missing_store_are_findings(tmp_path: Path) -> None:
    run = a_run(tmp_path)
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
        found = verify(run.dir)
    assert found.live
    assert found.problems == []
    assert "behind the log" in found.store.notes[0]
    run.log.close()


def test_a_store_with_other_content_than_its_log_is_found(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    other = RunBuilder(tmp_path, "other001")
    for step in range(99):
        other.row(step, None, loss=0.0)
    other.finish()
    end = run.log_path.stat().st_size
    other.store_path.replace(run.store_path)
    with StoreWriter(run.store_path) as writer:
        writer.add([], end)
        writer.commit()
    assert any("holds 99 records with 99 values, the log 100 with 200" in line for line in verify(run.dir).problems)


def test_progress_is_reported(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    reports: list[tuple[int, int]] = []
    verify(run.dir, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (run.log_path.stat().st_size,) * 2


def test_rebuild_gives_the_same_store(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    before = StoreReader(run.store_path).state()
    run.store_path.unlink()
    done = rebuild(run.dir)
    assert (done.records, done.points, done.damage, done.old_store) == (102, 200, [], None)
    assert done.size == run.store_path.stat().st_size
    assert StoreReader(run.store_path).state() == before
    assert verify(run.dir).problems == []
    assert sorted(path.name for path in run.dir.iterdir()) == ["store.db", "transactions.log"]


def test_rebuild_replaces_a_file_that_is_no_store(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.store_path.write_bytes(b"garbage" * 1000)
    (run.dir / "store.db-wal").write_bytes(b"stale")
    with pytest.raises(StoreError):
        StoreReader(run.store_path).state()
    rebuild(run.dir)
    assert verify(run.dir).problems == []


def test_rebuild_refuses_a_run_that_is_held(tmp_path: Path) -> None:
    run = a_run(tmp_path)
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


def test_rebuild_from_a_log_that_was_cut_keeps_a_store_that_holds_more(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    offsets = [run.row(step, None, loss=float(step)) for step in range(10)]
    run.finish()
    os.truncate(run.log_path, offsets[5])
    done = rebuild(run.dir)
    assert (done.damage, done.old_store) == ([], run.dir / "store.db.before")
    assert StoreReader(run.dir / "store.db.before").state()["records"] == 10
    assert StoreReader(run.store_path).state()["records"] == 5


def test_rebuild_without_a_log_leaves_the_store_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.log_path.unlink()
    with pytest.raises(FileNotFoundError, match="no transaction log"):
        rebuild(run.dir)
    assert StoreReader(run.store_path).state()["records"] == 100


def test_hold_leaves_the_lock_file_that_asks_for_recovery(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with hold(run.dir):
        assert (run.dir / "lock").exists()
    assert not (run.dir / "lock").exists()
    (run.dir / "lock").touch()
    with hold(run.dir):
        pass
    assert (run.dir / "lock").exists()
