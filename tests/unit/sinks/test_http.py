"""HttpServer with a small real server on loopback: all kinds of responses, secrets, and trust over HTTPS."""

from __future__ import annotations

import base64
import email.utils
import gzip
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sidecar.protocol.sink_kinds import CA_VARIABLES
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.http import Answer, HttpServer, retry_after, secret
from sidecar.sinks.mlflow.api import MlflowApi
from tests.unit.loopback import SECONDS, Loopback, Reply, reply


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes variables of the environment of the tests."""
    for name in (*CA_VARIABLES, "MLFLOW_TRACKING_SERVER_CERT_PATH", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made


def ask(server: Loopback, *replies: Reply, method: str = "GET", path: str = "/x", **how: Any) -> Answer:
    """Ask once, over a connection of its own."""
    server.replies += replies
    with closing(HttpServer(server.url)) as http:
        return http.request(method, path, **how)


# -- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_success_is_returned(server: Loopback, status: int) -> None:
    answer = ask(server, reply(status, b'{"a": [1, "\xc3\xbc"]}'))
    assert answer == Answer(status, b'{"a": [1, "\xc3\xbc"]}')
    assert json.loads(answer.body) == {"a": [1, "ü"]}


@pytest.mark.parametrize("status", [304, 400, 404, 500, 503])
def test_an_expected_status_is_returned(server: Loopback, status: int) -> None:
    body = b"" if status == 304 else b"why"
    assert ask(server, reply(status, body), expected=(304, 400, 404, 500, 503)) == Answer(status, body)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_another_status_is_a_refusal(server: Loopback, status: int) -> None:
    with pytest.raises(SinkRefusedError) as caught:
        ask(server, reply(status, b"<p>\n  not\tlike this" + b"!" * 1000), expected=(405,))
    assert f"{server.url}/x: {status} As Planned: <p> not like this!!" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_asks_to_retry_is_a_temporary_error(server: Loopback, status: int) -> None:
    with pytest.raises(SinkUnavailableError, match=f"{status} As Planned: busy") as caught:
        ask(server, reply(status, b"busy"))
    assert caught.value.retry_after is None


@pytest.mark.parametrize("status", [408, 429, 503])
def test_retry_after_of_a_response(server: Loopback, status: int) -> None:
    with pytest.raises(SinkUnavailableError) as caught:
        ask(server, reply(status, Retry_After="7"))
    assert caught.value.retry_after == 7.0
    with pytest.raises(SinkUnavailableError) as caught:
        ask(server, reply(status, Retry_After=email.utils.formatdate(time.time() + 3600, usegmt=True)))
    assert caught.value.retry_after == pytest.approx(3600, abs=SECONDS)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("-5", 0.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("soon", None),
        ("", None),
    ],
)
def test_forms_of_retry_after(value: str | None, wanted: float | None) -> None:
    assert retry_after(value, now=784111777.0) == wanted  # RFC 9110's own moment: 06 Nov 1994 08:49:37


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_reported_and_not_followed(server: Loopback, status: int) -> None:
    with pytest.raises(SinkRefusedError, match=rf"{status}.*redirected to https://other\.example/x; .*use its address"):
        ask(server, reply(status, Location="https://other.example/x"))
    assert len(server.requests) == 1


# -- incomplete responses ---------------------------------------------------------------------------------------------

BROKEN = {
    "no answer": Reply(b"", cut=True),
    "half a status": Reply(b"HTTP/1.1 2", cut=True),
    "no HTTP": Reply(b"SSH-2.0-OpenSSH_9.2\r\n", cut=True),
    "half a body": reply(200, b"[1, 2, 3]", length=1000, cut=True),
    "no body": reply(200, b"", length=1000, cut=True),
    "half an error": reply(400, b"not li", length=1000, cut=True),
    "half of what is expected": reply(404, b"not he", length=1000, cut=True),
    "half of the chunks": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n5\r\n2", cut=True),
}


@pytest.mark.parametrize("planned", BROKEN.values(), ids=BROKEN.keys())
def test_an_incomplete_response_is_a_temporary_error(server: Loopback, planned: Reply) -> None:
    server.replies += [reply(200), planned, reply(200, b"whole")]
    with closing(HttpServer(server.url)) as http:
        http.request("GET", "/before")
        with pytest.raises(SinkUnavailableError):
            http.request("GET", "/broken", expected=(404,))
        assert http.request("GET", "/after").body == b"whole"
    assert [request.path for request in server.requests] == ["/before", "/broken", "/after"]


def test_a_content_length_that_differs_from_the_decoded_length(server: Loopback) -> None:
    text = b"all of it " * 100
    assert ask(server, reply(200, gzip.compress(text), Content_Encoding="gzip")).body == text
    assert ask(server, reply(200, b"", length=1000), method="HEAD").body == b""
    assert ask(server, reply(304, b"", length=1000), expected=(304,)).body == b""
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"
    assert ask(server, Reply(chunks)).body == b"[1]"
    assert ask(server, Reply(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", cut=True)).body == b"until the end"


def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with closing(HttpServer(f"http://127.0.0.1:{port}")) as http, pytest.raises(SinkUnavailableError) as caught:
        http.request("GET", "/")
    assert str(caught.value) == f"cannot connect to http://127.0.0.1:{port} (connection refused)"


def test_a_host_that_does_not_exist() -> None:
    with closing(HttpServer("http://nowhere.invalid")) as http, pytest.raises(SinkUnavailableError) as caught:
        http.request("GET", "/")
    assert re.fullmatch(r"cannot connect to http://nowhere\.invalid \([^\[]+\)", str(caught.value))


def test_a_connection_that_is_reset(server: Loopback) -> None:
    with pytest.raises(SinkUnavailableError, match=rf"^{server.url}: the connection failed \([^\[]+\)$"):
        ask(server, Reply(b"", cut=True))


def test_a_silent_server_times_out(server: Loopback) -> None:
    server.replies += [Reply(b"HTTP/1.1 200 OK\r\n", silent=True)]
    with (
        closing(HttpServer(server.url, timeout=0.1)) as http,
        pytest.raises(SinkUnavailableError, match="timed out"),
    ):
        http.request("GET", "/")


# -- requests ---------------------------------------------------------------------------------------------------------


def test_the_connection_is_kept_until_it_is_closed(server: Loopback) -> None:
    http = HttpServer(server.url)
    server.replies += [reply(200), reply(404, b"x"), reply(503, b"y")]
    http.request("GET", "/")
    with pytest.raises(SinkRefusedError):
        http.request("GET", "/")
    with pytest.raises(SinkUnavailableError):
        http.request("GET", "/")
    http.request("GET", "/")
    assert server.connections == 1
    http.close()
    http.close()
    http.request("GET", "/")
    http.close()
    assert server.connections == 2


class Piecewise:
    """A body of a known length that is read piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = self._left = data

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1, /) -> bytes:
        size = 7 if size < 0 else min(size, 7)
        piece, self._left = self._left[:size], self._left[size:]
        return piece


