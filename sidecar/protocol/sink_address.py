"""Addresses of servers that runs are sent to, such as ``mlflow+http://host:5000``. Pure functions, no I/O.

Knows no particular server: the kinds are rows of `sidecar.protocol.sink_kinds`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from sidecar.protocol.sink_kinds import SINK_KINDS, forms


class SinkAddress(NamedTuple):
    """The address of a server.

    Attributes:
        kind: a name from `SINK_KINDS`.
        url: the address without kind and options: ``http://host:5000``.
        options: the part after ``?``, name -> value.
        text: the address as given.
    """

    kind: str
    url: str
    options: dict[str, str]
    text: str

    @property
    def name(self) -> str:
        """A short name that is unique to the address and valid as a file name."""
        return f"{self.kind}-{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


def parse_sink(text: object) -> SinkAddress:
    """Return the parsed address.

    Raises:
        ValueError: `text` is not a valid address, or contains a user or a password.
    """
    if not isinstance(text, str):
        raise ValueError(f"a sink must be a string such as {forms()}, not {text!r} ({type(text).__name__})")
    kind, plus, rest = text.strip().partition("+")
    if not plus or kind not in SINK_KINDS:
        raise ValueError(f"a sink must have the form {forms()}, not {text!r}")
    try:
        parts = urlsplit(rest)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"sink {text!r} is not a valid address: {error}") from error
    transports = SINK_KINDS[kind].transports
    if parts.scheme not in transports:
        prefixes = " or ".join(f"{kind}+{transport}://" for transport in transports)
        raise ValueError(f"sink {text!r} must begin with {prefixes}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"sink {kind}+{parts.scheme}://…@{parts.hostname} must not contain a user or a password: the "
                         "address is stored with the run; set them in the environment")  # fmt: skip
    if parts.scheme != "ipc" and not parts.hostname:
        raise ValueError(f"sink {text!r} must name a host, as in {SINK_KINDS[kind].form}")
    if parts.scheme == "tcp" and not port:
        raise ValueError(f"sink {text!r} must name a port, as in {SINK_KINDS[kind].form}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    url = rest.partition("?")[0].partition("#")[0].rstrip("/")
    return SinkAddress(kind, url, options, text.strip())


def parse_sinks(given: str | Iterable[object] | None) -> tuple[SinkAddress, ...]:
    """Return the addresses in a sequence, or in a string separated by commas, without duplicates.

    Raises:
        ValueError: as `parse_sink`.
    """
    if given is None:
        return ()
    texts = [text for text in given.split(",") if text.strip()] if isinstance(given, str) else given
    addresses = [parse_sink(text) for text in texts]
    return tuple({address.name: address for address in addresses}.values())
