"""Smoothing as a user sees it: the same curve at another logging density, and a control that names its unit."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sidecar.protocol.layout import make_root
from tests.tools.make_runs import Maker
from tests.ui.browser import WAIT, Dashboard, Pages, dashboard
from tests.ui.looking import panel, settle

STEPS = 20_000
HALF_LIFE = 800
MOST = 0.01
"""Largest difference of the two smoothed curves, as a part of the curves' range."""


def value(step: int) -> float:
    return math.exp(-step / 6000) + 0.2 * math.sin(step / 900)


@pytest.fixture(scope="module")
def served(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard of two runs of the same values: one that logs every fifth step, one every hundredth."""
    top = tmp_path_factory.mktemp("smoothing") / "root"
    make_root(top)
    for name, every in (("dense", 5), ("sparse", 100)):
        maker = Maker(top, name, 1_700_000_000.0, name=name)
        for step in range(0, STEPS + 1, every):
            maker.row(step, {"loss": value(step)})
        maker.end()
        maker.store()
    with dashboard(top, log=top.parent / "ui.log") as started:
        yield started


def exported(page: Page) -> dict[str, dict[float, float]]:
    """Download what a panel shows as CSV; return run -> step -> smoothed value."""
    page.get_by_role("article", name="loss").hover()
    page.get_by_role("button", name="Download: loss").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="CSV", exact=True).click()
    curves: dict[str, dict[float, float]] = {"dense": {}, "sparse": {}}
    for row in csv.DictReader(io.StringIO(download.value.path().read_text())):
        smoothed = next(text for name, text in row.items() if name.startswith("smoothed ("))
        if smoothed:
            middle = (float(row["Step first"]) + float(row["Step last"])) / 2
            curves[row["run"]][middle] = float(smoothed)
    return curves


@pytest.mark.parametrize("kind", ["ema", "gaussian", "mean"])
def test_two_densities_give_one_curve(served: Dashboard, pages: Pages, kind: str) -> None:
    page = pages.open(served, f"#/charts?runs=dense,sparse&smooth={HALF_LIFE}&smoothKind={kind}")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("2 lines"), timeout=WAIT)
    expect(page.get_by_role("toolbar", name="Charts")).to_contain_text("steps")
    settle(page)
    curves = exported(page)
    assert len(curves["dense"]) > 100 and len(curves["sparse"]) > 100
    dense = sorted(curves["dense"].items())
    values = [value(step) for step in range(0, STEPS, 50)]
    spread = max(values) - min(values)
    # Bucket edges differ: compare where the denser curve has a neighbour on each side.
    worst = 0.0
    for step, smoothed in curves["sparse"].items():
        after = next((index for index, (x, _) in enumerate(dense) if x >= step), None)
        if not after:
            continue
        (x0, y0), (x1, y1) = dense[after - 1], dense[after]
        worst = max(worst, abs(smoothed - (y0 + (y1 - y0) * (step - x0) / (x1 - x0))))
    assert worst <= MOST * spread, (worst, spread)
