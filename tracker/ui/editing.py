"""The answer to ``POST edits``: changes that users make to runs, each an appended record that can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.protocol.errors import SidecarError, reason
from tracker.errors import TrackerError
from tracker.reading.editing import checked_changes, edit_runs
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard, Row

MAX_EDITS = 10_000
"""Maximum number of edits in a request."""


def edits(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Make edits. An edit that fails has the reason in its result; the others are made."""
    given = call.map().get("edits")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise ApiError(400, "body", "edits must be a list of JSON objects such as {run: …, set: {name: …}}")
    if len(given) > MAX_EDITS:
        raise ApiError(400, "body", f"at most {MAX_EDITS:,} edits may be made at a time, not {len(given):,}")
    results: list[dict[str, Any]] = []
    wanted: list[tuple[int, Row, Mapping[str, Any]]] = []
    for index, one in enumerate(given):
        result = {"run": one.get("run"), "ok": False}
        results.append(result)
        try:
            wanted.append((index, dashboard.row(str(one.get("run"))), checked_changes(_changes(one))))
        except (ApiError, TypeError, ValueError) as error:
            result["error"] = str(error)
    try:
        errors = edit_runs([(row.run, changes) for _, row, changes in wanted])
    except (TrackerError, SidecarError, OSError) as error:
        raise ApiError(503, "unavailable", f"the runs cannot be edited: {reason(error)}") from error
    for (index, _, _), failure in zip(wanted, errors, strict=True):
        if failure is None:
            results[index]["ok"] = True
        else:
            results[index]["error"] = str(failure)
    dashboard.edited([row for _, row, _ in wanted])
    return {"results": results, "cursor": dashboard.cursor}


def _changes(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of an edit as `edit_runs` takes them."""
    if one.get("undo") is True:
        return {"undo": True}
    changes = one.get("set", {})
    if not isinstance(changes, dict):
        raise ValueError(f"set must be a JSON object, not {changes!r}")
    if "deleted" in changes:
        raise ValueError("set must not contain deleted; send delete: true or delete: false instead")
    if "delete" in one:
        changes = {**changes, "deleted": one["delete"]}
    return changes


ROUTES = (Route("POST", "edits", edits, writes=True, heavy=True),)
