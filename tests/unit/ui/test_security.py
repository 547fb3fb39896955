"""Security: names of the server, cookies, origins."""

from __future__ import annotations

import pytest

from tracker.ui.security import Security, host_name, is_loopback

SECURITY = Security("token of the user", "127.0.0.1", 7117)
COOKIE = SECURITY.cookie().partition(";")[0]
OWN = {"host": "127.0.0.1:7117", "cookie": COOKIE}
JSON = {"content-type": "application/json; charset=utf-8", "origin": "http://127.0.0.1:7117"}


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:7117", True),
        ("localhost:7117", True),
        ("LOCALHOST", True),
        ("[::1]:7117", True),
        ("192.0.2.1:80", True),  # an address is no name that could be rebound
        ("localhost.evil.example:7117", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example:7117", False),
        ("127.1", False),
        ("", False),
        ("@localhost", False),
    ],
)
def test_names_of_the_server(header: str, known: bool) -> None:
    assert SECURITY.knows_host(header) == known


def test_host_names() -> None:
    names = ["a:1", "A", "[::1]:7", "[::1]", "::1"]
    assert [host_name(name) for name in names] == ["a", "a", "::1", "::1", "::1"]
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0", "host")] == [
        *[True] * 4,
        *[False] * 2,
    ]


def test_the_name_given_with_host_is_known() -> None:
    security = Security("token of the user", "gpu7.lab", 80)
    assert security.knows_host("gpu7.lab:80") and not security.knows_host("gpu8.lab:80")


def test_a_cookie_is_of_one_port_and_one_token() -> None:
    assert SECURITY.refusal("GET", OWN) is None
    for other in (Security("token of the user", "127.0.0.1", 7118), Security("token of another", "127.0.0.1", 7117)):
        refused = other.refusal("GET", OWN | {"cookie": COOKIE.replace("7117", other.cookie_name[-4:])})
        assert refused is not None and refused.status == 401
    assert SECURITY.write_token not in COOKIE, "who sees the cookie of another port cannot write"


def test_changes() -> None:
    token = {"x-tracker-token": SECURITY.write_token}
    assert SECURITY.refusal("POST", OWN | JSON | token, writes=True) is None
    assert SECURITY.refusal("DELETE", OWN | {"origin": JSON["origin"]} | token, writes=True) is None
    for headers, code in (
        (OWN | JSON, "token"),
        (OWN | token | {"content-type": "application/json"}, "origin"),
        (OWN | JSON | token | {"origin": "https://evil.example"}, "origin"),
        (OWN | JSON | token | {"sec-fetch-site": "same-site"}, "origin"),
        (OWN | JSON | token | {"content-type": "text/plain"}, "type"),
        (OWN | JSON | {"x-tracker-token": "é"}, "token"),
    ):
        refused = SECURITY.refusal("POST", headers, writes=True)
        assert refused is not None and refused.code == code, headers


def test_a_program_with_the_token() -> None:
    headers = {
        "host": "127.0.0.1:7117",
        "authorization": "Bearer token of the user",
        "content-type": "application/json",
    }
    assert SECURITY.refusal("POST", headers, writes=True) is None
    for given in ("Bearer wrong", "Bearer ", "Bearer é", "Basic token of the user"):
        assert SECURITY.refusal("GET", headers | {"authorization": given}) is not None
