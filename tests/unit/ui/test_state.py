"""Dashboard: rows, changes, cursors, runs that age."""

from __future__ import annotations

import math
import shutil
import threading
import time
from pathlib import Path

import pytest

from sidecar.protocol.errors import StoreError
from tests.unit.run_builder import RunBuilder
from tracker.reading.api import Api
from tracker.ui import state
from tracker.ui.errors import ApiError
from tracker.ui.state import Changes, Dashboard


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the runs whenever asked."""
    monkeypatch.setattr(state, "REFRESH_SECONDS", 0.0)


def refs(changes: Changes) -> tuple[list[str], list[str], bool]:
    return sorted(changes.changed), sorted(changes.removed), changes.all


def test_changes(tmp_path: Path) -> None:
    RunBuilder(tmp_path, "a").finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    first = dashboard.cursor
    assert refs(dashboard.changes(first)) == ([], [], False)
    RunBuilder(tmp_path, "b").finish()
    second = dashboard.changes(first)
    assert refs(second) == (["b"], [], False)
    shutil.rmtree(tmp_path / "runs" / "b")
    assert refs(dashboard.changes(second.cursor)) == ([], ["b"], False)
    assert refs(dashboard.changes(first)) == ([], ["b"], False)
    assert dashboard.changes("").all and dashboard.changes("other-1").all and dashboard.changes("-").all
    with pytest.raises(ApiError) as gone:
        dashboard.run("b")
    assert gone.value.status == 410
    for unknown in ("c", "1~a", "~a", "x~a", "../a", "", "a/b"):
        with pytest.raises(ApiError) as missing:
            dashboard.run(unknown)
        assert missing.value.status == 404
    RunBuilder(tmp_path, "b").finish()
    assert refs(dashboard.changes(second.cursor)) == (["b"], [], False) and dashboard.run("b").id == "b"
    dashboard.close()


def test_many_changes_are_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_CHANGES", 2)
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    cursor = dashboard.cursor
    for id in ("a", "b", "c"):
        RunBuilder(tmp_path, id).finish()
    assert dashboard.changes(cursor).all
    dashboard.close()


def test_a_change_during_an_answer_is_in_the_next_one(tmp_path: Path) -> None:
    RunBuilder(tmp_path, "a").finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    first = dashboard.cursor
    RunBuilder(tmp_path, "b").finish()
    dashboard.refresh()
    dashboard._next = math.inf
    lock = dashboard._lock

    class Interrupted:
        """The lock; when it is first released, another thread scans the runs."""

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            dashboard._lock, dashboard._next = lock, 0.0
            RunBuilder(tmp_path, "c").finish()
            dashboard.refresh()

    dashboard._lock = Interrupted()  # type: ignore[assignment]
    second = dashboard.changes(first)
    assert refs(second) == (["b"], [], False)
    assert refs(dashboard.changes(second.cursor)) == (["c"], [], False)
    dashboard.close()


def test_an_edit_during_a_scan_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = RunBuilder(tmp_path, "a")
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    built.write("edit", {"deleted": True})  # by another program
    catalog = dashboard.places[0]._catalog
    scan = catalog.refresh

    def interrupted(seconds: float | None = None) -> set[str]:
        changed = scan(seconds)
        built.write("edit", {"deleted": False})
        dashboard.edited([dashboard.places[0].rows["a"]])
        return changed

    monkeypatch.setattr(catalog, "refresh", interrupted)
    dashboard.refresh()
    assert not dashboard.row("a").deleted
    assert [one.ref for one in dashboard.rows()] == ["a"]
    built.log.close()
    dashboard.close()


def test_a_run_that_stalls_has_changed(tmp_path: Path) -> None:
    built = RunBuilder(tmp_path, "run", start_time=time.time() - 100)
    built.row(0, loss=1)
    built.store()
    dashboard = Dashboard([Api(tmp_path, stalled_after=100.0)])
    with built.held():
        dashboard.refresh()
        cursor, row = dashboard.cursor, dashboard.row("run")
        assert row.run.state == "running"
        row.run._stalled_after = 0.0
        assert refs(dashboard.changes(cursor)) == (["run"], [], False)
        assert dashboard.row("run") is not row, "cells of the state are read again"
    built.log.close()
    dashboard.close()


def test_a_place_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunBuilder(tmp_path / "b", "run").finish()
    broken, other = Api(tmp_path / "a"), Api(tmp_path / "b")

    def fail(seconds: float | None = None) -> set[str]:
        raise StoreError("the server is gone")

    monkeypatch.setattr(broken.catalog(), "refresh", fail)
    dashboard = Dashboard([broken, other])
    dashboard.refresh()
    assert [place.error for place in dashboard.places] == ["the server is gone", ""]
    assert [row.ref for row in dashboard.rows()] == ["1~run"]
    dashboard.close()


def test_the_first_look_does_not_hold_up_answers(tmp_path: Path) -> None:
    RunBuilder(tmp_path, "run").finish()
    dashboard = Dashboard([Api(tmp_path)])
    before = dashboard.indexing
    assert before == {"done": 0, "total": 0} and dashboard.changes("").all
    dashboard.start()
    dashboard.refresh()
    after = dashboard.indexing
    assert after is None and [row.ref for row in dashboard.rows()] == ["run"]
    dashboard.close()


def test_runs_are_shown_while_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request reads for a moment only; what is pending is due at once. The first scan reads all of it."""
    monkeypatch.setattr(state, "SLICE_SECONDS", 0.0)
    for id in ("a", "b", "c"):
        RunBuilder(tmp_path, id).finish()
    dashboard = Dashboard([Api(tmp_path)])
    seen = []
    for _ in range(3):
        dashboard.refresh()
        seen.append((len(list(dashboard.rows())), dashboard.indexing))
    assert seen == [(1, {"done": 1, "total": 3}), (2, {"done": 2, "total": 3}), (3, None)]
    dashboard.close()

    first = Dashboard([Api(tmp_path)])
    real, shown = first.places[0].refresh, []

    def refresh() -> set[str]:
        shown.append((first._looked.is_set(), len(first.places[0].rows)))
        return real()

    monkeypatch.setattr(first.places[0], "refresh", refresh)
    first.start()
    while first.indexing is not None:
        assert first._looked.wait(10)
        assert first.changes("").all, "requests are answered meanwhile"
    assert shown[:3] == [(False, 0), (True, 1), (True, 2)] and len(list(first.rows())) == 3
    first.close()


