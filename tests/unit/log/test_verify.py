"""check_log: damage is named, and the numbers of every client are checked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sidecar.log.verify import Numbers, check_log
from tests.unit.run_builder import RunBuilder


def finished_run(root: Path, rows: int = 100) -> RunBuilder:
    run = RunBuilder(root, "run00001")
    for step in range(rows):
        run.row(step, None, loss=step / 2, text="a")
    return run.finish()


def test_a_valid_log_has_no_problems(tmp_path: Path) -> None:
    check = check_log(finished_run(tmp_path).log_path)
    assert check.problems == []
    assert (check.records, check.log_records, check.points, check.end) == (102, 100, 200, check.size)
    assert check.clients["client000001"].last == 102
    assert check.to_map()["clients"]["client000001"]["records"] == 102


def test_a_damaged_stretch_and_the_numbers_lost_in_it_are_named(tmp_path: Path) -> None:
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
    check = check_log(run.log_path)
    assert check.problems == []
    assert list(check.clients) == ["client000001"]
    assert check.log_records == 5


def test_a_torn_tail_is_a_normal_end(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    end = run.log_path.stat().st_size
    frame = run.log_path.read_bytes()[16:60]
    with open(run.log_path, "ab") as file:
        file.write(frame[:30])
    check = check_log(run.log_path)
    assert (check.tail, check.end, check.problems) == ("torn", end, [])


def test_a_damaged_last_record_is_not_a_torn_tail(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    size = run.log_path.stat().st_size
    run.damage(size - 2, size)
    check = check_log(run.log_path)
    assert check.tail == "damaged"
    assert any(f"to {size}, at the end, are damaged" in line for line in check.problems)


def test_a_missing_and_a_foreign_log_are_findings(tmp_path: Path) -> None:
    path = tmp_path / "transactions.log"
    assert "there is no transaction log" in check_log(path).problems[0]
    path.write_bytes(b"this is not a log at all, by any means")
    assert "not a transaction log" in check_log(path).problems[0]


def test_progress_is_reported(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    reports: list[tuple[int, int]] = []
    check_log(run.log_path, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (run.log_path.stat().st_size,) * 2


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "transactions.log").mkdir()
    assert check_log(tmp_path / "transactions.log").error == f"{tmp_path / 'transactions.log'}: Is a directory"
