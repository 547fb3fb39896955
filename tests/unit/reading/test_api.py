"""tracker.Api: runs are found, filtered, ordered, and read as they were logged, live or ended, store or no store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.protocol.errors import StoreError
from tests.unit.run_builder import START, RunBuilder
from tracker.errors import FilterError, RootNotFoundError, RunNotFoundError, UnknownMetricError
from tracker.reading.api import Api, StoredRun
from tracker.reading.conditions import MISSING
from tracker.reading.filters import Filter, lookup


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs of two projects."""
    for number, (run_id, lr, project, state) in enumerate(
        [
            ("aaaa0001", 0.1, "digits", "finished"),
            ("bbbb0002", 0.2, "digits", "failed"),
            ("cccc0003", 0.3, "cats", "finished"),
        ]
    ):
        run = RunBuilder(
            tmp_path,
            run_id,
            project=project,
            name=f"run-{number}",
            tags=["x", f"t{number}"],
            start_time=START + 1000 * number,
        )
        run.write("config", {"set": {"lr": lr, "opt": {"name": "sgd", "nesterov": number == 0}}})
        for step in range(5):
            run.row(step, None, loss=lr * step, note="n")
        run.finish(state)
    return tmp_path


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def test_runs_newest_first_with_len_and_slices(root: Path) -> None:
    runs = Api(root).runs()
    assert ids(runs) == ["cccc0003", "bbbb0002", "aaaa0001"]
    assert len(runs) == 3
    assert ids(runs[:2]) == ["cccc0003", "bbbb0002"]
    assert runs[-1].id == "aaaa0001"
    assert bool(runs)


def test_runs_reads_nothing_before_it_is_used(tmp_path: Path) -> None:
    runs = Api(tmp_path).runs()
    RunBuilder(tmp_path, "run00001").finish()
    assert ids(runs) == ["run00001"]
    RunBuilder(tmp_path, "run00002").finish()
    assert len(runs) == 1, "what was read is kept"


def test_a_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    api = Api(tmp_path / "nowhere")
    with pytest.raises(RootNotFoundError, match=f"there is no directory {tmp_path}/nowhere"):
        len(api.runs())
    for ref in ("abc", "last"):
        with pytest.raises(RunNotFoundError, match="there is no directory"):
            api.run(ref)
    RunBuilder(tmp_path / "nowhere", "run00001").finish()
    assert len(api.runs()) == 1, "made since then"


def test_the_usual_root_may_not_exist_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(Api().runs()) == 0
    with pytest.raises(RunNotFoundError, match=r"run 'abc' not found in .*\.tracker, which has no runs"):
        Api().run("abc")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"state": "finished"}, "ca"),
        ({"config.lr": 0.1}, "a"),
        ({"config.opt.name": "sgd"}, "cba"),
        ({"config.opt.nesterov": True}, "a"),
        ({"config.opt": {"name": "sgd", "nesterov": True}}, "a"),
        ({"summary.loss": {"$lt": 0.9}}, "ba"),
        ({"summary_metrics.loss": {"$lte": 0.8, "$gt": 0.4}}, "b"),
        ({"summary.loss": {"$gte": 0.8}}, "cb"),
        ({"tags": "x"}, "cba"),
        ({"tags": "t1"}, "b"),
        ({"tags": {"$in": ["t0", "t2"]}}, "ca"),
        ({"tags": {"$nin": ["t0", "t2"]}}, "b"),
        ({"state": {"$ne": "finished"}}, "b"),
        ({"display_name": {"$regex": "-[01]$"}}, "ba"),
        ({"$or": [{"config.lr": 0.1}, {"project": "cats"}]}, "ca"),
        ({"$and": [{"config.lr": {"$gt": 0.1}}, {"project": "digits"}]}, "b"),
        ({"state": "finished", "project": "digits"}, "a"),
        ({"group": None}, "cba"),
        ({"config.no": None}, "cba"),
        ({"config.no": {"$ne": 3}}, "cba"),
        ({"config.no": {"$lt": 3}}, ""),
        ({}, "cba"),
    ],
)
def test_filters(root: Path, filters: dict[str, Any], expected: str) -> None:
    assert "".join(run.id[0] for run in Api(root).runs(filters=filters)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"config.lr": {"$about": 0.1}}, r"unknown operator '\$about'.*\$lt, \$lte, \$gt, \$gte.*\$regex.*\$or"),
        ({"$nor": [{}]}, r"unknown operator '\$nor'"),
        ({"config.lr": {"$lt": 1, "other": 2}}, "unknown operator 'other'"),
        ({"$or": {}}, r"\$or takes a list"),
        ({"tags": {"$in": "x"}}, r"\$in takes a list"),
        ({"name": {"$regex": "("}}, "regular expression"),
        ({"step": {"$lt": [1]}}, "number or a string"),
        ([("a", 1)], "filters must be a map"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_at_once(root: Path, filters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Api(root).runs(filters=filters)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("+start_time", "abc"),
        ("-start_time", "cba"),
        ("summary.loss", "abc"),
        ("-summary.loss", "cba"),
        ("+state", "bca"),
    ],
)
def test_orders(root: Path, order: str, expected: str) -> None:
    runs = Api(root).runs(order=order)
    assert "".join(run.id[0] for run in runs) == expected or order == "+state"
    if order == "+state":
        assert runs[0].id[0] == "b"


