"""The command ``tracker``: what it prints, to whom, with which exit code; on runs that were made without a sidecar."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.layout import STORE_NAME
from tests.unit.run_builder import RunBuilder
from tracker.cli.common import CommandError, json_line
from tracker.cli.log_command import read_lines, read_pairs
from tracker.cli.main import main, make_parser
from tracker.cli.sending import _lines
from tracker.cli.table import Column, ago, clean, duration, fit, size, table, width
from tracker.cli.tail import last_rows
from tracker.reading.api import Api
from tracker.terminal.progress import Progress

Captured = pytest.CaptureFixture[str]
COMMANDS = ("ls", "show", "tail", "export", "log", "verify", "rebuild", "sync", "doctor", "rm")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, of which the first has all kinds of values."""
    monkeypatch.setenv("TRACKER_DIR", str(tmp_path))
    run = RunBuilder(tmp_path, "first001", name="one", tags=["x"])
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd"}}})
    run.row(0, None, loss=0.5, note='a "quoted", text')
    run.row(1, None, loss=math.nan)
    run.row(2, None, loss=math.inf, ok=True)
    run.row(3, None, loss=0.1 + 0.2, hist={"_type": "histogram", "bins": [1, 2]})
    run.finish()
    second = RunBuilder(tmp_path, "second02", name="two", start_time=1_800_000_000.0, project="other")
    second.row(0, None, loss=2.0)
    second.finish("failed", traceback="Traceback\n  boom")
    return tmp_path


def run_json(capsys: Captured, *arguments: str) -> object:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def fails(capsys: Captured, code: int, *arguments: str) -> str:
    """Run a command that fails; return its one line on standard error."""
    try:
        found = main(list(arguments))
    except SystemExit as error:
        found = error.code  # type: ignore[assignment]
    captured = capsys.readouterr()
    assert found == code, captured
    lines = captured.err.splitlines()
    if code == 1:
        assert len(lines) == 1, captured.err
    return lines[-1]


def test_help_names_the_commands_that_are_there_and_gives_examples(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command} " in text
        with pytest.raises(SystemExit):
            main([command, "--help"])
        help_text = capsys.readouterr().out
        assert "examples:" in help_text
        assert "--dir" in help_text
        assert max(map(len, help_text.splitlines())) <= 120


def test_bad_usage_is_exit_code_2(root: Path, capsys: Captured) -> None:
    assert main([]) == 2
    assert "usage: tracker" in capsys.readouterr().err
    assert "invalid choice" in fails(capsys, 2, "nonsense")
    assert "is no condition" in fails(capsys, 2, "ls", "--where", "state")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--where", "colour=red")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--order", "colour")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--columns", "colour")
    assert "too small" in fails(capsys, 2, "ls", "-n", "0")
    assert "--format" in fails(capsys, 2, "export", "first001", "-o", "x.txt")


def test_a_failure_is_exit_code_1_and_one_line(root: Path, capsys: Captured) -> None:
    line = fails(capsys, 1, "show", "first002")
    assert line.startswith("tracker show: run 'first002' not found")
    assert "first001 (one)" in line


def test_ls(root: Path, capsys: Captured) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PROJECT", "STATE", "STARTED", "LASTED", "STEP"]
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


