"""HTTP as sinks speak it: one server, its answers told apart by what is to be done.

The only file that imports requests. Knows no API of any server. One thread at a time.
"""

from __future__ import annotations

import base64
import email.utils
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sidecar.protocol.sink_kinds import CA_VARIABLES
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS = 30.0
"""How long an answer may take, and each pause in it; a connection may take 5 seconds to be made."""

_CONNECT_SECONDS = 5.0
_SHOWN_CHARS = 300
_HEADER_VALUE = re.compile(r"(?:[!-~\x80-\xff][\t -~\x80-\xff]*)?")  # RFC 9110, 5.5


class Answer(NamedTuple):
    """What a server answered to a request that it accepted, or refused with one of the codes that were expected."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON says it.

        Raises:
            SinkUnavailableError: it is no JSON, so this was not the server that was meant, or not all of its answer.
        """
        import json

        try:
            return json.loads(self.body)
        except ValueError as error:
            raise SinkUnavailableError(f"the answer is no JSON: {_short(self.body)}") from error


class Content(Protocol):
    """A body that is read piece by piece, such as a large file's; its length is known."""

    def read(self, size: int = -1, /) -> bytes: ...

    def __len__(self) -> int: ...


class HttpServer:
    """A server, reached over one kept connection.

    Args:
        url: where it is, without a slash at the end.
        user, password: for basic authentication, in UTF-8 (RFC 7617).
        token: for a bearer token instead.
        timeout: seconds without a byte of the answer.
        ca_variables: environment variables, of which the first that is set names the certificates of the authorities
            that may vouch for the server, if that is reached over HTTPS.
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
        """Send a request and return its answer: any code below 300, or one that is `expected`.

        Raises:
            SinkUnavailableError: no answer, not all of it, or one that says to try again (408, 425, 429, 5xx).
            SinkRefusedError: another answer; or no authority vouches for the server; or a secret cannot be sent.
        """
        import requests

        sent = {**self._headers, **(headers or {})}
        for name, value in sent.items():
            if not _HEADER_VALUE.fullmatch(value):  # said without the value, which may be a secret
                raise SinkRefusedError(f"{self.url}: what the header {name} would have holds a line break or another "
                                       "character that no header can have; mend the variable or the file that it "
                                       "comes from")  # fmt: skip
        session = self._session
        if session is None:
            session = requests.Session()
            session.trust_env = False  # no .netrc; a proxy in the environment is not meant for a server at hand
            if self.url.startswith("https:"):
                session.verify = _authorities(self._ca_variables) or True
            self._session = session
        if isinstance(data, str):
            data = data.encode()
        try:
            answer = session.request(
                method,
                self.url + path,
                params=dict(params or {}),
                json=json,
                data=data,
                headers=sent,
                timeout=(_CONNECT_SECONDS, self._timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            self.close()  # nothing more is expected of this connection
            if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                raise SinkRefusedError(f"{self.url}: {_reason(error)}; {self._ca_variables[0]} in the environment may "
                                       "name a file with the authorities to trust") from error  # fmt: skip
            raise SinkUnavailableError(f"{self.url}: {_reason(error)}") from error
        status, reason, got, body = answer.status_code, answer.reason, answer.headers, answer.content
        del answer  # whoever keeps an error that is raised here would keep the connection open with it
        missing = _missing_bytes(method, status, got, body)
        if missing:
            self.close()
            raise SinkUnavailableError(f"{self.url}{path}: the answer ended {missing} bytes too early")
        if status < 300 or status in expected:
            return Answer(status, body)
        what = f"{self.url}{path}: {status} {reason}: {_short(body)}"
        if status in (408, 425, 429) or status >= 500:
            raise SinkUnavailableError(what, retry_after(got.get("Retry-After")))
        if 300 <= status < 400 and "Location" in got:
            what += f" (it sends us to {got['Location']}; if that is the server, give its address)"
        raise SinkRefusedError(what)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3): a number or a date; else None."""
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
    """Return a secret: the environment variable's value, or what is in the file that ``<variable>_FILE`` names.

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
        raise SinkRefusedError(f"{variable}_FILE={path!r}: it should be a text in UTF-8, and is none") from None


def _authorities(variables: Sequence[str]) -> str | None:
    """Return the file that the first of these variables names that is set, or None.

    Raises:
        SinkRefusedError: it is not there, cannot be read, or has no certificate.
    """
    for variable in variables:
        path = os.environ.get(variable)
        if path:
            kind = "capath" if Path(path).is_dir() else "cafile"
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{kind: path})
            except OSError as error:
                raise SinkRefusedError(f"{variable}={path!r}: {Path(path).absolute()}: {error.strerror}; it should be "
                                       "a file with authorities' certificates") from error  # fmt: skip
            return path
    return None


def _missing_bytes(method: str, status: int, headers: Mapping[str, str], body: bytes) -> int:
    """Return how much shorter an answer is than it said; urllib3 before 2 does not tell.

    Where the answer was packed (Content-Encoding) or came in chunks the length is not that of what is here, and others
    have an end of their own.
    """
    said = headers.get("Content-Length", "")
    if not said.isdecimal() or method == "HEAD" or status in (204, 304):
        return 0
    if "Content-Encoding" in headers or "Transfer-Encoding" in headers:
        return 0
    return max(0, int(said) - len(body))


def _innermost(error: BaseException) -> BaseException:
    seen = error
    while inner := seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__):
        seen = inner
    return seen


def _reason(error: Exception) -> str:
    """The innermost cause, which says it shortest."""
    return f"{type(error).__name__}: {str(_innermost(error))[:_SHOWN_CHARS]}"


def _short(body: bytes) -> str:
    text = " ".join(body[: 4 * _SHOWN_CHARS].decode(errors="replace").split())
    return text[:_SHOWN_CHARS] + ("…" if len(text) > _SHOWN_CHARS else "")
