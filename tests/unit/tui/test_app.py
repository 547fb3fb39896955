"""The live terminal view, driven by keys in a terminal of Textual's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from sidecar.protocol.layout import make_root
from tests.unit.run_builder import RunBuilder
from tracker.reading.api import Api
from tracker.tui.app import Top
from tracker.tui.model import Model
from tracker.tui.widgets import Charts, RunsList

Steps = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with five runs of two metrics, the last of which started last."""
    make_root(tmp_path)
    for number in range(5):
        run = RunBuilder(tmp_path, f"run{number}", name=f"lr={number}", start_time=1_700_000_000.0 + number)
        run.write("config", {"set": {"lr": number}})
        for step in range(30):
            run.row(step, **{"loss": 1 / (step + 1), "val.acc": step / 30})
        run.finish()
    return tmp_path


def play(model: Model, steps: Steps, size: tuple[int, int] = (140, 40)) -> Top:
    """Run the view, and `steps` once the first charts are drawn."""
    app = Top(model)

    async def main() -> None:
        async with app.run_test(size=size) as pilot:
            while not app.reads:
                await drawn(pilot)
            await steps(pilot)

    asyncio.run(main())
    return app


async def drawn(pilot: Pilot[None]) -> None:
    """Wait until what was asked for last has been read and drawn."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await drawn(pilot)


def screen(app: Top) -> str:
    """Return what the list and the charts show, as text."""
    runs, charts = app.query_one(RunsList), app.query_one(Charts)
    lines = [runs.render_line(y).text for y in range(runs.size.height)]
    return "\n".join([*lines, *(charts.render_line(y).text for y in range(charts.size.height))])


def test_the_newest_runs_are_listed_and_drawn(root: Path) -> None:
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, Top)
        text = screen(pilot.app)
        assert text.index("lr=4") < text.index("lr=0")
        assert text.count("■") == 3
        assert "loss" in text and "val.acc" in text and "⣀" in text

    play(model, steps)
    assert model.shown == ["run4", "run3", "run2"]


def test_select_open_and_back(root: Path) -> None:
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        await press(pilot, "space")
        assert model.shown == ["run3", "run2"]
        await press(pilot, "j", "j", "j", "space")
        assert model.shown == ["run3", "run2", "run1"]
        await press(pilot, "enter")
        assert model.shown == ["run1"]
        await press(pilot, "enter")
        assert model.shown == ["run3", "run2", "run1"]

    play(model, steps)


def test_query_line(root: Path) -> None:
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        await press(pilot, "slash", *"config.lr", "greater_than_sign", "2", "enter")
        assert [run.id for run in model.runs] == ["run4", "run3"]
        await press(pilot, "slash", "escape")
        assert not pilot.app.query_one("#line", Input).display
        await press(pilot, "slash", "end", "space", *"and", "enter")
        assert pilot.app.query_one("#line", Input).display  # the query stays, to be mended
        assert [run.id for run in model.runs] == ["run4", "run3"]

    play(model, steps)


def test_axes_smoothing_zoom_and_full_screen(root: Path) -> None:
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        await press(pilot, "x", "y", "s")
        assert (model.x, model.log_y, model.smoothing > 0) == ("relative", True, True)
        await press(pilot, "x", "x")
        await press(pilot, "plus")
        assert model.zoom == (14.5, 29.0)
        await press(pilot, "left_square_bracket")
        assert model.zoom == (10.875, 25.375)
        await press(pilot, "0", "f")
        charts = pilot.app.query_one(Charts)
        assert "loss" in charts.render_line(0).text and "val.acc" not in charts.render_line(0).text
        await press(pilot, "n", "f", "m", *"acc", "enter")
        assert [chart.key for chart in charts.charts] == ["val.acc"]

    play(model, steps)
    assert model.zoom is None


def test_a_run_that_is_made_meanwhile_appears_and_the_cursor_stays(root: Path) -> None:
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        await press(pilot, "j")
        RunBuilder(root, "later", name="later", start_time=1_800_000_000.0).finish()
        await press(pilot, "r")
        assert model.runs[0].id == "later"
        current = pilot.app.query_one(RunsList).current()
        assert current is not None and current.id == "run3"

    play(model, steps)


def test_compare_with_a_baseline_undo_and_export(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model(Api(root))

    async def steps(pilot: Pilot[None]) -> None:
        await press(pilot, "j", "b", "c")
        text = str(pilot.app.screen.query_one("#comparison Static", Static).content)
        assert text.index("lr=3") < text.index("lr=4")
        assert "lr " in text and "(+1)" not in text.splitlines()[2]
        await press(pilot, "escape", "y", "x")
        await press(pilot, "z")
        assert (model.x, model.log_y) == ("step", True)
        await press(pilot, "z", "z")
        assert not model.log_y
        await press(pilot, "Z", "e")

    play(model, steps)
    assert model.log_y
    (path,) = tmp_path.glob("tracker-*.csv")
    lines = path.read_text().splitlines()
    assert lines[0] == "metric,run,x,low,high,mean,count"
    assert len(lines) == 1 + 3 * 2 * 30


def test_an_empty_root_has_a_sentence(tmp_path: Path) -> None:
    make_root(tmp_path)

    async def steps(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, Top)
        assert "No runs in" in screen(pilot.app)
        await press(pilot, "space", "enter", "j", "n", "f", "plus", "question_mark", "escape")

    play(Model(Api(tmp_path)), steps, (60, 15))
