"""The chart by itself in a browser: what it draws, what it answers to pointer, wheel and keys, what it exports."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support import REPOSITORY
from tests.ui.browser import new_context, new_page
from tests.ui.looking import idle

STATIC = REPOSITORY / "tracker" / "ui" / "static"
SCRIPT = Path(__file__).with_name("chart_page.js")
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="css/tokens.css">
<link rel="stylesheet" href="css/chart.css">
<style>body { margin: 20px; font: 13px sans-serif } .host { width: 420px; height: 240px }</style>
<body><script type="module" src="page.js"></script></body>"""

Open = Callable[..., Page]


def _answer(route: Route) -> None:
    path = route.request.url.split("/", 3)[3]
    if not path:
        route.fulfill(body=PAGE, content_type="text/html")
    elif path == "page.js":
        route.fulfill(body=SCRIPT.read_text(), content_type="text/javascript")
    elif (STATIC / path).is_file():
        route.fulfill(body=(STATIC / path).read_bytes(), content_type=mimetypes.guess_type(path)[0] or "text/plain")
    else:
        route.fulfill(body="", status=204)


@pytest.fixture
def scratch(browser: Browser) -> Iterator[Open]:
    """Opens pages that hold nothing but charts."""
    contexts = []
    errors: list[str] = []

    def start(ratio: float = 1, **options: Any) -> Page:
        size = {"width": 900, "height": 700}
        context = new_context(browser, viewport=size, device_scale_factor=ratio, timezone_id="UTC", **options)
        contexts.append(context)
        page = new_page(context)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route("http://chart.test/**", _answer)
        page.goto("http://chart.test/")
        page.locator("body[data-ready]").wait_for(state="attached")
        return page

    yield start
    for context in contexts:
        context.close()
    assert errors == []


def _place(page: Page, name: str, x: float, y: float) -> tuple[float, float]:
    """Return the place in the window of a point of a chart."""
    place = page.evaluate(
        """([name, x, y]) => {
            const chart = charts[name], picture = chart.current(), box = chart.element.getBoundingClientRect();
            return [box.left + picture.x.at(x), box.top + picture.y.at(y)];
        }""",
        [name, x, y],
    )
    return place[0], place[1]


_HOLD_TIMERS = """
() => {
    const held = new Map();
    window.setTimeout = action => held.set(held.size + 1, action).size;
    window.clearTimeout = id => held.delete(id);
    window.runTimers = () => held.forEach(action => action());
}
"""
"""Keep a click from being taken for a single one before the second click of a double click was sent."""


@pytest.mark.parametrize("ratio", [1, 1.5, 2])
@pytest.mark.parametrize("count", [1, 5, 100])
def test_one_value_in_a_million_can_be_seen(scratch: Open, ratio: float, count: int) -> None:
    page = scratch(ratio)
    for options in ({}, {"smooth": 40000}, {"smooth": 40000, "smoothKind": "gaussian"}, {"band": "none"}):
        seen = page.evaluate(
            """([count, options]) => {
                const chart = add("spike", runs(count, count >> 1), options);
                const { x, y } = chart.current();
                const at = x.at(137 * 2500 + 1250);
                const result = [0.95, 0.7, 0.4].map(share => coloured("spike", at, y.at(50 * share)));
                const quiet = coloured("spike", x.at(250 * 2500), y.at(40));
                chart.release();
                return [...result, quiet];
            }""",
            [count, options],
        )
        assert seen == [True, True, True, False], options


def test_an_outlier_that_is_left_out_of_the_range_is_marked_at_the_edge(scratch: Open) -> None:
    page = scratch()
    seen = page.evaluate(
        """() => {
            const chart = add("spike", runs(3, 1), { outliers: true });
            const { x, y, plot, notes } = chart.current();
            return [y.high < 5, coloured("spike", x.at(137 * 2500 + 1250), plot.top + 2, 4), notes.join()];
        }"""
    )
    assert seen == [True, True, "outliers beyond the edge: up to 50"]


