"""Ten runs started together are told apart by their colours, on each page, in both themes, after a filter."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import wait_until
from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import becomes, rows, settle, type_query, wait_for_charts

LEAST_DIFFERENCE = 20.0

Vector = tuple[float, float, float]
VISIONS: dict[str, tuple[Vector, Vector, Vector]] = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}
"""How linear RGB is seen (Machado, Oliveira, Fernandes 2009)."""
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041))


def _times(matrix: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def lab(css: str, vision: str) -> Vector:
    """Return L*, a*, b* of a colour such as ``rgb(1, 2, 3)`` as it is seen."""
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", css)[:3])
    linear = tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    seen = _times(VISIONS[vision], (linear[0], linear[1], linear[2]))
    x, y, z = _times(_TO_XYZ, (min(1, max(0, seen[0])), min(1, max(0, seen[1])), min(1, max(0, seen[2]))))
    fx, fy, fz = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x / 0.95047, y, z / 1.08883)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def difference(one: Vector, two: Vector) -> float:
    """Return the difference of two colours by CIEDE2000."""
    mean = (math.hypot(*one[1:]) + math.hypot(*two[1:])) / 2
    g = 0.5 * (1 - math.sqrt(mean**7 / (mean**7 + 25**7)))
    a1, a2 = one[1] * (1 + g), two[1] * (1 + g)
    c1, c2 = math.hypot(a1, one[2]), math.hypot(a2, two[2])
    h1, h2 = math.degrees(math.atan2(one[2], a1)) % 360, math.degrees(math.atan2(two[2], a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    d_l, d_c, d_h = two[0] - one[0], c2 - c1, 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    light, c = (one[0] + two[0]) / 2, (c1 + c2) / 2
    h = h1 + h2 if not c1 * c2 else (h1 + h2) / 2
    if c1 * c2 and abs(h1 - h2) > 180:
        h = (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2
    t = 1 - 0.17 * math.cos(math.radians(h - 30)) + 0.24 * math.cos(math.radians(2 * h))
    t += 0.32 * math.cos(math.radians(3 * h + 6)) - 0.2 * math.cos(math.radians(4 * h - 63))
    s_l = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c, 1 + 0.015 * c * t
    r = -2 * math.sqrt(c**7 / (c**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((h - 275) / 25) ** 2))))
    return math.sqrt((d_l / s_l) ** 2 + (d_c / s_c) ** 2 + (d_h / s_h) ** 2 + r * (d_c / s_c) * (d_h / s_h))


def swatches(page: Page) -> dict[str, str]:
    """Return the colour of each selected run in the table, by its name."""
    colors: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".rows .tr:not([hidden])")]
            .filter(row => row.querySelector(".swatch.on"))
            .map(row => [row.querySelector("a.name").title,
                getComputedStyle(row.querySelector(".swatch-box")).stroke]))"""
    )
    return colors


def compared(page: Page) -> dict[str, str]:
    """Return the colour of each run on the page that compares them, by its name."""
    colors: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".compare-run")].map(run =>
            [run.querySelector("a").title.split("\\n")[0],
                getComputedStyle(run.querySelector(".run-swatch")).backgroundColor]))"""
    )
    return colors


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ten_runs_are_told_apart_everywhere(ten_ui: Dashboard, pages: Pages, theme: str) -> None:
    page = pages.open(ten_ui, "#/runs", theme=theme)
    wait_for_charts(page)
    expect(rows(page)).to_have_count(10)
    colors = swatches(page)
    assert len(colors) == 10
    for vision in VISIONS:
        seen = {name: lab(css, vision) for name, css in colors.items()}
        for one, two in itertools.combinations(seen, 2):
            assert difference(seen[one], seen[two]) >= LEAST_DIFFERENCE, (vision, one, two)
    page.get_by_role("link", name="Charts", exact=True).click()
    expect(page.locator(".tr.head:visible")).to_have_count(0)
    becomes(lambda: swatches(page), colors)
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator(".compare-run")).to_have_count(10)
    becomes(lambda: compared(page), colors)
    page.get_by_role("link", name="Runs", exact=True).click()
    type_query(page, "config.seed < 2")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(4)
    wait_until(lambda: len(found := swatches(page)) == 4 and found.items() <= colors.items(), "the same colours")


def test_beyond_ten_runs_there_are_dashes(varied_ui: Dashboard, pages: Pages) -> None:
    page = pages.open(varied_ui, "#/runs")
    page.get_by_role("button", name="Select runs").click()
    page.get_by_role("menuitem", name=re.compile("^(Select )?[Aa]ll")).first.click()
    expect(page.locator(".rows .swatch.on").nth(12)).to_be_visible()
    settle(page)
    looks = page.evaluate(
        """() => [...document.querySelectorAll(".rows .tr:not([hidden]) .swatch.on")].map(one =>
            [one.style.getPropertyValue("--run"), one.classList.contains("dashed") &&
                one.querySelector("line").getAttribute("stroke-dasharray")].join(" "))"""
    )
    assert len(set(looks)) == len(looks) > 10
