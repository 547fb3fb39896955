"""The backend: finds the sidecar of a run, or launches one, and attaches at its door. One per process.

Knows nothing of metrics or windows. Everything here has a deadline.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.protocol.connection import Connection, machine_id, process_lives, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError, RefusedError, SidecarError, UnreachableError
from sidecar.protocol.limits import new_id
from sidecar.protocol.sink_kinds import file_variables
from tracker.errors import LaunchError, ResumeError

if TYPE_CHECKING:
    from sidecar.protocol.keys import KeyPair, Security

LAUNCHED_VARIABLE = "TRACKER_LAUNCHED"
"""Holds the connection file of the sidecar that this process's parent launched, so that its children find it."""

_DOOR_SECONDS = 2.0

_PATHS = frozenset({"TRACKER_SIDECAR_KEY", "TRACKER_CLIENT_KEY"})
"""Variables that name files, besides those that end in ``_FILE``."""


class Attached(NamedTuple):
    """What the door said.

    Attributes:
        records, results: the endpoints to push to and to pull from.
        last: the highest number that is durable for this client.
        state: the run's state as kept so far.
        resumed: whether the run was there before.
        directory: the run's directory, where it is on this machine; else None.
        security: the keys to connect with; None: nothing is encrypted.
        far: whether a network may be in between.
    """

    records: str
    results: str
    last: int
    state: dict[str, Any]
    resumed: bool
    directory: Path | None
    security: Security | None = None
    far: bool = False


