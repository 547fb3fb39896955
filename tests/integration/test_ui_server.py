"""The dashboard's server: what it answers, while runs appear, change, are edited, break and vanish."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.dashboards import API, ServedDashboard
from tests.integration.serving import command, environment, free_ports
from tests.support import TIMEOUT, Scripts, wait_until
from tests.unit.run_builder import RunBuilder

Serve = Callable[..., ServedDashboard]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts dashboards of one user, and stops them in the end."""
    started: list[ServedDashboard] = []

    def start(*arguments: object, **changes: str) -> ServedDashboard:
        started.append(ServedDashboard(*arguments, state=tmp_path / "state", **changes))
        return started[-1]

    yield start
    for served in started:
        served.close()


def build(root: Path, id: str, rows: int = 10, **about: Any) -> RunBuilder:
    """Build a finished run with a loss."""
    built = RunBuilder(root, id, **about)
    built.write("config", {"set": {"lr": 0.1, "nested": {"a": [1, 2]}, "seed": len(id)}})
    for step in range(rows):
        built.row(step, loss=1 / (step + 1))
    return built.finish()


def runs(served: ServedDashboard, columns: str = "name,state") -> dict[str, dict[str, Any]]:
    """Return the runs by ref, each with its columns."""
    answer = served.get("runs", params={"columns": columns}).json()
    found: dict[str, dict[str, Any]] = {ref: {} for ref in answer["refs"]}
    for name, column in answer["columns"].items():
        values = column["values"] if "values" in column else [column["dictionary"][at] for at in column["index"]]
        for ref, value in zip(answer["refs"], values, strict=True):
            found[ref][name] = value
    return found


def until_changed(served: ServedDashboard, cursor: str) -> dict[str, Any]:
    """Poll until something has changed since `cursor`; return what."""

    def changed() -> dict[str, Any] | None:
        answer = served.get("changes", params={"since": cursor})
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    return wait_until(changed, "a change") or {}


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_root_that_does_not_exist_yet(serve: Serve, root: Path, scripts: Scripts) -> None:
    served = serve("--dir", root)
    assert "there is no directory" in served.log_text()
    answer = served.get("runs").json()
    assert answer["refs"] == [] and answer["total"] == 0
    scripts.run("import tracker\nwith tracker.init(id='first') as run: run.log({'loss': 1})")
    assert until_changed(served, answer["cursor"])["changed"] == ["first"]
    assert runs(served)["first"]["state"] == "finished"
    assert served.get("meta").json()["places"][0] == {
        "place": str(root),
        "kind": "directory",
        "writable": True,
        "runs": 1,
        "error": None,
    }


def test_columns_of_runs(serve: Serve, root: Path) -> None:
    for number in range(20):
        build(root, f"run{number:02}", name=f"name {number % 2}", tags=["a", "b"], notes=None, start_time=float(number))
    served = serve("--dir", root)
    names = "name,tags,notes,state,step,duration,config.lr,config.nested.a,config.none,summary.loss"
    answer = served.get("runs", params={"columns": names})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["columns"]["name"] == {
        "dictionary": ["name 1", "name 0"],
        "index": [0, 1] * 10,
    }
    found = runs(served, names)
    assert list(found) == [f"run{number:02}" for number in reversed(range(20))], "the newest first"
    assert found["run03"] == {
        "name": "name 1",
        "tags": ["a", "b"],
        "notes": None,
        "state": "finished",
        "step": 9,
        "duration": found["run03"]["duration"],
        "config.lr": 0.1,
        "config.nested.a": [1, 2],
        "config.none": None,
        "summary.loss": 0.1,
    }
    assert found["run03"]["duration"] > 0
    columns = {column["name"]: column for column in served.get("columns").json()}
    assert columns["config.lr"] == {"name": "config.lr", "kind": "config", "runs": 20, "numeric": True, "goal": None}
    assert not columns["config.nested.a"]["numeric"] and columns["tags"]["kind"] == "field"
    some = served.get("runs", params={"columns": "name", "refs": "run01,run03,none"}).json()
    assert some["refs"] == ["run03", "run01"] and (some["total"], some["matched"]) == (20, 2)
    bad = served.get("runs", params={"columns": "colour"})
    assert bad.status_code == 400 and "no column 'colour'" in bad.json()["error"]["message"]


