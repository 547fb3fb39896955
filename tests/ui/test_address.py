"""The address is the view: reload, back, forward, and the address opened by somebody else show the very same."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.tools.make_runs import run_id
from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import panel, rows, settle, wait_for_charts

VIEW = (
    "#/runs?runs=seeds000,seeds002,seeds004,seeds001&columns=name,config.lr,config.seed,state&sort=config.lr,-config.seed"
    "&filters=state:finished&baseline=seeds002&pins=val.loss&logY=1&smooth=20&smoothKind=gaussian&band=std&seeds=0"
    "&zoom=100:300&yZoom=train.loss:0.2:1.5&folded=train&size=l&split=700&theme=dark&query=seed"
)


def look(page: Page) -> dict[str, Any]:
    """Return what a user sees of a view."""
    wait_for_charts(page)
    seen: dict[str, Any] = page.evaluate(
        """() => ({
            theme: document.documentElement.dataset.theme,
            columns: [...document.querySelectorAll(".tr.head .th[data-column]")].map(one => one.dataset.column),
            rows: [...document.querySelectorAll(".rows .tr:not([hidden])")]
                .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
                .map(row => [row.querySelector("a.name")?.title,
                    row.querySelector(".swatch")?.getAttribute("aria-checked"),
                    row.querySelector(".swatch")?.style.getPropertyValue("--run")].join("|")),
            pinned: document.querySelector(".pinned a.name")?.title,
            panels: [...document.querySelectorAll(".panel")].map(one => one.getAttribute("aria-label")),
            charts: [...document.querySelectorAll('.chart-lines[role="img"]')]
                .map(one => one.getAttribute("aria-label")),
            query: document.querySelector(".query-input").value,
            foot: document.querySelector(".table-foot").textContent,
            width: document.querySelector(".runs-table").clientWidth,
        })"""
    )
    return seen


def test_reload_and_a_browser_that_was_never_here_show_the_same(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, VIEW)
    first = look(page)
    assert first["theme"] == "dark"
    assert first["columns"][:3] == ["name", "config.lr", "config.seed"]
    assert first["pinned"] == "lr=0.01 seed=1"
    assert first["query"] == "seed"
    address = page.evaluate("location.hash")
    page.reload()
    assert look(page) == first
    other = pages.open(varied_ui, address)
    assert look(other) == first
    assert other.evaluate("location.hash") == address


def test_colours_are_the_same_elsewhere_after_runs_came_and_went(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?runs=")
    expect(rows(page).nth(17)).to_be_visible()
    settle(page)
    swatches = page.locator(".rows .swatch")
    for number in (8, 9, 10, 11, 12, 13, 14, 15, 9, 11, 8, 16, 17):
        swatches.nth(number).click()
    wait_for_charts(page)
    first = look(page)
    other = pages.open(varied_ui, page.evaluate("location.hash"))
    assert look(other)["rows"] == first["rows"]


def test_back_and_forward_lead_through_pages(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?runs=seeds000,seeds001&seeds=0")
    wait_for_charts(page)
    runs = look(page)
    page.get_by_role("link", name="Charts", exact=True).click()
    expect(page).to_have_url(re.compile("#/charts"))
    settle(page)
    panel(page, "val.loss").hover()
    page.keyboard.press("f")
    expect(page.locator(".full-title")).to_have_text("val.loss")
    page.go_back()
    expect(page.locator(".full-title")).to_have_count(0)
    expect(page).to_have_url(re.compile("#/charts"))
    page.go_back()
    expect(page).to_have_url(re.compile("#/runs"))
    expect(page.locator(".tr.head").first).to_be_visible()
    page.mouse.move(2, 2)
    expect(page.locator(".tr.hot")).to_have_count(0)
    assert look(page)["rows"] == runs["rows"]
    page.go_forward()
    page.go_forward()
    expect(page.locator(".full-title")).to_have_text("val.loss")


@pytest.mark.timeout(600)  # may have to wait until ten thousand runs are made
def test_two_hundred_runs_make_a_short_address_and_a_saved_view_holds_more(many_ui: Dashboard, pages: Pages) -> None:
    runs = [run_id(number) for number in range(200)]
    view = f"#/charts?runs={','.join(runs)}&smooth=100&zoom=1:3"
    page = pages.open(many_ui, view)
    expect(page.locator(".table-foot")).to_contain_text("200 selected")
    wait_for_charts(page)
    assert len(page.url) <= 2048
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name=re.compile("Save this view")).click()
    expect(page.get_by_label("Name of the view")).to_be_focused()
    page.keyboard.type("two hundred")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("two hundred")
    other = pages.open(many_ui, "#/runs?runs=")
    expect(rows(other).first).to_be_visible()
    other.get_by_role("button", name="Views").click()
    other.get_by_role("menuitem", name="two hundred").click()
    expect(other.locator(".table-foot")).to_contain_text("200 selected")
    expect(other).to_have_url(re.compile("#/charts"))
    wait_for_charts(other)
