"""Cleanup after killed sidecars: what belongs to dead ones goes, everything else stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sidecar.protocol.connection import Connection, machine_id, write_connection
from sidecar.protocol.layout import SOCKETS_PREFIX, sockets_in
from sidecar.server.cleanup import clean_up


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as short:
        short.wait()
        return short.pid


def write(directory: Path, name: str, pid: int, machine: str | None = None) -> tuple[Path, Path]:
    """Write a connection file and make its directory of sockets; return both."""
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=sockets_in()))
    (sockets / "door").touch()
    file = directory / f"{name}.json"
    write_connection(
        file, Connection(f"ipc://{sockets}/door", pid, machine or machine_id(), "host", "0.1.0", 1.0, None)
    )
    return file, sockets


def test_files_and_sockets_of_a_dead_sidecar_go(tmp_path: Path) -> None:
    file, sockets = write(tmp_path, "dead", dead_pid())
    empty, full = file.with_suffix(".log"), tmp_path / "other.log"
    empty.touch()
    full.write_text("a warning\n")
    clean_up(tmp_path)
    assert not file.exists() and not sockets.exists() and not empty.exists()
    assert full.exists()


def test_a_log_with_something_in_it_stays(tmp_path: Path) -> None:
    file, _ = write(tmp_path, "dead", dead_pid())
    file.with_suffix(".log").write_text("a warning\n")
    clean_up(tmp_path)
    assert not file.exists() and file.with_suffix(".log").read_text() == "a warning\n"


@pytest.mark.parametrize("what", ["alive", "another machine", "unreadable"])
def test_what_is_not_a_dead_sidecar_of_this_machine_stays(tmp_path: Path, what: str) -> None:
    file, sockets = write(
        tmp_path,
        "other",
        os.getpid() if what == "alive" else dead_pid(),
        "elsewhere" if what == "another machine" else None,
    )
    if what == "unreadable":
        file.write_text("{")
    clean_up(tmp_path)
    assert file.exists() and (sockets / "door").exists()
    (sockets / "door").unlink()
    sockets.rmdir()


def test_sockets_outside_the_temporary_directory_stay(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "door").touch()
    file = tmp_path / "dead.json"
    write_connection(file, Connection(f"ipc://{precious}/door", dead_pid(), machine_id(), "host", "0.1.0", 1.0, None))
    clean_up(tmp_path)
    assert not file.exists() and (precious / "door").exists()
