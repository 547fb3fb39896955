"""tracker log: how it reads its words and its standard input."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails
from tracker.cli.common import CommandError
from tracker.cli.log import read_lines, read_pairs
from tracker.cli.main import main


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
    assert "--jsonl reads" in fails(capsys, 2, "log", "r", "a=1", "--jsonl")
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