def test_runs_without_the_ordering_value_come_last_both_ways(root: Path) -> None:
    RunBuilder(root, "dddd0004").finish()
    run = RunBuilder(root, "eeee0005")
    run.row(0, None, loss=math.nan)
    run.finish()
    for order in ("+summary.loss", "-summary.loss"):
        assert set(ids(Api(root).runs(order=order))[-2:]) == {"dddd0004", "eeee0005"}
    with pytest.raises(FilterError, match="no field 'colour'"):
        len(Api(root).runs(order="-colour"))


def test_project(root: Path) -> None:
    assert ids(Api(root).runs(project="cats")) == ["cccc0003"]
    assert len(Api(root).runs("dogs")) == 0


def test_lookup_takes_dots_as_part_of_a_key_or_as_a_way() -> None:
    tree = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}, "c.e": 4}}
    assert [lookup(tree, path) for path in ("a.b", "a.c.d", "a.c.e")] == [1, 3, 4]
    assert lookup(tree, "a.x") is MISSING
    run = object()
    assert Filter(None).select([run]) == [run]


def test_a_run_that_is_not_there_names_similar_ones(root: Path) -> None:
    api = Api(root)
    for wanted in ("aaaa0002", "run_0", "aa0001"):
        with pytest.raises(RunNotFoundError, match=r"run .* not found in .*; did you mean .*aaaa0001 \(run-0\)"):
            api.run(wanted)
    with pytest.raises(RunNotFoundError, match=r"run 'zzzzzzzz' not found in .*, which has 3 runs"):
        api.run("zzzzzzzz")
    for wanted in ("", "../runs/aaaa0001", ".", "aaaa0001/", "/aaaa0001", "a/../b", "\0"):
        with pytest.raises(RunNotFoundError):
            api.run(wanted)


def test_what_a_run_is(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path,
        "run00001",
        project="p",
        name="n",
        group="g",
        job_type="train",
        tags=["x"],
        notes="hello",
        host="h",
        pid=7,
    )
    run.write("config", {"set": {"lr": 0.1}})
    run.write("define", {"metric": "acc", "summary": ["max"], "goal": "maximize"})
    run.row(0, None, acc=0.5, loss=2.0)
    run.row(7, None, acc=0.4, loss=1.0)
    run.write("losses", {"source": run.client, "counts": {"window full": 3}})
    run.finish("failed", traceback="Traceback…")
    found = Api(str(tmp_path)).run("run00001")
    assert isinstance(found, StoredRun)
    assert (found.id, found.name, found.project, found.group, found.job_type) == ("run00001", "n", "p", "g", "train")
    assert (found.tags, found.notes, found.config) == (["x"], "hello", {"lr": 0.1})
    assert found.summary == {"acc": 0.5, "loss": 1.0}
    assert found.metrics["acc"]["summary"] == ["max"]
    assert (found.state, found.exit_code, found.traceback) == ("failed", 1, "Traceback…")
    assert (found.step, found.records, found.points) == (7, 2, 4)
    assert found.start_time == START
    assert found.end_time == found.last_time == run.clock
    assert found.losses == {"window full": 3}
    assert found.writers[run.client]["host"] == "h"
    assert found.dir == tmp_path / "runs" / "run00001"
    assert found.keys() == ["acc", "loss"]
    assert found.files() == []
    assert found.to_map()["summary"] == found.summary


