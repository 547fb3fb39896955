"""``sidecar serve`` in its own process, its keys and commands, and a raw client that may encrypt."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.ask import ask
from sidecar.protocol.codec import decode
from sidecar.protocol.connection import Connection, machine_id, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.endpoints import reached
from sidecar.protocol.keys import KeyPair, Security, write_key_pair
from sidecar.protocol.records import Record
from tests.support import REPOSITORY, TIMEOUT, CompletedScript, RawClient, wait_until

LOOPBACK = "tcp://127.0.0.1:*"


def free_ports(count: int) -> range:
    """Return consecutive ports that are free now, below the range of ephemeral ports.

    Each process of ``pytest -n`` has a range of its own: they take ports at the same time, and bind them later.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    width = 5000 // workers
    start = 10_000 + worker * width
    starts = width - count + 1  # how many ranges of `count` ports fit in
    begin = os.getpid() * 7 % starts
    for offset in range(0, starts, count):
        first = start + (begin + offset) % starts
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(closing(socket.socket())).bind(("127.0.0.1", port))
            except OSError:
                continue
            return range(first, first + count)
    raise AssertionError(f"no {count} consecutive free ports between {start} and {start + width}")


def environment(**changes: str) -> dict[str, str]:
    """Return an environment that runs this source tree, without the user's own settings."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    return variables | {"PYTHONPATH": str(REPOSITORY)} | changes


def command(*arguments: object, program: str = "sidecar", stdin: str = "", **changes: str) -> CompletedScript:
    """Run ``sidecar`` (or ``tracker``) with these arguments and `stdin` as its standard input."""
    module = {"sidecar": "sidecar", "tracker": "tracker.cli.main"}[program]
    start = [sys.executable, "-c", f"import sys; from {module}{'.cli' if program == 'sidecar' else ''} import main; "
             "sys.exit(main())"]  # fmt: skip
    done = subprocess.run(
        [*start, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(**changes),
        timeout=TIMEOUT,
        check=False,
    )
    return CompletedScript(done.returncode, done.stdout, done.stderr)


class Keys:
    """A key pair and its files."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pair: KeyPair = channels.new_key_pair()
        self.secret, self.public = write_key_pair(directory / name, self.pair)

    def at(self, server: Keys) -> Security:
        """Return what a client with this key pair needs to connect to `server`."""
        return Security(server.pair.public, self.pair)


class Serving:
    """``sidecar serve`` for one root directory.

    Args:
        root: its root directory.
        arguments: more arguments of its command line.
        listen: the endpoint of its control socket.
        before: called in its process before the program starts.
    """

    def __init__(
        self, root: Path, *arguments: object, listen: str = LOOPBACK, before: Callable[[], None] | None = None
    ) -> None:
        self.root = root
        self._output = root.with_name(f"{root.name}-{os.urandom(3).hex()}.log")
        read, write = os.pipe()
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sidecar", "serve", "--dir", str(root), "--listen", listen]
                + ["--ready-fd", str(write), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                pass_fds=(write,),
                preexec_fn=before,
            )
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            started = ready.readline() == b"ready\n"
        if not started:
            self.process.wait(TIMEOUT)
        assert started, self.log_text()
        self.file = root / "sidecars" / "serve.json"
        self.connection: Connection = read_connection(self.file)

    @property
    def control(self) -> str:
        """Endpoint of the control socket."""
        return self.connection.control

    def log_text(self) -> str:
        """Return the content of its log."""
        return self._output.read_text(errors="replace")

    def ask(
        self,
        kind: str,
        body: dict[str, Any] | None = None,
        run: str = "",
        client: str = "",
        security: Security | None = None,
        seconds: float = TIMEOUT,
    ) -> Record:
        """Send a request to its control socket, and return the answer."""
        request = Record(kind, run, client, 0, time.time(), body or {})
        return ask(self.control, request, Deadline(seconds), security)

    def attach(self, run: str, client: str, security: Security | None = None, **body: Any) -> Record:
        """Attach a client of this process."""
        request = {"protocol": PROTOCOL_VERSION, "pid": os.getpid(), "place": machine_id(), **body}
        return self.ask("attach", request, run, client, security)

    def status(self, security: Security | None = None) -> dict[str, Any]:
        return self.ask("status", security=security).body

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(TIMEOUT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


class KeyedClient(RawClient):
    """A raw client of a sidecar that serves a root; it may encrypt.

    Args:
        serving: the sidecar to attach to.
        run: the run's id.
        name: its client id.
        security: its keys; None: no encryption.
        body: more fields of the attach request.
    """

    def __init__(self, serving: Serving, run: str, name: str, security: Security | None = None, **body: Any) -> None:
        self.run = run
        self.name = name
        self.seq = 0
        self.results: list[Record] = []
        self.attached = serving.attach(run, name, security, **body).body
        self._records = channels.push(security)
        self._records.connect(reached(self.attached["records"], serving.control))
        self._results = channels.pull(security=security)
        self._results.connect(reached(self.attached["results"], serving.control))

    def ask(self, what: str, number: int = 1) -> dict[str, Any]:
        """Send a request until it is answered: an answer sent before the socket is connected is lost."""

        def answered() -> dict[str, Any] | None:
            self.send_unnumbered("request", {"id": number, "ask": what})
            deadline = Deadline(1.0)
            while not deadline.over():
                for result in self.received(0.05):
                    if result.kind == "answer" and result.body["id"] == number:
                        self.results.remove(result)
                        return result.body
            return None

        return wait_until(answered, f"an answer to {what!r}") or {}

    def received(self, seconds: float) -> list[Record]:
        """Return all results received so far, once none has arrived for `seconds`."""
        while self._results.wait(seconds):
            while (message := self._results.receive()) is not None:
                self.results.append(decode(message))
        return list(self.results)
