"""The answer from which a page makes one HTML file of itself."""

from __future__ import annotations

from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard
from tracker.ui.static import StaticFiles


def bundle(dashboard: Dashboard, call: Call) -> dict[str, object]:
    """Return the page's own files by name."""
    static = StaticFiles()
    return {"digest": static.digest, "files": static.texts()}


ROUTES = (Route("GET", "bundle", bundle),)
