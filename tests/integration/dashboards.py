"""``tracker ui`` in its own process, and requests to it as a browser or a program makes them."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import requests

from tests.integration.serving import environment
from tests.support import TIMEOUT

API = "/api/v1/"


class ServedDashboard:
    """A dashboard for some roots.

    Args:
        arguments: of ``tracker ui``, besides ``--no-browser``.
        state: the directory for the user's state.
        changes: more environment variables.

    Attributes:
        address: what it printed.
        origin: scheme, host and port of it.
        token: the token in it; empty for an address without one.
        browser: a session with the cookie that opening the address leaves.
    """

    def __init__(self, *arguments: object, state: Path, **changes: str) -> None:
        self._log = state.with_name(f"{state.name}-{os.urandom(3).hex()}.log")
        state.mkdir(exist_ok=True, parents=True)
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tracker", "ui", "--no-browser", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(XDG_STATE_HOME=str(state), **changes),
                cwd=state,
            )
        assert self.process.stdout is not None
        with self.process.stdout as out:
            self.address = out.readline().strip()
        if not self.address:
            self.process.wait(TIMEOUT)
        assert self.address, self.log_text()
        parts = urlsplit(self.address)
        self.port = parts.port
        self.origin = f"http://127.0.0.1:{parts.port}"
        self.token = parse_qs(parts.query).get("token", [""])[0]
        self.browser = requests.Session()
        if self.token:
            self.browser.get(f"{self.origin}/", params={"token": self.token}, timeout=TIMEOUT).raise_for_status()

    def log_text(self) -> str:
        """Return what it printed on standard error."""
        return self._log.read_text(errors="replace")

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET of the page."""
        return self.browser.get(self.origin + API + path, timeout=TIMEOUT, **options)

    def post(self, path: str, body: Any, *, method: str = "POST", **headers: str) -> requests.Response:
        """Send a POST of the page."""
        given = {"Origin": self.origin, "Content-Type": "application/json"} | headers
        content = json.dumps(body)
        return self.browser.request(method, self.origin + API + path, data=content, headers=given, timeout=TIMEOUT)

    def write(self, path: str, body: Any = None, *, method: str = "POST") -> requests.Response:
        """Send a change, with the token for writes."""
        token = self.get("meta").json()["token"]
        return self.post(path, body, method=method, **{"X-Tracker-Token": token})

    def series(self, **body: Any) -> SeriesAnswer:
        """Ask for series, and decode them."""
        answer = self.post("series", body)
        assert answer.status_code == 200, answer.text
        return decoded(answer.content)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; return its exit status."""
        self.browser.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


class SeriesAnswer(NamedTuple):
    """A decoded answer of ``POST series``: the series, each with its arrays as lists of numbers, and the errors."""

    series: list[dict[str, Any]]
    errors: list[dict[str, Any]]


def decoded(content: bytes) -> SeriesAnswer:
    """Decode the body of an answer of ``POST series``."""
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    start = 4 + length
    assert start % 8 == 0
    for one in head["series"]:
        count = one["count"]
        for name, (offset, form) in one["arrays"].items():
            assert offset % 8 == 0
            code = {"f8": "d", "f4": "f", "u4": "I"}[form]
            one[name] = list(struct.unpack_from(f"<{count}{code}", content, start + offset))
    return SeriesAnswer(head["series"], head["errors"])
