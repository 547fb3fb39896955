"""Fixtures: a browser, pages, dashboards, and the roots that they show."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from sidecar.protocol.layout import make_root
from tests.tools import make_runs
from tests.ui.browser import WAIT, Dashboard, Pages, chromium, dashboard

Serve = Callable[..., Dashboard]

ROOM_BYTES = 4 * 2**30
"""Free space from which roots are made in memory."""

expect.set_options(timeout=WAIT)  # a busy machine is slower; no test waits longer than it has to


@pytest.fixture(scope="session")
def browser(temporary: Path) -> Iterator[Browser]:
    """A headless Chromium, started once."""
    with chromium() as started:
        yield started


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Opens pages, and fails the test if one of them had a problem."""
    opened = Pages(browser)
    yield opened
    opened.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts dashboards for this test."""
    with ExitStack() as stack:

        def start(*roots: Path | str, **options: Any) -> Dashboard:
            log = tmp_path / f"ui-{time.monotonic_ns()}.log"
            return stack.enter_context(dashboard(*roots, log=log, **options))

        yield start


def make_varied(root: Path) -> Path:
    make_root(root)
    make_runs.varied(root, time.time())
    return root


def make_ten(root: Path, points: int = 100_000, runs: int = 10, keys: int = 20) -> Path:
    for _ in make_runs.make(root, runs, keys, points):
        pass
    return root


def make_many(root: Path) -> Path:
    return make_ten(root, points=5, runs=10_000, keys=4)


def make_million(root: Path) -> Path:
    return make_ten(root, points=1_000_000, runs=2, keys=6)


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory for large roots: in memory where there is room, because each store is written with several syncs."""
    shared = Path("/dev/shm")
    is_roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="tracker-", dir=shared if is_roomy else None) as directory:
        yield Path(directory)


def _shared(make: Callable[[Path], Path]) -> Iterator[Dashboard]:
    with quick_directory() as top, dashboard(make(top / "root"), log=top / "ui.log") as started:
        yield started


@pytest.fixture
def quick_path(temporary: Path) -> Iterator[Path]:
    """A directory for a large root of this test."""
    with quick_directory() as top:
        yield top


@pytest.fixture(scope="session")
def varied_root(temporary: Path) -> Iterator[Path]:
    """The root of `varied_ui`; only looked at."""
    with quick_directory() as top:
        yield make_varied(top / "root")


@pytest.fixture(scope="session")
def ended_root(temporary: Path) -> Iterator[Path]:
    """A root of 40 small runs that have ended; only copied."""
    with quick_directory() as top:
        yield make_ten(top / "root", points=20, runs=40, keys=4)


# Session fixtures, so that they start before a test looks for what it leaves behind. They are only looked at.
@pytest.fixture(scope="session")
def varied_ui(varied_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard on runs that have everything a run can have."""
    with dashboard(varied_root, log=tmp_path_factory.mktemp("varied-ui") / "ui.log") as started:
        yield started


@pytest.fixture(scope="session")
def ten_ui(temporary: Path) -> Iterator[Dashboard]:
    """A dashboard on 10 runs of 20 metrics, 100,000 points each."""
    yield from _shared(make_ten)


@pytest.fixture(scope="session")
def many_ui(temporary: Path) -> Iterator[Dashboard]:
    """A dashboard on 10,000 small runs."""
    yield from _shared(make_many)


@pytest.fixture(scope="session")
def million_ui(temporary: Path) -> Iterator[Dashboard]:
    """A dashboard on 2 runs of 6 metrics, 1,000,000 points each."""
    yield from _shared(make_million)


@pytest.fixture
def varied(varied_root: Path, tmp_path: Path) -> Path:
    """A root of its own with runs that have everything a run can have; may be changed."""
    return shutil.copytree(varied_root, tmp_path / "varied")


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest) -> Path | None:
    """Where pictures of pages are kept, with ``--screenshots DIR``."""
    chosen = request.config.getoption("--screenshots")
    if chosen is None:
        return None
    directory = Path(chosen)
    directory.mkdir(parents=True, exist_ok=True)
    return directory