def test_queries(serve: Serve, root: Path) -> None:
    for number in range(3):
        build(root, f"run{number}", rows=number + 1, tags=["a"] if number else [])
    served = serve("--dir", root)

    def found(query: str) -> list[str]:
        refs: list[str] = served.get("runs", params={"columns": "", "query": query}).json()["refs"]
        return refs

    assert found("summary.loss < 0.5") == ["run2"]
    assert sorted(found('tags has a and state == "finished"')) == ["run1", "run2"]
    assert found("run1") == ["run1"] and found("nothing") == []
    bad = served.get("runs", params={"query": "state == "})
    assert bad.status_code == 422 and bad.json()["error"]["code"] == "query" and bad.json()["error"]["position"] >= 0
    begin = time.monotonic()
    slow = served.get("runs", params={"query": "name =~ '(a+)+$' or name =~ '(n|n)*x'"})
    assert slow.status_code in (200, 422) and time.monotonic() - begin < TIMEOUT
    assert served.get("meta").status_code == 200


def test_numbers_that_json_does_not_have(serve: Serve, root: Path) -> None:
    built = RunBuilder(root, "run")
    built.row(0, a=math.nan, b=math.inf, c=-math.inf, d=2**60)
    built.finish()
    served = serve("--dir", root)
    found = runs(served, "summary.a,summary.b,summary.c,summary.d")["run"]
    assert list(found.values()) == ["NaN", "Infinity", "-Infinity", 2**60]


def test_a_run_that_cannot_be_read_hides_no_other(serve: Serve, root: Path) -> None:
    build(root, "good")
    (root / "runs" / "bad").mkdir()
    (root / "runs" / "bad" / "transactions.log").write_bytes(b"nonsense")
    served = serve("--dir", root)
    found = runs(served, "state,reason")
    assert found["good"]["state"] == "finished" and found["bad"]["state"] == "unreadable" and found["bad"]["reason"]
    answer = served.series(x="step", panels=[{"key": "loss", "runs": ["good", "bad", "none"], "count": 50}])
    assert [one["run"] for one in answer.series] == ["good"]
    assert {error["run"] for error in answer.errors} == {"bad", "none"}


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_directory_without_rights(serve: Serve, root: Path) -> None:
    build(root, "run")
    (root / "runs").chmod(0)
    served = serve("--dir", root)
    try:
        assert "Permission denied" in (served.get("meta").json()["places"][0]["error"] or "")
    finally:
        (root / "runs").chmod(0o755)


def test_several_roots_in_one_dashboard(serve: Serve, tmp_path: Path) -> None:
    build(tmp_path / "a", "one")
    build(tmp_path / "b", "one", name="other")
    served = serve("--dir", tmp_path / "a", "--dir", tmp_path / "b")
    assert {ref: run["name"] for ref, run in runs(served).items()} == {"one": "one", "1~one": "other"}
    assert served.get("runs/1~one").json()["name"] == "other"
    assert served.get("runs/2~one").status_code == served.get("runs/x~one").status_code == 404
    answer = served.series(x="step", panels=[{"key": "loss", "runs": ["one", "1~one"], "count": 50}])
    assert [one["run"] for one in answer.series] == ["one", "1~one"]


# -- changes ----------------------------------------------------------------------------------------------------------


