"""Memory of the server and of a tab after long use. The long version is the benchmark ``dashboard``."""

from __future__ import annotations

import pytest

from tests.tools.make_runs import run_id
from tests.ui.browser import Dashboard, Pages
from tests.ui.endurance import FAST, after_polls, look_around
from tests.ui.looking import panel, wait_for_charts

MOST_SERVER_BYTES = 200 * 2**20
MOST_TAB_BYTES = 20 * 2**20
"""What a tab may grow by in twelve hours, of 43,200 polls."""

POLLS = 300
"""Polls of the test; a leak of 20 MB in 43,200 of them would be 140 KB here, beside what is compiled meanwhile."""

ROUNDS = 4
"""Maximum number of times that `POLLS` polls are made to see whether the heap grows in each of them."""


def test_the_server_stays_small(ten_ui: Dashboard, million_ui: Dashboard, pages: Pages) -> None:
    for dashboard, runs in ((ten_ui, 10), (million_ui, 2)):
        page = pages.open(dashboard)
        for _ in range(3):
            look_around(page, dashboard, runs)
        assert dashboard.memory_bytes() <= MOST_SERVER_BYTES, f"{dashboard.memory_bytes() / 2**20:.0f} MiB"


def test_a_tab_does_not_grow_with_live_updates(ten_ui: Dashboard, pages: Pages) -> None:
    page = pages.blank(ten_ui)
    page.context.add_init_script(FAST)
    chosen = [run_id(run) for run in range(10)]
    page.goto(ten_ui.url(f"#/charts?runs={','.join(chosen)}&search=train"))
    panel(page, "train.loss")
    wait_for_charts(page)
    page.evaluate("runs => { window.liveRuns = runs; }", chosen)
    allowed = MOST_TAB_BYTES * POLLS / 43_200 + 2**20
    heaps = [after_polls(page, POLLS)]
    for times in range(2, 2 + ROUNDS):  # a leak grows in each round; code that is compiled, and caches, do so once
        heaps.append(after_polls(page, times * POLLS))
        if heaps[-1] - heaps[-2] <= allowed:
            return
    pytest.fail(f"heap after each {POLLS} polls, in KiB: {', '.join(f'{size / 2**10:.0f}' for size in heaps)}")
