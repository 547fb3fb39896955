"""A chart does not lie: every spike is in the picture, NaN is marked, a zoom ends at the true points."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.tools.make_runs import SPIKE_AT, run_id
from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import WAIT, charts, panel, tops, wait_for_charts


def needle(page: Page, key: str) -> float:
    """Return where the highest line of a panel is, as a part of its width; fail if nothing stands out."""
    heights = tops(panel(page, key))
    highest = min(height for height in heights if height is not None)
    columns = [x for x, height in enumerate(heights) if height is not None and height <= highest + 0.02]
    usual = sorted(height for height in heights if height is not None)[len(heights) // 4]
    assert usual - highest > 0.2, "nothing stands out"
    assert max(columns) - min(columns) < 8, "the needle is wide"
    return sum(columns) / len(columns) / len(heights)


@pytest.mark.parametrize("options", ["", "&smooth=20000", "&logX=1"], ids=["plain", "smoothed", "log-x"])
def test_one_value_in_a_million_is_a_needle_in_every_panel(million_ui: Dashboard, pages: Pages, options: str) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)}{options}")
    wait_for_charts(page)
    for index in range(6):
        key = (charts(page).nth(index).get_attribute("aria-label") or "").split(". ")[0]
        at = needle(page, key)
        assert 0.5 < at < 1, (key, at)


def test_a_zoom_ends_at_the_very_point(million_ui: Dashboard, pages: Pages) -> None:
    step = int(1_000_000 * SPIKE_AT)
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)}&search=train.loss&zoom={step - 40}~{step + 40}")
    chart = panel(page, "train.loss")
    expect(chart).to_have_attribute("aria-label", re.compile("2.5"), timeout=WAIT)
    heights = tops(chart)
    assert heights.index(min(height for height in heights if height is not None)) == pytest.approx(
        len(heights) / 2, abs=30
    )


def test_nan_and_infinities_are_marked_and_counted(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=odd00001")
    expect(panel(page, "loss")).to_have_attribute(
        "aria-label", re.compile(r"5 (values )?(are )?(NaN|not finite)"), timeout=WAIT
    )
    expect(
        page.get_by_text("All 1,000 values are NaN or infinite").or_(page.get_by_text("only NaN")).first
    ).to_be_visible()


def test_the_corner_says_how_many_points_are_in_the_picture(million_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(million_ui, f"#/charts?runs={run_id(0)},{run_id(1)}")
    expect(page.get_by_text("2,000,000 points, all drawn").first).to_be_visible(timeout=WAIT)
