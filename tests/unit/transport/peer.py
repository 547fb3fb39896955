"""The sockets of a sidecar on loopback, driven by the test's own thread, and a backend that attaches to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from sidecar.protocol import channels
from sidecar.protocol.channels import Channel
from sidecar.protocol.codec import decode, decode_frames, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError
from sidecar.protocol.keys import KeyPair
from sidecar.protocol.records import Record
from sidecar.protocol.rows import records_of
from tests.support import wait_until
from tracker.transport.backend import Attached

CLIENT = "client"


class Peer:
    """The record socket and the result socket of a sidecar; a context manager.

    Attributes:
        durable: the highest number that is durable; sent with the next attach.
        attaches: number of calls of `attach`, including failed ones.
        failure: exception raised by `attach`, or None.
        far: see `Attached`.
        state: see `Attached`.
    """

    def __init__(self) -> None:
        self.durable = self.attaches = 0
        self.failure: Exception | None = None
        self.far = False
        self.state: dict[str, Any] = {}
        self._channels: list[Channel] = []
        self._bind()

    def _bind(self) -> None:
        self._records, self._results = channels.pull(), channels.push()
        self._channels += [self._records, self._results]
        self._endpoints = tuple(channel.bind("tcp://127.0.0.1:*") for channel in (self._records, self._results))

    def attach(self, again: bool, deadline: Deadline) -> Attached:
        """Answer an attach, with new sockets for each: what was sent to the old ones is lost."""
        self.attaches += 1
        if self.failure is not None:
            raise self.failure
        if self.attaches > 1:
            self._bind()
        records, results = self._endpoints
        return Attached(records, results, self.durable, self.state, False, None, far=self.far)

    def receive(self, seconds: float = 10.0) -> list[Record]:
        """Return the records of the next message; an empty list after the timeout."""
        if not self._records.wait(seconds):
            return []
        message = self._records.receive()
        assert message is not None
        items, _ = decode_frames(message)
        return list(records_of(items)) or [decode(message)]

    def send(self, kind: str, client: str = CLIENT, **body: Any) -> None:
        """Send a result."""
        result = encode(Record(kind, "run", client, 0, time.time(), body))
        wait_until(lambda: self._results.send(result), "the client has connected")

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            channel.close()


class PeerBackend:
    """A backend whose sidecar is a `Peer`; it records the bodies that are sent with an attach."""

    address: str | None = None

    def __init__(self, peer: Peer, on_attach: Callable[[], None] = lambda: None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.pair: KeyPair | None = None
        self._peer = peer
        self._on_attach = on_attach

    def generated_pair(self) -> KeyPair | None:
        return None

    def attach(
        self, run: str, client: str, body: dict[str, Any], deadline: Deadline, pair: KeyPair | None = None
    ) -> tuple[Attached, None]:
        self.bodies.append(body)
        self.pair = pair
        self._on_attach()
        return self._peer.attach(bool(body.get("again")), deadline), None


class UnavailableError(SidecarError):
    """The sidecar cannot be reached."""