def test_files(root: Path) -> None:
    run = Api(root).run("aaaa0001")
    (run.dir / "files" / "sub").mkdir(parents=True)
    (run.dir / "files" / "b.txt").write_text("12345")
    (run.dir / "files" / "sub" / "a.bin").write_bytes(b"123")
    assert [(file.name, file.size) for file in run.files()] == [("b.txt", 5), ("sub/a.bin", 3)]
    assert run.files()[0].path.read_text() == "12345"


def test_history_has_every_value_as_it_was_logged(tmp_path: Path) -> None:
    values = [0.1, -0.0, math.inf, -math.inf, math.nan, 3, 2**62, True, "text", {"_type": "histogram", "bins": [1]}]
    run = RunBuilder(tmp_path, "run00001")
    for step, value in enumerate(values):
        run.row(step, None, x=value)
    run.finish()
    found = Api(tmp_path).run("run00001")
    history = found.history()
    assert list(history) == ["_step", "_timestamp", "x"]
    assert history["_step"] == list(range(10))
    assert repr(history["x"]) == repr(values)
    assert repr([row["x"] for row in found.scan_history()]) == repr(values)


def test_history_of_some_keys_leaves_out_rows_without_them(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.row(0, None, a=1, b=2)
    run.row(1, None, b=3)
    run.row(2, None, a=4)
    run.finish()
    found = Api(tmp_path).run("run00001")
    assert found.history(["a"])["_step"] == [0, 2]
    assert found.history(["b", "a"])["a"] == [1, None, 4]
    assert list(found.history(("b", "a")))[2:] == ["b", "a"]
    rows = list(found.scan_history(["b"]))
    assert [(row["_step"], row["b"]) for row in rows] == [(0, 2), (1, 3)]
    assert [row["_step"] for row in found.scan_history(min_step=1, max_step=1)] == [1]
    for read in (found.history, found.scan_history):
        with pytest.raises(UnknownMetricError, match="run 'run00001' never logged never, nor; it logged a, b"):
            read(["a", "never", "nor"])
    with pytest.raises(UnknownMetricError, match="never logged epoch"):
        found.history(x="epoch")


def test_rows_name_their_writer_where_there_are_several(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.row(0, None, a=1)
    run.store()
    found = Api(tmp_path).run("run00001")
    assert list(found.history()) == ["_step", "_timestamp", "a"]
    assert list(next(iter(found.scan_history()))) == ["_step", "_timestamp", "a"]
    run.write("run", {"label": "rank1"}, client="client000002")
    run.row(1, "client000002", a=2)
    run.finish()
    assert list(found.history()) == ["_step", "_timestamp", "_label", "a"]
    assert [row["_label"] for row in found.scan_history()][1] == "rank1"


def test_samples_keep_the_smallest_and_the_largest(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    for step in range(1000):
        run.row(step, None, x=float(step % 10), epoch=step / 100)
    run.row(1000, None, x=-99.0, epoch=10.0)
    run.row(1001, None, x=99.0, epoch=10.01)
    run.finish()
    found = Api(tmp_path).run("run00001")
    for x in ("step", "time", "epoch"):
        history = found.history(["x"], samples=50, x=x)
        assert len(history["_step"]) <= 50
        assert {-99.0, 99.0} <= set(history["x"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"keys": "loss"}, TypeError),
        ({"keys": [1]}, TypeError),
        ({"samples": 0}, ValueError),
        ({"samples": "many"}, TypeError),
        ({"samples": True}, TypeError),
        ({"x": 3}, TypeError),
    ],
)
def test_history_says_which_argument_cannot_be(root: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        Api(root).run("aaaa0001").history(**arguments)


def test_scan_history_says_which_argument_cannot_be(root: Path) -> None:
    run = Api(root).run("aaaa0001")
    with pytest.raises(TypeError, match="min_step"):
        run.scan_history(min_step=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="keys"):
        run.scan_history("loss")


def test_history_as_a_data_frame(root: Path) -> None:
    import pandas

    frame = Api(root).run("aaaa0001").history(["loss"], pandas=True)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["_step", "_timestamp", "loss"]
    assert len(frame) == 5


def test_integers_in_a_column_with_gaps_are_exact_in_a_data_frame(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    columns: dict[str, list[Any]] = {"a": [2**63 - 1, None, -(2**63)], "b": [2**64 - 1, None, 0], "c": [1.5, None, 2]}
    for step in range(3):
        run.row(
            step, None, d=step, **{key: values[step] for key, values in columns.items() if values[step] is not None}
        )
    run.store()
    run.log.close()
    frame: Any = Api(tmp_path).run("run00001").history(pandas=True)
    for key, values in columns.items():
        assert frame[key].dropna().tolist() == [value for value in values if value is not None]
        assert frame[key].isna().tolist() == [False, True, False]
    assert [str(frame[key].dtype) for key in "abcd"] == ["Int64", "UInt64", "float64", "int64"]


def test_bounds_of_numpy(root: Path) -> None:
    run = Api(root).run("aaaa0001")
    assert list(run.scan_history(min_step=np.int64(2))) == list(run.scan_history(min_step=2))
    assert run.history(samples=np.int32(2)) == run.history(samples=2)
    found = Api(root).runs(filters={"summary.loss": {"$gt": np.float32(-1e9)}})
    assert [each.id for each in found] == [each.id for each in Api(root).runs(filters={"summary.loss": {"$gt": -1e9}})]


def test_a_live_run_is_read_while_it_goes_on(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.row(0, None, x=1)
    run.store()
    with run.held():
        assert Api(tmp_path).run("run00001").state == "stalled"  # its records are of long ago
        found = Api(tmp_path, stalled_after=1e12).run("run00001")
        assert (found.state, found.end_time, found.summary) == ("running", None, {"x": 1})
        run.row(1, None, x=2)
        run.store()
        assert found.summary == {"x": 1}, "what was read is kept"
        assert found.refresh().summary == {"x": 2}
        assert found.history()["x"] == [1, 2]
    run.log.close()


def test_a_run_without_a_store_is_read_from_its_log(root: Path) -> None:
    (root / "runs" / "bbbb0002" / "store.db").unlink()
    (root / "runs" / "cccc0003" / "store.db").write_bytes(b"damaged" * 3000)
    runs = Api(root).runs()
    assert [(run.id[0], run.state) for run in runs] == [("c", "finished"), ("b", "failed"), ("a", "finished")]
    for run in runs:
        assert len(run.history()["loss"]) == 5
        assert (run.dir / "store.db").read_bytes()[:6] == b"SQLite"


def test_a_run_that_cannot_be_read_says_so_and_hides_no_other(root: Path) -> None:
    (root / "runs" / "bbbb0002" / "store.db").unlink()
    (root / "runs" / "bbbb0002" / "transactions.log").write_bytes(b"nonsense, all of it, and more of it")
    runs = Api(root).runs(order="+id")
    assert ids(runs) == ["aaaa0001", "bbbb0002", "cccc0003"]
    assert runs[1].state == "unreadable"
    assert "not a transaction log" in str(runs[1].reason)
    with pytest.raises(StoreError, match="not a transaction log"):
        runs[1].history()


def test_what_is_no_run_is_passed_over(root: Path) -> None:
    (root / "runs" / ".removed-x-1").mkdir()
    (root / "runs" / ".removed-x-1" / "transactions.log").touch()
    (root / "runs" / "empty").mkdir()
    (root / "runs" / "file").touch()
    assert len(Api(root).runs()) == 3


def test_a_run_that_was_copied_to_another_root_is_there(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import shutil

    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root / "runs" / "aaaa0001", other / "runs" / "aaaa0001")
    assert Api(other).run("aaaa0001").history() == Api(root).run("aaaa0001").history()


def test_the_root_comes_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_DIR", str(root))
    assert len(Api().runs()) == 3


def test_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot read from mlflow\+http:// addresses"):
        Api("mlflow+http://localhost:5000")
