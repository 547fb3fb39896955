"""tracker.ui.about and tracker.ui.points: a run's state and health, points around an x, pages of a text series."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sidecar.protocol.errors import StoreError
from tests.unit.run_builder import START, RunBuilder
from tracker import Api
from tracker.errors import UnknownMetricError
from tracker.reading.stored_run import StoredRun
from tracker.ui.about import about
from tracker.ui.points import MAX_TEXTS, points, text


@pytest.fixture
def long(tmp_path: Path) -> StoredRun:
    """30,000 rows, one per second and ten steps; "rare" in every hundredth."""
    run = RunBuilder(tmp_path, "long0001")
    for row in range(30_000):
        run.row(row * 10, None, loss=1.0 / (row + 1), **({"rare": row} if row % 100 == 0 else {}))
    return stored(run.finish())


def stored(run: RunBuilder) -> StoredRun:
    return Api(run.dir.parent.parent).run(run.id)


def test_all_of_a_run_is_json(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "bad00001", notes="<b>")
    run.write("config", {"set": {"lr": math.inf, "net": {"layers": [1, 2]}}})
    run.write("define", {"metric": "acc", "summary": ["max"], "goal": "maximize"})
    run.row(0, None, acc=0.5, loss=math.nan)
    run.finish("failed", traceback="Traceback …", reason="ValueError: x")
    answer = json.loads(json.dumps(about(stored(run)), allow_nan=False))
    assert answer["config"] == {"lr": "Infinity", "net": {"layers": [1, 2]}}
    assert answer["summary"] == {"acc": 0.5, "loss": "NaN"}
    assert answer["goals"] == {"acc": "maximize"} and answer["aggregates"] == {"acc": "max"}
    assert answer["traceback"] == "Traceback …" and answer["state"] == "failed" and answer["files"] == 0
    assert answer["health"]["log_bytes"] == run.log_path.stat().st_size
    assert answer["health"]["behind_bytes"] == 0 and not answer["health"]["held"] and answer["health"]["error"] is None


def test_a_store_that_is_behind_says_how_far(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "behind01")
    run.row(0, None, loss=1.0)
    run.store()
    start = run.log.offset
    run.row(1, None, loss=0.5)
    with run.held():
        health = about(stored(run))["health"]
    assert health["behind_bytes"] == run.log.offset - start > 0 and health["held"]
    run.log.close()


def test_an_unreadable_run_has_its_reason(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "broken01").finish()
    run.store_path.unlink()
    run.log_path.write_bytes(b"not a log")
    answer = about(stored(run))
    assert answer["state"] == "unreadable" and "not a transaction log" in answer["reason"]
    with pytest.raises(StoreError):
        points(stored(run), "loss")


def test_points_nearest_to_a_step(long: StoredRun) -> None:
    found = points(long, "loss", around=123_456, limit=4)
    assert found["steps"] == [123_440, 123_450, 123_460, 123_470]
    assert found["values"] == [1.0 / (step // 10 + 1) for step in found["steps"]]
    assert found["labels"] == [None] * 4 and len(found["times"]) == 4
    assert points(long, "rare", around=123_456, limit=2)["values"] == [12_300, 12_400]
    assert points(long, "loss", around=-5e30, limit=1)["steps"] == [0]
    assert points(long, "loss", around=5e30, limit=1)["steps"] == [299_990]
    assert points(long, "loss", limit=2)["steps"] == [299_980, 299_990]
    assert points(long, "nope", around=0)["steps"] == []
    assert len(points(long, "loss", around=0, limit=10**9)["steps"]) == 1000


def test_points_nearest_to_a_time(long: StoredRun) -> None:
    exact = points(long, "loss", around=200_000, limit=1)
    when = exact["times"][0]
    assert points(long, "loss", "time", when + 0.2, 1) == exact
    assert points(long, "loss", "relative", when + 0.2 - START, 1) == exact
    assert points(long, "loss", "relative", -9.0, 1)["steps"] == [0]
    assert points(long, "loss", "time", 9e14, 1)["steps"] == [299_990]
    with pytest.raises(ValueError, match="x must be 'step', 'relative', 'time' or 'metric:KEY', not 'lr'"):
        points(long, "loss", "lr", 1.0)


def test_points_are_found_by_another_metric(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "epochs01")
    for step in range(1000):
        run.row(step, None, loss=float(step), **({"epoch": step / 100} if step % 10 == 0 else {}))
    run.row(990, None, epoch=math.nan)  # the last finite value counts
    found = points(stored(run.finish()), "loss", "metric:epoch", 5.02, 3)
    assert found["steps"] == [490, 500, 510] and found["values"] == [490.0, 500.0, 510.0]
    assert points(stored(run), "loss", "metric:epoch", limit=1)["steps"] == [990]
    assert points(stored(run), "loss", "metric:nope", 1.0)["steps"] == []
    with pytest.raises(ValueError, match="x must be 'step'"):
        points(stored(run), "loss", "epoch", 1.0)


def test_points_read_only_a_part_of_a_long_run(long: StoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = long.store()
    read = 0
    columns = reader.columns

    def counted(*args: object, **options: object) -> object:
        nonlocal read
        for block in columns(*args, **options):  # type: ignore[arg-type]
            read += 1
            yield block

    monkeypatch.setattr(reader, "columns", counted)
    monkeypatch.setattr(long, "store", lambda: reader)
    points(long, "loss", around=150_000, limit=10)
    assert 1 <= read <= 2


def test_non_finite_values_and_several_writers(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "shared01", label="left")
    run.write("run", {"label": "right"}, "client000002")
    run.row(1, None, x=math.nan)
    run.row(1, "client000002", x=-math.inf)
    found = points(stored(run.finish()), "x", around=1)
    assert found["values"] == ["NaN", "-Infinity"] and found["labels"] == ["left", "right"]


def test_text_in_pages(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "words001")
    for step in range(7):
        run.row(step // 2, None, sample=f"<b>{step}</b>", loss=1.0)
    run.row(9, None, sample=3.5)
    found = stored(run.finish())
    rows, after, pages = [], None, 0
    while True:
        page = text(found, "sample", after, limit=2)
        rows += page["rows"]
        pages += 1
        after = page["next"]
        if after is None:
            break
    assert [(row["step"], row["text"]) for row in rows] == [(step // 2, f"<b>{step}</b>") for step in range(7)]
    assert pages == 4
    assert [row["step"] for row in text(found, "sample", start=2)["rows"]] == [2, 2, 3]
    assert text(found, "loss")["rows"] == []
    with pytest.raises(UnknownMetricError, match="never logged nope"):
        text(found, "nope")
    with pytest.raises(ValueError, match="after must be the 'next' of an earlier answer"):
        text(found, "sample", "soon")


def test_long_texts_are_cut_and_say_so(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "words002")
    run.row(0, None, sample="x" * 30_000)
    for step in range(1, MAX_TEXTS + 10):
        run.row(step, None, sample="y")
    found = stored(run.finish())
    page = text(found, "sample", limit=10**9)
    assert len(page["rows"]) == MAX_TEXTS and page["next"] == f"{MAX_TEXTS}:0"
    assert len(page["rows"][0]["text"]) == 20_000 and page["rows"][0]["length"] == 30_000
    assert "length" not in page["rows"][1]
    assert text(found, "sample", limit=1, characters=10**9)["rows"][0]["text"] == "x" * 30_000
