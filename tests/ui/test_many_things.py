"""Ten thousand runs in the table, two thousand metrics of a run, a hundred runs in a panel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import wait_until
from tests.tools.make_runs import config_of
from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve, make_ten
from tests.ui.endurance import heap_bytes
from tests.ui.looking import charts, panel, rows, settle, type_query, wait_for_charts

pytestmark = pytest.mark.timeout(600)  # the first test that needs ten thousand runs waits until they are made

MOST_CANVASES = 60
MOST_HEAP_BYTES = 150_000_000

_SCROLL = """async table => {
    const wrong = [];
    const look = () => {
        const box = table.getBoundingClientRect();
        const top = table.querySelector(".thead").getBoundingClientRect().bottom;
        const seen = [...table.querySelectorAll(".rows .tr")].filter(row => !row.hidden).map(row => [row, row.getBoundingClientRect()])
            .filter(([, edge]) => edge.bottom > top + 1 && edge.top < box.bottom - 1);
        const blank = seen.filter(([row]) => !row.querySelector("a.name")?.title || !row.textContent.trim());
        const covered = seen.reduce((sum, [, edge]) => sum + Math.min(edge.bottom, box.bottom) - Math.max(edge.top, top), 0);
        if (blank.length || Math.abs(box.bottom - top - covered) > 28) wrong.push([table.scrollTop, blank.length, box.bottom - top - covered]);
    };
    const steps = [...Array(60).fill(90), ...Array(30).fill(2500), ...Array(30).fill(-1700), 90000, -40000, 1e9, -1e9, 30];
    for (const step of steps) {
        table.scrollTop += step;
        await new Promise(requestAnimationFrame);
        await new Promise(done => setTimeout(done));
        look();
    }
    return wrong;
}"""  # noqa: E501


def names(page: Page, count: int) -> list[str]:
    """Return the names in the first rows."""
    found: list[str] = page.evaluate(
        """count => Array.from(
            { length: count }, (_, at) => document.querySelector(`#row-${at} a.name`)?.title ?? "")""",
        count,
    )
    return found


def test_no_row_of_ten_thousand_is_ever_blank(many_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(many_ui, "#/runs?runs=")
    expect(page.locator(".table-foot")).to_contain_text("10,000 runs")
    expect(rows(page).first).to_be_visible()
    settle(page)
    assert page.locator(".runs-table").evaluate(_SCROLL) == []


def test_sort_and_filter_of_ten_thousand_are_right(many_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(many_ui, "#/runs?runs=&columns=name,config.lr,config.batch_size&sort=config.lr")
    rates = sorted(float(config_of(run)["lr"]) for run in range(10_000))
    expect(page.locator(".th[data-column='config.lr']")).to_have_attribute("aria-sort", "ascending")
    assert wait_until(lambda: rates_shown(page) == rates[:20], "the lowest rates first")
    type_query(page, "config.lr > 0.05 and config.batch_size == 64")
    page.keyboard.press("Enter")
    configs = [config_of(run) for run in range(10_000)]
    expected = sorted(float(one["lr"]) for one in configs if one["lr"] > 0.05 and one["batch_size"] == 64)
    expect(page.locator(".table-foot")).to_contain_text(re.compile(rf"\b{len(expected):,} match"))
    assert wait_until(lambda: rates_shown(page) == expected[:20], "the lowest of those that match")
    page.goto(page.url.replace("sort=config.lr", "sort=-config.lr"))
    assert wait_until(lambda: rates_shown(page) == expected[::-1][:20], "the highest of those that match")


def rates_shown(page: Page) -> list[float]:
    """Return the learning rates of the runs in the first 20 rows; a run's name ends in its number."""
    return [float(config_of(int(name.rsplit("-", 1)[1]))["lr"]) for name in names(page, 20) if "-" in name]


def test_two_thousand_metrics_are_scrolled_through(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=manykeys&size=s")
    expect(page.locator(".panels-count")).to_have_text("2,000 metrics")
    wait_for_charts(page)
    scroll = page.locator(".panels-scroll")
    most = 0
    steps = 0
    while True:
        canvases, at_the_end = scroll.evaluate(
            """async node => {
                node.scrollTop += node.clientHeight * 1.5;
                let most = 0;
                for (let frame = 0; frame < 2; frame += 1) {
                    await new Promise(requestAnimationFrame);
                    most = Math.max(most, document.querySelectorAll("canvas").length);
                }
                return [most, node.scrollTop + node.clientHeight >= node.scrollHeight - 2];
            }"""
        )
        most = max(most, canvases)
        steps += 1
        if at_the_end:
            break
        assert steps < 1000
    assert 0 < most <= MOST_CANVASES
    expect(page.get_by_role("article", name="layer.99/m19", exact=True).locator("canvas").first).to_be_visible()
    settle(page)
    assert heap_bytes(page) <= MOST_HEAP_BYTES
    page.get_by_role("searchbox", name="Search metrics").fill("layer.42/ m07")
    expect(page.locator(".panels-count")).to_have_text("1 of 2,000 metrics")
    expect(page.locator(".panel")).to_have_count(1)
    expect(page.locator(".panel")).to_have_attribute("aria-label", "layer.42/m07")


def test_a_hundred_runs_in_a_panel_and_which_is_which(quick_path: Path, serve: Serve, pages: Pages) -> None:
    root = make_ten(quick_path / "hundred", points=200, runs=100, keys=3)
    page = pages.open(serve(root), "#/runs")
    page.get_by_role("button", name="Select runs").click()
    page.get_by_role("menuitem", name=re.compile("^(Select )?[Aa]ll")).first.click()
    expect(page.locator(".table-foot")).to_contain_text("100 selected")
    wait_for_charts(page)
    chart = panel(page, "train.loss")
    expect(chart).to_have_attribute("aria-label", re.compile("100 lines"))
    settle(page)
    # From the chart to the other panels and to the table.
    chart.hover(position={"x": 150, "y": 90})
    nearest = page.locator(".chart-values.shown .nearest .chart-values-label").first
    expect(nearest).to_be_visible()
    settle(page)
    expect(charts(page)).to_have_count(3)
    wait_until(lambda: all(_ink(one) > 0 for one in charts(page).all()), "the run in all panels")
    row = page.locator(".rows .tr").filter(has=page.get_by_title(nearest.inner_text(), exact=True))
    if row.is_visible():  # the table scrolls
        expect(row).to_have_class(re.compile(r"\bhot\b"))
    # From the table to the panels.
    page.locator(".table-foot").hover()
    expect(page.locator(".rows .tr.hot")).to_have_count(0)
    wait_until(lambda: all(_ink(one) == 0 for one in charts(page).all()))
    rows(page).nth(3).hover()
    expect(page.locator(".rows .tr.hot")).to_have_count(1)
    wait_until(lambda: all(_ink(one) > 0 for one in charts(page).all()))


def _ink(chart: Locator) -> int:
    """Return how many pixels are drawn over a chart's lines: the cursor, and the run that is raised."""
    drawn: int = chart.evaluate(_COVER)
    return drawn


_COVER = """chart => {
    const canvas = chart.querySelector("canvas.chart-cover") ?? chart.parentElement.querySelector("canvas.chart-cover");
    if (!canvas || !canvas.width) return 0;
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, at) => at % 4 === 3 && value > 0).length;
}"""
