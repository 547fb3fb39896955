"""Saved progress of sending a run to a server, the lock of the sending process, and addresses of servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.protocol.codec import pack
from sidecar.protocol.layout import LOG_NAME, SINKS_NAME
from sidecar.protocol.sink_address import parse_sink, parse_sinks
from sidecar.protocol.sink_progress import SinkLock, SinkProgress, all_progress, read_progress, write_progress
from tests.support import REPOSITORY, wait_until

MLFLOW = parse_sink("mlflow+http://host:5000")
UPSTREAM = parse_sink("sidecar+tcp://host:5757?key=/etc/server.pub")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory with a log of 1000 bytes."""
    directory = tmp_path / "run1"
    directory.mkdir()
    (directory / LOG_NAME).write_bytes(bytes(1000))
    return directory


# -- the file -----------------------------------------------------------------------------------------------------


def test_written_progress_is_read_back(run: Path) -> None:
    assert read_progress(run, MLFLOW) == SinkProgress(MLFLOW.text)
    written = SinkProgress(MLFLOW.text, 700, {"run_id": "abc"}, "no answer", True, {"config": {"lr": 0.1}}, 600)
    write_progress(run, written)
    assert read_progress(run, MLFLOW) == written
    assert written.behind_bytes(run) == 300
    assert read_progress(run, UPSTREAM) == SinkProgress(UPSTREAM.text)
    assert [path.name for path in (run / SINKS_NAME).iterdir()] == [MLFLOW.name], "a temporary file remains"


def test_all_servers_of_a_run_are_found_and_nothing_else(run: Path) -> None:
    assert all_progress(run) == []
    for address in (MLFLOW, UPSTREAM):
        write_progress(run, SinkProgress(address.text))
    lock = SinkLock.take(run, MLFLOW)
    assert lock is not None
    (run / SINKS_NAME / f".{MLFLOW.name}.123").write_bytes(b"half")
    (run / SINKS_NAME / "notes.txt").write_text("not ours")
    (run / SINKS_NAME / "README").write_text("not ours")
    assert {progress.address for progress in all_progress(run)} == {MLFLOW.text, UPSTREAM.text}
    lock.release()


def test_a_log_that_is_shorter_or_missing_is_not_behind(run: Path) -> None:
    assert SinkProgress(MLFLOW.text, 2000).behind_bytes(run) == 0
    (run / LOG_NAME).unlink()
    assert SinkProgress(MLFLOW.text, 10).behind_bytes(run) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        pack([1, 2]),
        pack({}),
        pack({"format": 1}),
        pack({"format": 2, "address": MLFLOW.text, "checkpoint": 5}),
        pack({"format": 1, "address": "nowhere", "checkpoint": 5}),
        pack({"format": 1, "address": MLFLOW.text, "checkpoint": 5})[:-1],
    ],
)
def test_an_invalid_file_is_treated_as_missing(run: Path, content: bytes) -> None:
    (run / SINKS_NAME).mkdir()
    (run / SINKS_NAME / MLFLOW.name).write_bytes(content)
    assert read_progress(run, MLFLOW) == SinkProgress(MLFLOW.text)
    assert all_progress(run) == []


def test_keys_of_later_versions_are_ignored(run: Path) -> None:
    (run / SINKS_NAME).mkdir()
    content = {"format": 1, "address": MLFLOW.text, "checkpoint": 5, "mood": "good"}
    (run / SINKS_NAME / MLFLOW.name).write_bytes(pack(content))
    assert read_progress(run, MLFLOW) == SinkProgress(MLFLOW.text, 5)


# -- the lock -----------------------------------------------------------------------------------------------------


def test_one_process_sends_a_run_to_a_server_at_a_time(run: Path) -> None:
    lock = SinkLock.take(run, MLFLOW)
    assert lock is not None
    assert SinkLock.take(run, MLFLOW) is None
    other = SinkLock.take(run, UPSTREAM)
    assert other is not None, "servers share a lock"
    other.release()
    lock.release()
    lock.release()
    again = SinkLock.take(run, MLFLOW)
    assert again is not None
    again.release()


def test_the_lock_of_a_killed_process_is_released(run: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from sidecar.protocol.sink_address import parse_sink\n"
        "from sidecar.protocol.sink_progress import SinkLock\n"
        "lock = SinkLock.take(Path(sys.argv[1]), parse_sink(sys.argv[2])); print('held', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(run), MLFLOW.text]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert SinkLock.take(run, MLFLOW) is None
        process.kill()
    lock = wait_until(lambda: SinkLock.take(run, MLFLOW))
    assert lock is not None
    lock.release()


# -- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "url", "options"),
    [
        ("mlflow+http://host:5000", "mlflow", "http://host:5000", {}),
        (" mlflow+https://host/path/ ", "mlflow", "https://host/path", {}),
        ("mlflow+http://host?experiment=a%20b", "mlflow", "http://host", {"experiment": "a b"}),
        ("clickhouse+http://[::1]:8123/db", "clickhouse", "http://[::1]:8123/db", {}),
        ("sidecar+tcp://host:5757?key=/a/b.pub", "sidecar", "tcp://host:5757", {"key": "/a/b.pub"}),
        ("sidecar+ipc:///run/door", "sidecar", "ipc:///run/door", {}),
    ],
)
def test_an_address(text: str, kind: str, url: str, options: dict[str, str]) -> None:
    address = parse_sink(text)
    assert (address.kind, address.url, address.options, address.text) == (kind, url, options, text.strip())
    assert "/" not in address.name and address.name == parse_sink(text).name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (5000, ["5000", "int", "string"]),
        ("", ["mlflow+http://"]),
        ("http://host:5000", ["http://host:5000", "mlflow+http://"]),
        ("wandb+https://host", ["wandb", "mlflow+http://"]),
        ("mlflow+tcp://host:5000", ["mlflow+http://"]),
        ("mlflow+http://", ["must name a host", "mlflow+http://host:5000"]),
        ("mlflow+http://host:port", ["host:port"]),
        ("sidecar+tcp://host", ["must name a port", "sidecar+tcp://host:5757"]),
        ("mlflow+http://user:hunter2@host:5000", ["environment", "host"]),
    ],
)
def test_the_error_for_an_invalid_address_says_what_is_valid(text: object, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sink(text)
    for word in words:
        assert word in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_lists_of_addresses() -> None:
    assert parse_sinks(None) == parse_sinks("") == parse_sinks(" , ") == ()
    both = parse_sinks(f"{MLFLOW.text}, {UPSTREAM.text},{MLFLOW.text}")
    assert both == parse_sinks([MLFLOW.text, UPSTREAM.text]) == (MLFLOW, UPSTREAM)
