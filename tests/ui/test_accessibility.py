"""The dashboard by keyboard only, and what axe finds on each page, in both themes, with menus and dialogs open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import charts, rows, settle, type_query, wait_for_charts

PAGES = {
    "runs": "#/runs?runs=seeds000,seeds001,odd00001",
    "groups": "#/runs?runs=seeds000,seeds001&group=config.lr",
    "baseline": "#/runs?runs=seeds000,seeds001&baseline=seeds000",
    "charts": "#/charts?runs=seeds000,seeds001,odd00001",
    "full screen": "#/charts?runs=seeds000,seeds001&full=train.loss",
    "compare": "#/compare?runs=seeds000,seeds001,odd00001",
    "a run": "#/run/odd00001",
    "charts of a run": "#/run/odd00001/charts",
    "media of a run": "#/run/odd00001/media",
    "files of a run": "#/run/odd00001/files",
    "health of a log": "#/run/odd00001/health",
}


def serious(page: Page) -> list[str]:
    """Return what axe finds that is serious or critical: rule, what it is, where."""
    result: Any = Axe().run(page)
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for one in result.response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(varied_ui: Dashboard, pages: Pages, theme: str) -> None:
    page = pages.open(varied_ui, "#/runs", theme=theme)
    problems: dict[str, list[str]] = {}
    for name, view in PAGES.items():
        page.goto("about:blank")
        page.goto(varied_ui.url(view))
        settle(page)
        if found := serious(page):
            problems[name] = found
    assert problems == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_menus_and_dialogs(varied_ui: Dashboard, pages: Pages, theme: str) -> None:
    page = pages.open(varied_ui, PAGES["runs"], theme=theme)
    settle(page)
    problems: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if found := serious(page):
            problems[name] = found
        page.keyboard.press("Escape")

    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_be_visible()
    look("keys")
    page.keyboard.press("Control+k")
    page.keyboard.type("lr")
    expect(page.locator("[role=option]").first).to_be_visible()
    look("palette")
    page.get_by_role("button", name="Views").click()
    expect(page.get_by_role("menu")).to_be_visible()
    look("views")
    page.get_by_role("button", name="Select runs").click()
    expect(page.get_by_role("menu")).to_be_visible()
    look("selection")
    rows(page).first.click(button="right")
    expect(page.get_by_role("menu")).to_be_visible()
    look("a run's menu")
    page.get_by_label("Choose columns").click()
    expect(page.get_by_label("Search columns")).to_be_visible()
    look("columns")
    page.locator(".panels-more").click()
    expect(page.get_by_role("menu").or_(page.locator(".popover"))).to_be_visible()
    look("settings of charts")
    charts(page).first.hover()
    expect(page.locator(".chart-values").first).to_be_visible()
    look("list of values")
    type_query(page, "config.")
    expect(page.locator("[role=option]").first).to_be_visible()
    look("suggestions")
    assert problems == {}


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_the_whole_way_by_keyboard(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?runs=")
    expect(rows(page).first).to_be_visible()
    type_query(page, "seed=2")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(page.locator(".table-foot")).to_contain_text("2 selected")
    wait_for_charts(page)
    # To a chart, to the next metric, full screen and back.
    charts(page).first.focus()
    page.keyboard.press("f")
    expect(page.locator(".full-title")).to_be_visible()
    first = page.locator(".full-title").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".full-title")).not_to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.locator(".full-title")).to_have_count(0)
    # Export.
    charts(page).first.focus()
    page.keyboard.press("e")
    expect(page.get_by_role("menu")).to_be_visible()
    page.keyboard.press("ArrowDown")
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="SVG").focus()
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".svg")
    # Compare, and open a run.
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.keyboard.press("Escape")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/run/seeds00[45]"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Next run")


def test_the_palette_finds_runs_metrics_and_commands(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?runs=seeds000,seeds001")
    wait_for_charts(page)
    for text, found in {
        "four ranks": re.compile("four ranks"),
        "val.acc": re.compile("val.accuracy"),
        "theme": re.compile("[Tt]heme"),
    }.items():
        page.keyboard.press("Control+k")
        page.keyboard.type(text)
        expect(page.locator("[role=option]").filter(has_text=found).first).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Control+k")
    page.keyboard.type("four ranks")
    expect(page.locator("[role=option]").first).to_contain_text("four ranks")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/run/writers1"))


_FOCUS = (Path(__file__).parent / "focus.js").read_text().rstrip().rstrip(";")

_FOCUS_IN_TIME = f"""async () => {{
    const look = {_FOCUS};
    let problem = look();
    for (let frame = 0; problem && problem !== "nothing" && frame < 60; frame += 1) {{
        await new Promise(requestAnimationFrame);
        problem = look();
    }}
    return problem;
}}"""
"""What is wrong with the focus, once what fades in is there."""


@pytest.mark.parametrize("view", ["runs", "charts", "compare", "a run"])
def test_focus_is_always_visible(varied_ui: Dashboard, pages: Pages, view: str) -> None:
    page = pages.open(varied_ui, PAGES[view])
    settle(page)
    problems = set()
    for _ in range(45):
        page.keyboard.press("Tab")
        problem: str = page.evaluate(_FOCUS_IN_TIME)
        if problem and problem != "nothing":  # past the last element, the browser's own controls have the focus
            problems.add(problem)
    assert problems == set()


def test_each_chart_has_a_table_for_screen_readers(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=seeds000,seeds001,seeds002")
    wait_for_charts(page)
    for chart in charts(page).all():
        expect(chart).to_have_attribute("aria-label", re.compile(r"\d lines?"))
    charts(page).first.focus()
    page.keyboard.press("f")
    expect(page.locator(".full .chart")).to_be_visible()
    page.keyboard.press("T")
    table = page.locator(".full").get_by_role("table")
    expect(table.get_by_role("columnheader").first).to_be_visible()
    expect(table.get_by_role("row").nth(1)).to_be_visible()