def test_drag_shift_drag_wheel_pan_and_double_click(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('a', runs(3)) }")
    last = "() => calls.filter(call => call[0] === 'zoom').at(-1)"
    x, y = _place(page, "a", 250_000, 0.1)
    x2, _ = _place(page, "a", 500_000, 0.1)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x2, y + 3, steps=3)
    page.mouse.up()
    _, axis, (low, high), done = page.evaluate(last)
    assert (axis, done) == ("x", True) and abs(low - 250_000) < 4000 and abs(high - 500_000) < 4000
    page.keyboard.down("Shift")
    page.mouse.move(x, y - 20)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate(last)[1] == "y"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_function("() => calls.at(-1)[0] === 'zoom' && calls.at(-1)[1] === 'x' && calls.at(-1)[3]")
    _, axis, (near, far), done = page.evaluate(last)
    assert far - near < high - low
    page.mouse.down(button="right")
    page.mouse.move(x + 80, y + 20, steps=3)
    page.mouse.up(button="right")
    _, axis, (moved, end), done = page.evaluate(last)
    assert moved < near and abs((end - moved) - (far - near)) < 1
    page.evaluate(_HOLD_TIMERS)
    page.mouse.dblclick(x, y)
    page.evaluate("() => runTimers()")
    assert page.evaluate("() => [charts.a.options.xRange, charts.a.options.yRange]") == [None, None]
    assert page.evaluate("() => calls.filter(call => call[0] === 'pick')") == []


def test_keys_zoom_pan_reset_and_read_points(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('a', [raw('one', [1, 2, 3, 4, 5])]) }")
    page.locator(".chart").focus()
    page.keyboard.press("+")
    assert page.evaluate("() => charts.a.options.xRange") == pytest.approx([0.4, 3.6])
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => charts.a.options.xRange[0]") > 0.4
    page.keyboard.press("0")
    assert page.evaluate("() => charts.a.options.xRange") is None
    page.keyboard.press(".")
    page.keyboard.press(".")
    page.locator(".chart-values", has_text="step 1").wait_for()
    assert page.locator(".chart-values-value").all_text_contents() == ["2"]
    assert page.locator(".chart-status").text_content() == "one, step 1: 2"


def test_new_data_leaves_zoom_hover_and_focus(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('a', [raw('one', [1, 2, 3, 4])], { xRange: [0, 3] }) }")
    page.locator(".chart").focus()
    page.mouse.move(*_place(page, "a", 2, 3))
    page.locator(".chart-values", has_text="step 2").wait_for()
    page.evaluate("() => charts.a.setData([raw('one', [1, 2, 30, 4, 5, 6])])")
    page.locator(".chart-values-value", has_text="30").wait_for()
    assert page.evaluate("() => [charts.a.options.xRange, document.activeElement.className]") == [
        [0, 3],
        "chart chart-lines",
    ]


def test_hover_names_the_nearest_of_100_runs_and_does_not_cover_it(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('a', runs(100)) }")
    for run in (3, 50, 97):
        for x in (50_000, 500_000, 950_000):
            height = page.evaluate("([run, x]) => run * 0.02 + Math.sin(Math.floor(x / 2500) / 40) * 0.3", [run, x])
            page.mouse.move(*_place(page, "a", x, height))
            page.locator(".chart-values-row.nearest", has_text=f"run-{run}").wait_for()
            idle(page)
            assert page.evaluate("() => calls.at(-1)[1]") == f"run-{run}"
            hidden = page.evaluate(
                """run => {
                    const chart = charts.a, origin = chart.element.getBoundingClientRect();
                    const box = document.querySelector(".chart-values").getBoundingClientRect();
                    const shape = chart.picture.shapes.find(one => one.line.run === run);
                    return [...shape.xs].filter((x, i) => x + origin.left > box.left && x + origin.left < box.right
                        && shape.ys[i] + origin.top > box.top && shape.ys[i] + origin.top < box.bottom).length;
                }""",
                f"run-{run}",
            )
            assert hidden == 0
    page.mouse.move(880, 690)
    page.locator(".chart-values").wait_for(state="hidden")
    assert page.evaluate("() => calls.at(-1)") == ["hover", None, None]


