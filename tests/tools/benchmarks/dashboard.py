"""The dashboard in headless Chromium: how long a user waits, and what it costs in memory.

The runs are made by `tests.tools.make_runs`: ten of 20 metrics and 1,000,000 points, and 10,000 small ones.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.support import REPOSITORY
from tests.tools import make_runs
from tests.tools.benchmarks.clock import quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.ui.browser import IDLE, Dashboard, chromium, dashboard
from tests.ui.endurance import FAST, after_polls, look_around

NAME = "dashboard"
PANELS = 20
HOVERED = 100

_CHARTS = """
window.drawnAt = new Promise(done => {
    const look = () => {
        const drawn = document.querySelectorAll('.chart-lines[aria-label*=" lines, "]').length;
        if (drawn >= 20) requestAnimationFrame(() => setTimeout(() => done(performance.now())));
        else requestAnimationFrame(look);
    };
    look();
});
"""
"""When 20 charts with more than one line were painted, in milliseconds after the navigation."""

_SCROLL = """
() => new Promise(done => {
    const table = document.querySelector(".runs-table"), frames = [];
    let before = performance.now(), count = 0;
    const next = now => {
        frames.push(now - before);
        before = now;
        table.scrollTop += 400;
        if (++count < 200) requestAnimationFrame(next);
        else done(frames.slice(2));
    };
    requestAnimationFrame(next);
})
"""
"""Durations of frames while the table scrolls by 400 pixels in each, in milliseconds."""

_CHANGE = """
hash => new Promise(done => {
    const table = document.querySelector(".runs-table"), start = performance.now();
    let last = 0;
    const seen = new MutationObserver(() => { last = performance.now(); });
    seen.observe(table, { subtree: true, childList: true, characterData: true, attributes: true });
    location.hash = hash;
    const settle = () => {
        if (last && performance.now() - last > 300) { seen.disconnect(); done(last - start); }
        else setTimeout(settle, 50);
    };
    settle();
})
"""
"""Time from another address to the last change of the table, in milliseconds."""

_HOVER = """
() => {
    window.hovers = [];
    let moved = 0;
    addEventListener("pointermove", () => { moved ||= performance.now(); }, { capture: true });
    const values = () => {
        requestAnimationFrame(() => setTimeout(() => {
            if (moved) window.hovers.push(performance.now() - moved);
            moved = 0;
        }));
    };
    new MutationObserver(values).observe(document.body, { subtree: true, childList: true });
}
"""
"""Collects times from a move of the pointer to the painted list of values."""

_NEWEST = """
() => {
    window.seen = {};
    const chart = document.querySelector(".chart-lines");
    new MutationObserver(() => {
        const value = /last ([\\d.]+)/.exec(chart.getAttribute("aria-label") ?? "")?.[1];
        if (value) window.seen[value] ??= Date.now() / 1000;
    }).observe(chart, { attributes: true });
}
"""

_TRAIN = """
import sys, time, tracker
run = tracker.init(id="live", dir=sys.argv[1])
for line in sys.stdin:
    run.log({"loss": float(line)})
    print(time.time(), flush=True)
