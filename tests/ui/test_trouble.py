"""What can go wrong with the runs: the page says what is wrong and what to do, and shows the others."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import Scripts
from tests.ui.browser import WAIT, Dashboard, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import charts, panel, rows
from tests.unit.run_builder import RunBuilder

NOBODY = 65534


def build(root: Path, id: str, points: int = 20) -> RunBuilder:
    built = RunBuilder(root, id, name=f"run {id}")
    for step in range(points):
        built.row(step, loss=1 / (step + 1))
    return built


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one good run."""
    build(tmp_path / "root", "good").finish()
    return tmp_path / "root"


def shows(page: Page, name: str) -> None:
    """Wait until the table has a run."""
    expect(rows(page).filter(has=page.get_by_title(name)).first).to_be_visible(timeout=WAIT)


def test_no_runs_at_all_and_a_root_that_appears_later(tmp_path: Path, serve: Serve, pages: Pages) -> None:
    root = tmp_path / "later"
    page = pages.open(serve(root))
    empty = page.locator(".side .empty")
    expect(empty).to_contain_text("No runs yet")
    expect(empty).to_contain_text("They appear here within two seconds of tracker.init().")
    expect(empty).to_contain_text(str(root))
    build(root, "first").finish()
    shows(page, "run first")
    last = re.compile("last 0.05")
    expect(panel(page, "loss")).to_have_attribute("aria-label", last, timeout=WAIT)


def test_a_damaged_log(root: Path, serve: Serve, pages: Pages) -> None:
    built = build(root, "hurt", points=200)
    middle = built.log.offset // 2
    built.write("exit", {"state": "finished", "exit_code": 0})
    built.log.close()
    built.damage(middle, middle + 200)
    built.store()
    page = pages.open(serve(root), "#/charts?runs=good,hurt")
    shows(page, "run good")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("run hurt: last 0.005"), timeout=WAIT)
    page.goto(re.sub("#.*", "", page.url) + "#/run/hurt/health")
    page.get_by_role("button", name="Check every record").click()
    result = page.locator(".check-result")
    expect(result).to_contain_text(re.compile(r"damaged|lost", re.I), timeout=WAIT)


def test_a_store_that_another_program_has_locked(root: Path, serve: Serve, pages: Pages, scripts: Scripts) -> None:
    built = build(root, "held").finish()
    holder = scripts.start(
        """
        import sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("CREATE TABLE x (y)")
        print("locked")
        sys.stdin.read()
        database.execute("ROLLBACK")
        """,
        built.store_path,
    )
    assert holder.read_line() == "locked"
    page = pages.open(serve(root), "#/charts?runs=good,held")
    shows(page, "run good")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("run good: last 0.05"), timeout=WAIT)
    # The log has everything that the store has.
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("run held: last 0.05"), timeout=WAIT)
    holder.wait()


def test_a_run_deleted_while_its_charts_are_open(root: Path, serve: Serve, pages: Pages) -> None:
    build(root, "gone").finish()
    page = pages.open(serve(root), "#/charts?runs=good,gone")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("2 lines"), timeout=WAIT)
    shutil.rmtree(root / "runs" / "gone")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("1 line"), timeout=WAIT)
    expect(page.get_by_title("run gone").locator("visible=true")).to_have_count(0)
    shows(page, "run good")


@pytest.fixture
def as_user(temporary: Path) -> Iterator[tuple[Path, tuple[str, ...], dict[str, str]]]:
    """A directory of a user who is not root, a command that runs others as that user, and variables for it."""
    home = temporary / "home"
    home.mkdir()
    prefix: tuple[str, ...] = ()
    if os.getuid() == 0:
        os.chown(home, NOBODY, NOBODY)
        prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    yield home, prefix, {"XDG_STATE_HOME": str(home / "state"), "XDG_CACHE_HOME": str(home / "cache")}
    shutil.rmtree(home)


def test_a_directory_without_rights(
    as_user: tuple[Path, tuple[str, ...], dict[str, str]], serve: Serve, pages: Pages
) -> None:
    home, prefix, variables = as_user
    for name in ("open", "closed"):
        build(home / name, name).finish()
    runs = home / "closed" / "runs"
    runs.chmod(0)
    page = pages.open(serve(home / "open", home / "closed", prefix=prefix, env=variables))
    shows(page, "run open")
    bar = page.get_by_role("alert")
    expect(bar).to_contain_text(f"The runs in {home / 'closed'} cannot be read", timeout=WAIT)
    expect(bar).to_contain_text("Give yourself the right to read it, for example with chmod.")
    runs.chmod(0o755)
    shows(page, "run closed")
    expect(bar).to_have_count(0)
    runs.chmod(0)
    expect(bar).to_be_visible(timeout=WAIT)  # while it is looked at, too
    never = build(home / "never", "never").finish().dir.parent
    never.chmod(0)
    alone = pages.open(serve(home / "never", prefix=prefix, env=variables))
    expect(alone.locator(".side .empty")).to_contain_text("The runs cannot be read", timeout=WAIT)
    never.chmod(0o755)
    shows(alone, "run never")


def test_clickhouse_that_does_not_answer(root: Path, serve: Serve, pages: Pages) -> None:
    page = pages.open(serve(root, "clickhouse+http://127.0.0.1:1/tracker"))
    shows(page, "run good")
    bar = page.get_by_role("alert")
    expect(bar).to_contain_text("Check that the ClickHouse server runs and the address is right", timeout=WAIT)
    expect(charts(page).first).to_be_visible()


def edited(page: Page, name: str) -> None:
    page.get_by_role("button", name=re.compile(r"^Notes|^Add notes")).first.click()
    page.get_by_label("Notes", exact=True).fill(name)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".run-notes")).to_have_text(name)


def test_two_dashboards_on_one_root(root: Path, tmp_path: Path, serve: Serve, pages: Pages) -> None:
    # Of two users: of one user, the second command opens the running dashboard.
    served: list[Dashboard] = [
        serve(root, env={"XDG_STATE_HOME": str(tmp_path / name), "XDG_CACHE_HOME": str(tmp_path / name)})
        for name in ("one", "two")
    ]
    assert served[0].port != served[1].port
    first, second = (pages.open(one, "#/run/good") for one in served)
    edited(first, "from the first")
    expect(second.locator(".run-notes")).to_have_text("from the first", timeout=WAIT)
    edited(second, "from the second")
    expect(first.locator(".run-notes")).to_have_text("from the second", timeout=WAIT)
