"""Who holds a run, as its lock file says."""

from __future__ import annotations

from pathlib import Path

from sidecar.protocol.layout import RunLock, is_held


def test_who_lets_go_of_a_run_that_was_moved_away_leaves_the_lock_of_the_next(tmp_path: Path) -> None:
    directory, moved = tmp_path / "run", tmp_path / ".removed"
    directory.mkdir()
    first = RunLock(directory, "/first.json")
    directory.rename(moved)
    directory.mkdir()
    second = RunLock(directory, "/second.json")
    first.release(remove=True)
    assert is_held(directory) == "/second.json"
    second.release(remove=True)
    assert is_held(directory) is None and list(directory.iterdir()) == []
