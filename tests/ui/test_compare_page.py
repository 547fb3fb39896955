"""Compare: what differs, deltas from a baseline, where curves part, scatter and parallel coordinates, copies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.browser import Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import becomes, settle
from tests.unit.run_builder import RunBuilder

MARKUP = "<img src=x onerror=document.title='ran'>"
SWEEP = "runs=sweep0,sweep1,sweep2"


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Dashboard:
    """A dashboard of three runs with another rate each; their loss parts at step 20."""
    root = tmp_path / "root"
    for number, rate in enumerate((0.1, 0.2, 0.4)):
        run = RunBuilder(root, f"sweep{number}", name=f"rate {rate}", start_time=1_700_000_000.0 + number)
        run.write("config", {"set": {"rate": rate, "same": 1, MARKUP: f"{MARKUP}{number}"}})
        run.write("define", {"metric": "loss", "summary": ["min"], "goal": "minimize"})
        for step in range(40):
            run.row(step, None, loss=1 - step / 100 - (rate if step >= 20 else 0), same=1.0)
        run.finish()
    return serve(root)


def row(page: Page, key: str) -> list[str]:
    cells: list[str] = (
        page.locator(".compare-table tr", has=page.get_by_role("button", name=key, exact=True))
        .locator("td")
        .all_inner_texts()
    )
    return cells


def test_only_what_differs_with_deltas_from_the_baseline(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, f"#/compare?{SWEEP}")
    expect(page.locator(".compare-table")).to_contain_text("2 of 3 keys differ")
    becomes(lambda: row(page, "rate"), ["0.1", "0.2", "0.4"])
    losses = [["0.51"], ["0.41", "−0.1 (−19.6 %)"], ["0.21", "★", "−0.3 (−58.8 %)"]]
    becomes(lambda: [text.split("\n") for text in row(page, "loss")], losses)
    expect(page.locator(".compare-delta.better")).to_have_count(2)
    page.locator("thead th", has_text="rate 0.4").hover()
    page.get_by_role("button", name="Make rate 0.4 the baseline").click()
    expect(page.locator("thead th").first).to_contain_text("rate 0.4")
    expect(page.locator(".compare-delta.worse")).to_have_count(2)
    expect(page).to_have_url(re.compile("baseline=sweep2"))
    page.get_by_label("Include what is the same").check()
    expect(page.locator(".compare-table")).to_contain_text("same")
    page.keyboard.press("z")
    expect(page.get_by_label("Include what is the same")).not_to_be_checked()


def test_copies_are_escaped(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, f"#/compare?{SWEEP}")
    for kind, expected in (("As Markdown", "\\<img src=x"), ("As LaTeX", "\\textless{}img src=x"), ("As CSV", MARKUP)):
        page.get_by_role("button", name="Copy ▾").click()
        page.get_by_role("menuitem", name=kind).click()
        expect(page.locator(".toast").last).to_contain_text(kind.removeprefix("As "))
        assert expected in page.evaluate("navigator.clipboard.readText()")  # the message comes after the copy


def test_where_curves_part_leads_to_the_chart_there(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, "#/compare?runs=sweep0,sweep1&options=part:curves")
    expect(page.locator(".compare-sentence")).to_contain_text("Their curves part clearly first at step 20, in loss.")
    expect(page.locator(".compare-sentence")).to_contain_text("1 metric is exactly the same")
    page.get_by_role("link", name="Open there").click()
    expect(page).to_have_url(
        served.origin + "/#/charts?runs=sweep0,sweep1&x=step&zoom=15:25&full=loss&options=part:curves"
    )


def test_any_two_runs_can_be_asked_where_they_part(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, f"#/compare?{SWEEP}&options=part:curves")
    expect(page.get_by_label("First run")).to_have_value("sweep0")
    page.get_by_label("First run").select_option("rate 0.4")
    page.get_by_label("Second run").select_option("rate 0.2")
    expect(page.get_by_role("row", name=re.compile("^loss step 20"))).to_contain_text("0.4 and 0.6")
    expect(page).to_have_url(re.compile("from:sweep2"))
    expect(page).to_have_url(re.compile("with:sweep1"))


def test_scatter_and_parallel_coordinates_by_keyboard(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, f"#/compare?{SWEEP}&options=part:scatter")
    expect(page.locator(".scatter-point")).to_have_count(3)
    page.get_by_label("log x").check()
    page.locator(".scatter-point").first.focus()
    expect(page.locator(".scatter-reading")).to_contain_text("rate 0.1: rate 0.1, loss 0.51")
    settle(page)
    page.get_by_role("button", name="Download ▾").click()
    with page.expect_download() as svg:
        page.get_by_role("menuitem", name="SVG").click()
    drawn = Path(svg.value.path()).read_text()
    assert (
        drawn.count("<circle") == 4 and "loss over rate" in drawn and "var(" not in drawn
    )  # one is the baseline's ring
    for kind in ("PNG", "CSV"):
        page.get_by_role("button", name="Download ▾").click()
        with page.expect_download() as saved:
            page.get_by_role("menuitem", name=kind).click()
        content = Path(saved.value.path()).read_bytes()
        assert content.startswith(b"\x89PNG") if kind == "PNG" else content.startswith(b"run,rate,loss\r\n")
    page.locator("body").press("]")
    scale = page.get_by_role("button", name="Logarithmic axis of rate")
    scale.press("Enter")
    expect(scale).to_have_attribute("aria-pressed", "true")
    scale.click()
    expect(scale).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".parallel-run")).to_have_count(3)
    page.get_by_role("slider", name="Range of rate").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".parallel-run.out")).to_have_count(2)
    page.get_by_role("button", name="Select 1 run").click()
    expect(page.locator(".compare-body")).to_contain_text("Select two or more runs to compare")


def test_runs_with_different_keys(serve: Serve, pages: Pages, tmp_path: Path) -> None:
    """On a narrow screen there is room for another run beside the baseline; a line goes across axes without a value."""
    root = tmp_path / "root"
    for number in range(4):
        run = RunBuilder(root, f"run{number}", name=f"run {number}", start_time=1_700_000_000.0 + number)
        own = {"even": number} if number % 2 == 0 else {"odd": number}
        run.write("config", {"set": {"depth": number, **own, "data": f"/data/{'sets/' * 12}{number}"}})
        run.row(0, loss=float(number))
        run.finish()
    dashboard = serve(root)
    runs = "runs=run0,run1,run2,run3"
    page = pages.open(dashboard, f"#/compare?{runs}", size=(390, 800))
    box = page.locator("thead th", has_text="run 1").bounding_box()
    assert box is not None and box["x"] + box["width"] <= 390, box
    page = pages.open(dashboard, f"#/compare?{runs}&options=part:parallel")
    expect(page.locator(".parallel-run")).to_have_count(4)
    expect(page.locator(".parallel-run .across[d^=M]").first).to_be_attached()
    for line in page.locator(".parallel-run").all():
        assert all(path.get_attribute("d") != "" for path in line.locator(".reach").all())


def test_too_few_runs(served: Dashboard, pages: Pages) -> None:
    page = pages.open(served, "#/compare?runs=sweep0")
    expect(page.locator(".compare-body")).to_contain_text("Select two or more runs to compare")
