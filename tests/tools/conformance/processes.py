"""The processes of a scenario: a real sidecar at a fixed address, and the client's program.

Does not look at records. Used by the thread that plays the scenario.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from sidecar.protocol.ask import ask
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Body, Record
from tests.support import REPOSITORY
from tests.tools.conformance.contract import Order

_PORTS = 12
"""One for the control socket, one for records, the others for results."""

_START_SECONDS = 60.0
_taken_from = [20_000 + (os.getpid() * 997) % 10_000]
_taking = threading.Lock()


def free_ports() -> int:
    """Return the first of `_PORTS` consecutive free ports, below the range for ephemeral ports."""
    with _taking:
        for _ in range(1000):
            first = _taken_from[0]
            _taken_from[0] = 20_000 + (first + _PORTS - 20_000) % 10_000
            if all(_is_free(port) for port in range(first, first + _PORTS)):
                return first
    raise OSError(f"no {_PORTS} free ports in a row between 20000 and 30000")


def _is_free(port: int) -> bool:
    with socket.socket() as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class NotServingError(Exception):
    """A sidecar did not start, which is not the client's fault."""


class Sidecar:
    """A sidecar that can be killed and restarted at the same address.

    Args:
        root: its root directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._first = free_ports()
        self.door = f"tcp://127.0.0.1:{self._first}"
        self._process: subprocess.Popen[bytes] | None = None
        self.output = root.parent / "sidecar.log"

    def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            NotServingError: it did not start; with its output.
        """
        read, write = os.pipe()
        command = [sys.executable, "-m", "sidecar", "serve", "--dir", str(self.root), "--listen", self.door]
        command += ["--ports", f"{self._first + 1}-{self._first + _PORTS - 1}", "--ready-fd", str(write)]
        with open(self.output, "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**_clean_environment(), "PYTHONPATH": str(REPOSITORY)},
                pass_fds=(write,),
            )
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            if ready.readline() != b"ready\n":
                self.close()
                raise NotServingError(f"the sidecar does not start: {self.output.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask(self, kind: str, body: Body | None = None, run: str = "", client: str = "") -> Record:
        return ask(self.door, Record(kind, run, client, 0, time.time(), body or {}), Deadline(_START_SECONDS))

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def close(self) -> None:
        """Stop it with SIGTERM, so that it writes what it has received."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Program:
    """The client's program, running.

    Args:
        command: as in a shell, without the arguments of the contract.
        order: what it is told to do.
        door: the control socket's endpoint.
        directory: its working directory, and where its output goes.
    """

    def __init__(self, command: str, order: Order, door: str, directory: Path) -> None:
        self.order = order
        name = f"client-{order.label}" if order.label else "client"
        self._output = directory / f"{name}.out"
        self._errors = directory / f"{name}.err"
        self.began = time.monotonic()
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [*shlex.split(command), *order.arguments(door)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=directory,
                env=_clean_environment(),
                start_new_session=True,
            )

    def runs(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> int | None:
        """Wait until it ends; return its exit status, or None if it had to be killed after `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    def end(self) -> None:
        """Kill it and everything it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def errors(self) -> str:
        """Return what it wrote to standard error."""
        return self._errors.read_text(errors="replace").strip()


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
