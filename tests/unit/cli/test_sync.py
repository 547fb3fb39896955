"""tracker sync: how it reads what the sidecar prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.protocol.sink_progress import SinkProgress, all_progress, write_progress
from tests.unit.cli.commands import Captured, fails
from tests.unit.run_builder import RunBuilder
from tracker.cli.common import CommandError
from tracker.cli.main import main
from tracker.cli.servers import sidecar_lines
from tracker.transport.interpreter import PYTHON_VARIABLE


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a shell script stand in for the interpreter that runs ``sidecar``."""

    def put(script: str) -> None:
        path = tmp_path / "stand-in"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv(PYTHON_VARIABLE, str(path))

    return put


def test_sync_reads_on_however_much_the_sidecar_logs(stand_in: Callable[[str], None]) -> None:
    stand_in("head -c 200000 /dev/zero | tr '\\0' x >&2; echo '{\"run\": \"a\"}'")
    assert list(sidecar_lines(["deliver"])) == [{"run": "a"}]


def test_sync_fails_where_the_sidecar_dies_on_the_way(stand_in: Callable[[str], None]) -> None:
    stand_in("echo '{\"run\": \"a\"}'; echo 'this is why' >&2; kill -9 $$")
    with pytest.raises(CommandError, match="this is why"):
        list(sidecar_lines(["deliver"]))


def test_a_server_is_forgotten(root: Path, capsys: Captured) -> None:
    gone, other = "mlflow+http://gone:5000", "mlflow+http://other:5000"
    for run_id in ("first001", "second02"):
        write_progress(root / "runs" / run_id, SinkProgress(gone))
    write_progress(root / "runs" / "first001", SinkProgress(other))
    live = RunBuilder(root, "live0001")
    live.store()
    write_progress(live.dir, SinkProgress(gone))
    with live.held():
        line = fails(capsys, 1, "sync", "--forget", gone)
        assert "1 run still running or being sent: live0001" in line and "'sidecar stop ADDRESS' stops it" in line
    live.log.close()
    assert [progress.address for progress in all_progress(root / "runs" / "first001")] == [other]
    assert all_progress(root / "runs" / "second02") == []
    assert main(["sync", "live0001", "--forget", gone]) == 0
    assert "1 run will not be sent to mlflow+http://gone:5000 any more: live0001" in capsys.readouterr().out
    line = fails(capsys, 1, "sync", "--forget", gone)
    assert f"no run in {root} is sent to {gone}; their sinks: {other}" in line
    assert "gone" in fails(capsys, 2, "sync", "--forget", "gone")
