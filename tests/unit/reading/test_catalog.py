"""The catalog: rows of runs in a file that may be missing, stale, damaged or shared, and never lies about a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Scripts
from tests.unit.run_builder import START, RunBuilder
from tracker.reading import catalog, catalog_file, catalog_row
from tracker.reading.api import Api
from tracker.reading.catalog import DirectoryCatalog
from tracker.reading.catalog_file import CATALOG_NAME
from tracker.reading.stored_run import StoredRun
from tracker.reading.stores import read_state


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's directory for caches. The catalog is kept in a file for a single run, too."""
    monkeypatch.setattr(catalog, "LEAST_RUNS", 1)
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


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
    root = tmp_path / "root"
    for number in range(3):
        run = RunBuilder(root, f"run0000{number}", name=f"name-{number}", tags=["x"], start_time=START + number)
        run.write("config", {"set": {"lr": 0.1 * number, "opt": {"name": "sgd"}}})
        run.row(0, None, loss=0.5 + number)
        run.finish()
    age(root)
    return root


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
    monkeypatch.setattr(catalog, "LEAST_RUNS", 4)
    assert len(Api(root).runs()) == 3
    assert not (root / CATALOG_NAME).exists()


def ids(root: Path) -> str:
    return " ".join(run.id[-1] for run in Api(root).runs(order="+id"))


# -- the file ----------------------------------------------------------------------------------------------------------


