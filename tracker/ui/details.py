"""The answers about one run."""

from __future__ import annotations

from typing import Any

from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard


def details(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return all of a run but its history."""
    ref = call.path["ref"]
    run = dashboard.run(ref)
    return {"ref": ref} | run.to_map() | {"files": len(run.files()), "provenance": None}


ROUTES = (Route("GET", "runs/{ref}", details),)
