"""The charts page in Chromium: sections, search, zoom, grouping, full screen, and how many canvases exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sidecar.protocol.layout import make_root
from tests.tools.make_runs import Maker
from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.endurance import heap_bytes
from tests.ui.looking import becomes, settle, wait_for_charts

START = 1_700_000_000.0
MOST_CANVASES = 60
MOST_HEAP_BYTES = 150_000_000


def hash_of(page: Page) -> str:
    return str(page.evaluate("location.hash"))


def titles(page: Page) -> list[str]:
    found: list[str] = page.locator(".panel").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    return found


def drawn(page: Page) -> None:
    """Wait until the charts of all four metrics are drawn."""
    expect(page.locator(".panel .chart")).to_have_count(4)
    settle(page)


def drag(page: Page, panel: int, start: float, end: float) -> None:
    """Drag over a panel's plot, from and to shares of its width."""
    box = page.locator(".panel .chart").nth(panel).bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle + 3, steps=4)
    page.mouse.up()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs: two that differ in their seed only, one with another learning rate; and one that logged nothing."""
    top = tmp_path / "root"
    make_root(top)
    for name, rate, seed in (("a", 0.1, 1), ("b", 0.1, 2), ("c", 0.5, 1)):
        maker = Maker(top, f"run-{name}", START, project="charts", name=name)
        maker.write("config", None, set={"lr": rate, "seed": seed})
        for step in range(200):
            values = {
                "train/loss": rate / (step + 1) + seed / 100,
                "train/acc": step / 200,
                "val/loss": 1.0,
                "speed": 3,
            }
            maker.row(step, values)
        maker.end()
        maker.store()
    maker = Maker(top, "run-empty", START, project="charts", name="empty")
    maker.store()
    return top


def test_a_panel_for_each_metric_in_sections(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a,run-c")
    expect(page.locator(".section-fold")).to_have_text(["Metrics", "train", "val"])
    expect(page.locator(".panel-points")).to_have_text(["400 points"] * 4)
    becomes(lambda: titles(page), ["speed", "train/acc", "train/loss", "val/loss"])
    page.get_by_role("button", name="train", exact=True).click()
    expect(page.locator(".panel")).to_have_count(2)
    expect(page).to_have_url(re.compile("folded=train"))
    page.keyboard.press("z")
    expect(page.locator(".panel")).to_have_count(4)


def test_search_shows_what_matches_as_one_types(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a")
    expect(page.locator(".panel")).to_have_count(4)
    page.keyboard.press("m")
    page.keyboard.type("loss tr")
    expect(page.locator(".panels-count")).to_have_text("1 of 4 metrics")
    page.locator(".panels-search").fill("/(acc|speed)$/")
    expect(page.locator(".panels-count")).to_have_text("2 of 4 metrics")
    page.locator(".panels-search").fill("/(/")
    expect(page.locator(".panels-count")).to_contain_text("Invalid regular expression")
    page.locator(".panels-search").fill("nothing")
    expect(page.get_by_text("No metrics match")).to_be_visible()
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator(".panel")).to_have_count(4)


def test_a_zoom_holds_for_all_panels_and_can_be_undone(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a")
    expect(page.locator(".panel .chart")).to_have_count(4)
    settle(page)
    drag(page, 1, 0.4, 0.7)
    expect(page.locator("[data-tool=reset]:not([hidden])")).to_have_count(4)
    zoomed = hash_of(page)
    assert re.search(r"zoom=[\d.]+:[\d.]+", zoomed)
    settle(page)
    page.reload()
    expect(page.locator("[data-tool=reset]:not([hidden])")).to_have_count(4)
    settle(page)
    assert hash_of(page) == zoomed
    page.keyboard.press("0")
    expect(page.locator("[data-tool=reset]:not([hidden])")).to_have_count(0)
    page.keyboard.press("z")
    expect(page.locator("[data-tool=reset]:not([hidden])")).to_have_count(4)


def test_an_unlinked_zoom_is_of_one_panel(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a&linked=0")
    expect(page.locator(".panel .chart")).to_have_count(4)
    settle(page)
    drag(page, 0, 0.4, 0.7)
    expect(page.locator("[data-tool=reset]:not([hidden])")).to_have_count(1)
    settle(page)
    assert "zoom" not in hash_of(page)


def test_runs_that_differ_only_in_their_seed_are_one_line(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a,run-b&full=train/loss")
    expect(page.locator(".legend-row")).to_have_count(1)
    expect(page.locator(".legend-name")).to_have_text("2 runs")
    page.keyboard.press("Escape")
    expect(page.locator(".full")).to_have_count(0)
    page.keyboard.press("g")
    chart = page.locator(".panel .chart").nth(2)
    expect(chart).to_have_attribute("aria-label", re.compile("2 lines"))
    chart.focus()
    page.keyboard.press("f")
    expect(page.locator(".legend-name")).to_have_text(["a", "b"])


def test_full_screen_goes_from_metric_to_metric_by_keys(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a,run-c")
    drawn(page)
    page.locator(".panel .chart").nth(1).hover()
    page.keyboard.press("f")
    expect(page.locator(".full-title")).to_have_text("train/acc")
    expect(page.locator(".full .chart")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".full-title")).to_have_text("train/loss")
    page.keyboard.press("T")
    expect(page.locator(".full-table tbody tr")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".full")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("full"))


def test_panels_are_pinned_and_moved_by_keys(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a")
    drawn(page)
    page.locator(".panel .chart").nth(2).focus()
    page.keyboard.press("Alt+ArrowLeft")
    expect(page.locator(".section").nth(1).locator(".panel-title")).to_have_text(["loss", "acc"])
    expect(page.locator(".panel:focus-within")).to_have_attribute("aria-label", "train/loss")
    page.keyboard.press("p")
    expect(page.locator(".section-fold").first).to_have_text("Pinned")
    becomes(lambda: titles(page), ["train/loss", "speed", "train/loss", "train/acc", "val/loss"])


def test_a_hovered_line_is_highlighted_in_the_table(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-c")
    drawn(page)
    page.locator(".panel .chart").nth(1).hover()
    expect(page.locator(".chart-values")).to_contain_text("c")
    expect(page.locator(".chart canvas.chart-cover")).to_have_count(4)


def test_two_thousand_metrics_take_few_canvases(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=manykeys&size=s")
    expect(page.locator(".panels-count")).to_have_text("2,000 metrics")
    wait_for_charts(page)
    page.locator(".panels-scroll").hover()
    most = 0
    for _ in range(20):
        page.mouse.wheel(0, 900)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        most = max(most, page.locator("canvas").count())
    assert 0 < most <= MOST_CANVASES
    settle(page)
    assert heap_bytes(page) < MOST_HEAP_BYTES


def test_no_metrics_yet(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-empty")
    expect(page.get_by_text("No metrics yet. They appear here within two seconds of run.log.")).to_be_visible()


def test_one_chart_a_row_on_a_phone(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=run-a", size=(360, 740), touch=True)
    expect(page.locator(".panel canvas").first).to_be_visible()
    settle(page)
    lefts = page.locator(".panel").evaluate_all(
        "nodes => [...new Set(nodes.map(node => node.getBoundingClientRect().left))]"
    )
    assert len(lefts) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_metric_is_drawn_over_its_step_metric(tmp_path: Path, serve: Serve, pages: Pages) -> None:
    top = tmp_path / "root"
    make_root(top)
    maker = Maker(top, "run-steps", START, project="charts", name="steps")
    maker.write("define", None, metric="val/*", step_metric="epoch")
    for step in range(200):
        values = {"loss": 1 / (step + 1)}
        if step % 20 == 0:
            values |= {"val/loss": 2 / (step + 1), "epoch": float(step // 20)}
        maker.row(step, values)
    maker.end()
    maker.store()
    page = pages.open(serve(top), "#/charts?zoom=0:50&runs=run-steps")
    panel = page.locator(".panel[aria-label='val/loss'] .chart")
    expect(panel).to_have_attribute("aria-label", re.compile("epoch"))
    expect(page.locator(".panel[aria-label=loss] .chart")).to_have_attribute("aria-label", re.compile("[Ss]tep"))
    settle(page)
    panel.hover()
    expect(page.locator(".chart-values-head")).to_contain_text("epoch")
    page.keyboard.press("x")
    expect(panel).not_to_have_attribute("aria-label", re.compile("epoch"))
    expect(page).to_have_url(re.compile("x=step"))