def a_database(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(100, len(data), 7):
        data[at] ^= 0x5A
    path.write_bytes(data)


SPOILED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not a database, and long enough to be read as one" * 100),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "damaged": damage,
    "another table": lambda path: a_database(path, "DROP TABLE run", "CREATE TABLE run (id)"),
    "a trigger": lambda path: a_database(path, "CREATE TRIGGER t AFTER DELETE ON run BEGIN DELETE FROM run; END"),
    "an older version": lambda path: a_database(path, "PRAGMA user_version = 0"),
    "a write-ahead log": lambda path: a_database(path, "PRAGMA journal_mode = WAL"),
    "not UTF-8": lambda path: a_database(path, "UPDATE run SET name = CAST(x'ff' AS TEXT)"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_file_that_is_not_a_catalog_is_replaced(root: Path, read: list[str], how: str) -> None:
    assert ids(root) == "0 1 2"
    SPOILED[how](root / CATALOG_NAME)
    read.clear()
    assert ids(root) == "0 1 2"
    assert len(read) == 3
    assert [run.name for run in Api(root).runs(order="+id")] == ["name-0", "name-1", "name-2"]
    assert len(read) == 3, "the new one is used"
    assert sorted(path.name for path in root.iterdir()) == [CATALOG_NAME, "runs"]


SPOILED_ROWS = {
    "a number as the name": "name = 3",
    "a text as the start": "start_time = 'soon'",
    "a blob as the state": "state = x'00'",
    "no state": "state = NULL",
    "a text as the config": "config = 'x'",
    "msgpack of a list": "about = x'90'",
    "no msgpack": "about = x'c1'",
    "tags that are a text": "about = x'81a474616773a161'",
    "a large name": "name = printf('%.*c', 300000, 'x')",
    "flags of text": "flags = 'x'",
}


@pytest.mark.parametrize("how", SPOILED_ROWS)
def test_a_row_that_is_not_valid_is_not_believed(root: Path, how: str) -> None:
    before = [run.to_map() for run in Api(root).runs(order="+id")]
    a_database(root / CATALOG_NAME, f"UPDATE run SET {SPOILED_ROWS[how]} WHERE id = 'run00001'")
    runs = Api(root).runs(order="+id")
    assert (runs[1].name, runs[1].tags, runs[1].config["lr"], runs[1].notes) == ("name-1", ["x"], 0.1, None)
    assert [run.to_map() for run in runs] == before


def test_the_file_may_be_deleted_at_any_time(root: Path, read: list[str]) -> None:
    api = Api(root)
    assert len(api.runs()) == 3
    (root / CATALOG_NAME).unlink()
    assert len(api.runs()) == 3 and len(read) == 3, "from memory"
    RunBuilder(root, "run00003").finish()
    age(root)
    assert len(api.runs()) == 4
    assert ids(root) == "0 1 2 3"


def test_a_newer_version_is_left_alone(root: Path, read: list[str], cache: Path) -> None:
    a_database(root / CATALOG_NAME, "CREATE TABLE run (id, more)", "PRAGMA user_version = 99")
    before = (root / CATALOG_NAME).read_bytes()
    assert ids(root) == "0 1 2"
    assert (root / CATALOG_NAME).read_bytes() == before
    assert len(list((cache / "tracker" / "catalogs").iterdir())) == 1
    read.clear()
    assert ids(root) == "0 1 2" and read == []


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_replaced_and_its_target_is_not_touched(
    root: Path, link: Callable[[Path, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids(root)
    target = tmp_path_factory.mktemp("elsewhere") / "precious.db"
    (root / CATALOG_NAME).rename(target)
    before = target.read_bytes()
    link(target, root / CATALOG_NAME)
    os.utime(root / "runs" / "run00001" / "store.db", (1, 1))
    assert ids(root) == "0 1 2"
    assert target.read_bytes() == before
    status = (root / CATALOG_NAME).lstat()
    assert stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def test_a_directory_or_a_pipe_in_its_place_does_no_harm(root: Path, cache: Path, read: list[str]) -> None:
    (root / CATALOG_NAME).mkdir()
    assert ids(root) == "0 1 2" and len(list((cache / "tracker" / "catalogs").iterdir())) == 1
    (root / CATALOG_NAME).rmdir()
    os.mkfifo(root / CATALOG_NAME)
    assert ids(root) == "0 1 2" and (root / CATALOG_NAME).is_file()


@pytest.fixture
def unwritable(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root that this user may not write to, as far as this process can tell; `chmod` does not stop root."""
    real = os.access

    def access(path: Any, mode: int) -> bool:
        return real(path, mode) and not (mode & os.W_OK and Path(path) == root)

    monkeypatch.setattr(os, "access", access)
    return root


def test_a_root_that_is_not_writable_has_its_catalog_in_the_cache(
    unwritable: Path, cache: Path, read: list[str]
) -> None:
    assert ids(unwritable) == "0 1 2"
    (path,) = (cache / "tracker" / "catalogs").iterdir()
    assert path.stat().st_mode & 0o077 == 0o044 and (cache / "tracker" / "catalogs").stat().st_mode & 0o077 == 0
    assert not (unwritable / CATALOG_NAME).exists()
    read.clear()
    api = Api(unwritable)
    assert len(api.runs()) == 3 and read == [] and api.catalog().refresh() != set()


def test_without_a_place_for_it_the_catalog_is_in_memory(
    unwritable: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    api = Api(unwritable)
    assert len(api.runs()) == 3 and len(api.runs()) == 3
    assert len(read) == 3
    assert ids(unwritable) == "0 1 2" and len(read) == 6


# -- a row is right, or the run is read --------------------------------------------------------------------------------


def test_a_run_that_took_the_place_of_another_is_read(root: Path) -> None:
    api = Api(root)
    assert api.runs(order="+id")[1].name == "name-1"
    shutil.rmtree(root / "runs" / "run00001")
    other = RunBuilder(root, "run00001", name="name-7", tags=["x"], start_time=START + 1)
    other.write("config", {"set": {"lr": 0.7, "opt": {"name": "sgd"}}})
    other.row(0, None, loss=7.5)
    other.finish()
    age(root, 200.0)
    for reader in (api, Api(root)):
        assert [run.name for run in reader.runs(order="+id")] == ["name-0", "name-7", "name-2"]


def test_files_with_equal_sizes_and_times_are_told_apart(root: Path) -> None:
    """Two runs that exchange their places, and whose files bear the very same times, to the nanosecond."""
    ids(root)
    for path in (root / "runs").glob("*/*"):
        os.utime(path, ns=(10**18, 10**18))
    runs = root / "runs"
    assert ids(root) == "0 1 2"
    for name in ("transactions.log", "store.db"):
        (runs / "run00000" / name).rename(root / "kept")
        (runs / "run00001" / name).rename(runs / "run00000" / name)
        (root / "kept").rename(runs / "run00001" / name)
    assert [run.name for run in Api(root).runs(order="+id")] == ["name-1", "name-0", "name-2"]


def test_a_change_within_one_tick_of_the_clock_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second change bears the time of the first, and the same size: only being read again shows it."""
    run = RunBuilder(root, "tick0000")
    run.finish()
    now = time.time()
    moment = int(now * 1e9)
    paths = [run.log_path, run.store_path]
    seen = cards_of(root, monkeypatch, now)
    fields = {"name": "one"}
    monkeypatch.setattr(StoredRun, "_read_state", lambda self: read_state(self.dir) | fields)
    for path in paths:
        os.utime(path, ns=(moment, moment))
    assert seen.refresh() == {"tick0000"}
    fields["name"] = "two"
    assert seen.refresh() == set(), "nothing shows the change yet"
    monkeypatch.setattr(time, "time", lambda: now + 3.0)
    assert seen.refresh() == {"tick0000"}
    found = seen.run("tick0000")
    assert found is not None and found.name == "two"
    monkeypatch.setattr(time, "time", lambda: now + 6.0)
    fields["name"] = "three"
    assert seen.refresh() == set(), "it is not read for ever"


def cards_of(root: Path, monkeypatch: pytest.MonkeyPatch, now: float) -> DirectoryCatalog:
    """Return a catalog for which it is `now`, and which has seen all runs so far but one."""
    monkeypatch.setattr(time, "time", lambda: now)
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    cards.refresh()
    return cards


@pytest.mark.parametrize("hours", [-48, 48])
def test_a_clock_that_was_set_hides_no_change(root: Path, read: list[str], hours: float) -> None:
    for path in (root / "runs").glob("*/*"):
        os.utime(path, (time.time() + hours * 3600,) * 2)
    assert ids(root) == "0 1 2"
    read.clear()
    assert ids(root) == "0 1 2" and read == [], "times in the future are times"
    with open(root / "runs" / "run00001" / "transactions.log", "ab") as log:
        log.write(b"x")
    assert ids(root) == "0 1 2" and read == ["run00001"]


def test_rows_of_runs_that_are_gone_are_removed(root: Path) -> None:
    assert ids(root) == "0 1 2"
    shutil.rmtree(root / "runs" / "run00001")
    assert ids(root) == "0 2"
    with contextlib.closing(sqlite3.connect(root / CATALOG_NAME)) as connection:
        assert connection.execute("SELECT id FROM run ORDER BY id").fetchall() == [("run00000",), ("run00002",)]


def test_a_file_in_use_is_done_without(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_file, "_BUSY_SECONDS", 0.01)
    assert ids(root) == "0 1 2"
    RunBuilder(root, "run00003").finish()
    age(root)
    with contextlib.closing(sqlite3.connect(root / CATALOG_NAME, isolation_level=None)) as connection:
        for lock in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            connection.execute(lock)
            assert ids(root) == "0 1 2 3"
            connection.execute("ROLLBACK")
    assert not (cache / "tracker").exists()
    assert ids(root) == "0 1 2 3"


def test_a_large_config_is_read_where_it_is(root: Path, read: list[str]) -> None:
    run = RunBuilder(root, "large000")
    run.write("config", {"set": {f"key{number}": "x" * 100 for number in range(4000)}})
    run.finish()
    age(root)
    ids(root)
    read.clear()
    found = Api(root).runs(order="+id")[0]
    assert (found.id, found.state) == ("large000", "finished") and read == []
    assert len(found.config) == 4000 and read == ["large000"]
    assert (root / CATALOG_NAME).stat().st_size < 100_000


def test_runs_that_cannot_be_read_are_tried_again(root: Path) -> None:
    (root / "runs" / "run00001" / "store.db").unlink()
    (root / "runs" / "run00001" / "transactions.log").write_bytes(b"no log at all, and long enough to be one")
    age(root)
    assert [run.state for run in Api(root).runs(order="+id")] == ["finished", "unreadable", "finished"]
    api = Api(root)
    assert [run.state for run in api.runs(order="+id")] == ["finished", "unreadable", "finished"]
    shutil.copy(root / "runs" / "run00000" / "transactions.log", root / "runs" / "run00001" / "transactions.log")
    assert [run.state for run in api.runs(order="+id")] == ["finished"] * 3


def test_a_run_that_breaks_its_reader_hides_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_or_raise(run: StoredRun) -> dict[str, Any]:
        if run.id == "run00001":
            raise KeyError("start_given")
        return read_state(run.dir)

    monkeypatch.setattr(StoredRun, "_read_state", read_or_raise)
    runs = Api(root).runs(order="+id")
    assert [run.state for run in runs] == ["finished", "unreadable", "finished"]
    assert "start_given" in str(runs[1].reason)


def test_a_running_run_is_stalled_when_its_time_has_come(root: Path) -> None:
    run = RunBuilder(root, "live0000", start_time=time.time() - 50)
    run.row(0, None, loss=1)
    run.store()
    run.log.close()
    age(root)
    assert [Api(root).runs(order="+id")[0].state for _ in range(2)] == ["running"] * 2
    assert Api(root, stalled_after=5).runs(order="+id")[0].state == "stalled"


def test_refresh_looks_at_all_ended_runs_in_turn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    assert len(cards.refresh()) == 3
    os.utime(root / "runs" / "run00001" / "store.db", (5, 5))
    read_state(root / "runs" / "run00001")
    monkeypatch.setattr(StoredRun, "_read_state", lambda self: read_state(self.dir) | {"name": "changed"})
    changed = set()
    for _ in range(11):
        now += 1.0
        changed |= cards.refresh()
    assert changed == {"run00001"}


def test_what_a_dead_process_left_is_recovered_once_in_the_background(root: Path) -> None:
    (root / "runs" / "run00001" / "lock").touch()
    asked = []
    cards = DirectoryCatalog(root, 600.0, lambda _, ids: asked.append(list(ids)))
    for _ in range(3):
        cards.refresh()
    cards.close()
    assert asked == [["run00001"]]
    cards.update()
    assert asked == [["run00001"]] * 2, "who asks for all runs waits for it"


def test_a_root_that_appears_and_vanishes(tmp_path: Path) -> None:
    cards = DirectoryCatalog(tmp_path / "root", 600.0, lambda *_: None)
    assert cards.refresh() == set() and cards.runs() == [] and cards.path is None
    (tmp_path / "root" / "runs" / "empty").mkdir(parents=True)
    assert cards.refresh() == set()
    run = RunBuilder(tmp_path / "root", "run00000")
    assert cards.refresh() == {"run00000"}
    run.log.close()
    shutil.rmtree(tmp_path / "root")
    assert cards.refresh() == {"run00000"} and cards.runs() == []


def test_progress_is_shown_while_runs_are_read(root: Path) -> None:
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    shown = []
    cards.update(lambda done, total: shown.append((done, total, cards.progress)))
    assert shown == [(number, 3, (number, 3)) for number in range(3)]
    assert cards.progress is None


def test_an_interrupted_build_is_not_lost(root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SAVE_SECONDS", 0.0)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DirectoryCatalog(root, 600.0, lambda *_: None).update(interrupt)
    assert len(read) == 2
    assert len(Api(root).runs()) == len(read) == 3


def test_a_scan_that_takes_long_is_continued_by_the_next_call(root: Path, read: list[str]) -> None:
    for number in range(3):
        moment = time.time() - 100 - number
        for path in (root / "runs" / f"run0000{number}").iterdir():
            os.utime(path, (moment, moment))
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    assert (cards.refresh(0.0), cards.progress) == ({"run00000"}, (1, 3)), "the last to change is the first"
    assert [run.id for run in cards.runs()] == ["run00000"]
    os.utime(root / "runs" / "run00001" / "store.db", (1, 1))
    shutil.rmtree(root / "runs" / "run00002")
    assert (cards.refresh(0.0), cards.progress) == ({"run00001"}, (2, 3))
    assert (cards.refresh(0.0), cards.progress) == ({"run00002"}, None)
    assert read == ["run00000", "run00001", "run00002"]
    assert "run00002" in cards.refresh(0.0) and cards.run("run00002") is None, "it was removed meanwhile"
    cards.update()
    assert read[3:] == ["run00001"], "it changed after the look, maybe before it was read"


def test_runs_that_are_preferred_are_read_next(root: Path, read: list[str]) -> None:
    for number in range(3, 6):
        RunBuilder(root, f"run{number:05}").finish()
    for number in range(6):
        for path in (root / "runs" / f"run0000{number}").iterdir():
            os.utime(path, (time.time() - 100 - number,) * 2)
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    cards.refresh(0.0)
    assert cards.prefer({"run00005", "run00000", "nowhere"}) == {"run00005", "run00000"}
    for _ in range(5):
        cards.refresh(0.0)
    assert read == ["run00000", "run00005", "run00001", "run00002", "run00003", "run00004"] and cards.progress is None


def test_a_full_scan_reads_what_is_pending(root: Path) -> None:
    cards = DirectoryCatalog(root, 600.0, lambda *_: None)
    assert len(cards.refresh(0.0)) == 1
    cards.update()
    assert len(cards.runs()) == 3 and cards.progress is None and len(cards.refresh(0.0)) == 2


def test_processes_share_the_file(root: Path, scripts: Scripts) -> None:
    """Several processes build, change and read one catalog at the same time; each sees every run."""
    for number in range(3, 60):
        RunBuilder(root, f"run{number:05}", name=f"name-{number}").finish()
    age(root)
    script = f"""
        import os, sys
        from tracker.reading import catalog, catalog_file, catalog_row
        from tracker.reading.api import Api
        catalog.LEAST_RUNS = 1
        for turn in range(15):
            runs = Api({str(root)!r}).runs(order="+id")
            assert [run.name for run in runs] == [f"name-{{n}}" for n in range(60)], turn
            if turn % 3 == int(sys.argv[1]):
                os.utime({str(root)!r} + f"/runs/run000{{10 + turn}}/store.db", (turn, 1000 * turn))
            if turn == 7:
                os.unlink({str(root / CATALOG_NAME)!r}) if os.path.exists({str(root / CATALOG_NAME)!r}) else None
        print("right")
    """
    running = [scripts.start(script, str(number)) for number in range(3)]
    assert [one.wait().out.strip() for one in running] == ["right"] * 3
    assert ids(root).startswith("0 1 2")


def test_fields_that_are_read_directly_are_those_of_the_run(root: Path) -> None:
    RunBuilder(root, "unnamed", name="", project="p", group="g", job_type="j").finish()
    RunBuilder(root, "open", start_time=START).store().log.close()
    found = Api(root).catalog()
    found.refresh()
    assert {run.id for run in found.runs()} >= {"unnamed", "open"}
    for run in found.runs():
        assert type(run) is catalog_row.CatalogRun
        for field in catalog_row.PLAIN:
            value = catalog_row.field_reader(field)(run)
            assert value == getattr(run, field) == getattr(StoredRun(run.dir, 120.0), field), (run.id, field)
