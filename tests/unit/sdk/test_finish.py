"""The end of a run: what is waited for, and what is reported, with a stand-in for the sidecar."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol.deadline import Deadline
from tests.unit.sdk.interfaces import Sidecar, StubInterface
from tracker.sdk import finish, last_run
from tracker.sdk.finish import EndedRun, drain
from tracker.settings import Settings
from tracker.transport.losses import Losses

SINK = "mlflow+http://host:5000"


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    made = Sidecar()
    yield made
    made.close()


@pytest.fixture
def interface(sidecar: Sidecar, tmp_path: Path) -> StubInterface:
    made = StubInterface(sidecar, "run", tmp_path / "runs" / "run", Losses(), window_bytes=1 << 26)
    made.publish("log", {"step": 0, "data": {"x": 1.0}})
    return made


def ended(root: Path, state: str = "finished", **settings: Any) -> EndedRun:
    complete = Settings(dir=root, finish_timeout=0.2, **settings)
    return EndedRun("run", "a\nname", state, root, "in .tracker/runs/run", time.time(), complete, Losses())


def drained(run: EndedRun, interface: Any, seconds: float = 0.2) -> dict[str, Any] | None:
    return drain(run, interface, Deadline(seconds))


def test_a_good_end(
    sidecar: Sidecar, interface: StubInterface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar.state = {"summary": {"x": 1.0}, "losses": {"window full": 3}}
    last_run.remember(tmp_path, "run")
    run = ended(tmp_path)
    assert drained(run, interface) == sidecar.state and interface.asked == ["state"]
    lost, how = capsys.readouterr().err.splitlines()
    assert lost == "tracker: run a name: lost: 3 (window full)"
    assert re.fullmatch(r"tracker: run a name \(run\) finished in .* s, kept in \.tracker/runs/run", how)
    assert run.losses.counts() == {"window full": 3} and last_run.read(tmp_path) == ""


def test_a_bad_end_stays_the_last_run(
    sidecar: Sidecar, interface: StubInterface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar.state = {"summary": {}}
    last_run.remember(tmp_path, "run")
    drained(ended(tmp_path, "failed", silent=True), interface)
    assert last_run.read(tmp_path) == "run" and capsys.readouterr().err == ""


def test_records_that_are_not_acked_are_reported(
    sidecar: Sidecar, interface: StubInterface, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar.answers = False
    with caplog.at_level(logging.WARNING, "tracker"):
        assert drained(ended(tmp_path, silent=True), interface) is None
    (message,) = caplog.messages
    assert message.startswith("run run: 1 records are not yet in the log after 0 s; they are kept in ")
    assert str(interface.window.directory) in message


def test_a_store_that_is_not_ready_is_reported(
    interface: StubInterface, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(what: str, deadline: Deadline, waiting: object = None) -> dict[str, Any]:
        interface.window.release(interface.window.seq)
        return {"state": None, "error": "no space left"}

    interface.ask = ask  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "tracker"):
        assert drained(ended(tmp_path, silent=True), interface) is None
    assert caplog.messages == ["run run: everything is in the log; the store is not ready: no space left"]


def progress(behind: int, error: str | None = None) -> dict[str, Any]:
    return {
        SINK: {"behind_bytes": behind, "error": error},
        "mlflow+http://other:5000": {"behind_bytes": 1000, "error": None},
    }


def test_the_servers_that_the_run_was_given_are_waited_for(
    sidecar: Sidecar,
    interface: StubInterface,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finish, "_POLL_SECONDS", 0.0)
    sidecar.state = {"summary": {}}
    sidecar.sinks = [progress(300), progress(200), progress(100), progress(0)]
    with caplog.at_level(logging.WARNING, "tracker"):
        drained(ended(tmp_path, silent=True, sinks=[SINK]), interface, 30.0)
    assert interface.asked == ["state", "progress", "progress", "progress"] and caplog.messages == []


def test_a_server_that_is_down_is_reported_at_the_deadline(
    sidecar: Sidecar, interface: StubInterface, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar.state = {"summary": {}}
    sidecar.sinks = [progress(300, "connection refused")]
    with caplog.at_level(logging.WARNING, "tracker"):
        drained(ended(tmp_path, silent=True, sinks=[SINK]), interface, 0.0)
    assert caplog.messages == [
        f"run run: 300 B pending for {SINK}, connection refused; the sidecar keeps trying in the background, "
        "see 'tracker ls'"
    ]


@pytest.mark.parametrize("settings", [{"mode": "offline", "sinks": [SINK]}, {"sinks": []}])
def test_no_server_is_waited_for(
    sidecar: Sidecar, interface: StubInterface, tmp_path: Path, settings: dict[str, Any]
) -> None:
    sidecar.state = {"summary": {}}
    sidecar.sinks = [progress(300)]
    drained(ended(tmp_path, silent=True, **settings), interface, 30.0)
    assert interface.asked == ["state"]
