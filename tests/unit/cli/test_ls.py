"""tracker ls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails, run_json
from tests.unit.cli.screens import on_terminal
from tests.unit.run_builder import RunBuilder
from tracker.cli.ls import common_keys
from tracker.cli.main import main
from tracker.reading.api import Api


def test_ls(root: Path, capsys: Captured) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PROJECT", "STATE", "STARTED", "DURATION", "STEP"]
    assert [line.split()[0] for line in lines[1:]] == ["second02", "first001"]
    assert lines[2].split()[1:4] == ["one", "demo", "finished"]
    assert main(["ls", "--where", "summary.loss>1", "--columns", "summary.loss,config.lr"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["LOSS", "LR"]
    assert [line.split()[-1] for line in lines[1:]] == ["2"]
    assert main(["ls", "--project", "demo", "--where", "name~^o", "--where", 'tags="x"']) == 0
    assert "first001" in capsys.readouterr().out
    assert main(["ls", "-n", "1"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "1 of 2 runs" in captured.err


def test_ls_json(root: Path, capsys: Captured) -> None:
    runs = run_json(capsys, "ls")
    assert isinstance(runs, list)
    assert [run["id"] for run in runs] == ["second02", "first001"]
    assert runs[1]["config"] == {"lr": 0.1, "opt": {"name": "sgd"}}


def test_ls_of_nothing(tmp_path: Path, capsys: Captured) -> None:
    assert main(["ls", "--dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"no runs in {tmp_path}" in captured.err
    assert main(["--dir", str(tmp_path), "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `many` is a copy of."""
    root = tmp_path_factory.mktemp("built")
    for number in range(25):
        run = RunBuilder(root, f"many{number:04}", name=f"run {number}", start_time=1_700_000_000.0 + number * 60)
        for step in range(4):
            run.row(
                step, None, **{"epoch": step, "train.loss": 1 / (1 + step), "val.loss": 0.5, "val.acc": number / 25}
            )
        run.finish()
    return root


@pytest.fixture
def many(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """25 runs, the newest last by number."""
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    return shutil.copytree(built, tmp_path, dirs_exist_ok=True)


def test_a_terminal_shows_the_newest_and_says_how_to_see_the_rest(many: Path) -> None:
    screen = on_terminal(many, "ls", columns=80)
    assert screen.code == 0
    assert [line.split()[0] for line in screen.lines] == ["ID", *(f"many{n:04}" for n in range(24, 4, -1)), "5"]
    assert screen.lines[-1] == "5 more: -n 25"
    assert "\x1b[32mfinished\x1b[0m" in screen.raw
    assert len(on_terminal(many, "ls", "-n", "25").lines) == 26
    assert "\x1b" not in on_terminal(many, "ls", NO_COLOR="1").raw


@pytest.mark.parametrize(("columns", "heads"), [(76, ["ACC"]), (120, ["ACC", "TRAIN.LOSS"])])
def test_a_terminal_with_room_shows_common_summary_keys(many: Path, columns: int, heads: list[str]) -> None:
    other = RunBuilder(many, "other001", start_time=1_700_100_000.0)
    other.row(0, None, **{"train.loss": 0.1, "val.acc": 0.9})
    other.finish()
    screen = on_terminal(many, "ls", "-n", "3", columns=columns)
    assert screen.lines[0].split()[7:] == heads
    assert screen.lines[1].split()[-len(heads) :] == ["0.9", "0.1"][: len(heads)]
    assert max(map(len, screen.lines)) <= columns


def test_a_pipe_has_all_runs_and_whole_names(many: Path, capsys: Captured) -> None:
    RunBuilder(many, "long0001", name="n" * 150).finish()
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 27 and captured.err == ""
    assert "n" * 150 in captured.out


def test_what_the_runs_are_sorted_by_is_shown(many: Path, capsys: Captured) -> None:
    for order, head in (("-summary.val.acc", "ACC"), ("points", "POINTS"), ("-val.acc", "ACC")):
        assert main(["ls", "--order", order]) == 0
        assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["STEP", head]
    for order in ("-start_time", "name"):
        assert main(["ls", "--order", order]) == 0
        assert capsys.readouterr().out.splitlines()[0].split()[-1] == "STEP"
    assert main(["ls", "--order", "-val.acc", "--columns", "points"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-1] == "POINTS"


def test_a_minus_in_the_order_needs_no_equals_sign(many: Path, capsys: Captured) -> None:
    for order, first in (("-summary.val.acc", "many0024"), ("+start_time", "many0000"), ("-start_time", "many0024")):
        assert main(["ls", "--order", order, "-n", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["id"] == first
    assert "expected one argument" in fails(capsys, 2, "ls", "--order", "--json")
    assert "did you mean --order?" in fails(capsys, 2, "ls", "--ordre", "x")


def test_sparklines(many: Path, capsys: Captured) -> None:
    assert main(["ls", "-n", "1", "--spark", "train.loss,val.loss,nope"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["TRAIN.LOSS", "VAL.LOSS", "NOPE"]
    assert row.split()[-2:] == ["█▃▂▁", "▁▁▁▁"]


def test_heads_that_would_be_equal_are_told_apart(many: Path, capsys: Captured) -> None:
    assert main(["ls", "-n", "1", "--columns", "summary.train.loss,summary.val.loss"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["TRAIN.LOSS", "VAL.LOSS"]


def test_nothing_matches(many: Path, capsys: Captured) -> None:
    assert main(["ls", "--where", "name=nope"]) == 0
    assert capsys.readouterr().err == f"no runs match (25 in {many})\n"
    assert fails(capsys, 1, "ls", "--dir", "/nope") == "tracker ls: there is no directory /nope"


def test_common_keys_leave_out_axes_and_begin_with_what_was_defined(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, "keys0001")
    run.write("define", {"metric": "score", "goal": "maximize"})
    run.write("define", {"metric": "loss", "step_metric": "tokens"})
    run.row(0, None, loss=1.0, score=1, tokens=5, epoch=1, text="a", **{"val.loss": 1.0})
    run.finish()
    assert common_keys([Api(tmp_path).run("keys0001")]) == ["score", "val.loss", "loss"]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("start_time>2020-01-01", 25),
        ("start_time<2020-01-01", 0),
        ("start_time>7d", 0),
        ("val.acc>0.9 and train.loss=0.25", 2),
        ("summary.val.acc>=0.92", 2),
        ("name=run 7", 1),
        ("name~run 1.", 10),
    ],
)
def test_conditions_answer_rightly(many: Path, capsys: Captured, where: str, count: int) -> None:
    assert main(["ls", "--json", "--where", where]) == 0
    assert len(json.loads(capsys.readouterr().out)) == count


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("summary.val.acc>abc", "is a number"),
        ("state=done", "no state 'done'; states are running"),
        ("colour=red", "no field 'colour'"),
        ("start_time>soon", "'soon'"),
        ("loss>1 or", "a condition is missing after 'or'"),
    ],
)
def test_conditions_that_cannot_be_answered_are_bad_usage(many: Path, capsys: Captured, where: str, words: str) -> None:
    assert words in fails(capsys, 2, "ls", "--where", where)
    assert words in fails(capsys, 2, "rm", "--yes", "--where", where)
