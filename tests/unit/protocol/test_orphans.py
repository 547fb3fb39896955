"""Orphaned windows: when one can be taken, and which of its records belong to the client."""

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
        return [record.seq for framed in orphan.records("run", after) for record in framed.records]
    finally:
        orphan.release()
        orphan.release()


def test_a_window_can_be_taken_once_after_its_owner_has_died(tmp_path: Path) -> None:
    owner = write_window(tmp_path / "a", [log("run", "a", 1)], run="run", parent="p")
    assert Orphan.take(tmp_path / "a") is None, "a window was taken from a live owner"
    owner.release()
    orphan = Orphan.take(tmp_path / "a")
    assert orphan is not None and (orphan.client, orphan.info["parent"]) == ("a", "p")
    assert Orphan.take(tmp_path / "a") is None, "a window was taken twice"
    orphan.remove()
    assert not (tmp_path / "a").exists()
    assert Orphan.take(tmp_path / "a") is None, "a removed window was taken"


@pytest.mark.parametrize("after", [0, 1, 5, 7, 8])
def test_the_records_after_a_number(tmp_path: Path, after: int) -> None:
    directory = write_orphan(tmp_path / "a", [log("run", "a", seq) for seq in range(1, 8)])
    assert read(directory, after) == list(range(after + 1, 8))


@pytest.mark.parametrize("stranger", [log("other", "a", 4), log("run", "b", 4)])
def test_the_records_end_at_one_of_another_run_or_client(tmp_path: Path, stranger: Record) -> None:
    records = [log("run", "a", seq) for seq in range(1, 8)]
    records[3] = stranger
    assert read(write_orphan(tmp_path / "a", records)) == [1, 2, 3]


def test_an_invalid_record_is_yielded_too(tmp_path: Path) -> None:
    bad = Record("log", "run", "a", 2, 1.0, {"step": "one", "data": {}})
    assert read(write_orphan(tmp_path / "a", [log("run", "a", 1), bad, log("run", "a", 3)])) == [1, 2, 3]
