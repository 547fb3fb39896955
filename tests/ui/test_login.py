"""A browser that the server does not know, and the token or password that lets it in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, expect

from tests.ui.browser import Dashboard, new_context, new_page
from tests.ui.looking import settle
from tests.unit.run_builder import RunBuilder


def test_the_token_lets_a_browser_in_where_it_wanted_to_go(
    browser: Browser, serve: Callable[..., Dashboard], tmp_path: Path
) -> None:
    built = RunBuilder(tmp_path / "root", "one", name="first run")
    built.row(0, loss=1.0)
    built.finish()
    served = serve(tmp_path / "root")
    token = parse_qs(urlsplit(served.address).query)["token"][0]
    context = new_context(browser)
    try:
        page = new_page(context)
        page.goto(f"{served.origin}/#/run/one")
        field = page.get_by_label("Token or password")
        field.fill("wrong")
        field.press("Enter")
        page.get_by_text("The token or password is wrong.").wait_for()
        field.fill(token)
        field.press("Enter")
        page.get_by_text("first run").locator("visible=true").first.wait_for()
        expect(page).to_have_url(f"{served.origin}/#/run/one")
        settle(page)
        assert token not in page.content()
        page.reload()
        page.get_by_text("first run").locator("visible=true").first.wait_for()
        settle(page)
        expect(page.get_by_label("Token or password")).to_have_count(0)
    finally:
        context.close()
