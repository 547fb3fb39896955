"""The answer to ``POST compare``: what differs between runs."""

from __future__ import annotations

from tracker.ui.routes import Route

ROUTES: tuple[Route, ...] = ()
