"""The command ``tracker``: its help, what it does with a wrong command line, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.commands import COMMANDS, Captured, fails
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import command_parser, main


def test_help_names_the_commands_that_are_there_and_gives_examples(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in text
        with pytest.raises(SystemExit):
            main([command, "--help"])
        help_text = capsys.readouterr().out
        assert "examples:" in help_text
        assert "--dir" in help_text
        assert max(map(len, help_text.splitlines())) <= 120


def test_bad_usage_is_exit_code_2(root: Path, capsys: Captured) -> None:
    assert main([]) == 2
    assert "usage: tracker" in capsys.readouterr().err
    assert "there is no command 'nonsense'" in fails(capsys, 2, "nonsense")
    assert "is not a condition" in fails(capsys, 2, "ls", "--where", "state")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--where", "colour=red")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--order", "colour")
    assert "no field 'colour'" in fails(capsys, 2, "ls", "--columns", "colour")
    assert "too small" in fails(capsys, 2, "ls", "-n", "0")
    assert "--format" in fails(capsys, 2, "export", "first001", "-o", "x.txt")


def test_a_failure_is_exit_code_1_and_one_line(root: Path, capsys: Captured) -> None:
    line = fails(capsys, 1, "show", "first002")
    assert line.startswith("tracker show: run 'first002' not found")
    assert "first001 (one)" in line


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
    message = fails(capsys, 1, "show", "evil0002")
    assert "evil0001" in message and message.isprintable()


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


def test_every_command_has_a_runner() -> None:
    for command in COMMANDS:
        parser = command_parser(command)
        assert callable(parser.get_default("run"))
        assert parser.prog == f"tracker {command}"


def test_words_that_are_no_command(capsys: Captured) -> None:
    assert fails(capsys, 2, "lst") == "tracker: there is no command 'lst'; did you mean 'ls'?"
    assert fails(capsys, 2, "comparee").endswith("did you mean 'compare'?")
    assert "the commands are ls, show" in fails(capsys, 2, "zzz")
    assert "there is no command 'UI'" in fails(capsys, 2, "--dir", "/tmp", "UI")
    for arguments in (["-v"], ["--version"], ["--dir", "x", "-V"]):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
        assert capsys.readouterr().out.startswith("tracker 0.")


def test_surplus_words_show_the_usage_of_their_command(root: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["show", "first001", "second02"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("usage: tracker show") and lines[-1].endswith("unrecognized arguments: second02")


def test_only_the_module_of_the_command_is_imported() -> None:
    code = "import sys, tracker.cli.main as m; m.parse(['ls']); print(*sorted(n for n in sys.modules if 'cli.' in n))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "tracker.cli.ls" in modules
    assert not modules & {f"tracker.cli.{name}" for name in COMMANDS if name != "ls"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(root: Path, encoding: str) -> None:
    run = RunBuilder(root, "unicode1", name="größe-学習", start_time=1_900_000_000.0)
    run.row(0, None, **{"verlust.ü": 0.5})
    run.finish()
    for arguments in (["ls"], ["show", "unicode1"], ["compare"], ["tail", "unicode1"], ["ls", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "tracker.cli.main", *arguments],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
        if "--json" in arguments:
            assert json.loads(done.stdout)[0]["name"] == "größe-学習"