def test_cursors(serve: Serve, root: Path) -> None:
    build(root, "one")
    port = free_ports(1)[0]
    served = serve("--dir", root, "--port", port)
    cursor = served.get("runs").json()["cursor"]
    assert served.get("changes", params={"since": cursor}).status_code == 204
    build(root, "two")
    change = until_changed(served, cursor)
    assert (change["changed"], change["removed"], change["all"]) == (["two"], [], False)
    for unknown in ("", "x", "x-1", cursor + "0", f"{cursor.partition('-')[0]}-x"):
        answer = served.get("changes", params={"since": unknown})
        assert answer.status_code in (200, 204) and (answer.status_code == 204 or answer.json()["all"] in (True, False))
    assert served.get("changes").json()["all"] is True
    served.stop()
    again = serve("--dir", root, "--port", port)
    assert again.get("changes", params={"since": change["cursor"]}).json()["all"] is True, "a cursor of another server"


def test_a_run_that_is_removed_while_it_is_looked_at(serve: Serve, root: Path) -> None:
    build(root, "one")
    build(root, "two")
    served = serve("--dir", root)
    cursor = served.get("runs").json()["cursor"]
    command("rm", "--dir", root, "--yes", "two", program="tracker")
    assert until_changed(served, cursor)["removed"] == ["two"]
    answer = served.get("runs/two")
    assert answer.status_code == 410 and "deleted" in answer.json()["error"]["message"]
    assert served.get("runs/three").status_code == 404
    found = served.series(x="step", panels=[{"key": "loss", "runs": ["one", "two"], "count": 50}])
    assert [one["run"] for one in found.series] == ["one"] and [error["run"] for error in found.errors] == ["two"]


def test_a_live_run(serve: Serve, root: Path, scripts: Scripts) -> None:
    served = serve("--dir", root)
    cursor = served.get("runs").json()["cursor"]
    script = scripts.start(
        """
        import sys, tracker
        run = tracker.init(id="live")
        for line in sys.stdin:
            run.log({"loss": float(line)})
            run.flush()
        """
    )

    def points(count: int) -> bool:
        if "live" not in runs(served):
            return False
        found = served.series(x="step", panels=[{"key": "loss", "runs": ["live"], "count": 50}])
        return [one["total"] for one in found.series] == [count]

    script.send_line("0.5")
    wait_until(lambda: points(1), "the first point")
    cursor = served.get("runs").json()["cursor"]
    script.send_line("0.25")
    assert until_changed(served, cursor)["changed"] == ["live"]
    wait_until(lambda: points(2), "the second point")
    script.wait()
    wait_until(lambda: runs(served)["live"]["state"] == "finished", "the end of the run")


# -- series -----------------------------------------------------------------------------------------------------------


def test_series_of_a_spike(serve: Serve, root: Path) -> None:
    built = RunBuilder(root, "run")
    for step in range(20_000):
        built.row(step, loss=1000.0 if step == 12_345 else math.sin(step / 1000), flat=1e9 + (step % 2) * 1e-3)
    built.row(20_000, loss=math.nan)
    built.finish()
    served = serve("--dir", root)
    panels = [{"key": key, "runs": ["run"], "count": 400} for key in ("loss", "flat", "none")]
    loss, flat = served.series(x="step", panels=panels).series
    assert (loss["panel"], flat["panel"], loss["total"], loss["raw"]) == (0, 1, 20_001, False)
    assert max(value for value in loss["high"] if value == value) == 1000.0
    assert sum(loss["n"]) == 20_000 and sum(loss["bad"]) == 1 and loss["count"] <= 400
    assert loss["arrays"]["low"][1] == "f4" and flat["arrays"]["low"][1] == "f8"
    assert max(flat["high"]) - min(flat["low"]) == pytest.approx(1e-3, rel=1e-3)
    zoomed = served.series(x="step", low=12_340, high=12_350, panels=panels[:1]).series[0]
    assert zoomed["raw"] and dict(zip(zoomed["x0"], zoomed["mean"], strict=True))[12_345.0] == 1000.0
    assert "bad" not in zoomed["arrays"] and zoomed["arrays"]["mean"][1] == "f8"
    wide = served.series(x="step", low=12_340, high=12_350, margin=0.5, panels=panels[:1]).series[0]
    assert (wide["x0"][0], wide["x0"][-1]) == (12_335, 12_355)
    end = served.series(x="step", low=19_999, high=20_001, panels=panels[:1]).series[0]
    assert end["bad"] == [0, 1]


