"""The contract of run readers: every implementation returns the same results for the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.projections.store.buckets import Buckets
from sidecar.protocol.errors import StoreError
from sidecar.sinks.clickhouse import sampling
from sidecar.sinks.clickhouse.sink import ClickhouseSink
from tests.servers import clickhouse_server
from tests.servers.clickhouse_server import ClickhouseServer
from tests.servers.feed import feed
from tests.support import exact
from tests.unit.run_builder import START, RunBuilder
from tracker.errors import RunNotFoundError, UnknownMetricError
from tracker.reading.api import Api, StoredRun
from tracker.reading.reader import RunReader

clickhouse = clickhouse_server.clickhouse
modern_clickhouse = clickhouse_server.modern_clickhouse

VALUES: list[Any] = [
    0.1 + 0.2, -0.0, 0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 3, 0, -7, 2**53 + 1, 2**63 - 1,
    -(2**63), 2**63, 2**64 - 1, True, False, "", "text", "naïve 漢字 \t\n\\ ' \" \0 ` {x}", "NaN", "1",
    {"_type": "histogram", "bins": [1, 2], "edges": [0.5, 1.5, -0.0]},
    {"_type": "odd", "nan": math.nan, "raw": b"\0\xff"},
    {"_type": "deep", "of": {"of": [None, True, {"é": 2**64 - 1}]}},
]  # fmt: skip

ODD_KEYS = ["a'b", "a\\b", "`a`", "é漢", "a\nb", "tab\t", "%s", "{key:String}", "run", "x" * 512, "--", "a\0b", '"']


class SmallBatches(ClickhouseSink):
    """Sends a log in many batches."""

    batch_bytes = 4000


@pytest.fixture(scope="module")
def root_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with runs of many kinds."""
    root = tmp_path_factory.mktemp("root")
    _plain(root)
    _typed(root)
    _writers(root)
    _late(root)
    _changing(root)
    _long(root)
    RunBuilder(root, "empty001", project="other", start_time=START + 5000).finish("failed", traceback="Traceback")
    return root


def _plain(root: Path) -> None:
    run = RunBuilder(
        root, "plain001", name="one", project="digits", group="g", job_type="train", tags=["a", "b'c"], notes="n\n",
        host="h", pid=7,
    )  # fmt: skip
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd", "nesterov": True}, "raw": b"\0\1", "none": None}})
    run.write("define", {"metric": "acc", "summary": ["max", "min"], "goal": "maximize"})
    for step in range(100):
        run.row(step, None, loss=1.0 / (step + 1), acc=step % 10 / 10)
    run.write("losses", {"source": run.client, "counts": {"window full": 3}})
    run.write("summary", {"set": {"note": "by hand"}})
    run.finish()


def _typed(root: Path) -> None:
    run = RunBuilder(root, "types001", start_time=START + 1000)
    for step, value in enumerate(VALUES):
        run.row(step, None, x=value, step_too=step)
    for step, key in enumerate(ODD_KEYS):
        run.row(100 + step, None, **{key: step})
    run.finish()


