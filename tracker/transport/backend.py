"""The backend: finds the sidecar of a run, or has one launched, and attaches to it. One per process and root.

Knows nothing of metrics or windows. Every wait here has a deadline.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.protocol.connection import Connection, is_reachable, machine_id, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError, RefusedError, SidecarError, UnreachableError
from tracker.errors import LaunchError, ResumeError
from tracker.transport.launcher import Launcher

if TYPE_CHECKING:
    from sidecar.protocol.keys import KeyPair, Security

_REATTACH_TIMEOUT = 2.0
"""Maximum time of one attempt to attach again, in seconds; the pump repeats it."""

_REFUSED_INTERVAL = 0.02
"""Interval between two attempts while another sidecar closes or recovers the run, in seconds."""

_FILE_INTERVAL = 0.05
"""Interval between two reads of a connection file whose sidecar has not started yet, in seconds."""


class Attached(NamedTuple):
    """A sidecar's answer to an attach.

    Attributes:
        records, results: the endpoints to push records to and to pull results from.
        last: the highest number that is durable for this client.
        state: the run's state.
        resumed: whether the run existed before.
        directory: the run's directory, if it is on this machine; else None.
        security: the keys to connect with; None: connections are not encrypted.
        far: whether there may be a network in between.
        rows: whether the sidecar takes rows.
    """

    records: str
    results: str
    last: int
    state: dict[str, Any]
    resumed: bool
    directory: Path | None
    security: Security | None = None
    far: bool = False
    rows: bool = True


class Backend:
    """Finds sidecars for this process, and attaches to them.

    Args:
        root: the directory that holds ``runs/``.
        sidecar: the address of a sidecar to attach to (an endpoint, or a connection file); None: launch one.
        durability: ``"os"`` or ``"disk"``, for a sidecar that is launched.
        sidecar_key: the public key of the sidecar at `sidecar`, or a file with it; None: the connection file's, if any.
        client_key: this client's key file; None: a pair is generated.

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
        self._sidecar_key = sidecar_key
        self._client_key = client_key
        self._own_pair: KeyPair | None = None
        self._launcher = Launcher(root, durability)

    def begin_launch(self) -> None:
        """Start a sidecar's process if one is needed, without waiting for it.

        Raises:
            LaunchError: the process cannot be started.
        """
        if self.address is None:
            self._launcher.begin()

    def release(self) -> None:
        """Let the sidecar that this process launched exit when it is idle; a later attach launches another."""
        self._launcher.release()

    def reap(self) -> bool:
        """Collect the processes of released sidecars that have exited; return whether none is left."""
        return self._launcher.reap()

    def reset_in_child(self) -> None:
        """In a forked child: forget the sidecar's process, which is not a child of its own."""
        self._launcher.reset_in_child()

    def attach(
        self, run: str, client: str, body: dict[str, Any], deadline: Deadline, pair: KeyPair | None = None
    ) -> tuple[Attached, Connection | None]:
        """Attach a client to a run, at the sidecar that holds it; launch one if there is none.

        A first attach is tried until the deadline: if a sidecar dies before it answers, the next one is asked. With
        ``again`` in `body` one sidecar is asked once.

        Args:
            run, client: the ids.
            body: the body of the ``attach`` record, without what this process adds.
            deadline: when to give up.
            pair: the keys that the client is known by, if another process attached it before.

        Returns:
            the answer, and the sidecar's connection, None if only its endpoint is known.

        Raises:
            ResumeError: the run exists, or does not, against what was asked. LaunchError: no sidecar in time.
            UnreachableError: with ``again`` only: no answer in time.
        """
        from sidecar.protocol import PROTOCOL_VERSION
        from sidecar.protocol.ask import ask
        from sidecar.protocol.records import Record

        again = bool(body.get("again"))
        request = {"protocol": PROTOCOL_VERSION, "pid": os.getpid(), "place": machine_id(), **body}
        elsewhere: str | None = None
        while True:
            connection, control, file = self._find(elsewhere, deadline)
            answers = None if connection is None else functools.partial(_may_answer, connection, file)
            security = self._security(connection, pair)
            elsewhere = None
            try:
                answer = ask(
                    control,
                    Record("attach", run, client, 0, time.time(), request),
                    Deadline(deadline.left(_REATTACH_TIMEOUT if again else None)),
                    security,
                    alive=answers,
                )
            except RefusedError as error:
                elsewhere = _next_after_refusal(error, deadline)
                time.sleep(_REFUSED_INTERVAL)
            except UnreachableError as error:
                gone = answers is not None and not answers()
                if deadline.over() or not (again or gone):
                    raise LaunchError(str(error)) from error
                if again:
                    raise
                if self.address is None:
                    self._launcher.leave_unreachable()
                time.sleep(_FILE_INTERVAL)
            else:
                return _attached(answer.body, control, security), connection

    def generated_pair(self) -> KeyPair | None:
        """Return the generated keys that clients of this process are known by; None if they have none, or a key file.

        A sidecar lets a client attach again only with the same keys, so they are stored with its window.
        """
        if self.address is None or self._client_key:
            return None
        if self._own_pair is None:
            from sidecar.protocol.channels import new_key_pair

            self._own_pair = new_key_pair()
        return self._own_pair

    def _security(self, connection: Connection | None, pair: KeyPair | None = None) -> Security | None:
        """Return the keys for a sidecar; None if it does not encrypt, as far as is known here.

        Raises:
            LaunchError: a key or a key file is not valid.
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

    def _find(self, elsewhere: str | None, deadline: Deadline) -> tuple[Connection | None, str, str | None]:
        """Return the connection, control endpoint and connection file of the sidecar to ask; launch one if needed.

        Args:
            elsewhere: the connection file of the sidecar that holds the run, as far as another one knows.

        Raises:
            LaunchError: no sidecar can be found or launched.
        """
        if elsewhere is not None:
            try:
                connection = read_connection(elsewhere)
                if is_reachable(connection):
                    return connection, connection.control, elsewhere
            except ConnectionFileError:
                pass  # it has just ended: the run is free again
        if self.address is None:
            connection = self._launcher.ensure(deadline)
            return connection, connection.control, self._launcher.file
        if "://" in self.address:
            return None, self.address, None
        connection = self._wait_for_file(self.address, deadline)
        return connection, connection.control, self.address

    @staticmethod
    def _wait_for_file(path: str, deadline: Deadline) -> Connection:
        """Return the connection in the file at `path`, which appears once the sidecar serves."""
        while True:
            exists = os.path.exists(path)  # before it is read: it may appear in between
            try:
                return read_connection(path)
            except ConnectionFileError as error:
                if deadline.over() or exists:
                    raise LaunchError(f"sidecar={path!r}: {error}") from error
                time.sleep(deadline.left(_FILE_INTERVAL) or 0.0)


def _may_answer(connection: Connection, file: str | None) -> bool:
    """Whether a sidecar may still answer: one that exits removes its connection file first, its sockets last."""
    return is_reachable(connection) and (file is None or os.path.exists(file))


def _next_after_refusal(error: RefusedError, deadline: Deadline) -> str | None:
    """Return the connection file to try next after a refusal; None: the usual one.

    Raises:
        ResumeError, LaunchError: another attempt is of no use.
    """
    if error.code in ("elsewhere", "closing") and not deadline.over():
        return error.where  # None: the run of a dead sidecar is being recovered, which takes a moment
    if error.code in ("exists", "missing", "elsewhere"):
        raise ResumeError(str(error)) from error
    prefix = "" if error.code == "key" else "the sidecar refused the run: "
    raise LaunchError(f"{prefix}{error}") from error


def _attached(body: dict[str, Any], control: str, security: Security | None) -> Attached:
    """Return what the body of an ``attached`` record says, as seen from this machine."""
    from sidecar.protocol.endpoints import is_loopback, reached

    return Attached(
        records=reached(body["records"], control),
        results=reached(body["results"], control),
        last=body["last"],
        state=body["state"],
        resumed=body["resumed"],
        directory=Path(os.fsdecode(body["directory"])) if body.get("place") == machine_id() else None,
        security=security,
        far=not is_loopback(control),
        rows=bool(body.get("rows")),
    )
