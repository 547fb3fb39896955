"""A chart does not lie: every spike is in the picture, NaN is marked, a zoom ends at the true points."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.tools.make_runs import SPIKE_AT, run_id
from tests.ui.browser import WAIT, Dashboard, Pages
from tests.ui.looking import charts, idle, needle, panel, settle, tops, wait_for_charts


def place_of(chart: Locator, x: float, y: float) -> tuple[float, float]:
    """Return a place in the window: parts of a chart's width and height."""
    box = chart.bounding_box()
    assert box is not None
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def hover_needle(chart: Locator) -> str:
    """Point at a chart's needle; return the place that the list of values names."""
    x, y = place_of(chart, needle(chart), 0.2)
    values = chart.page.locator(".chart-values")
    read: list[str] = []
    for pixel in (0, -1, 1, -2, 2):  # a point may be one pixel wide
        chart.page.mouse.move(x + pixel, y)
        idle(chart.page)
        text = str(values.inner_text())
        read.append(text.split("\n")[0])
        if "2.5" in text:
            break
    return read[-1]


def zoom_to(chart: Locator, at: float) -> None:
    """Drag over a twelfth of a chart's width around `at`, and wait for finer data."""
    page = chart.page
    with page.expect_response("**/series"):
        page.mouse.move(*place_of(chart, max(0.02, at - 0.04), 0.5))
        page.mouse.down()
        page.mouse.move(*place_of(chart, min(0.98, at + 0.04), 0.5), steps=4)
        page.mouse.up()
    page.mouse.move(2, 2)
    settle(page)


OPTIONS = {
    "plain": "",
    "smoothed": "&smooth=20000",
    "log-x": "&logX=1",
    "log-y": "&logY=1",
    "outliers-hidden": "&outliers=1",
    "all": "&smooth=20000&logX=1&logY=1&outliers=1",
}
SPIKE_STEP = int(1_000_000 * SPIKE_AT)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_one_value_in_a_million_is_a_needle_in_every_panel(million_ui: Dashboard, pages: Pages, options: str) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)}{options}")
    wait_for_charts(page)
    for index in range(6):
        charts(page).nth(index).scroll_into_view_if_needed()
        settle(page)
        key = (charts(page).nth(index).get_attribute("aria-label") or "").split(". ")[0]
        at = needle(panel(page, key))
        assert 0.5 < at < 1, (key, at)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_zooming_to_a_needle_ends_at_the_very_point(million_ui: Dashboard, pages: Pages, options: str) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)}&search=train.loss{options}")
    chart = panel(page, "train.loss")
    settle(page)
    for _ in range(8):
        place = hover_needle(chart)
        if place == f"Step {SPIKE_STEP:,}":
            break
        zoom_to(chart, needle(chart))
    assert place == f"Step {SPIKE_STEP:,}", place
    expect(page.locator(".chart-values")).to_contain_text("2.5")
    expect(page.locator(".panel-points")).to_have_text(re.compile(r"^\d+ points in this range$"))
    page.mouse.move(2, 2)
    chart.focus()
    said = page.locator(".chart-status")  # what a screen reader hears
    for _ in range(400):
        page.keyboard.press(".")
        if f"Step {SPIKE_STEP:,}:" in said.inner_text():
            break
    expect(said).to_have_text(re.compile(rf"Step {SPIKE_STEP:,}: .*\b2\.5$"))


def test_nan_and_infinities_are_marked_and_counted(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=odd00001")
    expect(panel(page, "loss")).to_have_attribute(
        "aria-label", re.compile(r"5 (values )?(are )?(NaN|not finite)"), timeout=WAIT
    )
    expect(
        page.get_by_text("All 1,000 values are NaN or infinite").or_(page.get_by_text("only NaN")).first
    ).to_be_visible()


def test_marks_name_step_and_count_and_the_line_is_not_joined_over_them(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=odd00001&search=loss&zoom=280:320")
    chart = panel(page, "loss")
    expect(page.locator(".panel-marks")).to_have_text("3 NaN", timeout=WAIT)
    settle(page)
    heights = tops(chart)
    inked = [column for column, height in enumerate(heights) if height is not None]
    left, right = inked[0], inked[-1]  # steps 280 and 320

    def column(step: float) -> int:
        return round(left + (right - left) * (step - 280) / 40)

    joined = [x for x in range(column(299.2), column(302.8)) if (heights[x] or 1) < 0.8]  # the marks are below
    assert joined == [], "the line is joined over NaN"
    assert all((heights[column(step)] or 1) < 0.8 for step in (297, 298, 304, 305)), "there is no line"
    values = page.locator(".chart-values")
    x, y = place_of(chart, column(301) / len(heights), 1)
    for up in range(2, 40, 2):  # the strip is a few pixels high, above the labels of the axis
        page.mouse.move(x, y - up)
        idle(page)
        if "NaN at" in values.inner_text():
            break
    expect(values).to_contain_text("NaN at Step 301")
    page.goto(varied_ui.url("#/charts?runs=odd00001&search=loss&zoom=0:999"))
    expect(page.locator(".panel-marks")).to_have_text("5 not finite", timeout=WAIT)


def test_the_corner_says_how_many_points_are_in_the_picture(million_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)},{run_id(1)}")
    expect(page.get_by_text("2,000,000 points, all drawn").first).to_be_visible(timeout=WAIT)