class Backend:
    """Launches and finds sidecars for this process.

    Args:
        root: the directory that holds ``runs/``.
        sidecar: the address of a sidecar to attach to (an endpoint, or a connection file); None: launch one.
        durability: ``"os"`` or ``"disk"``, for a sidecar that is launched.
        sidecar_key: the public key of the sidecar at `sidecar`, or a file with it; None: the connection file's, if any.
        client_key: a key file of this client's own; None: a pair is made up.

    Attributes:
        address: the `sidecar` argument.
    """

    def __init__(
        self,
        root: Path,
        sidecar: str | None = None,
        durability: str = "os",
        sidecar_key: str | None = None,
        client_key: str | None = None,
    ) -> None:
        self.root = root
        self.address = sidecar
        self._durability = durability
        self._sidecar_key = sidecar_key
        self._client_key = client_key
        self._own_pair: KeyPair | None = None
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._file: Path | None = None
        self._known: Connection | None = None
        self._starting: tuple[subprocess.Popen[bytes], int, Path] | None = None

    # -- launching ----------------------------------------------------------------------------------------------

    def begin_launch(self) -> None:
        """Start a sidecar's process if one is needed, without waiting for it.

        Raises:
            LaunchError: the process cannot be started.
        """
        with self._lock:
            if self.address or self._starting or self._own() or self._inherited():
                return
            from sidecar.protocol.layout import SIDECARS_NAME

            directory = self.root / SIDECARS_NAME
            name = new_id()
            file, output = directory / f"{name}.json", directory / f"{name}.log"
            ready_read, ready_write = os.pipe()
            command = [sys.executable, "-m", "sidecar", "launch"]
            command += ["--dir", str(self.root), "--connection-file", str(file), "--parent", str(os.getpid())]
            command += ["--durability", self._durability, "--ready-fd", str(ready_write)]
            try:
                directory.mkdir(parents=True, exist_ok=True)
                with open(output, "wb") as log:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=directory,
                        env=sidecar_environment(),
                        pass_fds=(ready_write,),
                        start_new_session=True,
                    )
            except (OSError, ValueError, TypeError) as error:
                os.close(ready_read)
                raise LaunchError(f"the sidecar cannot be started in {self.root}: {error}") from error
            finally:
                os.close(ready_write)
            self._starting = (process, ready_read, file)

    def ensure_launched(self, deadline: Deadline) -> Connection:
        """Return the connection of this process's sidecar, launched now if there is none.

        Raises:
            LaunchError: it did not start; the message has the reason from its log.
        """
        with self._lock:
            known = self._own() or self._inherited()
            if known is not None and self._starting is None:
                return known
            self.begin_launch()
            assert self._starting is not None
            process, ready, file = self._starting
            self._starting = None
            try:
                poll = select.poll()  # select() takes no descriptor from 1024 on
                poll.register(ready, select.POLLIN)
                left = deadline.left()
                readable = poll.poll(None if left is None else left * 1000)
                said = os.read(ready, 16) if readable else None
            except BaseException:
                process.kill()
                process.wait()
                raise
            finally:
                os.close(ready)
            output = file.with_suffix(".log")
            if not said:
                reason = "it did not answer in time" if said is None else f"it ended: {_last_line(output)}"
                process.kill()
                process.wait()
                raise LaunchError(f"the sidecar did not start: {reason} (its log: {output})")
            self._process, self._file = process, file
            self._known = read_connection(file)
            os.environ[LAUNCHED_VARIABLE] = str(file)
            return self._known

    def _own(self) -> Connection | None:
        """The sidecar that this process launched, while it lives."""
        if self._process is not None and self._process.poll() is None:
            return self._known
        return None

    def _inherited(self) -> Connection | None:
        """The sidecar that a parent process launched for the same directory, while it lives."""
        file = os.environ.get(LAUNCHED_VARIABLE)
        if not file or Path(file).parent.parent != self.root:
            return None
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            return None
        here = connection.machine_id == machine_id()  # on another machine nobody can be reached by its file
        return connection if here and process_lives(connection) else None

    def forget_in_child(self) -> None:
        """In a forked child: the sidecar's process is not its own child; it is found by its connection file."""
        self._lock = threading.RLock()
        self._process = None
        self._starting = None

    # -- attaching ----------------------------------------------------------------------------------------------

    def attach(
        self, run: str, client: str, body: dict[str, Any], deadline: Deadline, pair: KeyPair | None = None
    ) -> tuple[Attached, Connection | None]:
        """Attach a client to a run, at whichever sidecar holds it; launch one where nobody does.

        Args:
            pair: the keys that the client is known by, where it is one that this process goes on for.

        Returns:
            what the door said, and the sidecar's connection, None where only an endpoint is known.

        Raises:
            ResumeError: the run is there, or is not, against what was asked. LaunchError: no sidecar in time.
        """
        from sidecar.protocol import PROTOCOL_VERSION
        from sidecar.protocol.ask import ask
        from sidecar.protocol.endpoints import is_loopback, reached
        from sidecar.protocol.records import Record

        request = {"protocol": PROTOCOL_VERSION, "pid": os.getpid(), "place": machine_id(), **body}
        elsewhere: str | None = None
        while True:
            connection, door = self._door(elsewhere, deadline)
            security = self._security(connection, pair)
            elsewhere = None
            try:
                answer = ask(
                    door,
                    Record("attach", run, client, 0, time.time(), request),
                    Deadline(deadline.left(_DOOR_SECONDS if body.get("again") else None)),
                    security,
                )
            except RefusedError as error:
                if error.code in ("elsewhere", "closing") and not deadline.over():
                    elsewhere = error.where  # None: somebody finishes what a dead sidecar left, for a moment
                    time.sleep(0.02)
                    continue
                if error.code in ("exists", "missing", "elsewhere"):
                    raise ResumeError(str(error)) from error
                refused = "" if error.code == "key" else "the sidecar refused the run: "
                raise LaunchError(f"{refused}{error}") from error
            except UnreachableError as error:
                if deadline.over() or not body.get("again"):
                    raise LaunchError(str(error)) from error
                raise
            found = answer.body
            directory = Path(found["directory"]) if found.get("place") == machine_id() else None
            return Attached(
                reached(found["records"], door),
                reached(found["results"], door),
                found["last"],
                found["state"],
                found["resumed"],
                directory,
                security,
                far=not is_loopback(door),
            ), connection

    def made_up_pair(self) -> KeyPair | None:
        """Return the keys that clients of this process are known by, where they are in no file; None where nobody asks.

        A sidecar lets only the same keys go on for a client, so they are kept beside its window.
        """
        if self.address is None or self._client_key:
            return None
        if self._own_pair is None:
            from sidecar.protocol.channels import new_key_pair

            self._own_pair = new_key_pair()
        return self._own_pair

    def _security(self, connection: Connection | None, pair: KeyPair | None = None) -> Security | None:
        """Return the keys for a sidecar; None where it does not encrypt, as far as is known here.

        Raises:
            LaunchError: a file of keys is none.
        """
        from sidecar.protocol.channels import new_key_pair
        from sidecar.protocol.keys import Security, read_key_pair, read_public_key

        try:
            key = read_public_key(self._sidecar_key) if self._sidecar_key and self.address else None
            key = key or (connection.public_key if connection is not None else None)
            if key is None:
                return None
            if self._own_pair is None:
                self._own_pair = read_key_pair(self._client_key) if self._client_key else new_key_pair()
        except SidecarError as error:
            raise LaunchError(str(error)) from error
        return Security(key, pair or self._own_pair)

    def _door(self, elsewhere: str | None, deadline: Deadline) -> tuple[Connection | None, str]:
        if elsewhere is not None:
            try:
                connection = read_connection(elsewhere)
                if process_lives(connection):
                    return connection, connection.control
            except ConnectionFileError:
                pass  # it has just gone: the run is free again
        if self.address is not None:
            if "://" in self.address:
                return None, self.address
            while True:
                try:
                    connection = read_connection(self.address)
                except ConnectionFileError as error:
                    if deadline.over() or os.path.exists(self.address):
                        raise LaunchError(f"sidecar={self.address!r}: {error}") from error
                    time.sleep(min(0.05, deadline.left(0.05) or 0.0))  # it is there once the sidecar serves
                else:
                    return connection, connection.control
        connection = self.ensure_launched(deadline)
        return connection, connection.control


