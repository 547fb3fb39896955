"""HTTP as sinks speak it: requests to one server, and errors that say whether to retry.

The only file that imports requests. Knows no server's API. One thread at a time.
"""

from __future__ import annotations

import base64
import email.utils
import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sidecar.protocol.sink_kinds import CA_VARIABLES
from sidecar.sinks.contract import SinkError, SinkRefusedError, SinkUnavailableError

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS = 30.0
"""Maximum time without a byte of a response, in seconds."""

_CONNECT_SECONDS = 5.0
_SHOWN_CHARS = 300
_HEADER_VALUE = re.compile(r"(?:[!-~\x80-\xff][\t -~\x80-\xff]*)?")  # RFC 9110, 5.5
_TRY_AGAIN = (408, 425, 429)
_NO_ROUTE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)


class Answer(NamedTuple):
    """A response that the caller handles: a success, or one of the status codes that it expected."""

    status: int
    body: bytes


class Content(Protocol):
    """A body that is read piece by piece, such as that of a large file. Its length is known."""

    def read(self, size: int = -1, /) -> bytes: ...

    def __len__(self) -> int: ...


class HttpServer:
    """A server, reached over one connection that is kept open.

    Args:
        url: its address, without a slash at the end.
        user, password: for basic authentication, in UTF-8 (RFC 7617).
        token: a bearer token, used if there is no user.
        timeout: maximum time without a byte of a response, in seconds.
        ca_variables: environment variables; over HTTPS, the first that is set names the certificates of the
            authorities to trust instead of those that come with requests.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        ca_variables: Sequence[str] = CA_VARIABLES,
    ) -> None:
        self.url = url
        self._headers: dict[str, str] = {}
        if user or password:
            both = base64.b64encode(f"{user or ''}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {both}"
        elif token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._ca_variables = ca_variables
        self._session: requests.Session | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...] = (),
        params: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | str | Content | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; return the response if its status is below 300 or `expected`.

        Raises:
            SinkUnavailableError: no response, an incomplete one, or a status that asks to retry (408, 425, 429, 5xx).
            SinkRefusedError: any other status; a certificate that is not trusted; or a secret that is not a valid
                header value.
        """
        response = self._exchange(
            method,
            self.url + path,
            params=dict(params or {}),
            json=json,
            data=data.encode() if isinstance(data, str) else data,
            headers=self._checked({**self._headers, **(headers or {})}),
        )
        status, reason, received, body = response.status_code, response.reason, response.headers, response.content
        del response  # an exception raised below would keep it alive, and its connection open
        missing = _missing_bytes(method, status, received, body)
        if missing:
            self.close()
            raise SinkUnavailableError(f"{self.url}{path}: the response ended {missing} bytes early")
        if status < 300 or status in expected:
            return Answer(status, body)
        raise _status_error(f"{self.url}{path}: {status} {reason}: {_short(body)}", status, received)

    def _checked(self, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_VALUE.fullmatch(value):  # the message leaves out the value, which may be a secret
                raise SinkRefusedError(
                    f"{self.url}: the value of header {name} contains a line break or another invalid character; "
                    "correct the variable or the file that it comes from"
                )
        return headers

    def _exchange(self, method: str, url: str, **content: Any) -> requests.Response:
        """Send a request and read the whole response, whatever its status."""
        import requests

        try:
            return self._connected().request(
                method, url, timeout=(_CONNECT_SECONDS, self._timeout), allow_redirects=False, **content
            )
        except requests.RequestException as error:
            self.close()  # its state is unknown
            raise self._connection_error(error) from error

    def _connected(self) -> requests.Session:
        import requests

        if self._session is None:
            session = requests.Session()
            session.trust_env = False  # no .netrc; and proxies in the environment are not meant for these servers
            if self.url.startswith("https:"):
                session.verify = _authorities(self._ca_variables) or True
            self._session = session
        return self._session

    def _connection_error(self, error: requests.RequestException) -> SinkError:
        """Return the error to raise for a request that got no complete response."""
        import requests

        cause = _innermost(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SinkRefusedError(
                f"{self.url}: certificate verify failed ({cause.verify_message}); to trust another authority, name the "
                f"file of its certificate in {self._ca_variables[0]}"
            )
        if isinstance(error, requests.ConnectTimeout):
            return SinkUnavailableError(f"cannot connect to {self.url} (timed out after {_CONNECT_SECONDS:g} s)")
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _NO_ROUTE):
            return SinkUnavailableError(f"cannot connect to {self.url} ({_words(cause)})")
        if isinstance(cause, TimeoutError):
            return SinkUnavailableError(f"{self.url}: timed out after {self._timeout:g} s without a response")
        return SinkUnavailableError(f"{self.url}: the connection failed ({_words(cause)})")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _status_error(text: str, status: int, headers: Mapping[str, str]) -> SinkError:
    """Return the error for a status that the caller did not expect."""
    if status in _TRY_AGAIN or status >= 500:
        return SinkUnavailableError(text, retry_after(headers.get("Retry-After")))
    if 300 <= status < 400 and "Location" in headers:
        text += f" (redirected to {headers['Location']}; if that is the server, use its address)"
    return SinkRefusedError(text)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, or None if it is not valid (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def secret(variable: str) -> str | None:
    """Return a secret: the value of the variable, or the content of the file that ``<variable>_FILE`` names.

    Raises:
        SinkRefusedError: that file cannot be read.
    """
    value = os.environ.get(variable)
    path = os.environ.get(f"{variable}_FILE")
    if value or not path:
        return value or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SinkRefusedError(f"{variable}_FILE={path!r}: {error.strerror}") from error
    except UnicodeError:
        raise SinkRefusedError(f"{variable}_FILE={path!r}: the file must be text in UTF-8") from None


def _authorities(variables: Sequence[str]) -> str | None:
    """Return the value of the first variable that is set, or None.

    Raises:
        SinkRefusedError: it does not name a readable file or directory of certificates.
    """
    for variable in variables:
        path = os.environ.get(variable)
        if path:
            kind = "capath" if Path(path).is_dir() else "cafile"
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{kind: path})
            except OSError as error:
                raise SinkRefusedError(f"{variable}={path!r}: {Path(path).absolute()}: {error.strerror}; it must name "
                                       "a file or directory of certificates of authorities") from error  # fmt: skip
            return path
    return None


def _missing_bytes(method: str, status: int, headers: Mapping[str, str], body: bytes) -> int:
    """Return how many bytes of a response are missing; urllib3 before 2 does not check.

    A compressed body has another length than its header says, and a chunked one has an end mark.
    """
    announced = headers.get("Content-Length", "")
    if not announced.isdecimal() or method == "HEAD" or status in (204, 304):
        return 0
    if "Content-Encoding" in headers or "Transfer-Encoding" in headers:
        return 0
    return max(0, int(announced) - len(body))


def _innermost(error: BaseException) -> BaseException:
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return error


def _words(error: BaseException) -> str:
    """Return what an exception says, without the number of the error."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return (text[:1].lower() + text[1:])[:_SHOWN_CHARS]


def _short(body: bytes) -> str:
    text = " ".join(body[: 4 * _SHOWN_CHARS].decode(errors="replace").split())
    return text[:_SHOWN_CHARS] + ("…" if len(text) > _SHOWN_CHARS else "")
