"""What a user sees on a page: panels, their pixels, rows of the table. Waits until it is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Locator, Page, expect

from tests.support import wait_until
from tests.ui.browser import WAIT

Value = TypeVar("Value")

_LAYOUT = (Path(__file__).parent / "layout.js").read_text().rstrip().rstrip(";")

_PIXELS = """
    const canvas = host.querySelector("canvas");
    const { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const data = copy.getImageData(0, 0, width, height).data;
"""
"""Reads a copy, so that reading does not change how the page draws."""

_INK = (
    "host => {"
    + _PIXELS
    + """
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
)

_STROKES = (
    "host => {"
    + _PIXELS
    + """
    const strokes = [];
    for (let x = 0; x < width; x++) {
        let length = 0, longest = 0, top = 0;
        for (let y = 0; y <= height; y++) {
            const at = 4 * (y * width + x);
            const [red, green, blue, alpha] = [data[at], data[at + 1], data[at + 2], data[at + 3]];
            if (y < height && Math.max(red, green, blue) - Math.min(red, green, blue) > 40 && alpha > 100) length++;
            else {
                if (length > longest) [longest, top] = [length, y - length];
                length = 0;
            }
        }
        if (longest > 12) strokes.push([x, top, longest, width]);
    }
    return strokes;
}
"""
)
"""For each column with a stroke of more than 12 pixels: the column, its top, its length, the width of the canvas."""


def panel(page: Page, title: str) -> Locator:
    """Return the chart of a metric, drawn; `title` is the whole key."""
    chart = page.get_by_role("img", name=re.compile(rf"^{re.escape(title)}\.")).first
    expect(chart).to_be_visible(timeout=WAIT)
    return chart


def tops(chart: Locator) -> list[float | None]:
    """Return, for each column of a chart's canvas, the height of the topmost colored pixel: 0 is the upper edge, 1 the
    lower; None for a column without any."""
    ink: dict[str, Any] = chart.evaluate(_INK)
    return [None if top is None else top / ink["height"] for top in ink["tops"]]


def needle(chart: Locator) -> float:
    """Return where the one needle of a chart is that reaches highest, as a part of the canvas's width; fail if there is
    none. A needle is a stroke that is longer than letters are high."""
    idle(chart.page)
    strokes: list[list[int]] = wait_until(lambda: chart.evaluate(_STROKES), "a stroke that stands out")
    highest = min(top for _, top, _, _ in strokes)
    found = [x for x, top, _, _ in strokes if top <= highest + 3]
    assert max(found) - min(found) < 10, f"strokes of the same height at {found}"
    x, _, _, width = next(stroke for stroke in strokes if stroke[1] == highest)
    return x / width


def charts(page: Page) -> Locator:
    """Return the charts on a page."""
    return page.locator('.chart-lines[role="img"]')


def rows(page: Page) -> Locator:
    """Return the runs of the table that are on the screen."""
    return page.get_by_role("grid", name="Runs").get_by_role("row").filter(has=page.get_by_role("gridcell"))


def wait_for_charts(page: Page) -> None:
    """Wait until there are charts, and all on the screen are drawn."""
    expect(charts(page).first).to_have_attribute("aria-label", re.compile("line"), timeout=WAIT)
    settle(page)


def layout_problems(page: Page) -> list[str]:
    """Return what is wrong with the layout of a page: texts that are cut or overlap, sideways scrolling."""
    found: list[str] = page.evaluate(f"({_LAYOUT})()")
    return found


def settle(page: Page) -> None:
    """Wait until the page shows what it was told to: nothing is loading, no request, timer or frame is due."""
    expect(page.locator("main:visible").first).to_be_visible()
    idle(page)
    expect(page.locator(".loading")).to_have_count(0)
    idle(page)


def idle(page: Page, polls: bool = False) -> None:
    """Wait until a page has nothing under way: no request, no timer of a debouncing, nothing to draw.

    Args:
        page: the page.
        polls: wait for a poll that is under way, too; a page that is visible begins the next one after a second.
    """
    page.evaluate("([limit, polls]) => idle(limit, polls)", [WAIT, polls])


def becomes(read: Callable[[], Value], expected: Value) -> None:
    """Wait until `read` returns `expected`: for what a page shows a moment after the action that changes it."""
    try:
        wait_until(lambda: read() == expected)
    except AssertionError:
        assert read() == expected


def type_query(page: Page, text: str) -> None:
    """Put a text into the query line, as by pasting: a part of a query may not be a query."""
    page.keyboard.press("/")
    expect(page.get_by_role("combobox", name="Filter runs by a query")).to_be_focused()
    page.keyboard.insert_text(text)
