"""The dashboard's answers about one run, and about what differs between several, from a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dashboards import ServedDashboard
from tests.support import wait_until
from tests.unit.run_builder import RunBuilder
from tracker import Histogram

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two runs that differ from step 50 on; the first has texts, histograms and files."""
    root = tmp_path_factory.mktemp("ui") / "root"
    for number, rate in enumerate((0.1, 0.2)):
        run = RunBuilder(root, f"pair{number}", name=f"<b>{rate}</b>")
        run.write("config", {"set": {"rate": rate, "same": 1}})
        run.write("define", {"metric": "loss", "summary": ["min"], "goal": "minimize"})
        for step in range(100):
            run.row(step, None, loss=1 / (1 + step) + (rate if step >= 50 else 0))
        if not number:
            for step in range(3):
                run.row(step, None, sample=f"text {step}", weights=Histogram([0.0, step, 5.0], num_bins=4).to_map())
        run.finish()
    files = root / "runs" / "pair0" / "files" / "plots"
    files.mkdir(parents=True)
    (files / "a.html").write_text("<script>parent.document.title = 'ran'</script>")
    (files / "b.png").write_bytes(PNG)
    (files / "secret").symlink_to("/etc/passwd")
    return root


@pytest.fixture(scope="module")
def dashboard(root: Path) -> Iterator[ServedDashboard]:
    """A dashboard of that root, for all tests: none changes the two runs."""
    made = ServedDashboard("--dir", root, state=root.parent / "state")
    yield made
    made.close()


@pytest.fixture
def served(dashboard: ServedDashboard) -> Iterator[ServedDashboard]:
    """That dashboard; the connections of each test are closed at its end."""
    yield dashboard
    dashboard.browser.close()


def test_all_of_a_run(served: ServedDashboard) -> None:
    answer = served.get("runs/pair0").json()
    assert answer["ref"] == answer["id"] == "pair0" and answer["name"] == "<b>0.1</b>"
    assert answer["goals"] == {"loss": "minimize"} and answer["files"] == 2
    assert answer["health"]["behind_bytes"] == 0
    missing = served.get("runs/nope")
    assert missing.status_code == 404 and "there is no run 'nope'" in missing.json()["error"]["message"]


def test_points_texts_and_histograms(served: ServedDashboard) -> None:
    points = served.get("runs/pair0/points", params={"key": "loss", "x": "step", "around": 49.6, "limit": 2}).json()
    assert points["steps"] == [49, 50] and points["values"] == [1 / 50, 1 / 51 + 0.1]
    page = served.get("runs/pair0/text", params={"key": "sample", "limit": 2}).json()
    assert [row["text"] for row in page["rows"]] == ["text 0", "text 1"]
    rest = served.get("runs/pair0/text", params={"key": "sample", "after": page["next"]}).json()
    assert [row["text"] for row in rest["rows"]] == ["text 2"] and rest["next"] is None
    columns = served.get("runs/pair0/histograms", params={"key": "weights"}).json()
    assert columns["steps"] == [0, 1, 2] and columns["total"] == 3


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("runs/pair0/points", 400, "key must name a metric"),
        (
            "runs/pair0/points?key=loss&x=lr&around=1",
            400,
            "x must be 'step', 'relative', 'time' or 'metric:KEY', not 'lr'",
        ),
        ("runs/pair0/points?key=loss&around=nan", 400, "around must be a number, not NaN"),
        ("runs/pair0/points?key=loss&limit=100000", 400, "limit must be from 1 to 1000"),
        ("runs/pair0/text?key=nope", 404, "never logged nope"),
        ("runs/pair0/text?key=sample&after=x", 400, "after must be the 'next' of an earlier answer"),
        ("runs/pair0/text?key=sample&start=1e400", 400, "start must be a step, not inf"),
        ("runs/pair0/files/7", 404, "no file number 7"),
        ("runs/pair0/files/-1", 400, "the number of a file must be"),
        ("runs/pair0/files/0?name=gone", 404, "no file 'gone' any more"),
    ],
)
def test_what_cannot_be_answered_says_why(served: ServedDashboard, path: str, status: int, message: str) -> None:
    answer = served.get(path)
    assert answer.status_code == status and message in answer.json()["error"]["message"]


