"""tracker edit, with a real sidecar for the edits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.commands import Captured, fails, run_json
from tracker.cli.main import main
from tracker.reading.api import Api
from tracker.reading.editing import close_editors


@pytest.fixture(autouse=True)
def no_sidecar_left() -> Iterator[None]:
    yield
    close_editors()


def edited(capsys: Captured, *arguments: str) -> dict[str, Any]:
    states: Any = run_json(capsys, "edit", *arguments)
    assert len(states) == 1
    return dict(states[0])


def test_changes_of_every_sort_and_undo(root: Path, capsys: Captured) -> None:
    state = edited(
        capsys, "first001", "--name", "new", "--tag", "y", "--untag", "x", "--note", "-5 degrees", "--group", "g",
        "--job-type", "eval", "--color", "RED", "--set", "config.opt.name=adam", "--set", "config.opt.lr=[1, 2]",
        "--set", "summary.best=3",
    )  # fmt: skip
    assert (state["name"], state["tags"], state["notes"], state["group"]) == ("new", ["y"], "-5 degrees", "g")
    assert (state["job_type"], state["color"], state["state"]) == ("eval", "red", "finished")
    assert state["config"] == {"lr": 0.1, "opt": {"name": "adam", "lr": [1, 2]}} and state["summary"]["best"] == 3
    assert main(["show", "first001"]) == 0
    assert "name, group, job_type, tags, notes, color, config.opt, summary.best" in capsys.readouterr().out
    state = edited(capsys, "first001", "--undo")
    assert state["config"] == {"lr": 0.1, "opt": {"name": "sgd"}} and (state["name"], state["tags"]) == ("one", ["x"])
    assert "no edit that can be undone" in fails(capsys, 1, "edit", "first001", "--undo")
    assert main(["verify"]) == 0


def test_delete_hides_until_undo_and_rm_removes(root: Path, capsys: Captured) -> None:
    assert main(["edit", "first001", "second02", "--delete"]) == 0
    assert capsys.readouterr().err == "deleted 2 runs\n"
    assert run_json(capsys, "ls") == []
    assert len(run_json(capsys, "ls", "--deleted")) == 2  # type: ignore[arg-type]
    assert "not found" in fails(capsys, 1, "show", "last")
    assert edited(capsys, "first001", "--undo")["deleted"] is False
    assert Api().run("last").id == "first001"
    assert main(["rm", "--deleted", "--yes"]) == 0
    assert [path.name for path in (root / "runs").iterdir()] == ["first001"]
    assert main(["ls", "--deleted"]) == 0
    assert "no deleted runs in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either changes"),
        (["--undo", "--delete"], "give either changes"),
        (["--undo", "--name", "x"], "give either changes"),
        (["--name", ""], "name must be a non-empty string, not ''"),
        (["--tag", ""], "tags must be a sequence of non-empty strings, not ['x', '']"),
        (["--color", "teal"], "color must be '#rrggbb', None, or one of blue"),
        (["--set", "lr=3"], "--set must be config.KEY=VALUE or summary.KEY=VALUE, not 'lr=3'"),
        (["--set", "config.lr"], "--set must be config.KEY=VALUE"),
        (["--set", "config.lr=[1"], "is not valid JSON"),
    ],
)
def test_bad_usage(root: Path, arguments: list[str], message: str, capsys: Captured) -> None:
    assert message in fails(capsys, 2, "edit", "first001", *arguments)
    assert Api().run("first001").edits["undo"] == 0


def test_a_run_that_is_not_there(root: Path, capsys: Captured) -> None:
    assert "'nope' not found" in fails(capsys, 1, "edit", "nope", "--name", "x")


def test_a_server_is_refused(capsys: Captured) -> None:
    assert main(["edit", "--dir", "clickhouse+http://localhost:1/x", "r", "--name", "x"]) in (1, 2)