def test_runs_that_are_asked_for_are_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SLICE_SECONDS", 0.0)
    ids = [f"run{number:02}" for number in range(20)]
    for id in ids:
        RunBuilder(tmp_path, id).finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    cursor, before = dashboard.cursor, {row.ref for row in dashboard.rows()}
    changes = dashboard.changes(cursor)
    assert refs(changes) == ([], [], False) and changes.cursor == cursor

    def unread() -> list[str]:
        return sorted(set(ids) - {row.ref for row in dashboard.rows()})

    for at in (3, 0, -1):
        wanted = unread()[at]
        assert dashboard.row(wanted).ref == wanted
    with pytest.raises(ApiError) as missing:
        dashboard.row("nowhere")
    assert missing.value.status == 404 and unread(), "a run that does not exist is not waited for"
    with monkeypatch.context() as patched:
        patched.setattr(state, "READ_WAIT_SECONDS", 0.0)
        with pytest.raises(ApiError) as late:
            dashboard.row(unread()[5])
    assert (late.value.status, late.value.code) == (503, "indexing")
    assert dashboard.expect(ids) and not unread() and not dashboard.is_partial
    assert refs(dashboard.changes(cursor)) == (sorted(set(ids) - before), [], False)
    dashboard.close()


def test_a_run_that_is_awaited_is_read_by_the_first_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SLICE_SECONDS", 0.0)
    for number in range(30):
        RunBuilder(tmp_path, f"run{number}").finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.start()
    assert dashboard.expect([f"run{number}" for number in range(0, 30, 3)] + ["nowhere", "1~run"])
    assert {f"run{number}" for number in range(0, 30, 3)} <= {row.ref for row in dashboard.rows()}
    while dashboard.is_partial:
        assert dashboard.expect([f"run{number}" for number in range(30)])
    dashboard.close()


def test_a_scan_is_over_when_its_runs_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of the reading and the new rows, the catalog is saved, which may take a while."""
    monkeypatch.setattr(state, "SLICE_SECONDS", 0.0)
    for id in "ab":
        RunBuilder(tmp_path, id).finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    cursor, catalog, seen = dashboard.cursor, dashboard.places[0]._catalog, []
    scan = catalog.refresh

    def refresh(seconds: float | None = None) -> set[str]:
        changed = scan(seconds)
        seen.append((catalog.progress, dashboard.indexing, dashboard.is_partial, len(list(dashboard.rows()))))
        return changed

    monkeypatch.setattr(catalog, "refresh", refresh)
    assert len(dashboard.changes(cursor).changed) == 1 and dashboard.indexing is None
    assert seen == [(None, {"done": 2, "total": 2}, True, 1)]
    dashboard.close()


def test_reading_many_changed_runs_is_no_first_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for id in "abc":
        RunBuilder(tmp_path, id).finish()
    dashboard = Dashboard([Api(tmp_path)])
    dashboard.refresh()
    cursor = dashboard.cursor
    monkeypatch.setattr(state, "SLICE_SECONDS", 0.0)
    for id in "def":
        RunBuilder(tmp_path, id).finish()
    changes = dashboard.changes(cursor)
    assert dashboard.places[0].progress == (1, 3) and len(changes.changed) == 1
    assert dashboard.indexing is None and not dashboard.is_partial
    dashboard.close()


def test_a_server_that_does_not_answer_holds_up_no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(state, "SERVER_REFRESH_SECONDS", 0.0)
    RunBuilder(tmp_path, "a").finish()
    slow, answered = Api("clickhouse+http://127.0.0.1:1/runs"), threading.Event()

    def wait(seconds: float | None = None) -> set[str]:
        answered.wait()
        raise StoreError("the server is gone")

    monkeypatch.setattr(slow.catalog(), "refresh", wait)
    dashboard = Dashboard([slow, Api(tmp_path)])
    dashboard.refresh()
    thread = dashboard.places[0].looking
    during = dashboard.indexing
    assert thread is not None and [row.ref for row in dashboard.rows()] == ["1~a"] and during is not None
    cursor = dashboard.cursor
    RunBuilder(tmp_path, "b").finish()
    changes = dashboard.changes(cursor)
    assert refs(changes) == (["1~b"], [], False) and dashboard.places[0].looking is thread
    answered.set()
    thread.join()
    after = dashboard.indexing
    assert after is None and dashboard.cursor != changes.cursor, "pages hear of the error"
    assert [place.error for place in dashboard.places] == ["the server is gone", ""]
    dashboard.close()


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/a/runs"], ["runs"]),
        (["/a/one", "/b/two"], ["one", "two"]),
        (["/x/a/.tracker", "/x/b/.tracker"], ["a/.tracker", "b/.tracker"]),
        (["/a/x/y", "/b/x/y"], ["a/x/y", "b/x/y"]),
        (["/a/one", "clickhouse+http://host:8123/runs?x=1"], ["one", "host:8123/runs"]),
    ],
)
def test_short_names_of_places(places: list[str], names: list[str]) -> None:
    assert state.short_names(places) == names
