"""Ports, addresses, and the register of running dashboards."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tracker.errors import TrackerError
from tracker.reading import dashboards
from tracker.ui import serving


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "tracker"


def test_the_next_free_port_is_taken() -> None:
    with closing(serving.listen("127.0.0.1", None)) as first, closing(serving.listen("127.0.0.1", None)) as second:
        ports = [bound.getsockname()[1] for bound in (first, second)]
        assert serving.DEFAULT_PORT <= ports[0] < ports[1]
        with pytest.raises(TrackerError, match=f"port {ports[0]} is in use by .* \\(process {os.getpid()}\\)"):
            serving.listen("127.0.0.1", ports[0])
        assert first.proto == socket.IPPROTO_TCP


def test_a_host_that_is_not_here() -> None:
    with pytest.raises(TrackerError, match=r"cannot listen on 192\.0\.2\.1, port 7117"):
        serving.listen("192.0.2.1", 7117)
    with pytest.raises(TrackerError, match=r"cannot listen on no-such-host\.invalid"):
        serving.listen("no-such-host.invalid", 7117)


def test_when_a_browser_is_opened() -> None:
    assert serving.has_desktop({"DISPLAY": ":0"}) and serving.has_desktop({"WAYLAND_DISPLAY": "wayland-0"})
    assert not serving.has_desktop({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1 2 3 4"})
    assert not serving.has_desktop({})
    hint = serving.ssh_hint(7118, {"SSH_CONNECTION": "192.0.2.1 5 192.0.2.2 22", "USER": "me"})
    assert hint == "ssh -L 7118:127.0.0.1:7118 me@192.0.2.2" and serving.ssh_hint(7118, {}) == ""


def test_addresses() -> None:
    assert serving.address_of("127.0.0.1", 1) == serving.address_of("localhost", 1) == "http://127.0.0.1:1/"
    assert serving.address_of("::1", 1) == "http://[::1]:1/"
    assert serving.address_of("0.0.0.0", 1) == f"http://{socket.gethostname()}:1/"
    assert serving.with_token("http://h/", "a b") == "http://h/?token=a%20b"


def test_the_register(tmp_path: Path, state: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    assert dashboards.run_url(root, "run") is None
    path = dashboards.register("http://127.0.0.1:7117/", 7117, [str(other), str(root)])
    assert path is not None and [one.pid for one in dashboards.running()] == [os.getpid()]
    assert dashboards.run_url(root, "run") == "http://127.0.0.1:7117/#/run/1~run"
    assert dashboards.run_url(tmp_path / "link", "run") == "http://127.0.0.1:7117/#/run/1~run"
    assert dashboards.run_url(other, "run") == "http://127.0.0.1:7117/#/run/run"
    assert dashboards.run_url(tmp_path, "run") is None
    assert dashboards.showing([str(root)], usual=True) is not None
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {"usual": False}))
    assert dashboards.showing([str(root)], usual=True) is None and dashboards.showing([str(root)]) is not None
    for change in ({"started": "1"}, {"machine_id": "another"}, {"places": 5}, {"pid": "x"}, {"address": None}):
        path.write_text(json.dumps(entry | change))
        assert list(dashboards.running()) == [], change
        assert dashboards.run_url(root, "run") is None
    path.write_text("nonsense")
    assert list(dashboards.running()) == []


def test_a_state_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert dashboards.register("http://127.0.0.1:7117/", 7117, []) is None and list(dashboards.running()) == []
    with pytest.raises(TrackerError, match=r"token file .* cannot be used: Not a directory"):
        dashboards.read_token()


def test_the_token(state: Path) -> None:
    token = dashboards.read_token()
    assert len(token) >= 32 and dashboards.read_token() == token
    (state / "token").chmod(0o640)
    with pytest.raises(TrackerError, match="chmod 600"):
        dashboards.read_token()
