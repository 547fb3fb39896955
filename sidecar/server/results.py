"""The result sockets: one PUSH per attached client, bound when it attaches. Used on the HandlerThread.

Does not know what a result says. A result that a client does not accept is retried for a while, then dropped: a later
ack, or the client's repeated request, makes up for it.
"""

from __future__ import annotations

import time
from collections import deque

from sidecar.protocol import channels
from sidecar.protocol.errors import ChannelError
from sidecar.protocol.keys import KeyPair
from sidecar.server.endpoints import Endpoints

_MAX_UNSENT_SECONDS = 5.0
_MAX_UNSENT = 64
"""Results buffered for a client whose socket is not connected yet: for how long, in seconds, and how many."""

RETRY_SECONDS = 0.002
"""Interval at which `send_unsent` should be called while results are buffered, in seconds."""


class _Results:
    """One client's socket, its endpoint, and the results that are not sent yet."""

    def __init__(self, channel: channels.Channel, endpoint: str) -> None:
        self.channel = channel
        self.endpoint = endpoint
        self.unsent: deque[bytes] = deque()
        self.unsent_since = 0.0


class ResultSockets:
    """The result sockets of all clients.

    Args:
        endpoints: binds them.
        keys: the sidecar's key pair; None: connections are not encrypted.
    """

    def __init__(self, endpoints: Endpoints, keys: KeyPair | None = None) -> None:
        self._endpoints = endpoints
        self._keys = keys
        self._by_client: dict[str, _Results] = {}
        self._waiting: set[str] = set()
        self._made = 0

    def endpoint(self, client: str) -> str:
        """Return the endpoint of a client's results; a new client's socket is bound now.

        Raises:
            ChannelError: it cannot be bound.
        """
        if client not in self._by_client:
            self._made += 1
            channel = channels.push(self._keys)
            try:
                endpoint = self._endpoints.bind(channel, f"r{self._made}")
            except ChannelError:
                channel.close()
                raise
            self._by_client[client] = _Results(channel, endpoint)
        return self._by_client[client].endpoint

    def send(self, client: str, message: bytes) -> None:
        """Send a result; does nothing if the client has detached."""
        results = self._by_client.get(client)
        if results is None or (not results.unsent and results.channel.send(message)):
            return
        if not results.unsent:
            results.unsent_since = time.monotonic()
            self._waiting.add(client)
        if len(results.unsent) < _MAX_UNSENT:
            results.unsent.append(message)

    def send_unsent(self, now: float) -> bool:
        """Send buffered results again; return whether some remain."""
        for client in list(self._waiting):
            results = self._by_client[client]
            while results.unsent and results.channel.send(results.unsent[0]):
                results.unsent.popleft()
            if now - results.unsent_since > _MAX_UNSENT_SECONDS:
                results.unsent.clear()
            if not results.unsent:
                self._waiting.discard(client)
        return bool(self._waiting)

    def forget(self, client: str) -> None:
        """Close the socket of a client that has detached, if it has one."""
        results = self._by_client.pop(client, None)
        if results is not None:
            self._waiting.discard(client)
            results.channel.close()
            self._endpoints.release(results.endpoint)

    def close(self) -> None:
        """Close all sockets. May be called twice."""
        for client in list(self._by_client):
            self.forget(client)
