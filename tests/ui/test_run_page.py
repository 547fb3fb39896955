"""The page of a run: what it shows, edits in place, live values, a run that is deleted or cannot be read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support import wait_until
from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import becomes, settle
from tests.unit.run_builder import RunBuilder
from tracker import Api, Histogram

MARKUP = "<img src=x onerror=document.title='ran'>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs: one that failed and has something of every kind, and one before it."""
    place = tmp_path / "root"
    RunBuilder(place, "before01", name="before", start_time=1_700_000_000.0).finish()
    run = RunBuilder(place, "every001", name=MARKUP, tags=[MARKUP], notes="first line", start_time=1_700_000_900.0)
    run.write("config", {"set": {"lr": 0.01, "model": {"layers": 3, MARKUP: MARKUP}}})
    run.write("define", {"metric": "acc", "summary": ["max"], "goal": "maximize"})
    for step in range(30):
        weights = Histogram([0.0, float(step), 9.0], num_bins=8).to_map()
        run.row(step, None, acc=step / 30, sample=f"{MARKUP} {step}", weights=weights)
    (run.dir / "files").mkdir()
    (run.dir / "files" / "page.html").write_text(f"<body>{MARKUP}</body>")
    run.finish("failed", traceback=f"Traceback\nValueError: {MARKUP}", reason=f"ValueError: {MARKUP}")
    return place


@pytest.fixture
def served(serve: Serve, root: Path) -> Dashboard:
    return serve(root)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_every_tab_shows_text_only_as_text(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, "#/run/every001")
    expect(page.locator(".run-name")).to_have_text(MARKUP)
    expect(page.locator(".ending-reason")).to_have_text(f"ValueError: {MARKUP}")
    expect(page.locator(".traceback pre")).to_contain_text(MARKUP)
    expect(page.locator("tr[data-key=acc] td[data-label=Max]")).to_have_text("0.9667")
    expect(page.locator("tr[data-key=acc] .goal")).to_have_text("↑")
    open_tab(page, "Media")
    expect(page.locator(".heatmap-reading")).to_contain_text("30 histograms")
    expect(page.locator(".text-value").first).to_have_text(f"{MARKUP} 0")
    open_tab(page, "Files & artifacts")
    pages.problems_of(page).expect("Content Security Policy")  # that of the frame in which the file is drawn
    page.get_by_role("button", name="page.html").click()
    page.get_by_role("button", name="Source", exact=True).click()
    expect(page.locator(".file-view pre")).to_have_text(f"<body>{MARKUP}</body>")
    page.keyboard.press("Escape")
    open_tab(page, "Log health")
    page.get_by_role("button", name="Check every record").click()
    expect(page.locator(".check-result")).to_contain_text("No problems found.")
    expect(page).to_have_url(re.compile("/run/every001/health"))
    page.reload()
    expect(page.locator(".check-result")).to_contain_text("No problems found.")
    expect(page).to_have_title(f"{MARKUP} · tracker")


def test_the_config_is_searched(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, "#/run/every001")
    rows = page.locator(".tree-row:not(.branch)")
    expect(rows).to_have_count(3)
    page.get_by_label("Search config").fill("layers")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("config:layers"))
    page.get_by_role("button", name=re.compile("^model.layers: 3")).click()
    becomes(lambda: page.evaluate("navigator.clipboard.readText()"), "3")


def test_edits_in_place_and_undo(served: Dashboard, pages: Pages, root: Path) -> None:
    page = pages.open(served, "#/run/every001")
    page.get_by_role("button", name="Notes: first line. Edit").click()
    page.get_by_label("Notes", exact=True).fill("second line")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".run-notes")).to_have_text("second line")
    wait_until(lambda: Api(root).run("every001").notes == "second line", "the edit")
    page.locator("body").press("z")
    expect(page.locator(".run-notes")).to_have_text("first line")
    wait_until(lambda: Api(root).run("every001").notes == "first line", "its undo")


def test_an_edit_is_undone_before_the_server_has_answered(served: Dashboard, pages: Pages, root: Path) -> None:
    page = pages.open(served, "#/run/every001")
    held: list[Route] = []
    page.route("**/edits", lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Notes: first line. Edit").click()
    page.get_by_label("Notes", exact=True).fill("second line")
    with page.expect_request("**/edits"):
        page.keyboard.press("Control+Enter")
    expect(page.locator(".run-notes")).to_have_text("second line")
    page.locator("body").press("z")
    with page.expect_request("**/edits"):
        held[0].continue_()
    expect(page.locator(".run-notes")).to_have_text("first line")
    wait_until(lambda: Api(root).run("every001").edits["undo"] == 2, "both edits")
    assert Api(root).run("every001").notes == "first line"


def test_keys_lead_from_run_to_run(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, "#/run/every001")
    expect(page.locator(".run-name")).to_have_text(MARKUP)
    page.keyboard.press("j")
    expect(page.locator(".run-name")).to_have_text("before")
    expect(page.locator(".overview-summary")).to_contain_text("No metrics were logged.")
    page.keyboard.press("k")
    expect(page.locator(".run-name")).to_have_text(MARKUP)
    page.keyboard.press("]")
    expect(page.get_by_role("tab", name="Charts")).to_have_attribute("aria-selected", "true")


def test_a_live_run_does_not_move(served: Dashboard, pages: Pages, root: Path) -> None:
    run = RunBuilder(root, "live0001", name="live")
    run.row(0, None, loss=1.0)
    run.store()
    page = pages.open(served, "#/run/live0001")
    last = page.locator("tr[data-key=loss] td[data-label=Last]")
    expect(last).to_have_text("1")
    search = page.get_by_label("Add notes").or_(page.locator(".tag-add"))
    search.first.focus()
    settle(page)
    place = page.locator(".overview-summary").bounding_box()
    run.row(1, None, loss=0.25)
    run.store()
    expect(last).to_have_text("0.25")
    settle(page)
    assert page.locator(".overview-summary").bounding_box() == place
    run.log.close()


def test_a_run_deleted_while_it_is_open(served: Dashboard, pages: Pages, root: Path) -> None:
    page = pages.open(served, "#/run/before01")
    pages.problems_of(page).expect("410|404")
    expect(page.locator(".run-name")).to_have_text("before")
    shutil.rmtree(root / "runs" / "before01")
    expect(page.locator(".run-bar")).to_contain_text("This run was deleted; the page shows what was loaded.")
    page.get_by_role("button", name="All runs").click()
    expect(page.locator("main.split")).to_be_visible()


def test_runs_that_cannot_be_shown(served: Dashboard, pages: Pages, root: Path) -> None:
    (root / "runs" / "before01" / "store.db").unlink()
    (root / "runs" / "before01" / "transactions.log").write_bytes(b"not a log")
    page = pages.open(served, "#/run/before01")
    pages.problems_of(page).expect("404|503")
    expect(page.locator(".ending-reason")).to_contain_text("is not a transaction log")
    page.goto(served.url("#/run/nope"))
    expect(page.locator(".run-bar")).to_contain_text("There is no such run.")
