"""A view saved as one HTML file opens without a server, and shows what the page showed."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.tools.make_runs import run_id
from tests.ui.browser import WAIT, Dashboard, Pages, new_context, new_page
from tests.ui.looking import becomes, charts, rows, settle, tops, wait_for_charts


def save(page: Page, path: Path) -> Path:
    """Save the view of a page, as a user does."""
    page.get_by_role("button", name="More", exact=True).first.click()
    with page.expect_download(timeout=2 * WAIT) as download:
        page.get_by_role("menuitem", name="Save as one HTML file").click()
    download.value.save_as(path)
    return path


def opened(browser: Browser, path: Path, problems: list[str]) -> Page:
    """Open a file in a browser that reaches no network."""
    context = new_context(browser, viewport={"width": 1440, "height": 900}, offline=True)
    page = new_page(context)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    return page


def labels(page: Page) -> list[str]:
    """Return what the charts show, in words."""
    found: list[str] = charts(page).evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    return found


def test_charts_look_the_same_without_a_server(
    million_ui: Dashboard, pages: Pages, browser: Browser, tmp_path: Path
) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)},{run_id(1)}&smooth=2000")
    wait_for_charts(page)
    path = save(page, tmp_path / "view.html")
    problems: list[str] = []
    alone = opened(browser, path, problems)
    wait_for_charts(alone)
    becomes(lambda: labels(alone), labels(page))
    before, after = tops(charts(page).first), tops(charts(alone).first)
    assert len(before) == len(after)
    far = [x for x, (one, other) in enumerate(zip(before, after, strict=True)) if abs((one or 1) - (other or 1)) > 0.05]
    assert len(far) < len(before) / 50
    assert problems == []
    alone.context.close()


def test_table_run_page_and_compare_work_in_the_file(
    varied_ui: Dashboard, pages: Pages, browser: Browser, tmp_path: Path
) -> None:
    page = pages.open(varied_ui, "#/runs?runs=odd00001,seeds000,hostile1")
    wait_for_charts(page)
    expect(rows(page).first).to_be_visible(timeout=WAIT)
    listed = rows(page).count()
    path = save(page, tmp_path / "view.html")
    problems: list[str] = []
    alone = opened(browser, path, problems)
    expect(rows(alone)).to_have_count(listed, timeout=WAIT)
    expect(alone.get_by_text("saved file", exact=True)).to_be_visible()
    settle(alone)
    expect(alone.get_by_text("The saved file does not contain this")).to_have_count(0)
    alone.goto(path.as_uri() + "#/run/odd00001/overview")
    expect(alone.get_by_text("ValueError: loss is NaN").first).to_be_visible(timeout=WAIT)
    for tab in ("Charts", "System", "Console", "Media", "Files & artifacts", "Log health", "Overview"):
        alone.get_by_role("tab", name=tab, exact=True).click()
        expect(alone.get_by_role("tabpanel")).not_to_be_empty()
        settle(alone)
        expect(alone.locator(".run-tabpanel .bad, [role=tabpanel] .bad", has_text="saved file")).to_have_count(0)
    alone.goto(path.as_uri() + "#/compare?runs=odd00001,seeds000")
    expect(alone.get_by_role("main").get_by_text("lr", exact=True).locator("visible=true").first).to_be_visible(
        timeout=WAIT
    )
    settle(alone)
    assert alone.title() != "ran"
    assert problems == []
    alone.context.close()