def test_series_over_other_axes(serve: Serve, root: Path) -> None:
    built = RunBuilder(root, "run")
    for step in range(1, 101):
        built.row(step, loss=float(step), epoch=step / 10)
    built.finish()
    served = serve("--dir", root)
    panels = [{"key": "loss", "runs": ["run"], "count": 400}]
    for x, first, last in (("step", 1, 100), ("metric:epoch", 0.1, 10.0), ("relative", 2.0, 101.0)):
        (one,) = served.series(x=x, panels=panels).series
        assert (one["x0"][0], one["x0"][-1]) == (pytest.approx(first), pytest.approx(last)), x
    (one,) = served.series(x="step", log_x=True, low=10, high=100, panels=panels).series
    assert one["x0"][0] == 10


# -- edits, views, exports --------------------------------------------------------------------------------------------


def test_edits_are_shown_at_once_and_undone(serve: Serve, root: Path) -> None:
    build(root, "one")
    build(root, "two")
    served = serve("--dir", root)
    cursor = served.get("runs").json()["cursor"]
    change = {"name": "best", "tags": ["a"], "notes": "text", "group": "g", "color": "#ff0000"}
    edits = [{"run": "one", "set": change}, {"run": "none", "set": change}, {"run": "two", "set": {"color": "x"}}]
    results = served.write("edits", {"edits": edits}).json()["results"]
    assert [result["ok"] for result in results] == [True, False, False]
    assert "there is no run 'none'" in results[1]["error"] and "color must be" in results[2]["error"]
    assert runs(served, ",".join(change))["one"] == change
    assert until_changed(served, cursor)["changed"] == ["one"]
    assert served.write("edits", {"edits": [{"run": "one", "delete": True}]}).json()["results"][0]["ok"]
    assert list(runs(served)) == ["two"]
    deleted = served.get("runs", params={"deleted": "1"}).json()
    assert sorted(deleted["refs"]) == ["one", "two"]
    assert served.write("edits", {"edits": [{"run": "one", "delete": False}]}).json()["results"][0]["ok"]
    assert sorted(runs(served)) == ["one", "two"]


def test_views_are_shared_by_two_dashboards_on_one_root(serve: Serve, root: Path) -> None:
    build(root, "one")
    ports = free_ports(2)
    first, second = (serve("--dir", root, "--port", port) for port in ports)
    view = first.write("views", {"name": "<mine>", "state": {"page": "runs"}}).json()
    assert second.get("views").json() == [view]
    changed = second.write("views", {"name": "<mine>", "state": {"page": "charts"}}).json()
    assert changed["id"] == view["id"] and first.get("views").json() == [changed]
    assert first.write("views", {"name": "", "state": {}}).status_code == 400
    assert first.write("views", {"name": "x", "state": {"a": "b" * 300_000}}).status_code == 400
    assert second.write(f"views/{view['id']}", method="DELETE").status_code == 204
    assert first.write(f"views/{view['id']}", method="DELETE").status_code == 404
    (root / "views.json").write_text('{"views": [1, {"id": "a"}, {"id": "b", "name": "n", "state": {}}]}')
    assert [view["id"] for view in first.get("views").json()] == ["b"], "a stranger's file is checked"
    (root / "views.json").unlink()
    os.symlink("/etc/hostname", root / "views.json")
    assert first.get("views").status_code == 503, "a link is not followed"


