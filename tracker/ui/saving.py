"""The files of the page, of which it makes one HTML file to save a view."""

from __future__ import annotations

from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard
from tracker.ui.static import StaticFiles


def bundle(dashboard: Dashboard, call: Call) -> dict[str, object]:
    """Return the page's own files by name."""
    static = StaticFiles()
    return {"digest": static.digest, "files": static.texts()}


ROUTES = (Route("GET", "bundle", bundle),)
