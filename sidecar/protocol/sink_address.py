"""How a server that runs are sent to is named: ``mlflow+http://host:5000``. Pure functions, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

_SCHEMES = {"mlflow": ("http", "https"), "clickhouse": ("http", "https"), "sidecar": ("tcp", "ipc")}

FORMS = "mlflow+http://host:5000, clickhouse+http://host:8123/database or sidecar+tcp://host:5757"


class SinkAddress(NamedTuple):
    """A server's address.

    Attributes:
        kind: ``"mlflow"``, ``"clickhouse"`` or ``"sidecar"``.
        url: where it is, without the kind and the options: ``http://host:5000``.
        options: what stands behind ``?``, name -> value.
        text: as it was written.
    """

    kind: str
    url: str
    options: dict[str, str]
    text: str

    @property
    def name(self) -> str:
        """A short name for it that may be a file's."""
        return f"{self.kind}-{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


def parse_sink(text: object) -> SinkAddress:
    """Return the address that `text` is.

    Raises:
        ValueError: it is none, or has a password in it.
    """
    if not isinstance(text, str):
        raise ValueError(f"sink {text!r} is a {type(text).__name__}; a string such as {FORMS}")
    kind, plus, rest = text.strip().partition("+")
    if not plus or kind not in _SCHEMES:
        raise ValueError(f"sink {text!r}; {FORMS}")
    try:
        parts = urlsplit(rest)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"sink {text!r}: {error}") from error
    if parts.scheme not in _SCHEMES[kind]:
        raise ValueError(f"sink {text!r}; {kind}+{f':// or {kind}+'.join(_SCHEMES[kind])}://")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"sink {kind}+{parts.scheme}://…@{parts.hostname}: it is kept with the run, so no user or "
                         "password may be in it; they come from the environment")  # fmt: skip
    if parts.scheme != "ipc" and not parts.hostname:
        raise ValueError(f"sink {text!r} names no host; {FORMS}")
    if parts.scheme == "tcp" and not port:
        raise ValueError(f"sink {text!r} names no port; {FORMS}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    url = rest.partition("?")[0].partition("#")[0].rstrip("/")
    return SinkAddress(kind, url, options, text.strip())


def parse_sinks(given: str | Iterable[object] | None) -> tuple[SinkAddress, ...]:
    """Return the addresses in a list, or in a text with commas between, each once.

    Raises:
        ValueError: as `parse_sink`.
    """
    if given is None:
        return ()
    texts = [text for text in given.split(",") if text.strip()] if isinstance(given, str) else given
    found = [parse_sink(text) for text in texts]
    return tuple({address.name: address for address in found}.values())