def test_bodies_and_parameters(server: Loopback) -> None:
    ask(server, params={"a b": "ü&=", "c": ""}, headers={"X-More": "1"})
    ask(server, method="POST", json={"a": [1]})
    ask(server, method="POST", data="ü")
    ask(server, method="POST", data=b"\x00\xff")
    ask(server, method="POST", data=iter([b"one", b"two"]))
    ask(server, method="PUT", data=Piecewise(b"0123456789" * 3))
    got, *posts, put = server.requests
    assert (got.method, got.path, got.headers["X-More"]) == ("GET", "/x?a+b=%C3%BC%26%3D&c=", "1")
    assert json.loads(posts[0].body) == {"a": [1]}
    assert posts[0].headers["Content-Type"] == "application/json"
    assert [request.body for request in posts[1:]] == ["ü".encode(), b"\x00\xff", b"onetwo"]
    assert (put.method, put.body, put.headers["Content-Length"]) == ("PUT", b"0123456789" * 3, "30")


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_is_in_the_environment_or_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("A_SECRET", raising=False)
    monkeypatch.delenv("A_SECRET_FILE", raising=False)
    assert secret("A_SECRET") is None
    file = tmp_path / "secret"
    file.write_text(" in the file\n")
    monkeypatch.setenv("A_SECRET_FILE", str(file))
    assert secret("A_SECRET") == "in the file"
    monkeypatch.setenv("A_SECRET", "in the environment")
    assert secret("A_SECRET") == "in the environment"
    monkeypatch.setenv("A_SECRET", "")
    assert secret("A_SECRET") == "in the file"


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("A_SECRET", raising=False)
    monkeypatch.setenv("A_SECRET_FILE", str(tmp_path / "none"))
    with pytest.raises(SinkRefusedError, match=r"A_SECRET_FILE='.*/none': No such file"):
        secret("A_SECRET")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("A_SECRET_FILE", str(binary))
    with pytest.raises(SinkRefusedError, match=r"A_SECRET_FILE='.*/binary': .*UTF-8"):
        secret("A_SECRET")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, None),
        ({"user": "me", "password": "pa:ss"}, basic("me", "pa:ss")),
        ({"user": "jörg", "password": "пароль"}, basic("jörg", "пароль")),
        ({"user": "me"}, basic("me", "")),
        ({"token": "abc"}, "Bearer abc"),
        ({"user": "me", "password": "it", "token": "abc"}, basic("me", "it")),
    ],
)
def test_authorization(server: Loopback, how: dict[str, str], wanted: str | None) -> None:
    with closing(HttpServer(server.url, **how)) as http:  # type: ignore[arg-type]  # none of these is the timeout
        http.request("GET", "/")
        http.request("GET", "/", headers={"X-More": "1"})
    assert [request.headers.get("Authorization") for request in server.requests] == [wanted, wanted]