def test_dir_before_and_after_the_command(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.delenv("TRACKER_DIR")
    for arguments in (["--dir", str(root), "show", "first001"], ["show", "first001", "--dir", str(root)]):
        assert main(arguments) == 0
        assert "first001" in capsys.readouterr().out


def test_names_from_a_run_do_not_reach_the_terminal_raw(root: Path, capsys: Captured) -> None:
    run = RunBuilder(root, "evil0001", name="\x1b[31mred\nnew line", notes="a\x07b")
    run.row(0, None, **{"lo\x1b[0mss": 1.0})
    run.finish()
    for command in (["ls"], ["show", "evil0001"], ["tail", "evil0001"]):
        assert main(command) == 0
        assert not set(capsys.readouterr().out) & {"\x1b", "\x07"}


def test_show(root: Path, capsys: Captured) -> None:
    assert main(["show", "second02"]) == 0
    text = capsys.readouterr().out
    assert "failed, exit code 1" in text
    assert "  boom" in text
    assert main(["show", "first001"]) == 0
    text = capsys.readouterr().out
    assert "opt.name" in text
    assert "4 rows, 7 values" in text
    shown = run_json(capsys, "show", "first001")
    assert isinstance(shown, dict)
    assert shown["summary"]["loss"] == 0.1 + 0.2
    assert shown["files"] == []


def test_export_csv(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001"]) == 0
    text = capsysbinary.readouterr().out.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["_step", "_timestamp", "_label", "loss", "note", "ok", "hist"]
    assert [float(row["loss"]) for row in rows if row["loss"] != "nan"] == [0.5, math.inf, 0.1 + 0.2]
    assert rows[0]["note"] == 'a "quoted", text'
    assert rows[1]["note"] == ""
    assert rows[2]["ok"] == "true"
    assert json.loads(rows[3]["hist"]) == {"_type": "histogram", "bins": [1, 2]}


def test_export_jsonl_is_json_that_every_program_reads(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001", "--format", "jsonl"]) == 0
    rows = [json.loads(line, parse_constant=pytest.fail) for line in capsysbinary.readouterr().out.splitlines()]
    assert [row["loss"] for row in rows] == [0.5, "NaN", "Infinity", 0.1 + 0.2]
    assert "note" not in rows[1]


def test_export_of_some_keys_and_steps(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001", "--keys", "ok,loss", "--min-step", "2", "--max-step", "2"]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert lines[0] == "_step,_timestamp,_label,ok,loss"
    assert len(lines) == 2
    assert lines[1].endswith(",true,inf")


def test_export_of_a_key_that_was_never_logged(root: Path, capsys: Captured) -> None:
    assert "never logged los; it logged loss, note, ok, hist" in fails(capsys, 1, "export", "first001", "--keys", "los")


def test_export_to_a_file(root: Path, capsys: Captured) -> None:
    out = root / "out" / "run.jsonl"
    assert "No such file" in fails(capsys, 1, "export", "first001", "-o", str(out))
    out.parent.mkdir()
    assert main(["export", "first001", "-o", str(out)]) == 0
    assert "4 rows in" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 4
    assert [path.name for path in out.parent.iterdir()] == ["run.jsonl"]


def test_export_into_what_is_no_regular_file(root: Path) -> None:
    kept, link, fifo = root / "kept.csv", root / "link.csv", root / "fifo"
    kept.touch(mode=0o600)
    link.symlink_to(kept)
    assert main(["export", "first001", "-o", str(link)]) == 0
    assert link.is_symlink() and kept.stat().st_mode & 0o777 == 0o600 and kept.read_text().count("\n") == 5
    os.mkfifo(fifo)
    reading = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    assert main(["export", "first001", "-o", str(fifo)]) == 0
    assert reading.communicate(timeout=10.0)[0] == kept.read_bytes()
    assert fifo.is_fifo()


def test_export_csv_of_texts_with_line_ends(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    texts = ["a\rb", "a\nb", "a\r\nb", "plain"]
    run = RunBuilder(root, "texts001")
    for step, text in enumerate(texts):
        run.row(step, None, text=text)
    run.finish()
    assert main(["export", "texts001"]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert [row["text"] for row in csv.DictReader(io.StringIO(out, newline=""))] == texts
    assert out.endswith("plain\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", "new", "a=1", "--step", str(2**63)),
        ("log", "new", "a=1", f"--step={-(2**63) - 1}"),
        ("export", "first001", "--min-step", "9" * 20),
        ("export", "first001", "--max-step=-" + "9" * 20),
        ("tail", "first001", "-n", "9" * 20),
    ],
)
def test_numbers_over_64_bits_are_bad_usage(root: Path, capsys: Captured, arguments: tuple[str, ...]) -> None:
    assert "is too " in fails(capsys, 2, *arguments)


def test_an_error_has_no_escape_sequences_of_a_run_in_it(root: Path, capsys: Captured) -> None:
    RunBuilder(root, "evil0001", name="x\x1b]0;owned\x07").finish()
    said = fails(capsys, 1, "show", "evil0002")
    assert "evil0001" in said and said.isprintable()


def test_export_of_a_run_that_logged_nothing(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    RunBuilder(root, "empty001").finish()
    assert main(["export", "empty001"]) == 0
    assert capsysbinary.readouterr().out == b"_step,_timestamp,_label\n"


def test_export_parquet(root: Path, capsys: Captured) -> None:
    from pyarrow import parquet

    run = RunBuilder(root, "types001")
    for step in range(40_000):
        run.row(step, None, f=step / 2, i=step, b=step % 2 == 0, s=str(step), mix=step if step % 2 else 0.5)
    run.row(40_000, None, any="text")
    run.row(40_001, None, any=1)
    run.finish()
    out = root / "run.parquet"
    assert main(["export", "types001", "-o", str(out)]) == 0
    read = parquet.read_table(out)
    types = {field.name: str(field.type) for field in read.schema}
    assert types == {
        "_step": "int64",
        "_timestamp": "double",
        "_label": "string",
        "f": "double",
        "i": "int64",
        "b": "bool",
        "s": "string",
        "mix": "double",
        "any": "string",
    }
    assert read.num_rows == 40_002
    history = Api(root).run("types001").history()
    for key in ("_step", "_timestamp", "f", "i", "b", "s", "mix"):
        assert read[key].to_pylist() == history[key]
    assert read["any"].to_pylist()[-2:] == ['"text"', "1"]
    piped = subprocess.run(
        [sys.executable, "-m", "tracker.cli.main", "export", "types001", "--format", "parquet"],
        capture_output=True,
        check=True,
        env={**os.environ, "TRACKER_DIR": str(root)},
    )
    assert parquet.read_table(io.BytesIO(piped.stdout)).equals(read)


def test_export_parquet_without_pyarrow(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = root / "run.parquet"
    assert "pip install pyarrow" in fails(capsys, 1, "export", "first001", "-o", str(out))
    assert not out.exists()


def test_a_pipe_that_closes_early_is_no_failure(root: Path) -> None:
    run = RunBuilder(root, "long0001")
    for step in range(20_000):
        run.row(step, None, loss=0.5)
    run.finish()
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.cli.main", "export", "long0001"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TRACKER_DIR": str(root)},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"_step")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_tail_of_a_run_that_has_ended(root: Path, capsys: Captured) -> None:
    assert main(["tail", "first001", "-n", "2"]) == 0
    captured = capsys.readouterr()
    assert [line.split("  ")[1] for line in captured.out.splitlines()] == ["step 2", "step 3"]
    assert "loss=inf  ok=true" in captured.out
    assert "hist=<histogram>" in captured.out
    assert captured.err.startswith("run first001 finished after")
    assert main(["tail", "first001", "--json", "--keys", "ok", "--no-follow"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["ok"] for line in captured.out.splitlines()] == [True]
    assert captured.err == ""


@pytest.mark.parametrize("n", [0, 1, 5, 300, 1000])
def test_last_rows_are_those_with_the_highest_steps(root: Path, n: int) -> None:
    builder = RunBuilder(root, "gaps0001")
    steps = [*range(0, 100_000, 500), *range(100_000, 100_100)]
    for step in steps:
        builder.row(step, None, loss=float(step))
    builder.finish()
    run = Api(root).run("gaps0001")
    assert [row["_step"] for row in last_rows(run, n, None, run.step)] == (steps[-n:] if n else [])


def test_tail_follows_a_live_run_until_it_ends(root: Path) -> None:
    run = RunBuilder(root, "live0001")
    run.row(0, None, loss=0.0)
    run.store()
    run.row(1, None, loss=1.0)  # in the log, and not yet in the store
    with run.held():
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker.cli.main", "tail", "live0001", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TRACKER_DIR": str(root)},
        )
        watchdog = threading.Timer(60.0, process.kill)
        watchdog.start()
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            steps = [json.loads(process.stdout.readline())["_step"] for _ in range(2)]
            run.row(2, None, loss=2.0)
            steps.append(json.loads(process.stdout.readline())["_step"])
            run.row(1, None, loss=3.0)  # a late step comes when it comes
            steps.append(json.loads(process.stdout.readline())["_step"])
            run.finish()
            assert process.stdout.read() == ""
            assert "run live0001 finished after" in process.stderr.read()
        watchdog.cancel()
    assert steps == [0, 1, 2, 1]
    assert process.returncode == 0


def test_tail_of_a_run_that_has_no_store_yet(root: Path, capsys: Captured) -> None:
    run = RunBuilder(root, "new00001")
    run.row(0, None, loss=0.0)
    run.finish()
    (run.dir / STORE_NAME).unlink()
    assert main(["tail", "new00001"]) == 0
    assert "loss=0" in capsys.readouterr().out


def test_verify(root: Path, capsys: Captured) -> None:
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["first001", "second02"]
    assert all(line.endswith("good") for line in lines[1:])
    log = root / "runs" / "first001" / "transactions.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    assert main(["verify", "first001"]) == 1
    captured = capsys.readouterr()
    assert "are damaged" in captured.out
    assert "is missing" in captured.out
    assert captured.err == "tracker verify: 1 of 1 run not as it should be: first001\n"
    assert main(["verify", "second02"]) == 0
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["ok"]) for one in found] == [("first001", False), ("second02", True)]
    assert found[0]["log"]["damage"]
    assert found[0]["log"]["clients"]["client000001"]["missing"]


def test_rebuild(root: Path, capsys: Captured) -> None:
    store = root / "runs" / "first001" / "store.db"
    before = StoreReader(store).state()
    store.unlink()
    assert main(["rebuild", "first001"]) == 0
    assert "first001: 7 records, 7 values" in capsys.readouterr().out
    assert StoreReader(store).state() == before
    found = run_json(capsys, "rebuild")
    assert isinstance(found, list)
    assert [one["run"] for one in found] == ["first001", "second02"]


def test_rebuild_refuses_a_live_run_and_goes_on_with_others(root: Path, capsys: Captured) -> None:
    live = RunBuilder(root, "live0001")
    live.row(0, None, loss=1.0)
    live.store()
    with live.held():
        assert "'live0001' is held by a live sidecar" in fails(capsys, 1, "rebuild", "live0001")
        (root / "runs" / "second02" / "store.db").unlink()
        assert "'live0001' is held by a live sidecar" in fails(capsys, 1, "rebuild")
    assert (root / "runs" / "second02" / "store.db").exists()
    live.log.close()


def test_rm(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "--yes" in fails(capsys, 2, "rm", "first001")
    assert (root / "runs" / "first001").exists()
    assert main(["rm", "--yes", "first001"]) == 0
    assert [path.name for path in (root / "runs").iterdir()] == ["second02"]
    assert "run 'first001' not found" in fails(capsys, 1, "rm", "--yes", "second02", "first001")
    assert (root / "runs" / "second02").exists(), "one that is not there keeps all from being removed"


@pytest.mark.parametrize(
    ("answer", "removed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_rm_asks_on_a_terminal(
    root: Path, answer: str, removed: bool, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["rm", "first001"]) == (0 if removed else 1)
    assert (root / "runs" / "first001").exists() is not removed
    assert "Remove this run for good? [y/N]" in capsys.readouterr().err


def test_rm_refuses_a_live_run_unless_forced(root: Path, capsys: Captured) -> None:
    live = RunBuilder(root, "live0001")
    fd = os.open(live.dir / "lock", os.O_RDWR | os.O_CREAT)
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX)
    assert "held by a live sidecar" in fails(capsys, 1, "rm", "--yes", "live0001")
    assert live.dir.exists()
    assert main(["rm", "--yes", "--force", "live0001"]) == 0
    assert not live.dir.exists()
    os.close(fd)
    live.log.close()


def test_log_reads_values_as_what_they_are(capsys: Captured) -> None:
    assert read_pairs(["a=1", "b=0.5", "c=true", "d=text", 'e="1"', "f=x=y", "g="]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
        "e": "1",
        "f": "x=y",
        "g": "",
    }
    assert math.isnan(read_pairs(["a=nan"])["a"])
    assert "not of the form key=value" in fails(capsys, 2, "log", "r", "loss")
    assert "nothing to log" in fails(capsys, 2, "log", "r")
    assert "--jsonl takes" in fails(capsys, 2, "log", "r", "a=1", "--jsonl")
    assert "reserved" in fails(capsys, 2, "log", "r", "_step=1")
    assert "'b' is not of the form" in fails(capsys, 2, "log", "r", "a=1", "--step", "3", "b")
    assert "unrecognized arguments: --colour=red" in fails(capsys, 2, "log", "r", "a=1", "--colour=red")


def test_log_reads_what_export_wrote(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    main(["export", "first001", "--format", "jsonl", "--keys", "loss"])
    lines = iter(capsysbinary.readouterr().out.decode().splitlines())
    found = list(read_lines(lines))
    assert [step for _, step, _ in found] == [0, 1, 2, 3]
    assert repr([metrics["loss"] for _, _, metrics in found]) == repr([0.5, math.nan, math.inf, 0.1 + 0.2])
    for bad in ("{", "[1]", '{"_step": 1.5}'):
        with pytest.raises(CommandError, match="line 2"):
            list(read_lines(iter(["", bad])))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_bar_is_for_terminals_and_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen, pipe = Screen(), io.StringIO()
    with Progress("work", screen) as bar, Progress("work", pipe) as silent:
        now = 0.9
        bar(1, 4)
        assert screen.getvalue() == ""
        now = 1.5
        bar(2, 4)
        silent(2, 4)
        assert "work  [###############...............]  50%" in screen.getvalue()
        now = 2.5
        bar(7, 0)
        assert "work  7" in screen.getvalue()
    assert screen.getvalue().endswith("\r")
    assert pipe.getvalue() == ""


def test_tables_are_aligned_and_fit() -> None:
    columns = [Column("NAME", least=5), Column("N", right=True)]
    assert table(columns, [["a", "1"], ["bc", "100"]]) == ["NAME    N", "a       1", "bc    100"]
    wide = table(columns, [["x" * 200, "1"], ["日本" * 60, "22"]])
    assert max(map(width, wide)) <= 100
    assert [line.split()[-1] for line in wide] == ["N", "1", "22"]
    assert max(map(width, table([Column("A")] * 30, [["abcdefgh"] * 30]))) <= 100
    assert fit("日本語", 5) == "日本…"
    assert clean("a\x1b[0m\nb") == "a b"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (2.34, "2.3 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3600 * 24 * 4 + 3600 * 3, "4 d 3 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_relative_times_and_sizes() -> None:
    now = 1e9
    found = [ago(now - seconds, now) for seconds in (1, 30, 120, 7200, 86400 * 3, 86400 * 70, 86400 * 800)]
    assert found == ["just now", "30 s ago", "2 min ago", "2 h ago", "3 d ago", "2 mo ago", "2 y ago"]
    assert ago(None, now) == ""
    assert [size(count) for count in (0, 1023, 1536, 5 * 2**20)] == ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]
    assert json_line({"a": [math.nan, -math.inf], "b": b"\x01"}) == '{"a": ["NaN", "-Infinity"], "b": "01"}'


def test_every_command_has_a_runner() -> None:
    for command, extra in zip(COMMANDS, ([], ["r"], ["r"], ["r"], ["r"], [], [], [], [], ["r"]), strict=True):
        assert callable(make_parser().parse_args([command, *extra]).run)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a shell script stand in for the interpreter that runs ``sidecar``."""

    def put(script: str) -> None:
        path = tmp_path / "stand-in"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def test_sync_reads_on_however_much_the_sidecar_logs(stand_in: Callable[[str], None]) -> None:
    stand_in("head -c 200000 /dev/zero | tr '\\0' x >&2; echo '{\"run\": \"a\"}'")
    assert list(_lines(["deliver"])) == [{"run": "a"}]


def test_sync_fails_where_the_sidecar_dies_on_the_way(stand_in: Callable[[str], None]) -> None:
    stand_in("echo '{\"run\": \"a\"}'; echo 'this is why' >&2; kill -9 $$")
    with pytest.raises(CommandError, match="this is why"):
        list(_lines(["deliver"]))
