"""Who may ask a dashboard what: a real server, and requests as pages and programs elsewhere could send them."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.dashboards import API, ServedDashboard
from tests.integration.serving import command, free_ports
from tests.support import TIMEOUT
from tests.unit.run_builder import RunBuilder
from tracker.ui.app import ROUTES

ADDRESSES = [
    (route.method, route.path.format(ref="run", number=0, id="none"), route.writes)
    for route in sorted(ROUTES, key=lambda route: route.path)
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDashboard]:
    base = tmp_path_factory.mktemp("ui")
    built = RunBuilder(base / "root", "run", name="<b>run</b>")
    built.row(0, loss=1.0)
    (built.dir / "files").mkdir()
    (built.dir / "files" / "page.html").write_text("<script>alert(1)</script>")
    built.finish()
    (base / "secret.txt").write_text("hidden content")
    dashboard = ServedDashboard("--dir", base / "root", "--port", free_ports(1)[0], state=base / "state")
    yield dashboard
    dashboard.close()


def ask(served: ServedDashboard, method: str, path: str, **headers: str) -> requests.Response:
    """Send a request with exactly these headers, and a body that every route accepts as JSON."""
    body = b"{}" if method == "POST" else None
    url = served.origin + API + path
    return requests.request(method, url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False)


def cookie(served: ServedDashboard) -> str:
    return "; ".join(f"{name}={value}" for name, value in served.browser.cookies.items())


def code(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize(("method", "path", "writes"), ADDRESSES)
class TestEveryRoute:
    def test_without_a_token_it_refuses(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        answer = ask(served, method, path, **{"Content-Type": "application/json"})
        assert (answer.status_code, code(answer)) == (401, "token")

    def test_under_another_name_it_refuses(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1.evil.example", "localhost.evil.example"):
            headers = {"Host": host, "Cookie": cookie(served), "Content-Type": "application/json"}
            answer = ask(served, method, path, **headers)
            assert (answer.status_code, code(answer)) == (403, "host")

    def test_a_page_elsewhere_is_refused(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://localhost:{served.port}"},  # another site for a browser
            {"Origin": f"{served.origin}.evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},  # a page of another port of this machine
        ):
            answer = ask(served, method, path, Cookie=cookie(served), **{"Content-Type": "application/json"}, **headers)
            assert (answer.status_code, code(answer)) == (403, "origin"), headers
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    def test_a_body_must_be_json(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        if method != "POST":
            return
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            headers = {"Cookie": cookie(served), "Origin": served.origin, "Content-Type": kind}
            assert ask(served, method, path, **headers).status_code == 415

    def test_a_change_needs_the_token_for_writes(
        self, served: ServedDashboard, method: str, path: str, writes: bool
    ) -> None:
        headers = {"Cookie": cookie(served), "Origin": served.origin, "Content-Type": "application/json"}
        answer = ask(served, method, path, **headers)
        assert answer.status_code == 403 if writes else answer.status_code not in (401, 403)
        if writes:
            wrong = ask(served, method, path, **headers, **{"X-Tracker-Token": "wrong"})
            assert (wrong.status_code, code(wrong)) == (403, "token")
            del headers["Origin"]
            token = served.get("meta").json()["token"]
            without = ask(served, method, path, **headers, **{"X-Tracker-Token": token})
            assert (without.status_code, code(without)) == (403, "origin")

    def test_no_get_changes_anything(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        assert method != "GET" or not writes

    def test_every_answer_has_the_headers(self, served: ServedDashboard, method: str, path: str, writes: bool) -> None:
        check_headers(ask(served, method, path))
        check_headers(ask(served, method, path, Host="evil.example"))
        check_headers(served.post(path, {}, method=method) if method != "GET" else served.get(path))


def check_headers(answer: requests.Response) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    if "/frames/" in answer.url and answer.ok:  # a logged file in a frame: an origin of its own, and no network
        assert policy.startswith("sandbox allow-scripts;") and "frame-ancestors 'self'" in policy
        assert "allow-same-origin" not in policy and "http" not in policy and "connect-src" not in policy
    else:
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_the_address_leaves_a_cookie_and_forgets_the_token(served: ServedDashboard) -> None:
    answer = requests.get(served.address, timeout=TIMEOUT, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    flags = answer.headers["Set-Cookie"].split("; ")
    assert flags[0].startswith(f"tracker-{served.port}=") and served.token not in answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
    check_headers(answer)


def test_a_wrong_token_leaves_no_cookie(served: ServedDashboard) -> None:
    answer = requests.get(f"{served.origin}/?token=wrong", timeout=TIMEOUT)
    assert answer.status_code == 200 and "Set-Cookie" not in answer.headers
    headers = {"Origin": served.origin}
    for token, status in (("wrong", 401), (served.token, 204)):
        url = f"{served.origin}{API}login"
        answer = requests.post(url, json={"token": token}, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == status and ("Set-Cookie" in answer.headers) == (status == 204)
    elsewhere = {"Origin": "http://evil.example"}
    assert requests.post(url, json={"token": served.token}, headers=elsewhere, timeout=TIMEOUT).status_code == 403


def test_cookies_of_other_programs_do_not_hide_ours(served: ServedDashboard) -> None:
    for other in ('a={"b": "c"}', "bad name=1", "=;=;", 'q="unclosed', "é=ü"):
        header = f"{other}; {cookie(served)}".encode()
        answer = requests.get(f"{served.origin}{API}meta", headers={"Cookie": header}, timeout=TIMEOUT)
        assert answer.status_code == 200, other


def test_a_program_sends_the_token_itself(served: ServedDashboard) -> None:
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    assert ask(served, "GET", "meta", **headers).status_code == 200
    assert ask(served, "POST", "views", **headers).status_code == 400  # not refused: the body is not a view
    begin = time.monotonic()
    assert ask(served, "GET", "meta", Authorization="Bearer wrong").status_code == 401
    assert time.monotonic() - begin > 0.9, "guessing must be slow"


def test_paths_do_not_lead_out(served: ServedDashboard) -> None:
    for path in (
        "/static/x/../../secret.txt",
        "/static/x/%2e%2e/%2e%2e/app.py",
        "/static/x/..%2f..%2fapp.py",
        "/static/x//etc/passwd",
        "/static/../state.py",
        "/static/x/%00",
        "/api/v1/runs/..%2f..%2fsecret.txt",
        "/api/v1/runs/%2e%2e/files/0",
        "/api/v1/runs/run/files/..%2f..%2fstore.db",
        "/api/v1/runs/run/files/-1",
        "/api/v1/views/..%2f..%2fx",
    ):
        answer = raw(served, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nCookie: {cookie(served)}")
        status = int(answer.split()[1])
        assert status in (400, 404, 405), (path, answer)
        assert b"hidden content" not in answer and b"root:" not in answer and b"import" not in answer


def raw(served: ServedDashboard, head: str) -> bytes:
    """Send a request as it is, which `requests` would tidy up."""
    with socket.create_connection(("127.0.0.1", served.port or 0), TIMEOUT) as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_host_header_must_be_there_once(served: ServedDashboard) -> None:
    assert b" 400 " in raw(served, "GET / HTTP/1.1")
    assert b" 400 " in raw(served, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nHost: evil.example")
    assert b" 403 " in raw(served, "GET / HTTP/1.0")


def test_large_and_broken_bodies_are_refused(served: ServedDashboard) -> None:
    headers = {"Origin": served.origin, "Content-Type": "application/json"}
    url = f"{served.origin}{API}series"
    cases: list[tuple[bytes, int]] = [
        (b"[" * 100_000, 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"runs": ["\\ud800"]}', 400),
        (b'{"panels": 1}', 400),
    ]
    for content, status in cases:
        answer = served.browser.post(url, data=content, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == status, content[:20]
    answer = served.browser.post(url, data=b" " * (9 * 2**20), headers=headers, timeout=TIMEOUT)
    assert (answer.status_code, code(answer)) == (413, "size")


@pytest.mark.parametrize(
    "body",
    [
        {"panels": [{"key": "loss", "runs": ["run"], "count": 4001}]},
        {"panels": [{"key": "loss", "runs": ["run"], "count": True}]},
        {"panels": [{"key": "loss", "runs": "run", "count": 1}]},
        {"panels": [{"key": 1, "runs": ["run"], "count": 1}]},
        {"panels": [{"key": "loss", "runs": [], "count": 1}] * 201},
        {"panels": [{"key": "loss", "runs": [str(i) for i in range(20_001)], "count": 1}]},
        {"panels": [1]},
        {"panels": [{"key": "loss", "runs": ["run"], "count": 1}], "low": "x"},
        {"panels": [{"key": "loss", "runs": ["run"], "count": 1}], "low": 10**400},
        {"panels": [{"key": "loss", "runs": ["run"], "count": 1}], "low": 2, "high": 1},
        {"panels": [{"key": "loss", "runs": ["run"], "count": 1}], "low": -2, "high": -1, "log_x": True},
        {"panels": [{"key": "loss", "runs": ["run"], "count": 1}], "x": 5},
        [],
        None,
    ],
)
def test_bad_requests_for_series_say_what_is_wrong(served: ServedDashboard, body: Any) -> None:
    answer = served.post("series", body)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_files_of_a_run_are_attachments(served: ServedDashboard) -> None:
    answer = served.get("runs/run/files/0")
    assert answer.status_code == 200 and answer.content == b"<script>alert(1)</script>"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "html" not in answer.headers["Content-Type"]


# -- beyond this machine ----------------------------------------------------------------------------------------------


def test_it_listens_for_others_only_with_a_password(tmp_path: Path) -> None:
    done = command("ui", "--dir", tmp_path, "--host", "0.0.0.0", program="tracker", XDG_STATE_HOME=str(tmp_path))
    assert done.code == 2 and done.err.startswith(
        "tracker ui: --host 0.0.0.0 lets other machines connect; it needs --auth FILE, a file with a token"
    )
    secret = tmp_path / "secret"
    for mode, content, problem in (
        (0o644, "correct horse battery", "readable by you only: chmod 600"),
        (0o600, "short", "at least 12 characters"),
    ):
        secret.write_text(content)
        secret.chmod(mode)
        arguments = ("ui", "--dir", tmp_path, "--host", "0.0.0.0", "--auth", secret)
        done = command(*arguments, program="tracker", XDG_STATE_HOME=str(tmp_path))
        assert done.code == 1 and problem in done.err
    missing = command("ui", "--auth", tmp_path / "none", program="tracker", XDG_STATE_HOME=str(tmp_path))
    assert missing.code == 1 and "No such file" in missing.err


def test_with_a_password_others_must_know_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    arguments = ("--dir", tmp_path / "root", "--host", "0.0.0.0", "--port", free_ports(1)[0], "--auth", secret)
    served = ServedDashboard(*arguments, state=tmp_path / "state")
    try:
        assert "without TLS" in served.log_text() and served.token == ""
        url = f"{served.origin}{API}meta"
        assert requests.get(url, timeout=TIMEOUT).status_code == 401
        token = tmp_path / "state" / "tracker" / "token"
        assert not token.exists(), "the user's own token does not open it"
        headers = {"Authorization": "Bearer correct horse battery"}
        assert requests.get(url, headers=headers, timeout=TIMEOUT).status_code == 200
        for host, status in (("192.0.2.7:80", 200), ("[2001:db8::1]:80", 200), ("evil.example", 403)):
            answer = requests.get(url, headers=headers | {"Host": host}, timeout=TIMEOUT)
            assert answer.status_code == status, host
    finally:
        served.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_cannot_read_the_token(root: Path) -> None:
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)  # pytest's directories are closed to others in any case
        served = ServedDashboard("--dir", root, state=Path(top) / "state")
        try:
            token = Path(top) / "state" / "tracker" / "token"
            assert token.read_text().strip() == served.token
            as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for path in (token, *token.parent.glob("**/*")):
                read = subprocess.run([*as_other, "cat", path], capture_output=True, text=True, timeout=TIMEOUT)
                assert read.returncode != 0 and "Permission denied" in read.stderr and served.token not in read.stdout
        finally:
            served.close()


def test_the_token_is_its_owners(tmp_path: Path, root: Path) -> None:
    served = ServedDashboard("--dir", root, state=tmp_path / "state")
    try:
        path = tmp_path / "state" / "tracker" / "token"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text().strip() == served.token
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        (entry,) = (path.parent / "dashboards").iterdir()
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600 and served.token not in entry.read_text()
    finally:
        served.close()
    assert not entry.exists()
    again = ServedDashboard("--dir", root, state=tmp_path / "state")
    again.close()
    assert again.token == served.token, "the cookies of browsers stay valid"
    path.chmod(0o644)
    done = command("ui", "--dir", root, "--no-browser", program="tracker", XDG_STATE_HOME=str(path.parent.parent))
    assert done.code == 1 and "chmod 600" in done.err


def test_a_page_of_ones_own(tmp_path: Path, root: Path) -> None:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text('<script src="assets/a.js"></script>')
    (page / "assets" / "a.js").write_text("1")
    (page / ".env").write_text("hidden content")
    (tmp_path / "outside").write_text("hidden content")
    os.symlink(tmp_path / "outside", page / "link")
    done = command("ui", "--frontend", tmp_path, program="tracker", XDG_STATE_HOME=str(tmp_path))
    assert done.code == 1 and "has no index.html" in done.err
    served = ServedDashboard("--dir", root, "--frontend", page, state=tmp_path / "state")
    try:
        answer = served.browser.get(served.origin + "/", timeout=TIMEOUT)
        assert answer.text == (page / "index.html").read_text()
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'") and "http" not in policy and "unsafe-eval" not in policy
        assert served.browser.get(served.origin + "/assets/a.js", timeout=TIMEOUT).text == "1"
        for name in ("link", ".env", "..%2foutside", "assets"):
            assert served.browser.get(f"{served.origin}/{name}", timeout=TIMEOUT).status_code == 404, name
        assert served.get("meta").status_code == 200
        assert requests.get(f"{served.origin}{API}meta", timeout=TIMEOUT).status_code == 401
        (page / "assets" / "a.js").write_text("2")
        assert served.browser.get(served.origin + "/assets/a.js", timeout=TIMEOUT).text == "2"
    finally:
        served.close()