@pytest.mark.parametrize("token", ["hidden\n", "hid\r\nX-Evil: den", "hid\0den", "hiddеn"])
def test_a_secret_that_is_not_a_valid_header_is_refused_and_not_shown(server: Loopback, token: str) -> None:
    with closing(HttpServer(server.url, token=token)) as http, pytest.raises(SinkRefusedError) as caught:
        http.request("GET", "/")
    assert "header Authorization" in str(caught.value)
    assert "hid" not in str(caught.value) + repr(caught.value.__context__)
    assert server.requests == []


def test_netrc_and_proxies_are_ignored(server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password it\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    ask(server)
    assert "Authorization" not in server.requests[0].headers


# -- HTTPS ------------------------------------------------------------------------------------------------------------


class Authority(NamedTuple):
    """A certificate authority that is not known to this machine, with a certificate for 127.0.0.1.

    Attributes:
        file: the certificate of the authority.
        tls: the context of a server with a certificate of this authority.
    """

    file: Path
    tls: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.fail("openssl is not installed; install it: apt-get install openssl")
    directory = tmp_path_factory.mktemp("authority")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=directory, check=True, capture_output=True, timeout=SECONDS)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=nobody knows it",
        "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    run("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (directory / "more").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "more", "-out", "server.pem")  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "server.pem", directory / "server.key")
    return Authority(directory / "ca.pem", tls)


@pytest.fixture
def https(authority: Authority) -> Iterator[Loopback]:
    with Loopback(authority.tls) as made:
        yield made


def test_a_server_of_an_unknown_authority_is_refused(https: Loopback) -> None:
    with pytest.raises(SinkRefusedError, match=r"certificate verify failed.*REQUESTS_CA_BUNDLE"):
        ask(https)
    assert https.requests == []


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_an_authority_named_in_the_environment(
    https: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    assert ask(https, reply(200, b"in confidence")).body == b"in confidence"


def test_the_first_variable_that_is_set_is_used(
    https: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert ask(https).status == 200
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    with pytest.raises(SinkRefusedError, match=r"REQUESTS_CA_BUNDLE='.*/none': .*No such file"):
        ask(https)


def test_a_file_without_certificates_is_an_error(
    https: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("nothing\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(empty))
    with pytest.raises(SinkRefusedError, match=r"REQUESTS_CA_BUNDLE='.*/empty'.*no certificate"):
        ask(https)


def test_without_https_authorities_are_not_read(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all")
    assert ask(server).status == 200


def test_mlflow_has_its_own_variable(https: Loopback, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.file))
    https.replies += [reply(200, b"{}"), reply(200, b"3.1.0\n")]
    with closing(MlflowApi(https.url)) as api:
        api.connect()
        assert api.version() == "3.1.0"
