"""Nothing is cut, overlaps, or scrolls sideways: on each page, at each size, with long names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import charts, layout_problems, settle, wait_for_charts

Screenshots = Path | None

VIEWS = {
    "runs": "#/runs?runs=hostile1,odd00001,seeds000",
    "runs of groups": "#/runs?runs=hostile1,odd00001,seeds000&group=config.lr,config.seed",
    "runs with a baseline": "#/runs?runs=seeds000,seeds001&baseline=seeds000",
    "charts": "#/charts?runs=hostile1,odd00001,seeds000,writers1",
    "full screen": "#/charts?runs=hostile1,odd00001&full=loss",
    "a run": "#/run/hostile1",
    "another run": "#/run/odd00001",
    "charts of a run": "#/run/odd00001/charts",
    "media of a run": "#/run/odd00001/media",
    "files of a run": "#/run/odd00001/files",
    "health of a log": "#/run/odd00001/health",
    "compare": "#/compare?runs=hostile1,odd00001,seeds000,seeds001",
}
SIZES = [((360, 740), 2.0), ((768, 1024), 1.0), ((1600, 900), 2.0), ((3840, 2160), 1.0)]


@pytest.mark.parametrize(("size", "ratio"), SIZES, ids=lambda value: str(value[0]) if isinstance(value, tuple) else "")
def test_no_text_is_cut_or_overlaps(
    varied_ui: Dashboard, pages: Pages, screenshots: Screenshots, size: tuple[int, int], ratio: float
) -> None:
    page = pages.open(varied_ui, "#/runs", size=size, ratio=ratio, touch=size[0] < 500)
    problems: dict[str, list[str]] = {}
    for name, view in VIEWS.items():
        page.goto("about:blank")
        page.goto(varied_ui.url(view))
        settle(page)
        found = layout_problems(page)
        if found:
            problems[name] = found
        if screenshots:
            (screenshots / f"{name.replace(' ', '-')}-{size[0]}.png").write_bytes(page.screenshot())
    assert problems == {}


def test_menus_dialogs_and_the_list_of_values_fit(varied_ui: Dashboard, pages: Pages, screenshots: Screenshots) -> None:
    for width in (360, 1600):
        page = pages.open(varied_ui, VIEWS["runs"], size=(width, 800), touch=width < 500)
        settle(page)
        for name, keys in {"keys": "?", "palette": "Control+k"}.items():
            page.keyboard.press(keys)
            dialog = page.locator("dialog[open]")
            expect(dialog).to_be_visible()
            settle(page)
            assert layout_problems(page) == [], name
            if screenshots:
                (screenshots / f"{name}-{width}.png").write_bytes(page.screenshot())
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()


def test_a_long_name_keeps_its_end_and_is_whole_on_hover(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/charts?runs=hostile1", size=(1440, 900))
    wait_for_charts(page)
    for key in ("a" * 200 + "1", "a" * 200 + "2"):
        title = page.get_by_role("article", name=key).get_by_role("heading")
        expect(title).to_have_attribute("title", key)
        end = title.locator("span").last
        expect(end).to_have_text(re.compile(rf"a{key[-1]}$"))
        assert end.evaluate("node => node.scrollWidth <= node.clientWidth + 1")


def test_a_phone_shows_cards_and_one_chart_a_row_and_values_on_a_tap(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?runs=seeds000,seeds001,seeds002", size=(360, 740), ratio=2, touch=True)
    wait_for_charts(page)
    card = page.locator(".cards .rows .tr:not([hidden])").first
    expect(card.locator(".details")).not_to_be_empty()
    settle(page)
    lefts = {box["x"] for one in charts(page).all() if (box := one.bounding_box())}
    assert len(lefts) == 1
    charts(page).first.scroll_into_view_if_needed()
    charts(page).first.tap()
    expect(page.locator(".chart-values").first).to_contain_text("Step")
    settle(page)
    assert layout_problems(page) == []
