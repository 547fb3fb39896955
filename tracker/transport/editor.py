"""Editor: has sidecars append edits to runs: the one that holds a run, else the one of the root, launched if need be.

Used on any thread, one call at a time. Knows nothing of what an edit changes.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidecar.protocol.connection import Connection, machine_id, process_lives, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError, RefusedError, SidecarError, UnreachableError
from sidecar.protocol.layout import RUNS_NAME, SERVING_NAME, SIDECARS_NAME, is_held
from tracker.errors import EditError, LaunchError, TrackerError
from tracker.transport.changes import Pending, Results, ask_changes, by_id, fail, in_rounds, retried
from tracker.transport.launcher import Launcher

IDLE_EXIT_SECONDS = 10.0
"""Time without an edit after which a sidecar that was launched for edits exits, in seconds."""


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
        self._launcher = Launcher(root, durability, IDLE_EXIT_SECONDS)
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def edit(self, edits: Sequence[tuple[str, dict[str, Any]]], timeout: float = 30.0) -> Results:
        """Have edits appended; return for each None, when it is durable, or why it is not.

        An edit is applied once, also if it had to be sent again. Edits of one run are applied in their order.

        Args:
            edits: for each the run's id, and the body of the ``edit`` record.
            timeout: maximum time, in seconds.
        """
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._launcher.reset_in_child()
        results: Results = [None] * len(edits)
        rounds = in_rounds(edits)
        for edit in itertools.chain(*rounds):
            edit.holder = is_held(self._root / RUNS_NAME / edit.run) or None
        with self._lock:
            deadline = Deadline(timeout)
            for edits_of_round in rounds:
                self._edit(edits_of_round, results, deadline)
        return results

    def close(self, timeout: float = 10.0) -> None:
        """End the sidecar that was launched for edits, if one was; the next edit launches another."""
        if self._pid == os.getpid():
            self._launcher.close(Deadline(timeout))

    def _edit(self, edits: list[Pending], results: Results, deadline: Deadline) -> None:
        """Have edits of different runs appended."""
        more = True
        while more:
            again: list[Pending] = []
            holders = {edit.holder: None for edit in edits}
            for holder in holders:
                group = [edit for edit in edits if edit.holder == holder]
                try:
                    again += self._ask(holder, group, results, deadline)
                except (TrackerError, SidecarError) as error:
                    fail(group, results, f"{error}")
            more = retried(again, results, deadline.over)
            edits = again

    def _ask(self, holder: str | None, edits: list[Pending], results: Results, deadline: Deadline) -> list[Pending]:
        """Ask one sidecar for edits; return those that must be asked for again."""
        from sidecar.protocol.ask import ControlChannel

        connection = self._find(holder, deadline)
        if connection is None:  # the sidecar that held the runs has just ended
            for edit in edits:
                edit.holder, edit.refused = None, "its sidecar has ended"
            return edits
        waiting = by_id(edits)
        alive = functools.partial(process_lives, connection)
        with ControlChannel(connection.control, self._security(connection), alive) as channel:
            try:
                ask_changes(channel, waiting, results)
            except UnreachableError as error:
                if process_lives(connection):
                    fail(waiting.values(), results, str(error))
                    return []
                for edit in waiting.values():
                    edit.holder, edit.refused = None, str(error)
            except RefusedError as error:
                fail(waiting.values(), results, _advice(error, connection))
                return []
        return list(waiting.values())

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


def _advice(error: RefusedError, connection: Connection) -> str:
    if error.code != "kind":
        return str(error)
    return (
        f"the sidecar that holds it (process {connection.pid}, version {connection.version}) is older and cannot edit "
        "runs; try again when it has ended"
    )
