"""Requests ``change``, which ask a sidecar for edits of runs, and their answers. Used by editors, on their thread.

A sidecar applies an edit once, also if it is asked for it again: the edit's id is in the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import new_id
from sidecar.protocol.paths import path_of
from tracker.errors import EditError, RunNotFoundError, TrackerError

if TYPE_CHECKING:
    from sidecar.protocol.ask import ControlChannel

PATIENCE_SECONDS = 10.0
"""Maximum time without an answer, in seconds."""

RETRY_INTERVAL = 0.02
"""Interval between two attempts while a run is being opened or closed, in seconds."""

Results = list[TrackerError | None]
"""For each edit None, when it is durable, or why it is not."""


@dataclass
class Pending:
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
    holder: str | None = None
    refused: str = ""


def in_rounds(edits: Sequence[tuple[str, dict[str, Any]]]) -> list[list[Pending]]:
    """Return rounds of edits of different runs; those of one run are in consecutive rounds, in their order."""
    rounds: list[list[Pending]] = []
    seen: dict[str, int] = {}
    for index, (run, body) in enumerate(edits):
        number = seen[run] = seen.get(run, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(Pending(index, run, {"id": new_id(12), **body}))
    return rounds


def by_id(edits: Iterable[Pending]) -> dict[str, Pending]:
    """Return edit id -> edit."""
    return {edit.body["id"]: edit for edit in edits}


def ask_changes(channel: ControlChannel, waiting: dict[str, Pending], results: Results) -> None:
    """Ask a sidecar for edits of different runs.

    Args:
        channel: to the sidecar.
        waiting: the edits by id; those with a final answer are removed, also if an error is raised.
        results: where the answers go.

    Raises:
        UnreachableError, RefusedError: as `ControlChannel.ask_all`.
    """
    requests = [request for request in (_request(edit, results) for edit in waiting.values()) if request is not None]
    sent = {request.client for request in requests}
    for id in waiting.keys() - sent:
        del waiting[id]
    for request, answer in channel.ask_all(requests, PATIENCE_SECONDS):
        edit = waiting[request.client]
        if answer.kind == "refused" and _try_again(edit, answer.body):
            continue
        del waiting[request.client]
        if answer.kind == "refused":
            results[edit.index] = _error(edit, answer.body)


def retried(edits: Iterable[Pending], results: Results, over: Callable[[], bool]) -> bool:
    """Wait a moment before edits are asked for again; return False if it is too late, which their results then say."""
    edits = list(edits)
    if edits and over():
        for edit in edits:
            results[edit.index] = EditError(f"run {edit.run!r} could not be edited in time: {edit.refused}")
        return False
    if edits:
        time.sleep(RETRY_INTERVAL)
    return bool(edits)


def fail(edits: Iterable[Pending], results: Results, why: str) -> None:
    """Note why edits could not be made."""
    for edit in edits:
        results[edit.index] = EditError(f"run {edit.run!r} cannot be edited: {why}")


def _request(edit: Pending, results: Results) -> Any:
    """Return the request for an edit; None if it is not valid, which its result then says."""
    from sidecar.protocol.checks import check
    from sidecar.protocol.codec import encode
    from sidecar.protocol.records import Record

    request = Record("change", edit.run, edit.body["id"], 0, time.time(), {"edit": edit.body})
    try:
        check(request._replace(kind="edit", body=edit.body))
        check(request)
        encode(request)
    except RecordError as error:
        fail([edit], results, str(error))
        return None
    return request


def _try_again(edit: Pending, refusal: dict[str, Any]) -> bool:
    """Whether a refusal passes by itself; notes where to ask then."""
    edit.refused = refusal["message"]
    if refusal["code"] == "elsewhere":
        edit.holder = path_of(refusal.get("where"))
        return True
    return bool(refusal["code"] == "closing")


def _error(edit: Pending, refusal: dict[str, Any]) -> TrackerError:
    if refusal["code"] == "missing":
        return RunNotFoundError(f"{refusal['message']} any more, so it cannot be edited")
    return EditError(refusal["message"])