def test_files_are_attachments_and_links_are_not_followed(served: ServedDashboard) -> None:
    listing = served.get("runs/pair0/files").json()
    assert [file["name"] for file in listing["files"]] == ["plots/a.html", "plots/b.png"]
    assert listing["left_out"] == 1
    page = served.get("runs/pair0/files/0")
    assert page.headers["Content-Type"] == "application/octet-stream"
    assert page.headers["Content-Disposition"].startswith("attachment;")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in page.headers["Content-Security-Policy"]
    image = served.get("runs/pair0/files/1", params={"name": "plots/b.png"})
    assert image.headers["Content-Type"] == "image/png" and image.content == PNG


def test_a_part_of_a_file(served: ServedDashboard) -> None:
    part = served.get("runs/pair0/files/1", headers={"Range": "bytes=1-3"})
    assert part.status_code == 206 and part.content == b"PNG"
    assert part.headers["Content-Range"] == f"bytes 1-3/{len(PNG)}"
    beyond = served.get("runs/pair0/files/1", headers={"Range": "bytes=5000-"})
    assert beyond.status_code == 416 and beyond.json()["error"]["code"] == "range"


def test_a_check_of_the_log(served: ServedDashboard) -> None:
    assert served.get("runs/pair0/check").status_code == 204
    assert served.post("runs/pair0/check", {}).status_code == 403, "it needs the token"
    assert served.write("runs/pair0/check", {}).status_code == 200

    def result() -> dict[str, Any] | None:
        answer: dict[str, Any] = served.get("runs/pair0/check").json()
        return answer if answer["state"] != "running" else None

    answer = wait_until(result, "the check")
    assert answer is not None and answer["state"] == "done" and answer["result"]["ok"], answer


def test_what_differs_and_where_the_curves_part(served: ServedDashboard) -> None:
    body: dict[str, Any] = {"runs": ["pair0", "pair1"], "baseline": "pair0"}
    answer = served.post("compare", body).json()
    assert [(row["key"], row["values"]) for row in answer["config"]] == [("rate", [0.1, 0.2])]
    assert [row["key"] for row in served.post("compare", body | {"all": True}).json()["config"]] == ["rate", "same"]
    loss = next(row for row in answer["summary"] if row["key"] == "loss")
    assert loss["goal"] == "minimize"
    (curve,) = served.post("compare", body | {"curves": True}).json()["curves"]
    assert curve["exact"]["step"] == curve["clear"]["step"] == 50


def test_a_deleted_run_is_left_out_of_a_comparison(served: ServedDashboard, root: Path) -> None:
    RunBuilder(root, "third").finish()
    wait_until(lambda: served.get("runs/third").status_code == 200, "the new run")
    shutil.rmtree(root / "runs" / "third")
    wait_until(lambda: served.get("runs/third").status_code == 410, "the end of the run")
    answer = served.post("compare", {"runs": ["third", "pair0", "pair1"], "baseline": "third"}).json()
    assert answer["baseline"] == "pair0" and [run["ref"] for run in answer["runs"]] == ["pair0", "pair1"]
    assert [run["ref"] for run in answer["gone"]] == ["third"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"runs": ["pair0"]}, 422, "at least two runs to compare, not 1"),
        ({"runs": "pair0"}, 400, "runs must be a list of runs"),
        ({"runs": ["pair0", "pair1"], "baseline": "x"}, 422, "baseline must be one of the compared runs, not 'x'"),
        ({"runs": ["pair0", "pair1"], "baseline": ["x"]}, 400, "baseline must be a run"),
        ({"runs": [str(number) for number in range(201)]}, 422, "at most 200 runs, not 201"),
        ({"runs": ["pair0", "pair1"], "curves": True, "skip": -1}, 400, "skip must be the 'next'"),
        ({"runs": ["pair0", "pair1"], "curves": True, "keys": [1]}, 400, "keys must be a list of metrics"),
    ],
)
def test_what_cannot_be_compared(served: ServedDashboard, body: dict[str, Any], status: int, message: str) -> None:
    answer = served.post("compare", body)
    assert answer.status_code == status and message in answer.json()["error"]["message"]
