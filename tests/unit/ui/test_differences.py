"""tracker.ui.differences: what differs between runs, the best of a summary, curves in several calls."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.unit.run_builder import RunBuilder
from tracker import Api
from tracker.reading.stored_run import StoredRun
from tracker.ui.differences import MAX_RUNS, compare, curves

Three = dict[str, StoredRun]


@pytest.fixture
def three(tmp_path: Path) -> Three:
    for number, rate in enumerate((0.1, 0.2, 0.3)):
        run = RunBuilder(tmp_path, f"sweep{number:03}", host="node1", program="train.py", pid=number)
        run.write("config", {"set": {"rate": rate, "model": {"layers": 2}, "<b>": 1 if number < 2 else True}})
        if number:
            run.write("config", {"set": {"extra": None}})
        run.write("define", {"metric": "acc", "summary": ["max"], "goal": "maximize"})
        for step in range(10):
            run.row(step, None, acc=0.5 if step < 4 else rate * step, loss=math.nan if number == 2 else 1.0)
        run.finish("finished" if number else "failed", reason=None if number else "ValueError: no")
    api = Api(tmp_path)
    return {ref: api.run(ref) for ref in ("sweep000", "sweep001", "sweep002")}


def rows(answer: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in answer[part]}


def test_only_what_differs(three: Three) -> None:
    answer = compare(three, "sweep001")
    json.dumps(answer, allow_nan=False)
    config = rows(answer, "config")
    assert list(config) == ["<b>", "extra", "rate"]
    assert config["rate"]["values"] == [0.1, 0.2, 0.3]
    assert config["extra"] == {"key": "extra", "values": [None] * 3, "differs": True, "missing": [0]}
    assert answer["counts"] == {"config": 4, "environment": 4, "summary": 2}
    assert list(rows(answer, "environment")) == ["pid"]
    assert [run["state"] for run in answer["runs"]] == ["failed", "finished", "finished"]
    assert answer["runs"][0]["reason"] == "ValueError: no" and answer["runs"][0]["duration"] > 0


def test_everything_on_demand(three: Three) -> None:
    answer = compare(three, "sweep001", everything=True)
    config = rows(answer, "config")
    assert config["model.layers"]["values"] == [2, 2, 2] and not config["model.layers"]["differs"]
    assert rows(answer, "environment")["host"]["values"] == ["node1"] * 3


def test_the_best_by_each_goal(three: Three) -> None:
    answer = compare(three, "sweep000")
    summary = rows(answer, "summary")
    assert summary["acc"]["goal"] == "maximize" and summary["acc"]["aggregate"] == "max"
    assert summary["acc"]["best"] == [2]
    assert summary["loss"]["goal"] is None and summary["loss"]["best"] == []
    assert summary["loss"]["values"] == [1.0, 1.0, "NaN"]
    assert answer["shared"] == ["acc", "loss"]


def test_where_curves_part(three: Three) -> None:
    answer = curves(three, "sweep000")
    json.dumps(answer, allow_nan=False)
    assert answer["done"] == answer["total"] == 4 and answer["next"] is None and answer["errors"] == []
    found = {(curve["key"], curve["run"]): curve for curve in answer["curves"]}
    acc = found["acc", "sweep001"]
    assert acc["exact"]["step"] == acc["clear"]["step"] == 4
    assert acc["exact"]["baseline"] == pytest.approx(0.4) and acc["exact"]["value"] == 0.8
    assert found["loss", "sweep001"]["exact"] is None and found["loss", "sweep001"]["common"] == 10
    assert found["loss", "sweep002"]["clear"] == {"step": 0, "value": "NaN", "baseline": 1.0}


def test_curves_in_several_calls(three: Three) -> None:
    first = curves(three, "sweep000", seconds=0)
    assert first["done"] == first["next"] == 1 and first["total"] == 4
    second = curves(three, "sweep000", skip=first["next"])
    assert second["next"] is None and len(second["curves"]) == 3
    assert curves(three, "sweep000", ["acc"])["total"] == 2


def test_a_run_that_cannot_be_read_does_not_hide_the_others(three: Three) -> None:
    broken = three["sweep002"]
    (broken.dir / "store.db").unlink()
    (broken.dir / "transactions.log").write_bytes(b"not a log")
    broken.refresh()
    answer = compare(three, "sweep000")
    assert answer["runs"][2]["state"] == "unreadable" and "not a transaction log" in answer["runs"][2]["reason"]
    found = curves(three, "sweep000")
    assert found["total"] == 2 and found["errors"][0]["run"] == "sweep002"


def test_what_cannot_be_compared(three: Three) -> None:
    one = {"sweep000": three["sweep000"]}
    with pytest.raises(ValueError, match="at least two runs to compare, not 1"):
        compare(one, "sweep000")
    with pytest.raises(ValueError, match="baseline must be one of the compared runs, not 'nope'"):
        compare(three, "nope")
    with pytest.raises(ValueError, match=f"at most {MAX_RUNS} runs, not {MAX_RUNS + 1}"):
        curves({str(number): three["sweep000"] for number in range(MAX_RUNS + 1)}, "0")