def test_a_cursor_and_a_raised_run_from_outside_do_not_redraw_the_lines(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('a', runs(10)).current(); window.before = charts.a.picture }")
    page.evaluate("() => { charts.a.setCursor(500000); charts.a.highlight('run-4') }")
    page.locator(".chart-cover").wait_for()
    assert page.evaluate("() => charts.a.picture === before")
    x = page.evaluate("() => Math.floor(charts.a.picture.x.at(500000))")
    drawn = """x => charts.a.board.cover.getContext('2d').getImageData(x - 1, 20, 3, 150).data.some(value => value)"""
    assert page.evaluate(drawn, x)
    page.evaluate("() => { charts.a.setCursor(null); charts.a.highlight(null) }")
    idle(page)
    assert not page.evaluate(drawn, x)


def test_canvases_are_dropped_far_from_the_screen_and_by_release(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { for (let i = 0; i < 20; i++) add(`c${i}`, runs(1)) }")
    page.wait_for_function("() => { const n = document.querySelectorAll('canvas').length; return n > 3 && n < 12 }")
    page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => !charts.c0.board.canvas && charts.c19.board.canvas")
    page.evaluate("() => { for (const chart of Object.values(charts)) chart.release() }")
    assert page.locator("canvas").count() == 0
    page.evaluate("() => charts.c19.mount()")
    page.locator("canvas").wait_for()


def test_a_tap_shows_values(scratch: Open) -> None:
    page = scratch(has_touch=True)
    page.evaluate("() => { add('a', [raw('one', [1, 2, 3, 4])]) }")
    page.touchscreen.tap(*_place(page, "a", 2, 3))
    page.locator(".chart-values", has_text="step 2").wait_for()


def test_a_list_of_values_with_details_and_long_names_fits_a_phone(scratch: Open) -> None:
    page = scratch(2, has_touch=True)
    page.set_viewport_size({"width": 360, "height": 700})
    page.evaluate(
        """() => {
            const style = document.createElement('style');
            style.textContent = '.host { width: 320px }';
            document.head.append(style);
            const lines = runs(6).map((line, i) => ({ ...line, label: `${'the-same-start-'.repeat(12)}${i}` }));
            add('a', lines, { smooth: 30000 });
        }"""
    )
    idle(page)
    page.touchscreen.tap(*_place(page, "a", 500_000, 0.1))
    page.locator(".chart-values-row.nearest").wait_for()
    idle(page)
    left, right, inner = page.evaluate(
        """() => {
            const list = document.querySelector('.chart-values'), box = list.getBoundingClientRect();
            return [box.left, box.right, list.scrollWidth - list.clientWidth];
        }"""
    )
    assert left >= 0 and right <= 360 and inner <= 0
    names = page.locator(".chart-values-label").all_text_contents()
    assert len(set(names)) == 6 and all(len(name) <= 32 for name in names)


def test_pictures_have_title_legend_and_axis_name(scratch: Open) -> None:
    page = scratch()
    svg, size, type_ = page.evaluate(
        """async () => {
            const chart = add('train/<loss>', runs(3, 1), { xLabel: 'step' });
            const blob = await chart.toPNG();
            const image = await createImageBitmap(blob);
            return [chart.toSVG(), [image.width, image.height], blob.type];
        }"""
    )
    assert type_ == "image/png" and size[0] > 900 and size[1] > 500
    for text in ("train/&lt;loss&gt;", "run-0", "run-1", "run-2", ">step<", "<path"):
        assert text in svg
    assert "<loss>" not in svg
    assert page.evaluate(
        "svg => !new DOMParser().parseFromString(svg, 'image/svg+xml').querySelector('parsererror')", svg
    )


def test_a_chart_says_in_words_what_it_shows(scratch: Open) -> None:
    page = scratch()
    page.evaluate("() => { add('loss', [raw('one', [1, NaN, 3])]) }")
    label = page.locator(".chart").get_attribute("aria-label")
    assert label == "loss. 1 line, step 0 to 2. one: last 3, from 1 to 3, 1 NaN or infinite"
    assert page.locator(".chart").get_attribute("role") == "img"
