"""Who holds a run, as its lock file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.protocol.layout import RunLock, is_held, make_root


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


def test_git_ignores_a_root_that_was_made(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    make_root(root)
    assert (root / ".gitignore").read_text() == "*\n"
    (root / ".gitignore").unlink()
    make_root(root)
    assert list(root.iterdir()) == [], "a directory that exists stays as it is"


def test_a_root_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_root(tmp_path / "file" / "root")