def recover(root: Path, run_ids: list[str] | None = None, timeout: float = 60.0) -> None:
    """Finish runs that a dead sidecar has left, in a process of its own; cheap where there are none.

    Raises:
        LaunchError: that process failed; the message has its reason.
    """
    from sidecar.protocol.layout import RUNS_NAME, needs_recovery

    runs = root / RUNS_NAME
    if run_ids is None:
        try:
            run_ids = [entry.name for entry in os.scandir(runs) if entry.is_dir()]
        except OSError:
            return
    left = [run_id for run_id in run_ids if needs_recovery(runs / run_id)]
    if not left:
        return
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "recover", "--dir", str(root), *left],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=runs,
            env=sidecar_environment(),
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"{len(left)} runs could not be finished in {timeout:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise LaunchError(f"runs that were left could not be finished: {lines[-1]}")


def sidecar_environment() -> dict[str, str]:
    """The environment in which ``python -m sidecar`` finds the very package that this process uses."""
    import sidecar

    environment = dict(os.environ)
    paths = _PATHS | file_variables()
    for name, value in os.environ.items():  # the sidecar runs in another directory than the program
        if name in paths and value and os.path.exists(value):
            environment[name] = os.path.abspath(value)
    # glibc gives each thread a heap of its own (mallopt(3), M_ARENA_MAX); the sidecar's threads take turns anyway.
    environment.setdefault("MALLOC_ARENA_MAX", "1")
    package = str(Path(sidecar.__file__).resolve().parent.parent)
    if package not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = package + (os.pathsep + rest if rest else "")
    return environment


def _last_line(path: Path) -> str:
    """The last line of a sidecar's log that is worth showing."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        return f"and its log cannot be read: {error}"
    return lines[-1] if lines else "without a word"
