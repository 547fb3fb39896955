"""Makes the pictures of the README: the dashboard in both themes, and the terminal view.

    python -m tests.ui.pictures                 into tests/ui/pictures/
    python -m tests.ui.pictures --into DIR      somewhere else
    python -m tests.ui.pictures --root DIR      keep the runs as well, to look at them

It makes a root of eleven runs (three learning rates with three seeds each, one run that diverged and crashed, one that
is still training), starts ``tracker ui`` on it, and takes screenshots with headless Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import math
import re
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from sidecar.protocol.layout import make_root
from tests.tools.make_runs import Maker
from tests.ui.browser import WAIT, Dashboard, Pages, chromium, dashboard
from tests.ui.looking import charts, settle, wait_for_charts

PICTURES = Path(__file__).parent / "pictures"
SIZE = (1280, 796)
"""Width and height of the dashboard's window, in CSS pixels."""

TERMINAL = (132, 36)
"""Columns and rows of the terminal."""

STEPS = 5000
ROW_SECONDS = 0.12
RATES = (0.003, 0.01, 0.03)
RUNS = {
    "amber-fern": "amb01r7c",
    "calm-dune": "clm02k4x",
    "brisk-lake": "brk03m9d",
    "old-pier": "old11t2w",
    "quiet-oak": "qui12h8n",
    "warm-reef": "wrm13z5j",
    "late-moss": "lat31b6q",
    "keen-vale": "ken32v3p",
    "pale-tide": "pal33y8s",
    "bold-ash": "bld41f7g",
    "mild-cove": "mld34c2u",
}
"""Names and ids of the runs, oldest first."""

_PIXELS = """
async encoded => {
    const bytes = Uint8Array.from(atob(encoded), character => character.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, picture.width, picture.height);
    let text = "";
    for (let at = 0; at < data.length; at += 30000) text += String.fromCharCode(...data.subarray(at, at + 30000));
    return [picture.width, picture.height, btoa(text)];
}
"""
"""Decodes a PNG: returns its width, its height, and its pixels in base64, four bytes each."""

_COLUMNS = "summary.val.accuracy,summary.val.loss.min"


def curves(rate: float, seed: int, steps: int) -> dict[str, Any]:
    """Return plausible metrics of a small network: it learns faster, and more noisily, with a higher learning rate."""
    noise = np.random.default_rng(seed * 1000 + round(rate * 1e4))
    step = np.arange(steps, dtype=np.float64)
    part = step / STEPS

    def noisy(size: float) -> NDArray[np.float64]:
        return size * noise.normal(size=steps)

    floor = 0.04 + 0.5 * rate + 0.0006 / rate + 0.01 * seed
    pace = 9 * (rate / 0.01) ** 0.6 * (1 + 0.08 * noise.normal())
    loss = floor + (2.3 - floor) * np.exp(-np.power(part * pace, 0.7))
    train = loss * (1 + noisy(min(0.08, 0.02 + rate)))
    norm = (0.5 + 3 * np.exp(-part * 12) + 8 * min(rate, 0.04)) * np.exp(noisy(0.12))
    if (rate, seed) == (0.03, 2):
        at = int(0.62 * STEPS)  # one bad batch
        norm[at], train[at] = 6.4, 1.83
    val = loss * 1.1 + 0.25 * rate * part + noisy(0.01)
    return {
        "train.accuracy": np.clip(1 - 0.4 * train + noisy(0.005), 0.08, 0.999),
        "train.grad_norm": norm,
        "train.loss": train,
        "val.accuracy": np.clip(0.99 - 0.4 * loss + noisy(0.004), 0.08, 0.999),
        "val.f1": np.clip(0.98 - 0.43 * loss + noisy(0.005), 0.05, 0.999),
        "val.loss": val,
        **{
            f"weights.{layer}": size * (1 + (0.4 + 20 * min(rate, 0.04)) * np.sqrt(part) * (1 - 0.3 * part))
            + noisy(0.002)
            for layer, size in (("conv1", 1.1), ("conv2", 2.3), ("dense", 3.4))
        },
    }


def write_run(
    root: Path, run_id: str, start: float, rate: float, seed: int, steps: int, diverges: bool = False, **about: Any
) -> Maker:
    """Write a run and its rows, without an end."""
    maker = Maker(root, run_id, start, project="digits", **about)
    maker.write("config", None, set={"lr": rate, "seed": seed, "batch_size": 64, "optimizer": "adamw"})
    maker.write("define", None, metric="*loss", goal="minimize", summary=["last", "min"])
    maker.write("define", None, metric="*accuracy", goal="maximize", summary=["max"])
    columns = curves(rate, seed, steps)
    for step in range(steps):
        row = {key: float(column[step]) for key, column in columns.items() if key[:4] != "val." or step % 50 == 49}
        if diverges and step > 0.15 * STEPS:
            worse = math.exp((step - 0.15 * STEPS) / (0.012 * STEPS))
            row["train.grad_norm"] = min(14.0, row["train.grad_norm"] * worse)
            row["train.loss"] = math.nan if step > 0.185 * STEPS else row["train.loss"] + 0.1 * worse
        maker.row(step, row, seconds=ROW_SECONDS)
    return maker


