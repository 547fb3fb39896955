"""Names, keys, tags, notes, values with HTML, control characters and ten thousand characters are text, everywhere.

Each page that is opened here is checked in the end: no error, no report of the content security policy.
"""

from __future__ import annotations

import csv
import io
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sidecar.protocol.layout import make_root
from tests.tools.make_runs import Maker
from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import charts, rows, settle, type_query, wait_for_charts

HTML = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
MARKS = "\u202e\u2066right to left\u200f"
FORMULA = '=HYPERLINK("http://other.example/","x")'
LONG = "w" * 10_000


@pytest.fixture
def hostile(tmp_path: Path, serve: Serve) -> Dashboard:
    """Three runs of which every text is hostile."""
    root = tmp_path / "root"
    make_root(root)
    for number, text in enumerate((HTML + MARKS, FORMULA, LONG)):
        maker = Maker(
            root,
            f"hostile{number}",
            time.time() - 1000,
            project=HTML,
            name=text,
            group=text,
            job_type=text,
            tags=[text[:200], MARKS],
            notes=f"{text}\n{HTML}",
        )
        maker.write("config", None, set={text[:500]: text, "same": HTML, "number": number})
        maker.write("define", None, metric="*", goal="minimize", summary=["min"])
        for step in range(30):
            maker.row(
                step, {text[:500]: step * 1.0, HTML: float(step), FORMULA: 2.0 * step, "text": f"{step} {HTML}{MARKS}"}
            )
        maker.end("failed", reason=HTML, traceback=f"Traceback\n{HTML}")
        files = maker.dir / "files"
        files.mkdir()
        (files / "<b>x<b>.txt").write_text(HTML)
        (files / "page.html").write_text(HTML)
        maker.store()
    return serve(root)


def nothing_ran(page: Page) -> None:
    assert page.title() != "ran"
    assert page.evaluate("document.querySelectorAll('img[src=x], iframe[src=x], script:not([src])').length") == 0


VIEWS = [
    "#/runs",
    "#/runs?columns=name,group,job_type,tags,notes,reason,config.same,project&group=group&split=1200",
    "#/charts",
    "#/compare?runs=hostile0,hostile1,hostile2",
    "#/compare?runs=hostile0,hostile1,hostile2&options=part:parallel",
    "#/compare?runs=hostile0,hostile1,hostile2&options=part:scatter",
    *(
        f"#/run/hostile{number}{tab}"
        for number in (0, 2)
        for tab in ("", "/charts", "/files", "/media", "/health", "/console")
    ),
]


@pytest.mark.parametrize("theme", ["light"])
def test_every_page_shows_hostile_text_as_text(hostile: Dashboard, pages: Pages, theme: str) -> None:
    page = pages.open(hostile, "#/runs", theme=theme)
    for view in VIEWS:
        page.goto("about:blank")
        page.goto(hostile.url(view))
        settle(page)
        nothing_ran(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        shown = page.locator("body").inner_text()
        assert "<img src=x" in shown or not view.startswith(("#/runs", "#/charts")), view


def test_menus_suggestions_and_the_palette_show_it_as_text(hostile: Dashboard, pages: Pages) -> None:
    page = pages.open(hostile, "#/runs")
    settle(page)
    expect(rows(page)).to_have_count(3)
    page.keyboard.press("Control+k")
    page.keyboard.type("<img")
    expect(page.locator("dialog[open] [role=option]").first).to_contain_text("<img src=x")
    nothing_ran(page)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    type_query(page, "config.")
    line = page.get_by_role("combobox", name="Filter runs by a query")
    expect(line).to_have_value("config.")
    expect(page.locator("[role=option]:visible").first).to_be_visible()
    nothing_ran(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox", name="Suggestions")).to_be_hidden()
    line.fill("")
    line.press("Escape")
    expect(line).not_to_be_focused()
    expect(rows(page)).to_have_count(3)
    settle(page)
    menu = page.get_by_role("menu")
    rows(page).first.click(button="right")
    expect(menu).to_be_visible()
    nothing_ran(page)
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    page.get_by_label("Choose columns").click()
    expect(page.get_by_label("Search columns")).to_be_visible()
    nothing_ran(page)
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search columns")).to_have_count(0)
    wait_for_charts(page)
    charts(page).first.hover()
    expect(page.locator(".chart-values.shown")).to_be_visible()
    settle(page)
    box = page.locator(".chart-values.shown").bounding_box()
    assert box is not None
    assert box["width"] < 700
    nothing_ran(page)


def test_downloads_of_a_panel_are_escaped(hostile: Dashboard, pages: Pages) -> None:
    page = pages.open(hostile, "#/charts?runs=hostile0,hostile1,hostile2")
    wait_for_charts(page)
    panel = page.get_by_role("article", name=HTML, exact=True)
    texts = {}
    for kind in ("SVG", "CSV"):
        panel.hover()
        panel.get_by_role("button", name=re.compile("^Download")).click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=kind, exact=True).click()
        texts[kind] = Path(download.value.path()).read_text()
        assert re.fullmatch(r"[\w.-]+", download.value.suggested_filename)
    assert "<img" not in texts["SVG"]
    assert "<script" not in texts["SVG"]
    assert "&lt;img src=x" in texts["SVG"]
    header, *lines = csv.reader(io.StringIO(texts["CSV"]))
    assert header[:2] == ["run", "key"]
    assert {line[0][:11] for line in lines} == {HTML[:11], f"'{FORMULA}"[:11], LONG[:11]}
    assert all(not cell.startswith(("=", "@", "+")) for line in lines for cell in line)


def test_copies_of_compare_are_escaped(hostile: Dashboard, pages: Pages) -> None:
    page = pages.open(hostile, "#/compare?runs=hostile0,hostile1")
    settle(page)
    for kind in ("Markdown", "CSV"):
        page.get_by_role("button", name="Copy", exact=False).first.click()
        page.get_by_role("menuitem", name=re.compile(kind)).first.click()
        expect(page.locator(".toast").last).to_contain_text(kind)  # it comes after the copy
        copied: str = page.evaluate("navigator.clipboard.readText()")
        if kind == "Markdown":
            assert not re.search(r"(?<!\\)<(img|script)", copied)
            assert re.search(r"(\\<|&lt;)img", copied)
        else:
            for line in csv.reader(io.StringIO(copied)):
                assert not any(cell.startswith(("=", "@", "+")) for cell in line)
    nothing_ran(page)
