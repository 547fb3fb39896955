"""Long use in a short time: a page that polls a hundred times as often, a tour of all views, a page's heap."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.tools.make_runs import run_id
from tests.ui.browser import Dashboard
from tests.ui.looking import settle, wait_for_charts

FAST = """
window.polls = 0;
const [later, ask] = [window.setTimeout, window.fetch];
window.setTimeout = (fn, wait, ...rest) => later(fn, wait === 1000 ? 10 : wait, ...rest);
window.fetch = async (url, init) => {
    if (!String(url).includes("/changes?") || !window.liveRuns) return ask(url, init);
    window.polls += 1;
    const answer = { cursor: `${window.polls}`, changed: window.liveRuns, removed: [], all: false, errors: [], now: 0 };
    return new Response(JSON.stringify({ ...answer, indexing: null }));
};
"""
"""Polls a hundred times as often, and takes the runs in `liveRuns` to have changed each time."""


def heap_bytes(page: Page) -> int:
    """Return the size of a page's live JavaScript objects."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return int(metrics["JSHeapUsedSize"])


def after_polls(page: Page, polls: int) -> int:
    """Wait until a page has polled `polls` times; return its heap."""
    page.evaluate(
        "polls => new Promise(done => { const timer = setInterval(() => window.polls >= polls && "
        "(clearInterval(timer), done()), 50); })",
        polls,
    )
    return heap_bytes(page)


def look_around(page: Page, dashboard: Dashboard, runs: int) -> None:
    """Open every kind of view that a user opens, with all runs selected."""
    chosen = ",".join(run_id(run) for run in range(runs))
    for options in ("", "&smooth=500", "&x=relative", "&logX=1&logY=1", "&zoom=2000:9000", "&writers=apart", "&size=l"):
        page.goto(dashboard.url(f"#/charts?runs={chosen}{options}"))
        wait_for_charts(page)
        page.locator(".panels-scroll").evaluate("node => node.scrollTo(0, node.scrollHeight)")
        settle(page)
    for view in (f"#/run/{run_id(0)}", f"#/run/{run_id(0)}/charts", f"#/compare?runs={chosen}", "#/runs"):
        page.goto(dashboard.url(view))
        settle(page)