def test_exports_have_every_point(serve: Serve, root: Path) -> None:
    build(root, "one", rows=3000)
    served = serve("--dir", root)
    answer = served.get("runs/one/export.csv", params={"keys": "loss"})
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''one.csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 3000 and [float(row["loss"]) for row in rows] == [1 / (step + 1) for step in range(3000)]
    lines = served.get("runs/one/export.jsonl").text.splitlines()
    assert len(lines) == 3000 and json.loads(lines[-1])["loss"] == 1 / 3000
    assert answer.text == command("export", "one", "--dir", root, program="tracker").out
    bad = served.get("runs/one/export.csv", params={"keys": "lss"})
    assert bad.status_code == 400 and "never logged lss" in bad.json()["error"]["message"]


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_port_in_use_names_who_has_it(serve: Serve, root: Path, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    served = serve("--dir", root, "--port", port)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    done = command("ui", "--dir", root, "--port", port, "--no-browser", program="tracker", **state)
    assert (
        done.code == 1
        and f"port {port} is in use by the dashboard of {root} (process {served.process.pid})" in done.err
    )
    taken = free_ports(1)[0]
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(taken), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        wait_until(lambda: _answers(taken), "the other server")
        done = command("ui", "--dir", root, "--port", taken, "--no-browser", program="tracker", **state)
        assert done.code == 1 and f"port {taken} is in use by python" in done.err and str(other.pid) in done.err
    finally:
        other.kill()
        other.wait()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=TIMEOUT).ok
    except requests.ConnectionError:
        return False


def test_a_dashboard_that_already_runs_is_used_again(serve: Serve, root: Path, tmp_path: Path) -> None:
    build(root, "run")
    served = serve("--dir", root, "--host", "127.0.0.1")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    done = command("ui", "--dir", root, "--no-browser", program="tracker", **state)
    assert done.code == 0 and done.out.strip() == served.address
    assert f"already running (process {served.process.pid})" in done.err
    served.stop(signal.SIGKILL)  # its entry in the register stays
    again = serve("--dir", root)
    assert again.process.pid != served.process.pid and again.get("meta").status_code == 200


def test_run_url(serve: Serve, tmp_path: Path, scripts: Scripts, root: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state"), "TRACKER_SILENT": None}
    code = "import tracker\nwith tracker.init(id='ID') as run: print(run.url); print('href' in run._repr_html_())"
    none = scripts.run(code.replace("ID", "a"), env=state)
    assert none.out.split() == ["None", "False"] and " · open it: tracker ui\n" in none.err
    build(tmp_path / "other", "run")
    served = serve("--dir", tmp_path / "other", "--dir", root)
    found = scripts.run(code.replace("ID", "b"), env=state)
    url = f"{served.origin}/#/run/1~b"
    assert found.out.split() == [url, "True"] and f" · open it: {url}\n" in found.err


def test_ssh_gets_a_hint_and_no_browser(serve: Serve, root: Path) -> None:
    connection = {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22", "USER": "me", "DISPLAY": ":0"}
    arguments = [sys.executable, "-m", "tracker", "ui", "--dir", str(root), "--port", str(free_ports(1)[0])]
    with subprocess.Popen(
        arguments,
        env=environment(**connection, XDG_STATE_HOME=str(root.parent)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        process.terminate()
    port = arguments[-1]
    assert f"ssh -L {port}:127.0.0.1:{port} me@192.0.2.2" in "".join(lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_while_a_page_is_connected(serve: Serve, root: Path, number: int) -> None:
    served = serve("--dir", root)
    served.get("meta")  # its connection stays open
    served.process.send_signal(number)
    begin = time.monotonic()
    assert served.process.wait(TIMEOUT) == 0
    assert time.monotonic() - begin < 5
    assert "Traceback" not in served.log_text()


def test_nothing_is_written_on_a_connection_that_is_closed_early(serve: Serve, root: Path) -> None:
    built = RunBuilder(root, "run")
    for step in range(30_000):
        built.row(step, **{f"key{index}": float(step) for index in range(10)})
    built.finish()
    served = serve("--dir", root)
    panels = [{"key": f"key{index}", "runs": ["run"], "count": 400} for index in range(10)]
    headers = {"Authorization": f"Bearer {served.token}"}
    for _ in range(5):
        with pytest.raises(requests.exceptions.RequestException):
            body = {"x": "metric:key1", "panels": panels}
            requests.post(served.origin + API + "series", json=body, headers=headers, timeout=0.02)
    assert len(served.series(x="step", panels=panels).series) == 10
    assert "Traceback" not in served.log_text()
