"""What a user sees on a page: panels, their pixels, rows of the table. Waits for what is asked for."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.support import TIMEOUT

WAIT = TIMEOUT * 1000
"""Maximum wait, in milliseconds."""

_INK = """
host => {
    const canvas = host.querySelector("canvas");
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const data = context.getImageData(0, 0, width, height).data;
    const tops = [];
    for (let x = 0; x < width; x++) {
        let top = null;
        for (let y = 0; y < height; y++) {
            const at = 4 * (y * width + x);
            const [red, green, blue, alpha] = [data[at], data[at + 1], data[at + 2], data[at + 3]];
            const colourful = Math.max(red, green, blue) - Math.min(red, green, blue) > 40 && alpha > 100;
            if (colourful) { top = y; break; }
        }
        tops.push(top);
    }
    return { width, height, tops };
}
"""


def panel(page: Page, title: str) -> Locator:
    """Return the chart of a metric, drawn; `title` is the whole key."""
    chart = page.get_by_role("img", name=re.compile(rf"^{re.escape(title)}\.")).first
    expect(chart).to_be_visible(timeout=WAIT)
    return chart


def tops(chart: Locator) -> list[float | None]:
    """Return, for each column of a chart's canvas, the height of the topmost coloured pixel: 0 is the upper edge, 1 the
    lower; None for a column without any."""
    ink: dict[str, Any] = chart.evaluate(_INK)
    return [None if top is None else top / ink["height"] for top in ink["tops"]]


def charts(page: Page) -> Locator:
    """Return the charts on a page."""
    return page.locator('.chart-lines[role="img"]')


def rows(page: Page) -> Locator:
    """Return the runs of the table that are on the screen."""
    return page.get_by_role("grid", name="Runs").get_by_role("row").filter(has=page.get_by_role("gridcell"))


def wait_for_charts(page: Page) -> None:
    """Wait until the first chart is drawn."""
    expect(charts(page).first).to_have_attribute("aria-label", re.compile("line"), timeout=WAIT)
