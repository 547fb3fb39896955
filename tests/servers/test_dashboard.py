"""The dashboard on ClickHouse: it answers as it does on the directory that the runs were sent from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sidecar.protocol.limits import new_id
from sidecar.sinks.clickhouse.sink import ClickhouseSink
from tests.integration.dashboards import ServedDashboard
from tests.servers import clickhouse_server
from tests.servers.clickhouse_server import ClickhouseServer, ModernClickhouse
from tests.servers.feed import feed
from tests.support import wait_until
from tests.unit.run_builder import RunBuilder

clickhouse = clickhouse_server.clickhouse
modern_clickhouse = clickhouse_server.modern_clickhouse

Serve = Callable[..., ServedDashboard]

COLUMNS = (
    "name,state,tags,notes,group,project,step,points,duration,start_time,end_time,reason,config.lr,config.opt.name,"
    "summary.loss"
)


@pytest.fixture(params=["18.16", "current"])
def server(
    request: pytest.FixtureRequest, clickhouse: ClickhouseServer, modern_clickhouse: ClickhouseServer
) -> ClickhouseServer:
    """Each of the two releases."""
    return clickhouse if request.param == "18.16" else modern_clickhouse


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts dashboards, and stops them in the end."""
    started: list[ServedDashboard] = []

    def start(*places: object) -> ServedDashboard:
        arguments = [part for place in places for part in ("--dir", place)]
        started.append(ServedDashboard(*arguments, "--port", _port(), state=tmp_path / "state"))
        return started[-1]

    yield start
    for served in started:
        served.close()


def _port() -> int:
    (port,) = clickhouse_server.free_ports(1)
    return port


def build(root: Path, id: str, rows: int = 3000, **about: Any) -> RunBuilder:
    run = RunBuilder(root, id, **about)
    random = Random(id)
    run.write("config", {"set": {"lr": random.random(), "opt": {"name": "sgd"}}})
    run.write("define", {"metric": "loss", "summary": ["min"], "goal": "minimize"})
    for step in range(rows):
        noise = random.random()
        values: dict[str, Any] = {"loss": 1 / (step + 1) + noise / 50, "val/acc": noise}
        if step == rows // 2:
            values |= {"loss": 5.0, "val/acc": math.nan}
        run.row(step, **values)
    run.row(rows, sample="a <b>text</b>", hist={"_type": "histogram", "bins": [1, 2], "edges": [0.0, 1.0, 2.0]})
    return run.finish("failed" if id == "run2" else "finished")


def runs_of(served: ServedDashboard, columns: str = COLUMNS) -> dict[str, dict[str, Any]]:
    """Return the runs by ref, each with its columns, once all places have been looked at."""
    wait_until(lambda: served.get("runs") and served.get("meta").json()["indexing"] is None, "the first look")
    response = served.get("runs", params={"columns": columns})
    assert response.status_code == 200, response.text
    answer = response.json()
    found: dict[str, dict[str, Any]] = {ref: {} for ref in answer["refs"]}
    for name, column in answer["columns"].items():
        values = column["values"] if "values" in column else [column["dictionary"][at] for at in column["index"]]
        for ref, value in zip(answer["refs"], values, strict=True):
            found[ref][name] = value
    return found


