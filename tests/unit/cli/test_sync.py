"""tracker sync: how it reads what the sidecar prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.cli.common import CommandError
from tracker.cli.servers import sidecar_lines


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
    assert list(sidecar_lines(["deliver"])) == [{"run": "a"}]


def test_sync_fails_where_the_sidecar_dies_on_the_way(stand_in: Callable[[str], None]) -> None:
    stand_in("echo '{\"run\": \"a\"}'; echo 'this is why' >&2; kill -9 $$")
    with pytest.raises(CommandError, match="this is why"):
        list(sidecar_lines(["deliver"]))
