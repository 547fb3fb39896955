"""API.md, compared with the routes."""

from __future__ import annotations

import re

from tests.support import REPOSITORY
from tracker.ui.app import ROUTES
from tracker.ui.listing import FIELDS

DOCUMENT = (REPOSITORY / "tracker" / "ui" / "API.md").read_text()


def test_the_table_has_every_route() -> None:
    table = DOCUMENT.partition("<!-- routes -->")[2].partition("<!-- /routes -->")[0]
    rows = re.findall(r"^\| `(\w+) ([^`]+)` \| (yes)? ?\|", table, re.MULTILINE)
    found = {(method, path, writes == "yes") for method, path, writes in rows}
    assert found == {(route.method, route.path, route.writes) for route in ROUTES} | {("POST", "login", False)}


def test_the_fields_of_runs_are_listed() -> None:
    assert f"`{' '.join(FIELDS)}`" in DOCUMENT


def test_no_route_is_there_twice_and_no_get_writes() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert not [route for route in ROUTES if route.method == "GET" and route.writes]
