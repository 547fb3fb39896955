"""Helpers for tests of commands: run a command, and read its output."""

from __future__ import annotations

import json

import pytest

from tracker.cli.main import COMMANDS as GROUPS
from tracker.cli.main import main

Captured = pytest.CaptureFixture[str]
COMMANDS = tuple(command.name for group in GROUPS.values() for command in group)


def run_json(capsys: Captured, *arguments: str) -> object:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def fails(capsys: Captured, code: int, *arguments: str) -> str:
    """Run a command that fails; return the last line on standard error, which must be the only one for code 1."""
    try:
        exit_code = main(list(arguments))
    except SystemExit as error:
        exit_code = error.code  # type: ignore[assignment]
    captured = capsys.readouterr()
    assert exit_code == code, captured
    lines = captured.err.splitlines()
    if code == 1:
        assert len(lines) == 1, captured.err
    return lines[-1]
