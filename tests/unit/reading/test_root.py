"""The root that readers use: named, or the nearest .tracker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.run_builder import RunBuilder
from tracker.errors import RunNotFoundError
from tracker.reading.api import Api
from tracker.reading.root import find_root, nearest_root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a directory below it, which is the working directory; its parent is the home directory."""
    project = tmp_path / "project"
    (project / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "notebooks" / "deep")
    monkeypatch.setenv("HOME", str(tmp_path))
    return project


def test_the_nearest_one_above_is_used(project: Path) -> None:
    (project / ".tracker").mkdir()
    assert find_root() == project / ".tracker"
    (project / "notebooks" / ".tracker").mkdir()
    assert find_root() == project / "notebooks" / ".tracker"
    (project / "notebooks" / "deep" / ".tracker").mkdir()
    assert find_root() == project / "notebooks" / "deep" / ".tracker"


def test_the_api_reads_it(project: Path) -> None:
    RunBuilder(project / ".tracker", "run00001").finish()
    assert Api().run("last").id == "run00001"
    assert Api().dir == project / ".tracker"


def test_a_file_of_that_name_is_no_root(project: Path) -> None:
    (project / "notebooks" / ".tracker").touch()
    (project / ".tracker").mkdir()
    assert find_root() == project / ".tracker"


def test_without_any_it_is_here(project: Path) -> None:
    assert find_root() == project / "notebooks" / "deep" / ".tracker"


def test_the_home_directory_is_the_last_that_is_looked_at(project: Path, tmp_path: Path) -> None:
    (tmp_path / ".tracker").mkdir()
    assert find_root() == tmp_path / ".tracker"
    assert nearest_root(Path.cwd(), project) is None


def test_what_was_named_comes_first(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (project / ".tracker").mkdir()
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path / "from-environment"))
    assert find_root() == tmp_path / "from-environment"
    assert find_root("here") == project / "notebooks" / "deep" / "here"
    assert find_root("~/x") == tmp_path / "x"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_a_stranger_left_above_is_not_used(project: Path) -> None:
    (project / ".tracker").mkdir()
    os.chown(project / ".tracker", 12345, 12345)
    assert find_root() == project / "notebooks" / "deep" / ".tracker"
    os.chown(project, 12345, 12345)
    assert find_root() == project / ".tracker", "the project is his, too"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_link_that_a_stranger_left_above_is_not_used(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (project / ".tracker").symlink_to(tmp_path / "mine")
    assert find_root() == project / ".tracker"
    os.chown(project / ".tracker", 12345, 12345, follow_symlinks=False)
    assert find_root() == project / "notebooks" / "deep" / ".tracker"


def test_runs_that_a_sidecar_elsewhere_keeps(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunNotFoundError, match=r"which has no runs$"):
        Api().run("last")
    (project / ".tracker" / "remote").mkdir(parents=True)
    with pytest.raises(RunNotFoundError, match=r"no runs; runs logged through a sidecar elsewhere are kept by that"):
        Api().run("last")
    monkeypatch.setenv("TRACKER_SIDECAR", "tcp://host:5757")
    RunBuilder(project / ".tracker", "run00001").finish()
    with pytest.raises(RunNotFoundError, match=r"has 1 run; runs logged through tcp://host:5757 are kept by"):
        Api().run("nothing")