def make_runs(root: Path, now: float) -> None:
    """Make the runs that the pictures show."""
    make_root(root)
    runs = iter(RUNS.items())
    start = now - 9 * 660 - 900
    for rate in RATES:
        for seed in (1, 2, 3):
            name, run_id = next(runs)
            maker = write_run(root, run_id, start, rate, seed, STEPS, name=name)
            maker.end()
            maker.store()
            start += 660
    name, run_id = next(runs)
    maker = write_run(root, run_id, now - 640, 0.1, 1, STEPS // 5, diverges=True, name=name)
    maker.end("crashed", reason="the process was killed by signal 9 (out of memory)")
    maker.store()
    name, run_id = next(runs)
    steps = int(0.55 * STEPS)
    write_run(root, run_id, now - steps * ROW_SECONDS, 0.03, 4, steps, name=name).store()


def take_dashboard(pages: Pages, server: Dashboard, theme: str, into: Path) -> Path:
    """Take the picture of the page of runs in a theme."""
    view = f"#/runs?columns={_COLUMNS}&group=config.lr&sort=-config.lr&split=440&runs={','.join(RUNS.values())}"
    page = pages.open(server, view, size=SIZE, theme=theme)
    wait_for_charts(page)
    expect(charts(page).nth(8)).to_have_attribute("aria-label", re.compile("line"), timeout=WAIT)
    settle(page)
    path = into / f"dashboard-{theme}.png"
    path.write_bytes(with_palette(page, page.screenshot()))
    return path


async def terminal_svg(root: Path) -> str:
    """Return the terminal view of a root as SVG."""
    from tracker.reading.api import Api
    from tracker.tui.app import Top
    from tracker.tui.model import Model

    model = Model(Api(root), refs=["mild-cove", "old-pier", "amber-fern", "bold-ash"])
    model.api.place = "~/digits/.tracker"
    app = Top(model)
    async with app.run_test(size=TERMINAL) as pilot:
        while app.reads == 0:
            await pilot.pause()
        await pilot.pause()
        return app.export_screenshot(title="tracker top")


def take_terminal(browser: Browser, svg: str, into: Path) -> Path:
    """Take the picture of the terminal view."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)  # no font from another host
    svg = re.sub(r"font-family:[^;]*", "font-family: 'DejaVu Sans Mono', 'Liberation Mono', monospace", svg)
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_content(f"<body style='margin:0'>{svg}")
    path = into / "terminal.png"
    path.write_bytes(with_palette(page, page.locator("svg").screenshot()))
    page.close()
    return path


def with_palette(page: Page, png: bytes) -> bytes:
    """Return a picture with a palette of at most 256 colors, which takes half the space. `page` decodes it."""
    width, height, encoded = page.evaluate(_PIXELS, base64.b64encode(png).decode())
    pixels = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(-1, 4)[:, :3]
    colors, where, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    exact = colors.astype(np.float64)
    nearest = np.full(len(colors), np.inf)
    replaced = np.zeros(len(colors), np.uint8)
    palette = bytearray()
    for number in range(min(256, len(colors))):  # next is the color that is worst replaced so far, by its pixels
        chosen = colors[np.argmax(counts if number == 0 else nearest * np.sqrt(counts))]
        distance = ((exact - chosen) ** 2).sum(axis=1)
        replaced[distance < nearest] = number
        nearest = np.minimum(nearest, distance)
        palette += chosen.tobytes()
    rows = replaced[where.reshape(-1)].reshape(height, width)
    lines = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(palette))
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ui.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=PICTURES, help="directory of the pictures")
    parser.add_argument("--root", type=Path, help="directory in which the runs are made and kept")
    args = parser.parse_args()
    into = args.into.resolve()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = (args.root or Path(scratch) / ".tracker").resolve()
        make_runs(root, time.time())
        svg = asyncio.run(terminal_svg(root))  # before Playwright, which has an event loop of its own on this thread
        with chromium() as browser, dashboard(root, log=Path(scratch) / "ui.log") as server:
            pages = Pages(browser)
            taken = [take_dashboard(pages, server, theme, into) for theme in ("light", "dark")]
            taken.append(take_terminal(browser, svg, into))
            pages.close()
    for path in taken:
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
