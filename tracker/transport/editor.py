"""Editor: has sidecars append edits to runs: the one that holds a run, else the one of the root, launched if need be.

Used on any thread, one call at a time. Knows nothing of what an edit changes.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.protocol.connection import Connection, machine_id, process_lives, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError, RecordError, RefusedError, SidecarError, UnreachableError
from sidecar.protocol.layout import RUNS_NAME, SERVING_NAME, SIDECARS_NAME, is_held
from sidecar.protocol.limits import new_id
from tracker.errors import EditError, LaunchError, RunNotFoundError, TrackerError
from tracker.transport.launcher import Launcher

_PATIENCE_SECONDS = 10.0
"""Maximum time without an answer, in seconds."""

_RETRY_INTERVAL = 0.02
"""Interval between two attempts while a run is being opened or closed, in seconds."""


@dataclass
class _Pending:
    """An edit without a final answer.

    Attributes:
        index: its place in the list of edits.
        run: the run's id.
        body: of the ``edit`` record.
        holder: the connection file of the sidecar that holds the run; None: it is not held, as far as is known.
        refused: why the last attempt failed.
    """

    index: int
    run: str
    body: dict[str, Any]
    holder: str | None
    refused: str = ""


class Editor:
    """Edits the runs of a root.

    Args:
        root: the directory that holds ``runs/``.
        durability: ``"os"`` or ``"disk"``, for a sidecar that is launched.
        client_key: this client's key file, for a sidecar that admits listed clients only; None: a pair is generated.
    """

    def __init__(self, root: Path, durability: str = "os", client_key: str | None = None) -> None:
        self._root = root
        self._client_key = client_key
        self._launcher = Launcher(root, durability)
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def edit(self, edits: Sequence[tuple[str, dict[str, Any]]], timeout: float = 30.0) -> list[TrackerError | None]:
        """Have edits appended; return for each None, when it is durable, or why it is not.

        An edit is applied once, also if it had to be sent again. Edits of one run are applied in their order.

        Args:
            edits: for each the run's id, and the body of the ``edit`` record.
            timeout: maximum time, in seconds.
        """
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._launcher.reset_in_child()
        results: list[TrackerError | None] = [None] * len(edits)
        rounds: list[list[_Pending]] = []
        seen: dict[str, int] = {}
        for index, (run, body) in enumerate(edits):
            pending = _Pending(index, run, {"id": new_id(12), **body}, is_held(self._root / RUNS_NAME / run) or None)
            seen[run] = seen.get(run, -1) + 1
            while len(rounds) <= seen[run]:
                rounds.append([])
            rounds[seen[run]].append(pending)
        with self._lock:
            deadline = Deadline(timeout)
            for edits_of_round in rounds:
                self._edit(edits_of_round, results, deadline)
        return results

    def close(self, timeout: float = 10.0) -> None:
        """End the sidecar that was launched for edits, if one was; the next edit launches another."""
        if self._pid == os.getpid():
            self._launcher.close(Deadline(timeout))

    def _edit(self, edits: list[_Pending], results: list[TrackerError | None], deadline: Deadline) -> None:
        """Have edits of different runs appended."""
        while edits:
            again: list[_Pending] = []
            holders = {edit.holder: None for edit in edits}
            for holder in holders:
                group = [edit for edit in edits if edit.holder == holder]
                try:
                    again += self._ask(holder, group, results, deadline)
                except (TrackerError, SidecarError) as error:
                    _fail(group, results, f"{error}")
            if again and deadline.over():
                for edit in again:
                    results[edit.index] = EditError(f"run {edit.run!r} could not be edited in time: {edit.refused}")
                return
            if again:
                time.sleep(_RETRY_INTERVAL)
            edits = again

    def _ask(
        self, holder: str | None, edits: list[_Pending], results: list[TrackerError | None], deadline: Deadline
    ) -> list[_Pending]:
        """Ask one sidecar for edits; return those that must be asked for again."""
        from sidecar.protocol.ask import ControlChannel
        from sidecar.protocol.checks import check
        from sidecar.protocol.codec import encode
        from sidecar.protocol.records import Record

        connection = self._find(holder, deadline)
        if connection is None:  # the sidecar that held the runs has just ended
            for edit in edits:
                edit.holder, edit.refused = None, "its sidecar has ended"
            return edits
        again = {edit.body["id"]: edit for edit in edits}
        requests = []
        for edit in edits:
            request = Record("change", edit.run, edit.body["id"], 0, time.time(), {"edit": edit.body})
            try:
                check(request._replace(kind="edit", body=edit.body))
                check(request)
                encode(request)
                requests.append(request)
            except RecordError as error:
                results[edit.index] = EditError(f"run {edit.run!r} cannot be edited: {error}")
                del again[edit.body["id"]]
        alive = functools.partial(process_lives, connection)
        with ControlChannel(connection.control, self._security(connection), alive) as channel:
            try:
                for request, answer in channel.ask_all(requests, _PATIENCE_SECONDS):
                    edit = again.pop(request.client)
                    if answer.kind == "refused" and _try_again(edit, answer.body):
                        again[request.client] = edit
                    elif answer.kind == "refused":
                        results[edit.index] = _error(edit, answer.body)
            except UnreachableError as error:
                if process_lives(connection):
                    _fail(again.values(), results, str(error))
                    return []
                for edit in again.values():
                    edit.holder, edit.refused = None, str(error)
            except RefusedError as error:
                _fail(again.values(), results, _advice(error, connection))
                return []
        return list(again.values())

    def _find(self, holder: str | None, deadline: Deadline) -> Connection | None:
        """Return the connection of the sidecar that holds runs, or of the one of the root, which may be launched.

        Raises:
            LaunchError: there is none, and none can be launched. EditError: it is on another machine.
        """
        file = Path(holder) if holder else self._root / SIDECARS_NAME / SERVING_NAME
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            connection = None
        if connection is not None and connection.machine_id != machine_id():
            if holder:
                raise EditError(f"it is held by a sidecar on {connection.host}; edit it there")
            connection = None
        if connection is not None and process_lives(connection):
            return connection
        if holder:
            return None
        try:
            return self._launcher.ensure(deadline)
        except ConnectionFileError as error:
            raise LaunchError(str(error)) from error

    def _security(self, connection: Connection) -> Any:
        if connection.public_key is None:
            return None
        from sidecar.protocol.channels import new_key_pair
        from sidecar.protocol.keys import Security, read_key_pair

        own = read_key_pair(self._client_key) if self._client_key else new_key_pair()
        return Security(connection.public_key, own)


def _try_again(edit: _Pending, refusal: dict[str, Any]) -> bool:
    """Whether a refusal passes by itself; notes where to ask then."""
    edit.refused = refusal["message"]
    if refusal["code"] == "elsewhere":
        edit.holder = refusal.get("where")
        return True
    return bool(refusal["code"] == "closing")


def _error(edit: _Pending, refusal: dict[str, Any]) -> TrackerError:
    if refusal["code"] == "missing":
        return RunNotFoundError(f"{refusal['message']} any more, so it cannot be edited")
    return EditError(refusal["message"])


def _advice(error: RefusedError, connection: Connection) -> str:
    if error.code != "kind":
        return str(error)
    return (
        f"the sidecar that holds it (process {connection.pid}, version {connection.version}) is older and cannot edit "
        "runs; try again when it has ended"
    )


def _fail(edits: Any, results: list[TrackerError | None], why: str) -> None:
    for edit in edits:
        results[edit.index] = EditError(f"run {edit.run!r} cannot be edited: {why}")
