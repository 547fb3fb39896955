"""The table of runs: selection, order, columns, filters, groups, edits, and ten thousand rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.browser import WAIT, Dashboard, Pages
from tests.ui.looking import becomes, settle, type_query

Serve = Callable[..., Dashboard]

_UNCOVERED = """table => {
    const box = table.getBoundingClientRect();
    const top = table.querySelector(".thead").getBoundingClientRect().bottom;
    const rows = [...table.querySelectorAll(".rows .tr")].filter(row => !row.hidden && row.textContent.trim());
    const seen = rows.map(row => row.getBoundingClientRect()).filter(row => row.bottom > top && row.top < box.bottom);
    const covered = seen.reduce((sum, row) => sum + Math.min(row.bottom, box.bottom) - Math.max(row.top, top), 0);
    return box.bottom - top - covered;
}"""
"""Height of the table in which no row is seen, in pixels."""


_READING = """
window.reading = true;
const ask = window.fetch;
window.fetch = async (url, init) => {
    const route = /api.v1.(runs|changes)[?]/.exec(String(url))?.[1];
    if (!window.reading || !route || String(url).includes("refs=")) return ask(url, init);
    if (route === "changes") {
        const told = { cursor: new URL(url).searchParams.get("since"), changed: [], removed: [], all: false };
        return new Response(JSON.stringify({ ...told, errors: [], now: 0, indexing: { done: 5, total: 20 } }));
    }
    const answer = await (await ask(url, init)).json();
    answer.refs = answer.refs.slice(-5);
    for (const column of Object.values(answer.columns))
        for (const name of ["values", "index"]) if (column[name]) column[name] = column[name].slice(-5);
    return new Response(JSON.stringify({ ...answer, indexing: { done: 5, total: 20 } }));
};
"""
"""Until `reading` is false, answers are those of a server that has read five runs."""


def row(page: Page, name: str) -> Locator:
    return page.locator(".rows .tr").filter(has=page.get_by_title(name, exact=True))


def names(page: Page) -> list[str]:
    """Return the names of the runs in the order in which they are seen."""
    found: list[str] = page.locator(".rows").evaluate(
        """rows => [...rows.querySelectorAll(".tr")].filter(row => !row.hidden && row.querySelector("a.name"))
            .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
            .map(row => row.querySelector("a.name").title)"""
    )
    return found


@pytest.fixture
def page(varied_ui: Dashboard, pages: Pages) -> Page:
    """The runs of a root with all that runs can have, in a window where no column is out of view."""
    opened = pages.open(varied_ui, "#/runs?split=1500", size=(2200, 900))
    expect(opened.locator(".th", has_text="seed")).to_be_visible(timeout=WAIT)
    settle(opened)
    return opened


def test_the_newest_ten_runs_are_selected_at_first(page: Page) -> None:
    expect(page.locator(".table-foot")).to_contain_text(re.compile(r"^\d+ runs, 10 selected"))
    expect(page.locator(".rows .tr.on")).to_have_count(10)
    assert "runs=" not in page.url


def test_what_is_shown_while_the_runs_are_read_for_the_first_time(varied_ui: Dashboard, pages: Pages) -> None:
    """The page has an answer with five runs, the oldest, until the server has read all."""
    page = pages.blank(varied_ui, size=(1440, 900))
    page.add_init_script(_READING)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(varied_ui.url("#/runs"))
    bar = page.locator(".bars .bar")
    expect(bar).to_contain_text("Reading the runs for the first time: 5 of ")
    expect(page.locator(".table-foot")).to_contain_text(re.compile(r"^5 runs, 5 selected"))
    expect(page.locator(".panels-notice")).to_contain_text("The charts appear when all runs have been read.")
    assert not [url for url in asked if url.endswith(("/keys", "/series"))]
    oldest = names(page)
    row(page, oldest[0]).locator(".swatch").click()  # the user chooses: charts are shown at once
    expect(page.locator(".chart-lines").first).to_be_visible()
    page.keyboard.press("z")
    expect(page.locator(".panels-notice")).to_contain_text("The charts appear when all runs have been read.")
    page.evaluate("window.reading = false")
    expect(bar).to_have_count(0)
    expect(page.locator(".table-foot")).to_contain_text(re.compile(r"^\d\d runs, 10 selected"))
    expect(page.locator(".rows .tr.on")).to_have_count(10)
    assert [one in names(page)[:10] for one in oldest] == [False] * 5, "the first ten of all runs are selected"
    expect(page.locator(".chart-lines").first).to_be_visible()
    assert "runs=" not in page.url


def test_why_there_are_no_charts(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?query=name+==+'nothing'")
    notice = page.locator(".panels-notice")
    expect(notice).to_contain_text("No runs match")
    type_query(page, "")
    page.keyboard.press("Enter")
    expect(page.locator(".chart-lines").first).to_be_visible()
    oldest = page.evaluate("async () => (await (await fetch('api/v1/runs?columns=name')).json()).refs.at(-1)")
    page.goto(varied_ui.url(f"#/runs?runs={oldest}&query=id+!=+'{oldest}'"))
    expect(notice).to_contain_text("No selected runs match")
    page.goto(varied_ui.url("#/runs?runs="))
    expect(notice).to_contain_text("No runs selected")


def test_a_group_in_a_narrow_column_shows_its_value(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs?group=duration")
    label = page.locator(".group-label").first
    expect(label).to_contain_text("Duration = ")
    edges = label.evaluate(
        "label => [label, label.querySelector('.ends > :last-child')].map(one => one.getBoundingClientRect().right)"
    )
    assert edges[1] <= edges[0] + 1


def test_undo_says_only_what_it_did_last(page: Page) -> None:
    page.keyboard.press("j")
    for _ in range(3):
        page.keyboard.press(" ")
    for _ in range(3):
        page.keyboard.press("z")
    expect(page.locator(".toast")).to_have_text(re.compile("^Undid: selection"))


def test_rows_that_stay_the_same_are_not_written_again(page: Page) -> None:
    page.locator(".rows").evaluate(
        """rows => {
            window.written = [];
            new MutationObserver(records => {
                for (const { target, attributeName, oldValue } of records) {
                    if (target.matches(".tr")) window.written.push([attributeName, oldValue, target.id]);
                }
            }).observe(rows, { subtree: true, attributes: true, attributeOldValue: true });
        }"""
    )
    first = page.locator(".rows .tr.on").first
    id = first.get_attribute("id")
    first.locator(".swatch").click()
    expect(page.locator(".table-foot")).to_contain_text("9 selected")
    page.mouse.move(0, 0)
    settle(page)
    written = page.evaluate("window.written")
    assert ["aria-selected", "true", id] in written
    assert {name for name, _, row in written if row != id} <= {"class"}, "another may be the current one"


def test_runs_are_selected_by_click_range_and_key_and_it_is_undone(page: Page) -> None:
    foot = page.locator(".table-foot")
    first = page.locator(".rows .swatch").first
    first.click()
    expect(foot).to_contain_text("9 selected")
    row(page, "lr=0.1 seed=3").locator(".swatch").click()
    expect(foot).to_contain_text("10 selected")
    row(page, "lr=0.1 seed=1").locator(".swatch").click(modifiers=["Shift"])
    expect(foot).to_contain_text("14 selected")
    page.keyboard.press("z")
    expect(foot).to_contain_text("10 selected")
    page.keyboard.press("Z")
    expect(foot).to_contain_text("14 selected")
    page.keyboard.press("j")
    page.keyboard.press(" ")
    expect(foot).to_contain_text(re.compile("1[35] selected"))
    settle(page)
    chosen = foot.inner_text()
    page.reload()
    expect(foot).to_have_text(chosen.replace("\n", ""))


def test_sorting_by_one_and_two_columns_is_in_the_address(page: Page) -> None:
    page.locator(".th", has_text="seed").locator(".label").click()
    expect(page.locator(".th", has_text="seed")).to_have_attribute("aria-sort", "descending")
    page.locator(".th[data-column='config.lr'] .label").click(modifiers=["Shift"])
    page.locator(".th[data-column='config.lr'] .label").click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("sort=-config.seed,config.lr"))
    first = ["lr=0.01 seed=4", "lr=0.1 seed=4", "lr=0.01 seed=3"]
    becomes(lambda: [name for name in names(page) if "seed=" in name][:3], first)
    page.reload()
    expect(page.locator(".rows a.name").first).to_be_visible()
    expect(page.locator(".th", has_text="seed")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#row-0 a.name")).to_have_attribute("title", "lr=0.01 seed=4")


def test_columns_are_moved_by_drag_resized_hidden_and_chosen(page: Page) -> None:
    moved = page.locator(".th[data-column='config.seed']")
    state = page.locator(".th[data-column='state']")
    moved.locator(".label").hover()
    page.mouse.down()
    box = state.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 10, steps=3)
    page.mouse.up()
    expect(page.locator(".th").nth(1)).to_have_attribute("data-column", "config.seed")
    settle(page)
    edge = page.locator(".th").nth(1).locator(".edge").bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + 4, edge["y"] + 4)
    page.mouse.down()
    page.mouse.move(edge["x"] + 54, edge["y"] + 4, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"widths=config\.seed:1\d\d"))
    page.get_by_label("Choose columns").click()
    page.get_by_label("Search columns").fill("job")
    page.locator(".picker label", has_text="Job type").locator("input").check()
    page.keyboard.press("Escape")
    expect(page.locator(".th[data-column='job_type']")).to_be_attached()
    page.reload()
    expect(page.locator(".th").nth(1)).to_have_attribute("data-column", "config.seed")
    expect(page.locator(".th[data-column='job_type']")).to_be_attached()


def test_a_filter_of_a_column_lists_its_values_with_counts(page: Page) -> None:
    page.locator(".th[data-column='state']").hover()
    page.locator(".th[data-column='state'] .more").click()
    page.get_by_role("menuitem", name="Filter…").click()
    page.locator(".filter-list label", has_text="failed").locator("input").check()
    expect(page.locator(".table-foot")).to_contain_text("1 matches")
    expect(page.locator(".rows .tr:not([hidden])")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".table-foot")).not_to_contain_text("match")


def test_groups_show_how_many_they_are_and_mean_and_deviation(page: Page) -> None:
    page.locator(".th[data-column='config.lr']").click(button="right")
    page.get_by_role("menuitem", name="Group by it").click()
    group = page.locator(".tr.group", has_text="lr = 0.1")
    expect(group).to_contain_text(re.compile(r"[0-5]/5"))
    expect(group).to_contain_text("±")
    group.click()
    expect(group.locator(".twist")).to_have_attribute("aria-expanded", "false")
    expect(row(page, "lr=0.1 seed=2")).to_be_hidden()


def test_a_baseline_is_pinned_and_differences_are_coloured_by_the_goal(page: Page) -> None:
    row(page, "lr=0.1 seed=0").click(button="right")
    page.get_by_role("menuitem", name="Pin as baseline").click()
    expect(page.locator(".pinned a.name")).to_have_attribute("title", "lr=0.1 seed=0")
    expect(row(page, "lr=0.01 seed=0").first.locator(".delta").first).to_be_visible()
    page.keyboard.press("b")
    expect(page.locator(".pinned .tr")).to_have_count(0)


def test_a_query_without_results_says_so(page: Page) -> None:
    expect(page.locator(".table-foot")).to_contain_text("runs")
    total = re.match(r"\d+", page.locator(".table-foot").inner_text())
    assert total is not None
    type_query(page, "config.lr > 99")
    expect(page.locator(".table-empty")).to_contain_text(f"No runs match config.lr > 99 ({total.group()} in all).")
    page.get_by_role("button", name="Clear the query").click()
    expect(page.locator(".table-empty")).to_be_hidden()


@pytest.fixture
def editable(varied: Path, serve: Serve, pages: Pages) -> Page:
    opened = pages.open(serve(varied))
    expect(row(opened, "no metrics")).to_be_visible()
    settle(opened)
    return opened


def test_a_run_is_renamed_in_place_and_it_is_undone(editable: Page) -> None:
    page = editable
    row(page, "no metrics").locator(".td.state").click()
    page.keyboard.press("F2")
    expect(page.locator(".editor :focus")).to_be_visible()
    page.keyboard.type("a better name")
    with page.expect_response("**/edits"):
        page.keyboard.press("Enter")
    expect(row(page, "a better name")).to_be_visible()
    page.keyboard.press("F2")
    expect(page.locator(".editor :focus")).to_be_visible()
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    expect(page.locator(".editor")).to_have_count(0)
    settle(page)
    expect(row(page, "a better name")).to_be_visible()
    page.reload()
    expect(row(page, "a better name")).to_be_visible()


def test_a_run_gets_a_color_by_name_that_is_kept(editable: Page) -> None:
    page = editable
    row(page, "no metrics").click(button="right")
    page.get_by_role("menuitem", name="Color…").click()
    with page.expect_response("**/edits") as answered:
        page.get_by_role("button", name="Red", exact=True).click()
    assert answered.value.json()["results"][0]["ok"]
    expect(page.locator(".toast")).to_have_count(0)
    page.reload()
    expect(row(page, "no metrics").locator(".swatch")).to_have_attribute("style", re.compile("--run: ?#c62828"))


def test_a_deleted_run_comes_back(editable: Page) -> None:
    page = editable
    total = page.locator(".table-foot").inner_text().split(" ", 1)[0]
    row(page, "no metrics").click(button="right")
    page.get_by_role("menuitem", name="Delete").click()
    expect(row(page, "no metrics")).to_be_hidden()
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(row(page, "no metrics")).to_be_visible()
    expect(page.locator(".table-foot")).to_contain_text(f"{total} runs")


@pytest.mark.timeout(600)  # may have to wait until ten thousand runs are made
def test_ten_thousand_rows_are_never_blank(many_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(many_ui)
    table = page.locator(".runs-table")
    expect(page.locator(".table-foot")).to_contain_text("10,000 runs")
    settle(page)
    assert page.locator(".rows .tr").count() < 80
    uncovered: list[float] = []
    for top in (0, 130, 5000, 269_000, 100, 10**7):
        measured: Any = table.evaluate(
            f"async table => {{ table.scrollTop = {top}; await new Promise(requestAnimationFrame);"
            f" await new Promise(done => setTimeout(done)); return ({_UNCOVERED})(table); }}"
        )
        uncovered.append(measured)
    assert max(uncovered) < 30
    expect(page.locator("#row-9999")).to_be_visible()
