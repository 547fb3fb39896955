"""Groups with bands, whose values are those of `tracker.reading.aggregation`; x axes, zoom, cursor, undo."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import wait_until
from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import charts, panel, settle, wait_for_charts
from tracker import Api

SEEDS = [f"seeds{number:03d}" for number in range(0, 10, 2)]  # lr = 0.01; the last ends early


def csv_of(page: Page, key: str) -> list[dict[str, str]]:
    """Download what a panel shows, as rows by column."""
    article = page.get_by_role("article", name=key, exact=True)
    article.hover()
    article.get_by_role("button", name=re.compile("^Download")).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="CSV", exact=True).click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))


@pytest.mark.parametrize("band", ["std", "sem", "ci95"])
def test_a_group_is_the_mean_of_its_runs_with_a_band(
    varied_root: Path, varied_ui: Dashboard, pages: Pages, band: str
) -> None:
    page = pages.open(varied_ui, f"#/charts?runs={','.join(SEEDS)}&group=config.lr&band={band}")
    wait_for_charts(page)
    expect(panel(page, "val.loss")).to_have_attribute("aria-label", re.compile("1 line"))
    settle(page)
    rows = csv_of(page, "val.loss")
    values: dict[int, list[float]] = {}
    api = Api(varied_root)
    for run in SEEDS:
        history = api.run(run).history(keys=["val.loss"])
        for step, value in zip(history["_step"], history["val.loss"], strict=True):
            values.setdefault(int(step), []).append(float(value))
    assert [int(row["runs"]) for row in rows] == [len(values[step]) for step in sorted(values)]
    assert {row["runs"] for row in rows} == {"5", "4"}  # one seed ended early: the number of runs says so
    for row, step in zip(rows, sorted(values), strict=True):
        group = values[step]
        assert math.isclose(float(row["mean"]), statistics.fmean(group), rel_tol=1e-6)
        std = statistics.stdev(group)
        t = {5: 2.7764, 4: 3.1824}[len(group)]
        width = {"std": std, "sem": std / len(group) ** 0.5, "ci95": t * std / len(group) ** 0.5}[band]
        assert math.isclose(float(row["band high"]) - float(row["mean"]), width, rel_tol=1e-4, abs_tol=1e-7)


def test_each_x_axis_by_one_key_for_all_panels(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=seeds000,seeds001&seeds=0")
    wait_for_charts(page)
    count = charts(page).count()
    for kind in ("Relative", "Wall", "Step"):
        page.keyboard.press("x")
        for at in range(count):
            expect(charts(page).nth(at)).to_have_attribute("aria-label", re.compile(rf"lines, .*{kind}", re.IGNORECASE))
    page.get_by_role("combobox", name="x", exact=True).select_option("metric:val.loss")
    expect(panel(page, "val.accuracy")).to_have_attribute("aria-label", re.compile(r"lines, val\.loss"))
    page.keyboard.press("Control+z")
    page.keyboard.press("y")
    expect(page).to_have_url(re.compile("logY=1"))
    page.get_by_role("button", name="log x").click()
    expect(page).to_have_url(re.compile("logX=1"))
    page.keyboard.press("Escape")


def drag(page: Page, key: str, start: float, end: float) -> None:
    box = panel(page, key).bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle + 2, steps=5)
    page.mouse.up()


def ranges(page: Page) -> list[tuple[float, float]]:
    """Return the first and last step that each chart shows."""
    labels: list[str] = charts(page).evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    found = [re.search(r"Step (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)", label) for label in labels]
    assert found
    return [(float(one[1]), float(one[2])) if one else (-math.inf, math.inf) for one in found]


def test_zoom_pan_and_undo_in_all_panels(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=seeds000,seeds001&seeds=0")
    wait_for_charts(page)
    drag(page, "train.loss", 0.3, 0.6)
    zoom = re.compile(r"zoom=([\d.]+):([\d.]+)")
    expect(page).to_have_url(zoom)
    whole = zoom.search(page.url)
    assert whole is not None
    low, high = float(whole[1]), float(whole[2])
    wait_until(
        lambda: all(low - 10 <= first <= last <= high + 10 for first, last in ranges(page)), "the zoom everywhere"
    )
    page.keyboard.press("y")  # between them, so that the zoom and the pan are two steps
    panel(page, "train.loss").focus()
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(re.compile(re.escape(whole[0]) + "(&|$)"))
    page.keyboard.press("Control+z")
    expect(page).to_have_url(re.compile(re.escape(whole[0])))
    page.keyboard.press("0")
    expect(page).not_to_have_url(zoom)
    page.keyboard.press("Control+z")
    expect(page).to_have_url(re.compile(re.escape(whole[0])))
