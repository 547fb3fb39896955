"""The end of a run on the terminal: what is printed, for whom, and that nothing can go wrong with it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.run_builder import START, RunBuilder
from tracker.reading.closing import Ending, closing_lines
from tracker.terminal.text import width

Run = Callable[..., Ending]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Makes runs below ``.tracker`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def make(run_id: str = "rlpwtz5i", steps: int = 165, state: str = "finished", **about: Any) -> Ending:
        run = RunBuilder(tmp_path / ".tracker", run_id, **{"name": "lr=0.1", "project": "digits", **about})
        run.write("define", {"metric": "val.acc", "summary": ["max"]})
        for step in range(steps):
            run.row(step, None, **{"train.loss": 1 / (step + 1), "epoch": step // 10})
            if step % 10 == 4:
                run.row(step, None, **{"val.acc": 1 - 1 / (step + 1)})
        run.finish(state)
        os.utime(run.log_path, (run.clock, run.clock))
        os.utime(run.store_path, (run.clock, run.clock))
        name, project = about.get("name", "lr=0.1"), about.get("project", "digits")
        return Ending(run_id, name, state, 7.0, "in the root", run.dir, project)

    return make


def test_how_it_ended_its_curves_and_what_to_type_next(ended: Run) -> None:
    ended("0dpfvnsg", start_time=START)
    lines = closing_lines(ended(start_time=START + 100_000), io.StringIO())
    assert lines[0] == "tracker: run lr=0.1 (rlpwtz5i) finished in 7.0 s, 165 steps"
    assert re.fullmatch(r" {9}val.acc     [▁-█]{17} *  0\.9939    \(max 0\.9939\)", lines[1])
    assert re.fullmatch(r" {9}train.loss  █[▁-█]+▁  0\.006061", lines[2])
    assert lines[-1] == "         tracker show rlpwtz5i  ·  tracker compare rlpwtz5i 0dpfvnsg"
    assert not any("\x1b" in line for line in lines), "a file has no colours"


def test_the_number_of_steps_is_said_where_it_is_sure(ended: Run) -> None:
    assert closing_lines(ended("aaaa0001", steps=4), io.StringIO())[0].endswith("finished in 7.0 s, 4 steps")
    assert closing_lines(ended("aaaa0002", steps=1), io.StringIO())[0].endswith("finished in 7.0 s, 1 step")
    assert closing_lines(ended("aaaa0003", steps=0), io.StringIO())[0].endswith("finished in 7.0 s, nothing logged")


def test_rows_are_counted_where_steps_were_left_out(ended: Run, tmp_path: Path) -> None:
    run = RunBuilder(tmp_path / ".tracker", "sparse01", project="digits")
    run.row(1000, None, x=1.0)
    run.row(2000, None, x=2.0)
    run.finish()
    lines = closing_lines(Ending("sparse01", "sparse01", "killed", 7.0, "here", run.dir), io.StringIO())
    assert lines[0] == "tracker: run sparse01 killed after 7.0 s, 2 rows up to step 2,000"


def test_a_terminal_has_colours_and_lines_that_fit(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = ended("a" * 40, name="a long name " * 3)
    for columns in (200, 80, 40, 30):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = closing_lines(ending, Terminal())
        assert "\x1b[32mfinished\x1b[0m" in lines[0]
        assert all(width(line) <= columns for line in lines[1:-1]), "what is to be copied is never cut"
    assert not any("▁" in line for line in lines), "no room for curves"
    assert closing_lines(ending._replace(state="failed"), Terminal())[0].count("\x1b[31mfailed\x1b[0m after") == 1


def test_an_ascii_stream_gets_ascii(ended: Run) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    lines = closing_lines(ended(), stream)
    assert len(lines) > 2
    assert all(line.isascii() for line in lines)


def test_the_previous_run_is_one_of_the_same_project(ended: Run) -> None:
    ended("cats0001", project="cats", start_time=START + 10_000)
    lines = closing_lines(ended(start_time=START + 20_000), io.StringIO())
    assert lines[-1].strip() == "tracker show rlpwtz5i"


def test_a_root_elsewhere_is_named(ended: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ending = ended()
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path / "other")
    assert closing_lines(ending, io.StringIO())[-1].strip() == "tracker show rlpwtz5i --dir ../.tracker"
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path / ".tracker"))
    assert closing_lines(ending, io.StringIO())[-1].strip() == "tracker show rlpwtz5i"


def test_a_run_that_another_machine_keeps(tmp_path: Path) -> None:
    location, summary = "by the sidecar at tcp://host:5757", {"loss": 0.25, "note": "x"}
    ending = Ending("abc", "n", "finished", 61.0, location, project="p", summary=summary, step=9)
    assert closing_lines(ending, io.StringIO()) == [
        "tracker: run n (abc) finished in 1 min 1 s, 10 steps, kept by the sidecar at tcp://host:5757",
        "         loss  0.25",
    ]


@pytest.mark.parametrize("trouble", ["no store", "damaged store", "no directory"])
def test_trouble_leaves_the_short_form(ended: Run, trouble: str, tmp_path: Path) -> None:
    ending = ended()
    assert ending.directory is not None
    if trouble == "no store":
        (ending.directory / "store.db").unlink()
        (ending.directory / "transactions.log").unlink()
    elif trouble == "damaged store":
        (ending.directory / "store.db").write_bytes(b"nonsense" * 1000)
        (ending.directory / "transactions.log").unlink()
    else:
        ending = ending._replace(directory=tmp_path / "nowhere" / "runs" / "x")
    lines = closing_lines(ending, io.StringIO())
    assert lines == ["tracker: run lr=0.1 (rlpwtz5i) finished in 7.0 s, kept in the root"]


def test_foreign_text_does_not_reach_the_terminal_raw(ended: Run) -> None:
    ending = ended(name="\x1b[31mred\nline", project="p\x1b[0m")
    text = "\n".join(closing_lines(ending, io.StringIO()))
    assert "\x1b" not in text
    assert "run red line (rlpwtz5i)" in text


def test_the_previous_run_is_one_that_started_before(ended: Run) -> None:
    ended("0dpfvnsg", start_time=START)
    ending = ended(start_time=START + 10_000)
    ended("later001", start_time=START + 20_000)
    assert closing_lines(ending, io.StringIO())[-1].strip().endswith("tracker compare rlpwtz5i 0dpfvnsg")


def test_no_log_is_read(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    previous = ended("0dpfvnsg", start_time=START)
    assert previous.directory is not None
    (previous.directory / "store.db").write_bytes(b"nonsense" * 1000)
    read: list[object] = []
    monkeypatch.setattr("sidecar.projections.replay.replay", lambda *args: read.append(args))
    lines = closing_lines(ended(start_time=START + 10_000), io.StringIO())
    assert lines[-1].strip() == "tracker show rlpwtz5i"
    assert not read


def test_a_locked_store_is_not_waited_for(ended: Run) -> None:
    ending = ended()
    assert ending.directory is not None
    with contextlib.closing(sqlite3.connect(ending.directory / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        lines = closing_lines(ending, io.StringIO())
        assert time.monotonic() - began < 3.0, "the usual wait is five seconds"
    assert lines == ["tracker: run lr=0.1 (rlpwtz5i) finished in 7.0 s, kept in the root"]
