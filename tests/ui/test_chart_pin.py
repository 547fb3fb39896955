"""What clicks on a chart do: the pinned list of values and the menu of a line; and the colours of groups."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from sidecar.protocol.layout import make_root
from tests.tools.make_runs import Maker
from tests.ui.browser import Pages
from tests.ui.conftest import Serve
from tests.ui.looking import becomes, settle

START = 1_700_000_000.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four runs of two learning rates and two seeds, each with flat lines at its own height."""
    top = tmp_path / "root"
    make_root(top)
    for level, (rate, seed) in enumerate([(0.1, 1), (0.1, 2), (0.5, 1), (0.5, 2)]):
        maker = Maker(top, f"run-{level}", START + level, project="pins", name=f"name-{level}")
        maker.write("config", None, set={"lr": rate, "seed": seed})
        for step in range(50):
            maker.row(step, {"loss": float(level), "acc": float(level)})
        maker.end()
        maker.store()
    return top


def at(chart: Locator, share: float, down: float = 0.79) -> tuple[float, float]:
    """Return the place in the plot at a share of its width and height; by default near the lowest of four lines."""
    box = chart.bounding_box()
    assert box is not None
    return box["x"] + box["width"] * share, box["y"] + box["height"] * down


def ready(page: Page) -> Locator:
    expect(page.locator(".panel-points").first).to_contain_text("200 points")
    settle(page)
    return page.locator(".panel .chart").first


def test_a_click_pins_the_list_of_values(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?seeds=0")
    chart = ready(page)
    pinned = page.locator(".chart-values.pinned")
    page.mouse.click(*at(chart, 0.5))
    expect(pinned.locator(".chart-values-row")).to_have_count(4)
    page.mouse.move(5, 5)
    expect(pinned).to_be_visible()
    page.keyboard.press("Escape")
    expect(pinned).to_have_count(0)
    page.mouse.click(*at(chart, 0.5))
    expect(pinned).to_be_visible()
    page.mouse.click(*at(chart, 0.7))
    expect(pinned).to_have_count(0)
    page.mouse.click(*at(chart, 0.5))
    expect(pinned).to_be_visible()
    first = pinned.locator(".chart-values-head").inner_text()
    page.mouse.click(*at(page.locator(".panel .chart").nth(1), 0.3))
    expect(pinned.locator(".chart-values-head")).not_to_have_text(first)
    expect(pinned).to_have_count(1)
    pinned.get_by_role("link", name="name-0").click()
    expect(page.locator(".run-name")).to_have_text("name-0")
    expect(pinned).not_to_be_visible()


def test_a_pinned_list_in_full_screen(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?seeds=0&full=loss")
    chart = page.locator(".full .chart")
    expect(page.locator(".full .legend-row")).to_have_count(4)
    settle(page)
    page.mouse.click(*at(chart, 0.5))
    pinned = page.locator(".chart-values.pinned")
    expect(pinned).to_be_visible()
    page.keyboard.press("Escape")
    expect(pinned).to_have_count(0)
    expect(chart).to_be_visible()
    page.mouse.click(*at(chart, 0.5))
    pinned.get_by_role("link", name="name-1").click()
    expect(page.locator(".run-name")).to_have_text("name-1")


def test_the_menu_of_a_line(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?seeds=0")
    chart = ready(page)
    page.mouse.click(*at(chart, 0.5), button="right")
    menu = page.get_by_role("menu")
    expect(menu.get_by_role("menuitem")).to_have_text(["Open run", "Hide run", "Only this run"])
    hidden = menu.locator(".menu-heading").inner_text()
    menu.get_by_role("menuitem", name="Hide run").click()
    expect(page.locator(".panel-points").first).to_contain_text("150 points")
    expect(page).not_to_have_url(re.compile(re.escape(hidden.replace("name", "run"))))
    settle(page)
    page.mouse.click(*at(chart, 0.5), button="right")
    menu.get_by_role("menuitem", name="Only this run").click()
    expect(page.locator(".panel-points").first).to_have_text("50 points")
    settle(page)
    page.mouse.click(*at(chart, 0.5, 0.45), button="right")
    menu.get_by_role("menuitem", name="Open run").click()
    expect(page.locator(".run-name")).to_be_visible()


def test_a_drag_with_the_right_button_pans_and_opens_no_menu(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?seeds=0&zoom=10:20")
    chart = page.locator(".panel .chart").first
    expect(page.locator(".panel-points").first).to_contain_text("points")
    settle(page)
    page.mouse.move(*at(chart, 0.6))
    page.mouse.down(button="right")
    page.mouse.move(*at(chart, 0.4), steps=4)
    page.mouse.up(button="right")
    expect(page).not_to_have_url(re.compile("zoom=10:20"))
    expect(page).to_have_url(re.compile("zoom=1"))
    expect(page.get_by_role("menu")).to_have_count(0)


def test_a_group_has_a_colour_of_its_own(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/runs?group=config.lr")
    chart = ready(page)
    rows = page.locator(".tr.group")
    expect(rows).to_have_count(2)
    colors = [row.locator(".swatch").evaluate("node => node.style.getPropertyValue('--run')") for row in rows.all()]
    assert len(set(colors)) == 2
    page.mouse.move(*at(chart, 0.5))
    values = page.locator(".chart-values.shown")
    expect(values.locator(".chart-values-foot")).to_contain_text("name-")
    expect(values).to_contain_text("2 of 2 runs")
    drawn = values.locator(".chart-values-swatch")
    as_rgb = page.evaluate(
        "all => all.map(color => { const node = document.createElement('i'); node.style.color = color;"
        " return node.style.color })",
        colors,
    )
    becomes(
        lambda: sorted(drawn.evaluate_all("all => all.map(one => one.style.borderTopColor)")),
        sorted(as_rgb),
    )
    expect(page.locator(".tr.group.hot")).to_have_count(1)
    page.mouse.move(5, 5)
    expect(page.locator(".tr.group.hot")).to_have_count(0)
    rows.first.hover()
    expect(page.locator(".tr.group.hot")).to_have_count(1)
