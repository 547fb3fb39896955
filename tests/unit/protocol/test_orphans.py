"""Orphaned windows: who may take one, and which of its records are the client's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.protocol.orphans import Orphan
from sidecar.protocol.records import Record
from tests.unit.pipeline.stages import log
from tests.unit.pipeline.windows import write_orphan, write_window


def read(directory: Path, after: int = 0) -> list[int]:
    orphan = Orphan.take(directory)
    assert orphan is not None
    try:
        return [kept.record.seq for kept in orphan.records("run", after)]
    finally:
        orphan.release()
        orphan.release()


def test_a_window_is_an_orphan_once_its_owner_is_gone_and_belongs_to_the_one_who_took_it(tmp_path: Path) -> None:
    owner = write_window(tmp_path / "a", [log("run", "a", 1)], run="run", parent="p")
    assert Orphan.take(tmp_path / "a") is None, "its owner is alive"
    owner.release()
    orphan = Orphan.take(tmp_path / "a")
    assert orphan is not None and (orphan.client, orphan.info["parent"]) == ("a", "p")
    assert Orphan.take(tmp_path / "a") is None, "it is taken"
    orphan.remove()
    assert not (tmp_path / "a").exists()
    assert Orphan.take(tmp_path / "a") is None, "it is gone"


@pytest.mark.parametrize("after", [0, 1, 5, 7, 8])
def test_the_records_over_a_number(tmp_path: Path, after: int) -> None:
    directory = write_orphan(tmp_path / "a", [log("run", "a", seq) for seq in range(1, 8)])
    assert read(directory, after) == list(range(after + 1, 8))


@pytest.mark.parametrize("stranger", [log("other", "a", 4), log("run", "b", 4)])
def test_the_records_end_at_one_of_another_run_or_client(tmp_path: Path, stranger: Record) -> None:
    records = [log("run", "a", seq) for seq in range(1, 8)]
    records[3] = stranger
    assert read(write_orphan(tmp_path / "a", records)) == [1, 2, 3]


def test_a_record_that_cannot_be_used_is_yielded_all_the_same(tmp_path: Path) -> None:
    bad = Record("log", "run", "a", 2, 1.0, {"step": "one", "data": {}})
    assert read(write_orphan(tmp_path / "a", [log("run", "a", 1), bad, log("run", "a", 3)])) == [1, 2, 3]
