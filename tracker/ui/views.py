"""Saved views: names for states of the page. They are in a file of the root directory, or of the user's state
directory if the root is read-only.

The file may come from an untrusted source: its content is checked like a request.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.protocol.atomic import replace_bytes
from sidecar.protocol.errors import reason
from sidecar.protocol.limits import new_id
from tracker.reading.dashboards import state_directory
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard

FILE_NAME = "views.json"
MAX_VIEWS = 500
MAX_NAME = 200
"""Maximum length of a view's name, in characters."""

MAX_STATE_BYTES = 256 * 1024
MAX_FILE_BYTES = 16 * 2**20

View = dict[str, Any]


def path_of(dashboard: Dashboard) -> Path:
    """Return the file of the views: in the first root directory, if it can be written."""
    place = dashboard.places[0]
    if len(dashboard.places) == 1 and place.writable:
        return Path(place.api.place) / FILE_NAME
    names = "\n".join(one.api.place for one in dashboard.places)
    return state_directory() / "views" / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.json"


def read(path: Path) -> list[View]:
    """Return the views in a file; what is not a valid view is left out.

    Raises:
        ApiError: the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ApiError(503, "unavailable", f"the saved views cannot be read: {reason(error)}") from error
    try:
        found = json.loads(content)["views"] if len(content) <= MAX_FILE_BYTES else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [view for one in found if (view := _checked(one)) is not None] if isinstance(found, list) else []


def _checked(one: Any) -> View | None:
    if not isinstance(one, dict):
        return None
    id, name, state, moment = (one.get(field) for field in ("id", "name", "state", "time"))
    if not (isinstance(id, str) and isinstance(name, str) and isinstance(state, dict)):
        return None
    if not (0 < len(id) <= MAX_NAME and 0 < len(name) <= MAX_NAME) or _size(state) > MAX_STATE_BYTES:
        return None
    return {"id": id, "name": name, "state": state, "time": moment if isinstance(moment, int | float) else None}


def _size(state: Any) -> int:
    try:
        return len(json.dumps(state))
    except (ValueError, TypeError, RecursionError):
        return MAX_STATE_BYTES + 1


@contextlib.contextmanager
def changing(path: Path) -> Iterator[list[View]]:
    """Yield the views of a file for changes, which are written unless the block raises. Locks out other processes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ApiError(503, "unavailable", f"the view cannot be saved: {reason(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        views = read(path)
        yield views
        replace_bytes(path, json.dumps({"views": views}, indent=1).encode())
    except OSError as error:
        raise ApiError(503, "unavailable", f"the view cannot be saved: {reason(error)}") from error
    finally:
        os.close(descriptor)


def saved(dashboard: Dashboard, call: Call) -> list[View]:
    """Return the saved views, in the order of their names."""
    return sorted(read(path_of(dashboard)), key=lambda view: (str(view["name"]).lower(), str(view["id"])))


def save(dashboard: Dashboard, call: Call) -> View:
    """Save a view, replacing the one with the same name."""
    body = call.map()
    view = _checked({"id": new_id(), "name": body.get("name"), "state": body.get("state"), "time": time.time()})
    if view is None:
        raise ApiError(
            400,
            "body",
            f"name must be a string of 1 to {MAX_NAME} characters, and state a JSON object of at most "
            f"{MAX_STATE_BYTES:,} bytes",
        )
    with changing(path_of(dashboard)) as views:
        known = next((one for one in views if one["name"] == view["name"]), None)
        if known is not None:
            view["id"] = known["id"]
            views[views.index(known)] = view
        elif len(views) >= MAX_VIEWS:
            raise ApiError(422, "views", f"there are {MAX_VIEWS} saved views already; delete one first")
        else:
            views.append(view)
    return view


def forget(dashboard: Dashboard, call: Call) -> None:
    """Delete a view."""
    with changing(path_of(dashboard)) as views:
        found = [view for view in views if view["id"] == call.path["id"]]
        if not found:
            raise ApiError(404, "view", f"there is no view {call.path['id']!r}")
        views.remove(found[0])


ROUTES = (
    Route("GET", "views", saved),
    Route("POST", "views", save, writes=True),
    Route("DELETE", "views/{id}", forget, writes=True),
)