def test_it_answers_as_on_the_directory(server: ClickhouseServer, serve: Serve, root: Path) -> None:
    address = server.address(f"db_{new_id()}")
    for id in ("run1", "run2", "run3"):
        feed(ClickhouseSink, address, build(root, id, tags=["a", "b'c"], notes="n\n", group="g").dir)
    here, there = serve(root), serve(address)
    assert runs_of(there) == runs_of(here) and len(runs_of(there)) == 3
    place = there.get("meta").json()["places"][0]
    assert (place["kind"], place["writable"], place["runs"], place["error"]) == ("clickhouse", False, 3, None)
    query = {"query": 'state == "failed" and tags has a'}
    assert there.get("runs", params=query).json()["refs"] == ["run2"]
    assert there.get("columns").json() == here.get("columns").json()

    chosen = {"runs": ["run1", "run2", "run3"]}
    keys = there.post("keys", chosen).json()
    assert keys == here.post("keys", chosen).json()
    assert {one["key"]: one["kind"] for one in keys}["hist"] == "histogram"

    panels = [{"key": key, "runs": chosen["runs"], "count": 300} for key in ("loss", "val/acc")]
    ranges: list[dict[str, Any]] = [
        {},
        {"low": 100, "high": 900, "margin": 0.5},
        {"low": 1495, "high": 1505},
        {"log_x": True},
    ]
    for more in ranges:
        decoded, wanted = (one.series(x="step", panels=panels, **more) for one in (there, here))
        assert decoded.errors == wanted.errors == []
        for a, b in zip(decoded.series, wanted.series, strict=True):
            assert [a[name] for name in ("key", "run", "total", "count", "raw")] == [
                b[name] for name in ("key", "run", "total", "count", "raw")
            ]
            for name in a["arrays"].keys() | b["arrays"].keys():
                assert a[name] == pytest.approx(b[name], rel=1e-6, nan_ok=True), (name, more)
    assert max(max(one["high"]) for one in there.series(x="step", panels=panels[:1]).series) == 5.0

    for ref in chosen["runs"]:
        shown, expected = (one.get(f"runs/{ref}").json() for one in (there, here))
        for name in ("id", "name", "state", "config", "summary", "tags", "notes", "exit_code", "start_time", "points"):
            assert shown[name] == expected[name], name
        assert shown["dir"] == address
    for path in ("points?key=loss&around=1500&limit=9", "text?key=sample", "histograms?key=hist"):
        answer = there.get(f"runs/run1/{path}")
        assert (answer.status_code, answer.json()) == (200, here.get(f"runs/run1/{path}").json())
    assert there.get("runs/run1/files").json() == here.get("runs/run1/files").json()
    exported = there.get("runs/run1/export.jsonl?keys=loss").text.splitlines()
    assert len(exported) == 3000 and json.loads(exported[1500])["loss"] == 5.0

    compared, expected = (one.post("compare", chosen).json() for one in (there, here))
    assert compared["config"] == expected["config"]
    parted, expected = (one.post("compare", chosen | {"curves": True}).json() for one in (there, here))
    assert [one["key"] for one in parted["curves"]] == [one["key"] for one in expected["curves"]] != []


def test_changes_and_edits(server: ClickhouseServer, serve: Serve, root: Path) -> None:
    address = server.address(f"db_{new_id()}")
    feed(ClickhouseSink, address, build(root, "run1", rows=5).dir)
    served = serve(address)
    assert list(runs_of(served)) == ["run1"]
    cursor = served.get("runs").json()["cursor"]
    feed(ClickhouseSink, address, build(root, "run2", rows=5).dir)

    def changed() -> list[str]:
        answer = served.get("changes", params={"since": cursor})
        found: list[str] = answer.json()["changed"] if answer.status_code == 200 else []
        return found

    assert wait_until(changed, "the new run") == ["run2"]
    (result,) = served.write("edits", {"edits": [{"run": "run1", "set": {"name": "other"}}]}).json()["results"]
    assert not result["ok"]
    assert result["error"].endswith("and has no directory here; edit it where it was logged")
    assert runs_of(served)["run1"]["name"] == "run1"


def test_a_server_that_is_down_hides_no_directory(serve: Serve, root: Path, tmp_path: Path) -> None:
    build(root, "same", rows=5, name="here")
    build(tmp_path / "other", "same", rows=5, name="elsewhere")
    server = ModernClickhouse(_made(tmp_path / "server")).start()
    address = server.address("runs")
    feed(ClickhouseSink, address, build(tmp_path / "third", "same", rows=5, name="in a database").dir)
    server.stop()
    served = serve(root, tmp_path / "other", tmp_path / "missing", address)
    try:
        assert {ref: run["name"] for ref, run in runs_of(served).items()} == {"same": "here", "1~same": "elsewhere"}
        errors = [place["error"] for place in served.get("meta").json()["places"]]
        assert errors[:3] == [None] * 3 and "127.0.0.1" in errors[3]
        cursor = served.get("runs").json()["cursor"]
        server.start()

        def back() -> dict[str, Any] | None:
            answer = served.get("changes", params={"since": cursor})
            found = answer.json() if answer.status_code == 200 else None
            return found if found and found["errors"] == [None] * 4 else None

        assert (wait_until(back, "the server is read again") or {})["changed"] == ["3~same"]
        places = {ref: run["place"] for ref, run in runs_of(served, "place").items()}
        assert places == {"same": root.name, "1~same": "other", "3~same": address.partition("://")[2]}
        answer = served.series(x="step", panels=[{"key": "loss", "runs": ["same", "1~same", "3~same"], "count": 50}])
        assert [one["run"] for one in answer.series] == ["same", "1~same", "3~same"]
        assert "place" in [one["name"] for one in served.get("columns").json()]
    finally:
        server.stop()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
