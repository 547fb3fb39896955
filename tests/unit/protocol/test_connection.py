"""The connection file, and the check that its process is alive."""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.connection import (
    FILE_KEYS,
    Connection,
    machine_id,
    process_lives,
    read_connection,
    write_connection,
)
from sidecar.protocol.errors import ConnectionFileError


def connection(pid: int = 1, machine: str | None = None, host: str | None = None) -> Connection:
    return Connection("ipc:///tmp/door", pid, machine or machine_id(), host or platform.node(), "0.1.0", 1.5)


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.json"
    written = connection()._replace(public_key="k" * 40)
    write_connection(path, written)
    assert read_connection(path) == written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_keys_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.json"
    write_connection(path, connection())
    content = json.loads(path.read_text())
    assert list(content) == ["door", "pid", "place", "host", "version", "started", "public_key", "protocol"]
    assert (content["door"], content["place"]) == ("ipc:///tmp/door", machine_id())


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.json"
    content = {key: getattr(connection(), field) for field, key in FILE_KEYS.items()}
    path.write_text(json.dumps(content | {"future": 1}))
    assert read_connection(path) == connection()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not valid JSON"),
        ("[]", f"protocol must be {PROTOCOL_VERSION}, not None"),
        ({"protocol": 99}, f"protocol must be {PROTOCOL_VERSION}, not 99"),
        ({"protocol": PROTOCOL_VERSION, "door": "ipc:///x"}, "the key 'pid' is missing"),
    ],
)
def test_an_invalid_file(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "sidecar.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConnectionFileError, match=message):
        read_connection(path)


def test_a_process_is_alive_until_it_ends() -> None:
    assert process_lives(connection(os.getpid()))
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not process_lives(connection(process.pid)), "a zombie counts as alive"
    process.wait()
    assert not process_lives(connection(process.pid))


def test_a_process_on_another_machine_counts_as_alive() -> None:
    assert process_lives(connection(pid=2**22, machine="another boot/pid:[1]"))
