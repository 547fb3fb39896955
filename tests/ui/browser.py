"""A dashboard process and pages of Chromium, for tests that look at what a user would see.

To provoke races, run the tests with ``TRACKER_TEST_SLOW=6``: scripts of pages then run six times as slowly, and each
answer of the server takes 60 ms longer. All tests must pass then, too; it takes a lot longer: add ``--timeout 900``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support import REPOSITORY, TIMEOUT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
"""Options without which Chromium asks other hosts, or does not start as root. All names under ``test`` lead to this
machine."""

SLOW = float(os.environ.get("TRACKER_TEST_SLOW", "1"))
"""How many times as slowly as usual pages run. Read here, because the tests' own environment has no ``TRACKER_…``."""

WAIT = int(TIMEOUT * 1000 * SLOW)
"""Maximum wait, in milliseconds."""

_SLOW_LATENCY = 10.0
"""Additional latency of a slow page's requests, in milliseconds for each unit of `SLOW`."""

IDLE = (Path(__file__).parent / "idle.js").read_text()
"""Script that a page needs for `looking.idle`, run before its own."""

_ADDRESS = re.compile(r"http://\S+")

_WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
"""


class Dashboard:
    """A running ``tracker ui``.

    Attributes:
        process: the process.
        address: what it printed, with the token.
        origin: scheme, host and port.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self._log = log
        parts = urlsplit(address)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.port = parts.port

    def url(self, view: str = "") -> str:
        """Return the address of a view, such as ``#/runs?sel=a``."""
        return self.address.split("#")[0] + view

    def memory_bytes(self) -> int:
        """Return the resident memory of the server."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(TIMEOUT)


@contextmanager
def dashboard(
    *roots: Path | str,
    log: Path,
    port: int | None = None,
    extra: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    cwd: Path = REPOSITORY,
) -> Iterator[Dashboard]:
    """Run ``tracker ui`` on some roots, and stop it in the end.

    Args:
        *roots: what it shows.
        log: where its messages are written.
        port: its port; None: the next free one.
        extra: further arguments.
        prefix: a command that runs it, such as ``setpriv``.
        options: options of the Python interpreter.
        env: further environment variables.
        cwd: its working directory, from which it also imports.
    """
    with open(log, "w") as errors:
        process = subprocess.Popen(
            [
                *prefix,
                *(sys.executable, *options, "-m", "tracker", "ui", "--no-browser"),
                *(part for root in roots for part in ("--dir", str(root))),
                *(() if port is None else ("--port", str(port))),
                *extra,
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        try:
            yield Dashboard(process, _address(process, log), log)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            finally:
                assert process.stdout is not None
                process.stdout.close()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Return the address that a dashboard prints once it can be used."""
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        match = _ADDRESS.search(line)
        if match:
            return match.group()
    raise AssertionError(f"tracker ui ended with {process.wait(TIMEOUT)}: {''.join(printed)}{log.read_text()}")


def find_browser() -> str:
    """Return the path of Chromium; fail with what to install if it is missing."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    raise AssertionError("tests/ui needs Chromium: run tests/install-packages.sh, or install the package chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Return a browser context whose pages say when they have no work left; open them with `new_page`.

    Args:
        browser: the browser.
        **options: those of `Browser.new_context`.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT)
    context.add_init_script(IDLE)
    return context


def new_page(context: BrowserContext) -> Page:
    """Return a new page of a context, slow if `SLOW` says so."""
    page = context.new_page()
    if SLOW > 1:
        session = context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOW})
        session.send("Network.enable")
        limits = {"latency": SLOW * _SLOW_LATENCY, "downloadThroughput": -1, "uploadThroughput": -1}
        session.send("Network.emulateNetworkConditions", {"offline": False, **limits})
    return page


class Problems:
    """What went wrong on a page: errors, messages on the console, requests to other hosts, violations of the policy."""

    def __init__(self, page: Page, origin: str) -> None:
        self._page = page
        self._origin = origin
        self.seen: list[str] = []
        self.expected: list[str] = []
        page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        page.on("console", self._console)
        page.on("request", self._request)

    def expect(self, pattern: str) -> None:
        """Accept problems that match a regular expression, such as a failed request to a server that was stopped."""
        self.expected.append(pattern)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.seen.append(f"console {message.type}: {message.text} {message.location.get('url', '')[:300]}")

    def _request(self, request: Any) -> None:
        url = str(request.url)
        if not url.startswith((self._origin, "data:", "blob:", "file:", "about:")):
            self.seen.append(f"request to another host: {url}")

    def check(self) -> None:
        """Raise AssertionError if there were problems."""
        if not self._page.is_closed():
            self.seen += [f"policy: {text}" for text in self._page.evaluate("window.violations || []")]
        unexpected = [text for text in self.seen if not any(re.search(one, text) for one in self.expected)]
        assert not unexpected, "\n".join(unexpected)


class Pages:
    """Opens pages of a browser; every page is checked for problems in the end."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.problems: list[Problems] = []

    def open(
        self,
        dashboard: Dashboard,
        view: str = "",
        *,
        size: tuple[int, int] = (1440, 900),
        theme: str = "light",
        ratio: float = 1,
        touch: bool = False,
        context: BrowserContext | None = None,
    ) -> Page:
        """Open a view of a dashboard in a new page, and wait until the page can be used.

        Args:
            dashboard: where.
            view: the part of the address from ``#`` on.
            size: width and height, CSS pixels.
            theme: ``"light"`` or ``"dark"``, as the system prefers.
            ratio: device pixels per CSS pixel.
            touch: whether there is a touch screen.
            context: share cookies with an earlier page; None for a browser that was never here.
        """
        page = self.blank(dashboard, size=size, theme=theme, ratio=ratio, touch=touch, context=context)
        page.goto(dashboard.url(view))
        return page

    def blank(
        self,
        dashboard: Dashboard,
        *,
        size: tuple[int, int] = (1440, 900),
        theme: str = "light",
        ratio: float = 1,
        touch: bool = False,
        context: BrowserContext | None = None,
    ) -> Page:
        """Return a new page that shows nothing yet."""
        if context is None:
            context = new_context(
                self._browser,
                viewport={"width": size[0], "height": size[1]},
                device_scale_factor=ratio,
                color_scheme="dark" if theme == "dark" else "light",
                has_touch=touch,
                accept_downloads=True,
            )
            context.add_init_script(_WATCH_POLICY)
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            self._contexts.append(context)
        page = new_page(context)
        self.problems.append(Problems(page, dashboard.origin))
        return page

    def problems_of(self, page: Page) -> Problems:
        return next(problems for problems in self.problems if problems._page is page)

    def close(self) -> None:
        """Check all pages, and close them."""
        try:
            for problems in self.problems:
                problems.check()
        finally:
            for context in self._contexts:
                context.close()