"""


def measure(options: Options) -> list[Row]:
    points = options.count(1_000_000, 50_000)
    many = options.count(10_000, 1_000)
    ten, thousands = options.directory / "ten", options.directory / "thousands"
    for root, runs, keys, length in ((ten, 10, PANELS, points), (thousands, many, 4, 5)):
        for _ in make_runs.make(root, runs, keys, length):
            pass
    with chromium() as browser:
        return [
            *_start(browser, options, thousands, many),
            *_panels(browser, options, ten, points),
            *_table(browser, options, thousands, many),
            *_hover(browser, options, thousands),
            *_live(browser, options),
            *_memory(browser, options, ten, points),
        ]


@contextmanager
def _page(browser: Browser, *scripts: str, size: tuple[int, int] = (1440, 900)) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    for script in scripts:
        context.add_init_script(script)
    try:
        yield context.new_page()
    finally:
        context.close()


def _served(options: Options, *roots: Path) -> Any:
    return dashboard(*roots, log=options.directory / f"ui-{time.monotonic_ns()}.log")


def _bar(name: str, value: float, limit: float, unit: str) -> list[Any]:
    return [at_most(name, value, limit, unit)]


def _start(browser: Browser, options: Options, root: Path, many: int) -> Iterator[Row]:
    """From the command to what can be used; the browser is running already."""

    def once(place: Path, ready: str) -> float:
        with _page(browser) as page:
            page.goto("about:blank")
            begin = time.perf_counter()
            with _served(options, place) as served:
                page.goto(served.address)
                page.locator(ready).first.wait_for()
                return time.perf_counter() - begin

    rows = f".table-foot:has-text('{many:,} runs')"
    empty = [once(options.directory / "none", ".empty") for _ in range(options.count(5, 2))]
    yield Row(NAME, "command to a page", "s", *quantiles(empty), bars=_bar("median", statistics.median(empty), 1, " s"))
    (root / "catalog.db").unlink(missing_ok=True)
    cold = once(root, rows)
    yield Row(NAME, f"command to {many:,} runs, no catalog", "s", cold, bars=_bar("value", cold, 3, " s"))
    warm = [once(root, rows) for _ in range(options.count(5, 2))]
    bars = _bar("median", statistics.median(warm), 1.5, " s")
    yield Row(NAME, f"command to {many:,} runs in the table", "s", *quantiles(warm), bars=bars)


def _all_runs(count: int) -> str:
    return ",".join(make_runs.run_id(run) for run in range(count))


def _panels(browser: Browser, options: Options, root: Path, points: int) -> Iterator[Row]:
    """From the navigation to 20 painted charts of all runs, with a fresh server and once more."""
    first, second = [], []
    view = f"#/charts?runs={_all_runs(10)}&size=s&seeds=0"
    for _ in range(options.count(3, 1)):
        with _page(browser, _CHARTS, size=(1920, 1600)) as page, _served(options, root) as served:
            page.goto(served.url(view))
            first.append(page.evaluate("window.drawnAt") / 1000)
            page.reload()
            second.append(page.evaluate("window.drawnAt") / 1000)
    what = f"{PANELS} panels of 10 runs of {points:,} points"
    for name, seconds, limit in ((what, first, 2.0), (f"{what}, again", second, 0.5)):
        yield Row(NAME, name, "s", *quantiles(seconds), bars=_bar("median", statistics.median(seconds), limit, " s"))


def _table(browser: Browser, options: Options, root: Path, many: int) -> Iterator[Row]:
    with _page(browser) as page, _served(options, root) as served:
        page.goto(served.url("#/runs"))
        page.locator(f".table-foot:has-text('{many:,} runs')").wait_for()
        page.wait_for_load_state("networkidle")
        frames = sorted(page.evaluate(_SCROLL))
        high = frames[int(len(frames) * 0.95)]
        bars = _bar("95th percentile", high, 50, " ms")
        yield Row(NAME, f"a frame while {many:,} rows scroll", "ms", *quantiles(frames), bars=bars)
        changes = {
            "sorted by a number": ["sort=duration", "sort=-duration"],
            "sorted by a text": ["sort=name", "sort=-name"],
            "filtered": ["filters=state:=failed", "filters=state:=finished"],
        }
        for what, views in changes.items():
            page.evaluate(_CHANGE, f"#/runs?{views[-1]}")  # the column is loaded
            taken = [page.evaluate(_CHANGE, f"#/runs?{view}") for _ in range(options.count(5, 2)) for view in views]
            if what == "filtered":
                page.locator(".table-foot:has-text(' match')").wait_for()  # else no filter was measured
            bars = _bar("median", statistics.median(taken), 100, " ms")
            yield Row(NAME, f"{many:,} rows {what}", "ms", *quantiles(taken), bars=bars)


def _hover(browser: Browser, options: Options, root: Path) -> Iterator[Row]:
    with _page(browser) as page, _served(options, root) as served:
        page.goto(served.url(f"#/charts?runs={_all_runs(HOVERED)}&search=train.loss&seeds=0&size=l"))
        chart = page.locator(f'.chart-lines[aria-label*="{HOVERED} lines"]')
        chart.wait_for()
        page.wait_for_load_state("networkidle")
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.evaluate(_HOVER)
        for turn in range(options.count(60, 10)):
            x = box["x"] + box["width"] * (0.1 + 0.8 * (turn * 0.382 % 1))
            page.mouse.move(x, box["y"] + box["height"] * (0.2 + 0.6 * (turn * 0.618 % 1)))
            page.wait_for_timeout(60)
        taken = page.evaluate("window.hovers")
        bars = _bar("median", statistics.median(taken), 50, " ms")
        yield Row(NAME, f"the values at the pointer, {HOVERED} runs", "ms", *quantiles(taken), bars=bars)


def _live(browser: Browser, options: Options) -> Iterator[Row]:
    """From `log()` in another process to the new point on the screen."""
    root = options.directory / "live"
    with (
        subprocess.Popen(
            [sys.executable, "-c", _TRAIN, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "TRACKER_SILENT": "1"},
        ) as training,
        _page(browser) as page,
        _served(options, root) as served,
    ):
        assert training.stdin is not None and training.stdout is not None

        def log(value: float) -> float:
            assert training.stdin is not None and training.stdout is not None
            training.stdin.write(f"{value}\n")
            training.stdin.flush()
            return float(training.stdout.readline())

        for value in (0.5, 0.25):
            log(value)
        page.goto(served.url("#/charts?runs=live"))
        page.locator('.chart-lines[aria-label*="last 0.25"]').wait_for()
        page.evaluate(_NEWEST)
        waits = []
        for value in range(1, 1 + options.count(20, 4)):
            logged = log(value)
            page.locator(f'.chart-lines[aria-label*="last {value},"]').wait_for()
            waits.append(page.evaluate(f"window.seen['{value}']") - logged)
            page.wait_for_timeout(137 * value % 1000)  # at another moment between two polls each time
        training.stdin.close()
        bars = [at_most("longest", max(waits), 2, " s")]
        yield Row(NAME, "log() to the point on the screen", "s", *quantiles(waits), bars=bars)


def _memory(browser: Browser, options: Options, root: Path, points: int) -> Iterator[Row]:
    polls = options.count(2_000, 200)
    with _page(browser, FAST) as page, _served(options, root) as served:
        chosen = [make_runs.run_id(run) for run in range(10)]
        page.goto(served.url(f"#/charts?runs={','.join(chosen)}"))
        page.locator(".chart-lines").first.wait_for()
        page.evaluate("runs => { window.liveRuns = runs; }", chosen)
        before = after_polls(page, polls // 4)
        after = after_polls(page, polls // 4 + polls)
        grown = (after - before) / polls * 43_200 / 2**20
        note = f"{after - before:,} bytes in {polls} polls with 10 changed runs each; the heap was {before:,} bytes"
        bars = [at_most("value", grown, 20, " MiB")]
        yield Row(NAME, "growth of a tab in twelve hours", "MiB", grown, bars=bars, note=note)
        page.close()
        with _page(browser, IDLE) as other:
            other.goto(served.address)
            for _ in range(options.count(5, 1)):
                look_around(other, served, 10)
        used = _server(served)
        note = f"after {polls} polls and a tour of all views on 10 runs of {points:,} points"
        yield Row(NAME, "memory of the server", "MiB", used, bars=[at_most("value", used, 200, " MiB")], note=note)


def _server(served: Dashboard) -> float:
    return served.memory_bytes() / 2**20
