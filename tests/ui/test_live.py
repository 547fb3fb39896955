"""A run that trains while its charts are shown; hidden tabs; a server that stops and comes back."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import Script, Scripts, wait_until
from tests.ui.browser import WAIT, Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import idle, panel, settle

MOST_SECONDS = 2.0
"""Longest time from `log()` to the point on the screen, and from showing a hidden tab to its newest points."""

GONE = r"ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE"

_TRAIN = """
import sys, time, tracker
run = tracker.init(id="live", name="live")
keys = [f"section{section}/metric{index}" for section in range(4) for index in range(4)]
for line in sys.stdin:
    step, value = line.split()
    run.log({"loss": float(value), **{key: float(value) for key in keys}}, step=int(step))
    print(time.time())
"""

_WATCH = """
chart => {
    window.seen = [];
    const look = () => window.seen.push([Date.now() / 1000, chart.getAttribute("aria-label")]);
    new MutationObserver(look).observe(chart, { attributes: true, attributeFilter: ["aria-label"] });
}
"""

_HIDE = """
let hidden = false;
Object.defineProperty(document, "hidden", { get: () => hidden });
Object.defineProperty(document, "visibilityState", { get: () => (hidden ? "hidden" : "visible") });
window.setHidden = value => {
    hidden = value;
    document.dispatchEvent(new Event("visibilitychange"));
};
"""

_MARK = """
() => {
    const scroll = document.querySelector(".panels-scroll"), table = document.querySelector(".runs-table");
    return {
        hash: location.hash,
        charts: scroll.scrollTop,
        table: table.scrollTop,
        focus: document.activeElement.getAttribute("aria-label") || document.activeElement.className,
        places: [...document.querySelectorAll(".panel")].map(one => JSON.stringify(one.getBoundingClientRect())),
        typed: document.querySelector(".query-input").value,
        caret: document.querySelector(".query-input").selectionStart,
        menu: document.querySelector(".menu")?.textContent,
        selected: [...document.querySelectorAll(".rows .tr.on")].length,
    };
}
"""
"""All that must not move while points arrive."""


class Live:
    """A run in its own process, which logs a row when it is told to."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.step = -1

    def log(self, value: float) -> float:
        """Log a row; return when, in Unix seconds."""
        self.step += 1
        self._script.send_line(f"{self.step} {value}")
        return float(self._script.read_line())

    def finish(self) -> None:
        self._script.wait()


@pytest.fixture
def live(root: Path, ended_root: Path, scripts: Scripts) -> Iterator[Live]:
    """A run that has logged 40 rows, beside 40 runs that have ended."""
    shutil.copytree(ended_root, root)
    run = Live(scripts.start(_TRAIN))
    for step in range(40):
        run.log(1 / (step + 1))
    yield run
    run.finish()


def last_value(chart: Locator, value: float, wait: float = WAIT) -> None:
    """Wait until a chart's last value is `value`."""
    expect(chart).to_have_attribute("aria-label", re.compile(rf"last {re.escape(f'{value:g}')}\b"), timeout=wait)


def seen_at(page: Page, value: float) -> float:
    """Wait until the watched chart has shown a value; return when it first did."""

    def moments() -> list[float]:
        return [moment for moment, label in page.evaluate("window.seen") if f"last {value:g}," in label]

    return wait_until(moments, f"the point {value}")[0]


