"""tracker verify."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.commands import Captured
from tracker.cli.main import main


def test_verify(root: Path, capsys: Captured) -> None:
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["first001", "second02"]
    assert all(line.endswith("ok") for line in lines[1:])
    log = root / "runs" / "first001" / "transactions.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    assert main(["verify", "first001"]) == 1
    captured = capsys.readouterr()
    assert "are damaged" in captured.out
    assert "is missing" in captured.out
    assert captured.err == "tracker verify: 1 run has problems: first001\n"
    assert main(["verify", "second02"]) == 0
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["ok"]) for one in found] == [("first001", False), ("second02", True)]
    assert found[0]["log"]["damage"]
    assert found[0]["log"]["clients"]["client000001"]["missing"]
