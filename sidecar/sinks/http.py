"""HTTP as sinks speak it: one server, its answers told apart by what is to be done.

The only file that imports requests. Knows no API of any server. One thread at a time.
"""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS = 30.0
"""How long an answer may take, and each pause in it; a connection may take 5 seconds to be made."""

_CONNECT_SECONDS = 5.0
_SHOWN_CHARS = 300


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
        user, password: for basic authentication.
        token: for a bearer token instead.
        timeout: seconds without a byte of the answer.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.url = url
        self._auth = (user or "", password or "") if user or password else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
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
            SinkUnavailableError: no answer, or one that says to try again (408, 425, 429, 5xx).
            SinkRefusedError: another answer.
        """
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.trust_env = False  # no .netrc; a proxy in the environment is not meant for a server at hand
        if isinstance(data, str):
            data = data.encode()
        try:
            answer = self._session.request(
                method,
                self.url + path,
                params=dict(params or {}),
                json=json,
                data=data,
                headers={**self._headers, **(headers or {})},
                auth=self._auth,
                timeout=(_CONNECT_SECONDS, self._timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            self.close()  # nothing more is expected of this connection
            raise SinkUnavailableError(f"{self.url}: {_reason(error)}") from error
        if answer.status_code < 300 or answer.status_code in expected:
            return Answer(answer.status_code, answer.content)
        what = f"{self.url}{path}: {answer.status_code} {answer.reason}: {_short(answer.content)}"
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise SinkUnavailableError(what, retry_after(answer.headers.get("Retry-After")))
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
        return Path(path).read_text().strip()
    except OSError as error:
        raise SinkRefusedError(f"{variable}_FILE={path!r}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    """The innermost cause, which says it shortest."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None and inner is not seen:
        seen = inner
    return f"{type(error).__name__}: {str(seen)[:_SHOWN_CHARS]}"


def _short(body: bytes) -> str:
    text = " ".join(body[: 4 * _SHOWN_CHARS].decode(errors="replace").split())
    return text[:_SHOWN_CHARS] + ("…" if len(text) > _SHOWN_CHARS else "")
