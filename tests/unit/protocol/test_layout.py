"""Locks of runs, and creation of roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.protocol.layout import RunLock, is_held, make_root


def test_releasing_the_lock_of_a_moved_run_does_not_affect_a_new_run_in_its_place(tmp_path: Path) -> None:
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


def test_git_ignores_a_new_root(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    make_root(root)
    assert (root / ".gitignore").read_text() == "*\n"
    (root / ".gitignore").unlink()
    make_root(root)
    assert list(root.iterdir()) == [], "an existing directory was changed"


def test_a_root_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_root(tmp_path / "file" / "root")
