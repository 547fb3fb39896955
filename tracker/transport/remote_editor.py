"""RemoteEditor: has a sidecar on any machine append edits to the runs that it keeps. Used on any thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError, SidecarError, UnreachableError
from tracker.errors import EditError
from tracker.transport.changes import Pending, Results, ask_changes, by_id, fail, in_rounds, retried

if TYPE_CHECKING:
    from sidecar.protocol.ask import ControlChannel

_TRIES = 2
"""Number of times that edits are asked for if the sidecar does not answer: it may have been restarted meanwhile."""


class RemoteEditor:
    """Edits the runs that a sidecar keeps, through its control socket.

    Args:
        connect: returns a channel to the control socket; raises `SidecarError`.
    """

    def __init__(self, connect: Callable[[], ControlChannel]) -> None:
        self._connect = connect

    def edit(self, edits: Sequence[tuple[str, dict[str, Any]]], timeout: float = 30.0) -> Results:
        """Have edits appended; see `Editor.edit`."""
        results: Results = [None] * len(edits)
        deadline = Deadline(timeout)
        for edits_of_round in in_rounds(edits):
            self._edit(by_id(edits_of_round), results, deadline)
        return results

    def _edit(self, waiting: dict[str, Pending], results: Results, deadline: Deadline) -> None:
        """Have edits of different runs appended."""
        for attempt in range(1, _TRIES + 1):
            try:
                with self._connect() as channel:
                    more = bool(waiting)
                    while more:
                        ask_changes(channel, waiting, results)
                        _fail_held(waiting, results)
                        more = retried(waiting.values(), results, deadline.over)
                return
            except UnreachableError as error:
                if attempt == _TRIES or deadline.over():
                    fail(waiting.values(), results, str(error))
                    return
            except SidecarError as error:
                fail(waiting.values(), results, _advice(error))
                return


def _fail_held(waiting: dict[str, Pending], results: Results) -> None:
    """Give up on runs that another sidecar holds: its sockets cannot be reached from other machines."""
    for id, edit in list(waiting.items()):
        if edit.holder is not None:
            results[edit.index] = EditError(f"{edit.refused}; edit it on the machine that it is logged on")
            del waiting[id]


def _advice(error: SidecarError) -> str:
    if isinstance(error, RefusedError) and error.code == "kind":
        return "its sidecar is older and cannot edit runs: use one of this version, or the directory of the run"
    return str(error)