def test_a_point_is_on_the_screen_within_two_seconds(live: Live, root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=live&search=loss")
    chart = panel(page, "loss")
    last_value(chart, 0.025)
    chart.evaluate(_WATCH)
    waits = []
    for value in (11, 12, 13, 14, 15):
        logged = live.log(value)
        waits.append(seen_at(page, value) - logged)
    assert min(waits) <= MOST_SECONDS, waits


def test_nothing_else_moves_while_points_arrive(live: Live, root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=live&zoom=5:25&size=s", size=(1200, 600))
    expect(page.get_by_role("img", name="section0/metric1. 1 line")).to_be_visible(timeout=WAIT)
    pages.problems_of(page).expect("status of 422")  # half a query is not valid
    for selector, top in ((".panels-scroll", 130), (".runs-table", 90)):
        page.locator(selector).evaluate("(node, top) => node.scrollTo(0, top)", top)
    query = page.get_by_label("Filter runs by a query")

    def typed() -> None:
        query.click()
        page.keyboard.insert_text("config.lr")  # at once: a part of it is a search that leaves out all runs
        query.press("ArrowLeft")

    def menu_open() -> None:
        query.press("Escape")
        page.get_by_role("button", name="Views").click()
        expect(page.get_by_role("menu")).to_be_visible()

    def chart_focused() -> None:
        page.keyboard.press("Escape")
        page.get_by_role("img", name="section0/metric1. ").focus()

    for act in (typed, menu_open, chart_focused):
        act()
        settle(page)
        before = page.evaluate(_MARK)
        for _ in range(3):
            with page.expect_response("**/series"):
                live.log(0.5)
        settle(page)
        after = page.evaluate(_MARK)
        assert after == before, act.__name__


def test_follow_keeps_the_newest_points_in_view(live: Live, root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root), "#/charts?runs=live&zoom=29:39&follow=1&search=loss")
    chart = panel(page, "loss")
    last_value(chart, 0.025)
    for value in (0.5, 0.25):
        live.log(value)
        last_value(chart, value)
        expect(chart).to_have_attribute("aria-label", re.compile(rf"to {live.step}\b"))
        expect(page).to_have_url(re.compile(f"zoom={live.step - 10}:{live.step}(&|$)"))
    assert page.evaluate("history.length") <= 3


def test_twelve_tabs_and_hidden_ones_ask_for_nothing(live: Live, root: Path, serve: Serve, pages: Pages) -> None:
    served = serve(root)
    first = pages.open(served, "#/charts?runs=live&search=loss")
    context = first.context
    context.add_init_script(_HIDE)
    tabs = [pages.open(served, "#/charts?runs=live&search=loss", context=context) for _ in range(12)]
    for tab in tabs:
        last_value(panel(tab, "loss"), 0.025)
    hidden = tabs[:6]
    for tab in hidden:
        tab.evaluate("setHidden(true)")
        idle(tab, polls=True)
    asked: list[str] = []
    for tab in hidden:
        tab.on("request", lambda request: asked.append(request.url))
    for value in (0.5, 0.25, 0.125):
        live.log(value)
        for tab in tabs[6:]:
            last_value(panel(tab, "loss"), value)
    assert asked == []
    for tab in hidden:
        panel(tab, "loss").evaluate(_WATCH)
    waits = []
    for tab in hidden:
        shown = time.time()
        tab.evaluate("setHidden(false)")
        waits.append(seen_at(tab, 0.125) - shown)
    assert min(waits) <= MOST_SECONDS, waits


def free_port() -> int:
    """Return a port that no other dashboard takes while ours is stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stopped(served: Dashboard) -> None:
    served.stop()


def frozen(served: Dashboard) -> None:
    served.process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("end", [stopped, frozen])
def test_a_server_that_stops_and_comes_back(
    live: Live, root: Path, serve: Serve, pages: Pages, end: Callable[[Dashboard], None]
) -> None:
    served = serve(root, port=free_port())
    page = pages.open(served, "#/charts?runs=live&search=loss")
    pages.problems_of(page).expect(GONE)
    page.evaluate("window.sameDocument = true")
    chart = panel(page, "loss")
    last_value(chart, 0.025)
    end(served)
    bar = page.get_by_role("alert").filter(has_text="The server stopped answering at")
    expect(bar).to_contain_text(re.compile(r"at \d\d:\d\d:\d\d; showing what was loaded\."), timeout=WAIT)
    live.log(0.5)
    last_value(chart, 0.025)  # what was loaded stays
    if end is stopped:
        serve(root, port=served.port)
    else:
        served.process.send_signal(signal.SIGCONT)
    expect(bar).to_have_count(0, timeout=WAIT)
    last_value(chart, 0.5)
    live.log(0.25)
    last_value(chart, 0.25)
    assert page.evaluate("window.sameDocument") is True


def test_a_hidden_tab_asks_for_nothing_after_the_server_stopped(
    live: Live, root: Path, serve: Serve, pages: Pages
) -> None:
    served = serve(root, port=free_port())
    page = pages.blank(served)
    page.context.add_init_script(_HIDE)
    pages.problems_of(page).expect(GONE)
    page.goto(served.url("#/charts?runs=live&search=loss"))
    chart = panel(page, "loss")
    last_value(chart, 0.025)
    served.stop()
    expect(page.get_by_role("alert")).to_contain_text("The server stopped answering")
    page.evaluate("setHidden(true)")
    idle(page, polls=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(5):  # the time passes that failed requests, polls and the like wait for
        page.evaluate("elapse()")
        idle(page, polls=True)
    assert asked == []
    serve(root, port=served.port)
    live.log(0.5)
    page.evaluate("setHidden(false)")
    last_value(chart, 0.5)
