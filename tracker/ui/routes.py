"""Types of the API: the route, the request, the kinds of answers.

Knows nothing of the server's libraries, so that a module of answers is tested by calling its functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tracker.ui.errors import ApiError, CancelledError
from tracker.ui.state import Dashboard

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        path: the parameters in the route's path.
        query: the parameters after the ``?``; of several with one name, the last.
        body: the decoded JSON body; None without one.
        headers: header name in lower case -> value.
        cancelled: set when the client has closed the connection.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check_cancelled(self) -> None:
        """Raise `CancelledError` if the client has closed the connection."""
        if self.cancelled.is_set():
            raise CancelledError

    def number(self, name: str, default: float | None = None) -> float | None:
        """Return a parameter after the ``?`` as a number.

        Raises:
            ApiError: it is not a number.
        """
        text = self.query.get(name)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise ApiError(400, "parameter", f"{name} must be a number, not {text!r}") from None

    def whole(self, name: str, default: int, least: int = 0, most: int = 2**53) -> int:
        """Return a parameter after the ``?`` as an integer between `least` and `most`.

        Raises:
            ApiError: it is not.
        """
        text = self.query.get(name)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            raise ApiError(400, "parameter", f"{name} must be an integer, not {text!r}") from None
        if not least <= value <= most:
            raise ApiError(400, "parameter", f"{name} must be from {least} to {most}, not {value}")
        return value

    def names(self, name: str) -> list[str]:
        """Return a parameter after the ``?`` that is a list of names, separated by commas; ``%2C`` in the decoded text
        stands for a comma of a name, ``%25`` for a percent sign."""
        text = self.query.get(name, "")
        return [part.replace("%2C", ",").replace("%25", "%") for part in text.split(",") if part]

    def map(self) -> dict[str, Any]:
        """Return the body, which must be a JSON object.

        Raises:
            ApiError: it is not.
        """
        if not isinstance(self.body, dict):
            raise ApiError(400, "body", "the body must be a JSON object")
        return self.body


class Binary(NamedTuple):
    """An answer of bytes."""

    content: bytes
    media_type: str = BINARY_TYPE


class Stream(NamedTuple):
    """An answer that is made while it is sent.

    Attributes:
        parts: the parts; made on a thread of the pool, one at a time.
        media_type: its media type.
        file_name: the name under which a browser saves it.
    """

    parts: Iterator[bytes]
    media_type: str
    file_name: str


class Download(NamedTuple):
    """An answer that is a file, or a part of one: sent as an attachment, or to be shown in a sandboxed frame.

    Attributes:
        parts: the content, or the part of it that was asked for.
        file_name: the name under which a browser saves it.
        media_type: its media type.
        size: the size of the whole file, in bytes.
        range: the first byte and the end of the part; None for the whole file.
        framed: whether it is shown in a frame.
    """

    parts: Iterator[bytes]
    file_name: str
    media_type: str
    size: int
    range: tuple[int, int] | None
    framed: bool = False


Answer: TypeAlias = Any
"""Plain data (answered as JSON, NaN and infinities as strings), None (204), `Binary`, `Stream` or `Download`."""


class Route(NamedTuple):
    """A row of the table of routes.

    Attributes:
        method: GET, POST or DELETE.
        path: below ``/api/v1/``, such as ``runs/{ref}/files/{number}``.
        answer: makes the answer, on a thread of the pool.
        writes: whether it changes something: it then needs the token for writes.
        heavy: whether it may take long: at most a few such answers are made at a time.
    """

    method: str
    path: str
    answer: Callable[[Dashboard, Call], Answer]
    writes: bool = False
    heavy: bool = False
