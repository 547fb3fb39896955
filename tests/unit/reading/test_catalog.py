"""The catalog: rows of runs in a file that may be missing, stale, damaged or shared, and never lies about a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.run_builder import START, RunBuilder
from tracker.reading import catalog, catalog_file
from tracker.reading.api import Api
from tracker.reading.stored_run import StoredRun


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The catalog is kept in a file for a single run, too, and never in the home directory of who runs the tests."""
    monkeypatch.setattr(catalog, "LEAST_RUNS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that are read."""
    ids: list[str] = []
    real = StoredRun._read_state

    def note(run: StoredRun) -> dict[str, Any]:
        ids.append(run.id)
        return real(run)

    monkeypatch.setattr(StoredRun, "_read_state", note)
    return ids


def age(root: Path, seconds: float = 100.0) -> None:
    """Make the files of all runs look as if they were written earlier."""
    for path in (root / "runs").glob("*/*"):
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs that ended a while ago."""
    for number in range(3):
        run = RunBuilder(tmp_path, f"run0000{number}", name=f"name-{number}", tags=["x"], start_time=START + number)
        run.write("config", {"set": {"lr": 0.1 * number, "opt": {"name": "sgd"}}})
        run.row(0, None, loss=0.5 + number)
        run.finish()
    age(tmp_path)
    return tmp_path


def test_runs_are_read_once(root: Path, read: list[str]) -> None:
    before = [run.to_map() for run in Api(root).runs()]
    assert len(read) == 3 and (root / "catalog.db").is_file()
    runs = list(Api(root).runs())
    assert [(run.id, run.name, run.state, run.tags, run.start_time, run.step) for run in runs] == [
        (f"run0000{number}", f"name-{number}", "finished", ["x"], START + number, 0) for number in (2, 1, 0)
    ]
    assert runs[0].config == {"lr": 0.2, "opt": {"name": "sgd"}} and runs[0].summary == {"loss": 2.5}
    assert [run.to_map() for run in runs] == before
    assert len(read) == 3, "the second time from the catalog"
    assert runs[0].history()["loss"] == [2.5]
    assert runs[0].refresh().name == "name-2" and len(read) == 4


def test_one_changed_run_costs_one_run(root: Path, read: list[str]) -> None:
    len(Api(root).runs())
    read.clear()
    os.utime(root / "runs" / "run00001" / "store.db")
    assert len(Api(root).runs()) == 3
    assert read == ["run00001"]


def test_refresh_names_what_changed(root: Path) -> None:
    cards = Api(root).catalog()
    assert cards.refresh() == {"run00000", "run00001", "run00002"}
    kept = cards.run("run00000")
    assert cards.refresh() == set()
    new = RunBuilder(root, "new00000")
    new.row(0, None, loss=1)
    new.store()
    with new.held():
        assert cards.refresh() == {"new00000"}
        new.row(1, None, loss=2)
        new.store()
        assert cards.refresh() == {"new00000"}
        found = cards.run("new00000")
        assert found is not None and found.summary == {"loss": 2}
    new.finish()
    assert cards.refresh() == {"new00000"}
    assert cards.run("run00000") is kept
    for path in new.dir.iterdir():
        path.unlink()
    new.dir.rmdir()
    assert cards.refresh() == {"new00000"}
    assert cards.run("new00000") is None and len(cards.runs()) == 3
    cards.close()


def test_few_runs_are_kept_in_memory_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert len(Api(root).runs()) == 3
    assert not (root / catalog_file.CATALOG_NAME).exists()
