"""A page of another site, in a browser that is logged in to the dashboard: it can neither read nor write.

The routes that it tries are the server's own table.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.ui.browser import Dashboard, new_context, new_page
from tests.ui.conftest import Serve
from tests.unit.run_builder import RunBuilder
from tracker import Api
from tracker.ui.app import ROUTES

BODIES: dict[str, Any] = {
    "edits": {"edits": [{"run": "one", "set": {"name": "changed"}}]},
    "series": {"x": "step", "panels": [{"key": "loss", "runs": ["one"], "count": 50}]},
    "keys": {"runs": ["one"]},
    "compare": {"runs": ["one"]},
    "views": {"name": "planted", "state": {}},
    "login": {"token": "guess"},
}
VALUES = {"{ref}": "one", "{number}": "0", "{id}": "1", "{name}": "loss"}

_TRY = """
async ([origin, routes]) => {
    const read = [];
    for (const [method, path, body] of routes) {
        const attempts = [
            { mode: "cors", headers: { "Content-Type": "application/json", "X-Tracker-Token": "x" } },
            { mode: "cors", headers: { "Content-Type": "text/plain" } },
            { mode: "no-cors", headers: { "Content-Type": "text/plain" } },
        ];
        for (const attempt of attempts) {
            if (attempt.mode === "no-cors" && method === "DELETE") continue;
            try {
                const content = { method, credentials: "include", body: method === "POST" ? body : undefined };
                const answer = await fetch(origin + path, { ...attempt, ...content });
                const text = await answer.text();
                if (answer.type !== "opaque" || text) read.push([method, path, attempt.mode, answer.status, text]);
            } catch { /* refused, or not readable */ }
        }
    }
    return read;
}
"""
"""Try every route in three ways; return what could be read."""

_SAME_NAME = """
async routes => {
    const statuses = [];
    for (const [method, path, body] of routes) {
        const headers = { "Content-Type": "application/json" };
        const answer = await fetch(path, { method, headers, body: method === "POST" ? body : undefined });
        statuses.push([method, path, answer.status, (await answer.json()).error?.code]);
    }
    return statuses;
}
"""
"""Try every route as a page does whose own name leads to the server."""

_FORM = """
([action, body]) => new Promise(done => {
    const [frame, form, field] = ["iframe", "form", "input"].map(name => document.createElement(name));
    frame.name = "answer";
    frame.onload = () => done();
    Object.assign(form, { action, method: "post", enctype: "text/plain", target: "answer" });
    Object.assign(field, { name: body.slice(0, -1) + ', "pad": "', value: '"}' });
    form.append(field);
    document.body.append(frame, form);
    form.submit();
})
"""
"""Send JSON by a form, which needs no permission of the server."""

_EMBED = """
([origin, paths]) => Promise.all(paths.map(path => new Promise(done => {
    const script = document.createElement("script");
    script.src = origin + path;
    script.onload = () => done(path);
    script.onerror = () => done(null);
    document.body.append(script);
})))
"""


def routes() -> list[tuple[str, str, str]]:
    """Every route of the API with values in its path: method, path, body."""
    found = []
    for method, pattern in [*((route.method, route.path) for route in ROUTES), ("POST", "login")]:
        path = pattern
        for name, value in VALUES.items():
            path = path.replace(name, value)
        assert "{" not in path, f"give {pattern} a value in VALUES"
        body = json.dumps(BODIES.get(pattern, {}))
        found.append((method, f"/api/v1/{path}", body))
    return found


@contextmanager
def web_server() -> Iterator[int]:
    """An ordinary web server with one page; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,><body>")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    built = RunBuilder(tmp_path / "root", "one", name="secret name")
    built.row(0, loss=1.0)
    (built.dir / "files").mkdir()
    (built.dir / "files" / "secret.txt").write_text("secret")
    built.finish()
    return tmp_path / "root"


@pytest.fixture
def served(serve: Serve, root: Path) -> Dashboard:
    return serve(root)


@pytest.fixture
def victim(browser: Browser, served: Dashboard) -> Iterator[BrowserContext]:
    """A browser that is logged in to the dashboard."""
    context = new_context(browser)
    page = new_page(context)
    page.goto(served.address)
    page.get_by_title("secret name").first.wait_for()
    yield context
    context.close()


@pytest.fixture
def elsewhere(victim: BrowserContext) -> Iterator[Page]:
    """A page of another site in that browser."""
    with web_server() as port:
        page = new_page(victim)
        page.goto(f"http://evil.test:{port}/")
        yield page
        page.close()


def unchanged(served: Dashboard, root: Path, victim: BrowserContext) -> None:
    """Raise AssertionError if something was written."""
    assert Api(root).run("one").name == "secret name"
    views = victim.request.get(f"{served.origin}/api/v1/views").json()
    assert "planted" not in json.dumps(views)
    assert victim.request.get(f"{served.origin}/api/v1/runs/one/check").status == 204, "a check was started"


def test_the_names_of_this_machine_are_other_origins_too(served: Dashboard, victim: BrowserContext, root: Path) -> None:
    with web_server() as port:
        page = new_page(victim)
        page.goto(f"http://127.0.0.1:{port}/")  # another program of the same user: same host, same cookies
        assert page.evaluate(_TRY, [served.origin, routes()]) == []
    unchanged(served, root, victim)


def test_no_route_can_be_read_or_written_by_another_site(
    served: Dashboard, elsewhere: Page, victim: BrowserContext, root: Path
) -> None:
    assert elsewhere.evaluate(_TRY, [served.origin, routes()]) == []
    unchanged(served, root, victim)


def test_a_form_of_another_site_writes_nothing(
    served: Dashboard, elsewhere: Page, victim: BrowserContext, root: Path
) -> None:
    for method, path, body in routes():
        if method == "POST":
            elsewhere.evaluate(_FORM, [served.origin + path, body])
    unchanged(served, root, victim)


def test_another_site_embeds_nothing(served: Dashboard, elsewhere: Page) -> None:
    paths = [path for method, path, _ in routes() if method == "GET"]
    assert not any(elsewhere.evaluate(_EMBED, [served.origin, paths]))
    # The page itself is not shown in a frame of another site.
    frame = elsewhere.evaluate_handle(
        """origin => new Promise(done => {
            const frame = document.createElement("iframe");
            frame.onload = () => done(frame);
            frame.src = origin + "/";
            document.body.append(frame);
        })""",
        served.origin,
    ).as_element()
    assert frame is not None
    content = frame.content_frame()
    assert content is None or "secret name" not in content.content()


def test_a_rebound_name_reads_nothing(served: Dashboard, victim: BrowserContext, root: Path) -> None:
    # The attacker's name leads to the dashboard now: for the browser, the page and the API have one origin.
    page = new_page(victim)
    answer = page.goto(f"http://evil.test:{served.port}/")
    assert answer is not None and answer.status == 403 and "secret" not in answer.text()
    statuses = page.evaluate(_SAME_NAME, routes())
    assert [entry for entry in statuses if entry[2:] != [403, "host"]] == []
    unchanged(served, root, victim)
