"""Rules of access: the Host list, the token and its cookie, Origin, and the headers of every answer.

Pure functions on headers; no sockets, no framework.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from typing import NamedTuple

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The policy of the built-in page. Only answers with `FRAME_HEADERS` can be framed, so a frame cannot navigate to
anything else on this server."""

FRONTEND_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""The policy for a custom page: everything from this server, nothing from elsewhere."""

DOWNLOAD_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'"}
"""Headers of a file that is downloaded."""

FRAME_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; media-src data: blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
}
"""Headers of logged HTML and SVG in a frame. Its scripts run in an origin of their own, also if the
address is opened in a tab: without cookies, storage, network, forms, pop-ups, or a way to the page around it."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer, besides ``Content-Security-Policy``, unless the answer has its own."""

MAX_BODY_BYTES = 8 * 2**20
"""Maximum size of a request's body."""

TOKEN_HEADER = "x-tracker-token"


class Refusal(NamedTuple):
    """Why a request is refused: status, code and message of the answer."""

    status: int
    code: str
    message: str


class Security:
    """The rules for one server.

    Args:
        token: the secret that a client must present.
        host: the value of ``--host``.
        port: the server's port.
    """

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token
        self.cookie_name = f"tracker-{port}"
        self._session = self._derived("session", port)
        self.write_token = self._derived("write", port)
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        if not is_loopback(host):
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def _derived(self, purpose: str, port: int) -> str:
        return hmac.new(self._token.encode(), f"{purpose}:{port}".encode(), hashlib.sha256).hexdigest()

    def knows_host(self, header: str) -> bool:
        """Whether a request's ``Host`` is a name of this server; a page elsewhere that rebinds its name has another.

        An IP address cannot be rebound.
        """
        name = host_name(header)
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def is_token(self, token: str) -> bool:
        """Whether `token` is the secret of this server."""
        return _same(token, self._token)

    def cookie(self) -> str:
        """Return the ``Set-Cookie`` header of a session."""
        return f"{self.cookie_name}={self._session}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"

    def refusal(self, method: str, headers: Mapping[str, str], *, writes: bool = False) -> Refusal | None:
        """Return why a request to the API is refused; None if it is not.

        Args:
            method: its HTTP method.
            headers: header name in lower case -> value.
            writes: whether it changes something.
        """
        foreign = _foreign(headers)
        if foreign is not None:
            return foreign
        origin = headers.get("origin")
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            by_cookie = False
            if not self.is_token(given.strip()):
                return Refusal(401, "token", "the token is wrong; `tracker ui` prints the address with the token")
        else:
            by_cookie = True
            if not self._has_session(headers.get("cookie", "")):
                return Refusal(401, "token", "open the address with the token, which `tracker ui` prints")
        if method == "GET":
            return None
        if method == "POST" and not _is_json(headers):
            return Refusal(415, "type", "Content-Type must be application/json")
        if by_cookie and origin is None:
            return Refusal(403, "origin", "a request by a page must have the header Origin")
        if writes and by_cookie and not _same(headers.get(TOKEN_HEADER, ""), self.write_token):
            return Refusal(403, "token", "a change needs the header X-Tracker-Token with the token of GET meta")
        return None

    def login_refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        """Return why a request that brings a token or password is refused; None if it is not."""
        foreign = _foreign(headers)
        if foreign is not None:
            return foreign
        return None if _is_json(headers) else Refusal(415, "type", "Content-Type must be application/json")

    def _has_session(self, header: str) -> bool:
        # Not parsed with http.cookies, which stops at the first cookie that it cannot parse.
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie_name and _same(value, self._session):
                return True
        return False


def _same(given: str, wanted: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _foreign(headers: Mapping[str, str]) -> Refusal | None:
    """Return the refusal of a request by a page of another origin; None if it is not one."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        return Refusal(403, "origin", f"a page of {origin} may not use this API")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return Refusal(403, "origin", "a page of another origin may not use this API")
    return None


def _is_json(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def host_name(header: str) -> str:
    """Return the name in a ``Host`` header, without the port and brackets, in lower case."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