def _writers(root: Path) -> None:
    run = RunBuilder(root, "many0001", start_time=START + 2000, label="rank 0")
    run.write("run", {"label": "rank 1"}, "client000002")
    run.write("run", {"label": "rank 2"}, "client000003")
    for step in range(30):  # the second writer logs first
        run.row(step, "client000002", loss=float(step))
        run.row(step, None, loss=step + 0.5, acc=step)
        if step % 3 == 0:
            run.row(step // 2, "client000003", acc=-step)
            run.row(step, "", loss=float(-step), shell="sh")
    run.write("exit", {"state": "finished", "exit_code": 0}, "client000002")
    run.write("exit", {"state": "killed", "signal": 9}, "client000003")
    run.finish()


def _late(root: Path) -> None:
    run = RunBuilder(root, "late0001", start_time=START + 3000)
    for step in (5, 3, 5, 1, 5, 0, -4, 2**63 - 1, -(2**63), 3):
        run.row(step, None, x=float(run.last[run.client]), **({"y": step % 2} if step % 2 else {}))
    run.row(7, None, a=1)
    run.row(7, None, b=2)  # in one row with the previous record
    run.row(7, None, a=3)
    run.finish("crashed")


def _changing(root: Path) -> None:
    run = RunBuilder(root, "mixed001", start_time=START + 4000)
    for step in range(200):
        run.row(step, None, x=step if step % 7 else float(step), **({"rare": step} if step % 50 == 0 else {}))
    run.finish()


def _long(root: Path) -> None:
    run = RunBuilder(root, "long0001", start_time=START - 1000)
    for step in range(9_000):
        run.row(step, None, loss=1.0 / (step + 1), **({"val": float(step)} if step % 1000 == 0 else {}))
    run.finish()


@pytest.fixture(scope="module")
def address(root_of_runs: Path, clickhouse: ClickhouseServer) -> str:
    """A database with the same runs."""
    return fill(clickhouse, root_of_runs)


@pytest.fixture(scope="module")
def modern_address(root_of_runs: Path, modern_clickhouse: ClickhouseServer) -> str:
    """A database with the same runs, on the current release."""
    return fill(modern_clickhouse, root_of_runs)


def fill(server: ClickhouseServer, root: Path) -> str:
    """Send the runs of a root to a server; return the address of the database."""
    address = server.address("contract")
    for directory in sorted((root / "runs").iterdir()):
        feed(ClickhouseSink if directory.name == "long0001" else SmallBatches, address, directory)
    return address


@pytest.fixture(params=["store", "clickhouse", "modern-clickhouse"])
def api(request: pytest.FixtureRequest, root_of_runs: Path, address: str, modern_address: str) -> Iterator[Api]:
    sources: dict[str, Path | str] = {"store": root_of_runs, "clickhouse": address, "modern-clickhouse": modern_address}
    with Api(sources[request.param], stalled_after=1e12) as api:
        yield api


@pytest.fixture(params=["clickhouse", "modern-clickhouse"])
def both(
    request: pytest.FixtureRequest, root_of_runs: Path, address: str, modern_address: str
) -> Callable[[str], Iterator[StoredRun]]:
    """Returns a function that yields a run as read from the store, and as read from a server."""
    server = address if request.param == "clickhouse" else modern_address
    return lambda id: (Api(source).run(id) for source in (root_of_runs, server))


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def test_runs_newest_first(api: Api) -> None:
    runs = api.runs()
    assert ids(runs) == ["empty001", "mixed001", "late0001", "many0001", "types001", "plain001", "long0001"]
    assert len(runs) == 7
    assert ids(runs[1:3]) == ["mixed001", "late0001"]


def test_a_catalog_has_the_same_runs(api: Api) -> None:
    cards = api.catalog()
    assert cards.refresh() == {run.id for run in api.runs()}
    assert cards.refresh() == set()
    for run in api.runs():
        found = cards.run(run.id)
        assert found is not None and found.to_map() == run.to_map()
    assert len(cards.runs()) == len(api.runs()) and cards.run("nothing") is None


def test_runs_filtered_and_ordered(api: Api) -> None:
    assert ids(api.runs("digits")) == ["plain001"]
    assert ids(api.runs("nothing'")) == []
    assert ids(api.runs(filters={"state": {"$in": ["failed", "crashed"]}}, order="+id")) == ["empty001", "late0001"]
    assert ids(api.runs(filters={"tags": "b'c", "config.opt.name": "sgd", "summary.loss": {"$lt": 0.1}})) == [
        "plain001"
    ]


def test_the_attributes_of_a_run(api: Api) -> None:
    run = api.run("plain001")
    assert (run.name, run.project, run.group, run.job_type, run.notes) == ("one", "digits", "g", "train", "n\n")
    assert run.tags == ["a", "b'c"]
    assert exact(run.config) == exact(
        {"lr": 0.1, "opt": {"name": "sgd", "nesterov": True}, "raw": b"\0\1", "none": None}
    )
    assert run.summary == {"loss": 0.01, "acc.max": 0.9, "acc.min": 0.0, "note": "by hand"}
    assert run.metrics == {"acc": {"summary": ["max", "min"], "goal": "maximize"}}
    assert (run.state, run.exit_code, run.step, run.records, run.points) == ("finished", 0, 99, 100, 200)
    assert run.start_time == START
    assert run.end_time == run.last_time
    assert run.losses == {"window full": 3}
    assert run.writers["client000001"]["host"] == "h"
    assert run.files() == []
    assert api.run("empty001").traceback == "Traceback"


def test_a_run_that_does_not_exist(api: Api) -> None:
    with pytest.raises(RunNotFoundError, match=r"run 'plain002' not found in .*did you mean plain001 \(one\)"):
        api.run("plain002")
    with pytest.raises(RunNotFoundError, match=r"run '\.\./x' not found"):
        api.run("../x")


def test_every_value_is_read_back_equal_and_of_the_same_type(api: Api) -> None:
    run = api.run("types001")
    assert exact(run.history(["x"])["x"]) == exact(VALUES)
    assert exact([row["x"] for row in run.scan_history(["x"])]) == exact(VALUES)
    assert run.history(["x"])["_step"] == list(range(len(VALUES)))


def test_keys_are_any_text(api: Api) -> None:
    run = api.run("types001")
    assert run.keys() == ["x", "step_too", *ODD_KEYS]
    for step, key in enumerate(ODD_KEYS):
        history = run.history([key])
        assert (history["_step"], history[key]) == ([100 + step], [step])


def test_rows_of_many_writers(api: Api) -> None:
    run = api.run("many0001")
    rows = list(run.scan_history(max_step=0))
    assert [row["_label"] for row in rows] == ["rank 1", "rank 0", "rank 2", None]
    assert [row.get("loss") for row in rows] == [0.0, 0.5, None, 0.0]
    assert rows[3]["shell"] == "sh"
    assert len(list(run.scan_history(["shell"]))) == 10
    assert {writer["state"] for writer in run.writers.values()} == {"finished", "killed"}
    assert run.state == "killed"


def test_late_and_repeated_steps_are_kept(api: Api) -> None:
    run = api.run("late0001")
    steps = [-(2**63), -4, 0, 1, 3, 3, 5, 5, 5, 7, 7, 2**63 - 1]
    assert run.history()["_step"] == steps
    assert run.history(["x"])["x"] == [9.0, 7.0, 6.0, 4.0, 2.0, 10.0, 1.0, 3.0, 5.0, 8.0]
    assert [(row.get("a"), row.get("b")) for row in run.scan_history(["a", "b"])] == [(1, 2), (3, None)]
    assert run.history(["x"], samples=20)["x"] == [9.0, 7.0, 6.0, 4.0, 10.0, 5.0, 8.0]


def test_a_run_that_logged_nothing(api: Api) -> None:
    run = api.run("empty001")
    assert run.keys() == []
    assert run.history() == {"_step": [], "_timestamp": []}
    assert list(run.scan_history()) == []


@pytest.mark.parametrize("id", ["plain001", "types001", "many0001", "late0001", "mixed001", "long0001", "empty001"])
def test_both_have_the_same_state_and_rows(both: Callable[[str], Iterator[StoredRun]], id: str) -> None:
    local, remote = both(id)
    assert exact(local.store().state()) == exact(remote.store().state())
    assert local.store().checkpoint() == remote.store().checkpoint()
    assert sorted(local.keys()) == sorted(remote.keys())
    if len(local.writers) == 1:
        assert local.keys() == remote.keys()
        assert list(local.history()) == list(remote.history())
    assert exact(local.history()) == exact(remote.history())
    assert exact(list(local.scan_history())) == exact(list(remote.scan_history()))
    maps = [{key: value for key, value in run.to_map().items() if key != "dir"} for run in (local, remote)]
    assert exact(maps[0]) == exact(maps[1])


@pytest.mark.parametrize("x", ["step", "time", "loss", "x"])
@pytest.mark.parametrize("samples", [None, 1, 7, 50, 1000])
@pytest.mark.parametrize("id", ["many0001", "late0001", "mixed001", "long0001"])
def test_both_return_the_same_histories(
    both: Callable[[str], Iterator[StoredRun]], id: str, samples: int | None, x: str
) -> None:
    local, remote = both(id)
    logged = local.keys()
    assert remote.keys() == logged
    if x not in ("step", "time", *logged):
        for run in (local, remote):
            with pytest.raises(UnknownMetricError, match=f"never logged {x}"):
                run.history(x=x)
        return
    for selected in (None, ["loss"], ["x", "rare"], ["val", "loss"], []):
        keys = None if selected is None else [key for key in selected if key in logged]
        assert exact(local.history(keys, samples, x)) == exact(remote.history(keys, samples, x)), keys


@pytest.mark.parametrize("x", ["step", "time"])
@pytest.mark.parametrize("samples", [1, 7, 50, 1000, 10_000])
@pytest.mark.parametrize("id", ["plain001", "types001", "many0001", "mixed001", "long0001"])
def test_a_server_samples_the_same_rows(
    both: Callable[[str], Iterator[StoredRun]], id: str, samples: int, x: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MIN_POINTS", 0)
    local, remote = both(id)
    logged = local.keys()
    for keys in (logged, logged[:1]):
        sampled = remote.store().sampled(keys, samples, x)  # type: ignore[attr-defined]
        points = sum(one.total for one in local.buckets(keys)) if id != "types001" else None
        if points is not None:
            assert (sampled is None) == (points <= samples * len(keys))
        assert exact(local.history(keys, samples, x)) == exact(remote.history(keys, samples, x)), keys


def test_values_that_were_replaced_are_not_sampled(
    both: Callable[[str], Iterator[StoredRun]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MIN_POINTS", 0)
    local, remote = both("late0001")
    assert exact(local.history(["x"], 4)) == exact(remote.history(["x"], 4))
    assert set(remote.history(["x"], 4)["x"]) <= {9.0, 7.0, 6.0, 4.0, 10.0, 5.0, 8.0}


@pytest.mark.parametrize("id", ["many0001", "late0001", "mixed001", "long0001"])
def test_both_return_the_same_rows_between_bounds(both: Callable[[str], Iterator[StoredRun]], id: str) -> None:
    local, remote = both(id)
    for low, high in [(None, 3), (5, None), (3, 5), (-10, 0), (190, 10**30), (-(10**30), -4), (8190, 8195), (5, 3)]:
        for selected in (None, ["loss", "x"], ["val"]):
            keys = None if selected is None else [key for key in selected if key in local.keys()]  # noqa: SIM118
            ours, theirs = (list(run.scan_history(keys, low, high)) for run in (local, remote))
            assert exact(ours) == exact(theirs), (low, high, keys)


@pytest.mark.parametrize("x", ["step", "relative", "time", "x", "loss"])
@pytest.mark.parametrize("id", ["plain001", "types001", "many0001", "late0001", "mixed001", "long0001", "empty001"])
def test_both_return_the_same_buckets(both: Callable[[str], Iterator[StoredRun]], id: str, x: str) -> None:
    local, remote = both(id)
    keys = local.keys()
    if x in ("x", "loss") and x not in keys:
        return
    for low, high, count, log_x in [
        (None, None, 400, False), (None, None, 7, False), (10, 60, 8, False), (None, 50, 8, False),
        (100, None, 8, False), (None, None, 5, True), (3, 5000, 400, True), (10**6, 10**7, 8, False),
    ]:  # fmt: skip
        ours, theirs = (list(run.buckets(keys, x, low, high, count, log_x)) for run in (local, remote))
        assert [(one.key, one.writer, one.label, one.total, one.raw) for one in ours] == [
            (one.key, one.writer, one.label, one.total, one.raw) for one in theirs
        ]
        for one, other in zip(ours, theirs, strict=True):
            if one.raw:
                assert repr(one) == repr(other)
                continue
            assert (sum(one.n), sum(one.bad)) == (sum(other.n), sum(other.bad))
            assert abs(len(one.n) - len(other.n)) <= 1
            assert _range(one) == _range(other)
            assert _weighted(one) == pytest.approx(_weighted(other), rel=1e-9, abs=1e-9, nan_ok=True)


def _range(series: Buckets) -> tuple[float, ...]:
    filled = [i for i, n in enumerate(series.n) if n]
    ends = (min(series.x_first), max(series.x_last))
    if not filled:
        return ends
    return (*ends, min(series.low[i] for i in filled), max(series.high[i] for i in filled))


def _weighted(series: Buckets) -> float:
    scale = 2.0**64  # the sum of values may be too large
    return sum(mean / scale * n for mean, n in zip(series.mean, series.n, strict=True) if n) / max(1, sum(series.n))


def test_blocks_are_in_order_and_of_bounded_size(api: Api) -> None:
    blocks = list(api.run("long0001").store().columns())
    assert sum(len(block.steps) for block in blocks) == 9_000
    assert max(len(block.steps) for block in blocks) <= 8192
    floors = [block.floor for block in blocks]
    assert floors == sorted(floors)
    assert all(min(block.steps) >= block.floor for block in blocks)
    only = [block.columns for block in api.run("long0001").store().columns(["val"], min_step=8_900)]
    assert all(list(columns) == ["val"] for columns in only)
    assert len(only) <= 1


def test_the_version_is_the_same_until_something_changes(api: Api) -> None:
    store: RunReader = api.run("plain001").store()
    assert store.version() == store.version()
    assert store.version() != api.run("late0001").store().version()


def test_a_reader_of_a_missing_run(root_of_runs: Path, address: str) -> None:
    from sidecar.projections.store.reader import StoreReader
    from sidecar.sinks.clickhouse.reader import ClickhouseStore

    for reader in (
        StoreReader(root_of_runs / "runs" / "gone0001" / "store.db"),
        ClickhouseStore(address).run("gone0001"),
    ):
        for ask in (reader.state, reader.checkpoint, reader.version, reader.keys, lambda r=reader: list(r.columns())):
            with pytest.raises(StoreError):
                ask()


@pytest.mark.parametrize("server", ["store", "clickhouse", "modern_clickhouse"])
def test_names_leave_out_deleted_runs(
    server: str, tmp_path: Path, clickhouse: ClickhouseServer, modern_clickhouse: ClickhouseServer
) -> None:
    hidden = RunBuilder(tmp_path, "hidden01", name="twice")
    hidden.write("edit", {"deleted": True}, "")
    hidden.finish()
    named = RunBuilder(tmp_path, "named001", name="twice")
    named.write("config", {"set": {"deleted": True}})
    named.finish()
    source: Path | str = tmp_path
    if server != "store":
        source = (clickhouse if server == "clickhouse" else modern_clickhouse).address("names")
        for directory in sorted((tmp_path / "runs").iterdir()):
            feed(ClickhouseSink, source, directory)
    with Api(source, stalled_after=1e12) as api:
        assert api.run("twice").id == "named001" and api.run("hidden01").deleted
        assert api._source.names() == {"named001": "twice"}
