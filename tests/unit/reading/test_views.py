"""What a stored run hands out: read-only views, HTML for notebooks, tables for pandas, types for checkers."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY
from tests.unit.run_builder import START, RunBuilder
from tracker.reading.api import Api
from tracker.reading.stored_run import StoredRun
from tracker.reading.views import ReadOnlyError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        run = RunBuilder(
            tmp_path, f"run0000{number}", name=f"<b>{number}</b>", tags=["x"], start_time=START + number * 1000
        )
        run.write("config", {"set": {"lr": 0.1 * number, "opt": {"name": "<i>", "betas": [0.9, 0.99]}}})
        for step in range(5):
            run.row(step, None, loss=1 / (step + 1))
        run.finish()
    return tmp_path


@pytest.fixture
def run(root: Path) -> StoredRun:
    return Api(root).run("run00001")


def change_a_tag(run: Any) -> None:
    run.tags.append("y")


def change_config(run: Any) -> None:
    run.config["lr"] = 9


def change_nested_config(run: Any) -> None:
    run.config["opt"]["betas"][0] = 1


def update_config(run: Any) -> None:
    run.config.update(lr=9)


def merge_config(run: Any) -> None:
    config = run.config
    config |= {"lr": 9}


def change_summary(run: Any) -> None:
    run.summary["z"] = 1


def delete_from_summary(run: Any) -> None:
    del run.summary["loss"]


CHANGES = [
    change_a_tag, change_config, change_nested_config, update_config, merge_config, change_summary, delete_from_summary,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused_and_says_what_to_do(run: StoredRun, change: Any) -> None:
    before = run.to_map()
    with pytest.raises(
        ReadOnlyError, match=r"of stored run 'run00001' cannot be changed: work on a copy, copy\.deepcopy\(run\."
    ):
        change(run)
    assert run.to_map() == before


def test_views_are_dicts_and_lists_and_copies_of_them_can_be_changed(run: StoredRun) -> None:
    assert run.config == {"lr": 0.1, "opt": {"name": "<i>", "betas": [0.9, 0.99]}}
    assert json.loads(json.dumps(run.config)) == run.config
    for same in (dict(run.config), run.config.copy(), copy.copy(run.config), copy.deepcopy(run.config),
                 pickle.loads(pickle.dumps(run.config)), {**run.config}, run.config | {}):  # noqa: S301  # fmt: skip
        same["lr"] = 9
        assert type(same) is dict
    deep = copy.deepcopy(run.config)
    deep["opt"]["betas"].append(1)
    tags = list(run.tags)
    tags.append("y")
    assert (tags, run.tags) == (["x", "y"], ["x"])


def test_html_is_escaped(root: Path, run: StoredRun) -> None:
    for html in (run._repr_html_(), Api(root).runs()._repr_html_()):
        assert "&lt;b&gt;1&lt;/b&gt;" in html
        assert "<b>1" not in html
        assert "<i>" not in html
    assert "█" in run._repr_html_()
    assert "3 runs" in Api(root).runs()._repr_html_()


def test_html_of_a_run_without_anything(tmp_path: Path) -> None:
    RunBuilder(tmp_path, "empty001").finish()
    assert "empty001" in Api(tmp_path).run("empty001")._repr_html_()
    assert "0 runs" in Api(tmp_path).runs("none")._repr_html_()


def test_runs_say_how_many(root: Path, tmp_path: Path) -> None:
    assert repr(Api(root).runs()) == f"<3 runs in {str(root)!r}>"
    assert "there is no directory" in repr(Api(root / "nowhere").runs())


def test_runs_as_a_data_frame(root: Path) -> None:
    frame = Api(root).runs().to_pandas()
    assert list(frame["id"]) == ["run00002", "run00001", "run00000"]
    assert list(frame["config.opt.name"]) == ["<i>"] * 3
    assert list(frame["summary.loss"]) == [0.2] * 3
    assert frame["start_time"][2].timestamp() == START
    assert str(frame["end_time"].dtype).endswith("UTC]")
    nothing = Api(root).runs("none").to_pandas()
    assert len(nothing) == 0
    assert "id" in nothing.columns


SCRIPT = """\
import tracker

run = tracker.Api().run("last")
columns = run.history(["loss"])
reveal_type(columns)
frame = run.history(["loss"], pandas=True)
reveal_type(frame)
reveal_type(run.history(["loss"], 100, "step", True))
reveal_type(run.history(pandas=False))
runs = tracker.Api().runs(order="-summary.loss")
reveal_type(runs[0])
reveal_type(runs[:2])
reveal_type(runs.to_pandas())
"""


def test_types_of_a_user_s_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent"]
    done = subprocess.run([*command, str(script)], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    types = [line.partition("note: Revealed type is ")[2] for line in done.stdout.splitlines() if "Revealed" in line]
    assert done.returncode == 0, done.stdout + done.stderr
    columns, frame, also_frame, also_columns, run, some, runs = (text.strip('"').lower() for text in types)
    assert columns == also_columns == "dict[str, list[any]]"
    assert frame == also_frame == runs, "a DataFrame; Any without stubs of pandas"
    assert "dict" not in frame
    assert run.endswith("storedrun") and some == f"list[{run}]"
