"""The backend and the launcher without a sidecar: which sidecar they ask, and how they handle its answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol import channels
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.connection import Connection, machine_id, write_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError, UnreachableError
from sidecar.protocol.records import Record
from tests.support import wait_until
from tracker.errors import LaunchError, ResumeError
from tracker.transport import backend as backend_module
from tracker.transport import launcher as launcher_module
from tracker.transport.backend import Backend
from tracker.transport.interpreter import sidecar_environment
from tracker.transport.launcher import LAUNCHED_VARIABLE, Launcher

ATTACHED = {
    "protocol": 1,
    "records": "tcp://*:5758",
    "results": "tcp://*:5759",
    "last": 3,
    "state": {"step": 1},
    "resumed": True,
}


@contextmanager
def control_socket(*answers: tuple[str, dict[str, Any]]) -> Iterator[tuple[str, list[Record]]]:
    """Run a control socket that sends one of these answers per request; yield its endpoint and the requests."""
    socket = channels.router()
    endpoint = socket.bind("tcp://127.0.0.1:*")
    requests: list[Record] = []
    ended = threading.Event()

    def serve() -> None:
        for kind, body in answers:
            while (parts := socket.receive_parts()) is None:
                if ended.is_set():
                    return
                socket.wait(0.02)
            requests.append(decode(parts[-1]))
            socket.send_parts([*parts[:-1], encode(Record(kind, "run", "client", 0, time.time(), body))])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield endpoint, requests
    finally:
        ended.set()
        thread.join()
        socket.close(1.0)


def ended_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def connection(control: str, pid: int) -> Connection:
    return Connection(control, pid, machine_id(), "host", "0.1.0", 1.0)


class TestAttach:
    def test_the_answer_as_seen_from_here(self, tmp_path: Path) -> None:
        body = ATTACHED | {"directory": "/runs/run", "place": machine_id()}
        with control_socket(("attached", body)) as (endpoint, requests):
            attached, known = Backend(tmp_path, endpoint).attach(
                "run", "client", {"resume": "must", "again": False}, Deadline(20.0)
            )
        assert known is None
        assert (attached.records, attached.results) == ("tcp://127.0.0.1:5758", "tcp://127.0.0.1:5759")
        assert (attached.last, attached.state, attached.resumed) == (3, {"step": 1}, True)
        assert attached.directory == Path("/runs/run") and not attached.far and attached.security is None
        (request,) = requests
        assert (request.kind, request.run, request.client) == ("attach", "run", "client")
        assert request.body["pid"] == os.getpid() and request.body["resume"] == "must"

    def test_a_directory_on_another_machine_is_not_used(self, tmp_path: Path) -> None:
        body = ATTACHED | {"directory": "/runs/run", "place": "another machine"}
        with control_socket(("attached", body)) as (endpoint, _):
            attached, _ = Backend(tmp_path, endpoint).attach("run", "client", {}, Deadline(20.0))
        assert attached.directory is None

    def test_a_run_that_is_just_being_released_is_asked_for_again(self, tmp_path: Path) -> None:
        closing = ("refused", {"code": "closing", "message": "this sidecar is about to exit"})
        with control_socket(closing, closing, ("attached", ATTACHED)) as (endpoint, requests):
            Backend(tmp_path, endpoint).attach("run", "client", {}, Deadline(20.0))
        assert len(requests) == 3

    def test_the_sidecar_that_holds_the_run_is_asked_next(self, tmp_path: Path) -> None:
        file = tmp_path / "other.json"
        with control_socket(("attached", ATTACHED)) as (second, _):
            write_connection(file, connection(second, os.getpid()))
            elsewhere = ("refused", {"code": "elsewhere", "message": "held", "where": str(file)})
            with control_socket(elsewhere) as (first, _):
                _, known = Backend(tmp_path, first).attach("run", "client", {}, Deadline(20.0))
        assert known is not None and known.control == second

    @pytest.mark.parametrize(
        ("code", "error"), [("exists", ResumeError), ("missing", ResumeError), ("storage", LaunchError)]
    )
    def test_a_refusal_is_an_error(self, tmp_path: Path, code: str, error: type[Exception]) -> None:
        refused = ("refused", {"code": code, "message": "the reason"})
        with control_socket(refused) as (endpoint, _), pytest.raises(error, match="the reason"):
            Backend(tmp_path, endpoint).attach("run", "client", {}, Deadline(20.0))

    def test_a_sidecar_that_dies_before_it_answers_is_left_for_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with control_socket(("attached", ATTACHED)) as (living, _):
            launched = [connection("tcp://127.0.0.1:1", ended_process()), connection(living, os.getpid())]
            monkeypatch.setattr(Launcher, "ensure", lambda self, deadline: launched.pop(0))
            _, known = Backend(tmp_path).attach("run", "client", {"again": False}, Deadline(20.0))
        assert known is not None and known.control == living

    def test_a_reattach_asks_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dead = connection("tcp://127.0.0.1:1", ended_process())
        monkeypatch.setattr(Launcher, "ensure", lambda self, deadline: dead)
        with pytest.raises(UnreachableError, match="its process has ended"):
            Backend(tmp_path).attach("run", "client", {"again": True}, Deadline(20.0))

    def test_without_an_answer_a_first_attach_fails_at_the_deadline(self, tmp_path: Path) -> None:
        with pytest.raises(LaunchError, match=r"no sidecar answers at tcp://127\.0\.0\.1:1"):
            Backend(tmp_path, "tcp://127.0.0.1:1").attach("run", "client", {}, Deadline(0.2))


class TestAddress:
    def test_a_connection_file_may_appear_later(self, tmp_path: Path) -> None:
        file = tmp_path / "serve.json"
        written = connection("ipc:///tmp/door", os.getpid())
        timer = threading.Timer(0.1, write_connection, (file, written))
        timer.start()
        assert Backend(tmp_path, str(file))._find(None, Deadline(20.0))[:2] == (written, "ipc:///tmp/door")
        timer.join()

    def test_a_connection_file_that_does_not_appear(self, tmp_path: Path) -> None:
        with pytest.raises(LaunchError, match="No such file"):
            Backend(tmp_path, str(tmp_path / "serve.json"))._find(None, Deadline(0.1))

    def test_a_file_that_is_not_a_connection_file_fails_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "serve.json"
        file.write_text("{}")
        with pytest.raises(LaunchError, match="protocol must be"):
            Backend(tmp_path, str(file))._find(None, Deadline(None))

    def test_a_stale_hint_to_another_sidecar_is_ignored(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone.json"
        backend = Backend(tmp_path, "tcp://127.0.0.1:5757")
        assert backend._find(str(gone), Deadline(1.0)) == (None, "tcp://127.0.0.1:5757", None)
        write_connection(gone, connection("ipc:///tmp/door", ended_process()))
        assert backend._find(str(gone), Deadline(1.0)) == (None, "tcp://127.0.0.1:5757", None)


class TestRefusals:
    @pytest.mark.parametrize("code", ["elsewhere", "closing"])
    def test_a_run_that_is_held_for_now_is_tried_again(self, code: str) -> None:
        error = RefusedError(code, "held", "other.json")
        assert backend_module._next_after_refusal(error, Deadline(1.0)) == "other.json"

    @pytest.mark.parametrize(("code", "kind"), [("elsewhere", ResumeError), ("closing", LaunchError)])
    def test_after_the_deadline_it_is_not(self, code: str, kind: type[Exception]) -> None:
        with pytest.raises(kind, match="held"):
            backend_module._next_after_refusal(RefusedError(code, "held"), Deadline(0.0))

    def test_a_refused_key_explains_itself(self) -> None:
        with pytest.raises(LaunchError, match=r"^the sidecar at X encrypts$"):
            backend_module._next_after_refusal(RefusedError("key", "the sidecar at X encrypts"), Deadline(1.0))


class TestLauncher:
    def started(self, code: str, tmp_path: Path) -> launcher_module._Starting:
        """A process that runs `code` in place of a sidecar; ``ready`` is the descriptor to write to."""
        ready, in_child = os.pipe()
        words = [sys.executable, "-c", f"import os, sys, time; ready = {in_child}\n{code}"]
        process = launcher_module._Launched(words, pass_fds=(in_child,))
        os.close(in_child)
        (tmp_path / "sidecar.log").write_text("first\nthe reason\n\n")
        return launcher_module._Starting(process, ready, tmp_path / "sidecar.json")

    def test_one_that_is_ready(self, tmp_path: Path) -> None:
        starting = self.started("os.write(ready, b'ready')", tmp_path)
        launcher_module._wait_until_ready(starting, Deadline(20.0))
        assert starting.process.wait() == 0

    def test_one_that_exits_is_reported_with_its_reason(self, tmp_path: Path) -> None:
        starting = self.started("sys.exit(1)", tmp_path)
        with pytest.raises(LaunchError, match=r"did not start: it exited: the reason \(its log: .*sidecar.log\)"):
            launcher_module._wait_until_ready(starting, Deadline(20.0))

    def test_one_that_does_not_answer_is_killed(self, tmp_path: Path) -> None:
        starting = self.started("time.sleep(60)", tmp_path)
        with pytest.raises(LaunchError, match="it did not answer in time"):
            launcher_module._wait_until_ready(starting, Deadline(0.0))
        assert starting.process.returncode == -9

    def test_no_warning_for_one_that_outlives_its_launcher(self, tmp_path: Path) -> None:
        starting = self.started("sys.stdin.read()", tmp_path)
        pid = starting.process.pid
        os.close(starting.ready)
        del starting  # pytest turns a ResourceWarning into an error
        os.kill(pid, 9)
        wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)

    def test_the_sidecar_of_a_parent_is_used_while_it_lives(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = tmp_path / "root"
        file = root / "sidecars" / "parent.json"
        file.parent.mkdir(parents=True)
        written = connection(f"ipc://{tmp_path}/door", os.getpid())
        (tmp_path / "door").touch()
        write_connection(file, written)
        monkeypatch.setenv(LAUNCHED_VARIABLE, str(file))
        assert Launcher(root, "os").ensure(Deadline(1.0)) == written
        assert Launcher(tmp_path / "another", "os")._inherited() is None
        write_connection(file, written._replace(machine_id="another"))
        assert Launcher(root, "os")._inherited() is None
        write_connection(file, written)
        (tmp_path / "door").unlink()  # its sockets were removed
        assert Launcher(root, "os")._inherited() is None
        write_connection(file, written._replace(pid=ended_process()))
        assert Launcher(root, "os")._inherited() is None

    def test_a_root_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "root").write_text("a file")
        with pytest.raises(LaunchError, match="the sidecar cannot be started"):
            Launcher(tmp_path / "root", "os").begin()

    def test_paths_in_its_environment_are_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "client.key").write_text("")
        monkeypatch.setenv("TRACKER_CLIENT_KEY", "client.key")
        monkeypatch.setenv("TRACKER_SIDECAR_KEY", "not-a-file")
        environment = sidecar_environment()
        assert environment["TRACKER_CLIENT_KEY"] == str(tmp_path / "client.key")
        assert environment["TRACKER_SIDECAR_KEY"] == "not-a-file"
