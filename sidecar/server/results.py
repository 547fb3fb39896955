"""The result sockets: one PUSH for each attached client, bound when it attaches. Used on the HandlerThread.

Knows nothing of what a result says. What a client does not take is tried again for a while, then dropped: a later ack,
or the client's question again, makes it good.
"""

from __future__ import annotations

import time
from collections import deque

from sidecar.protocol import channels
from sidecar.protocol.errors import ChannelError
from sidecar.protocol.keys import KeyPair
from sidecar.server.endpoints import Endpoints

_UNSENT_SECONDS = 5.0
_UNSENT_MOST = 64
"""So many results are kept, for so long, for a client that has asked before its socket was connected."""

UNSENT_PAUSE = 0.002
"""In so many seconds `send_unsent` should be called again."""


class _Results:
    """One client's socket, where it is bound, and what it has not taken."""

    def __init__(self, channel: channels.Channel, endpoint: str) -> None:
        self.channel = channel
        self.endpoint = endpoint
        self.unsent: deque[bytes] = deque()
        self.unsent_since = 0.0


class ResultSockets:
    """The result sockets of all clients.

    Args:
        endpoints: where they are bound.
        keys: the sidecar's pair; None: nothing is encrypted.
    """

    def __init__(self, endpoints: Endpoints, keys: KeyPair | None = None) -> None:
        self._endpoints = endpoints
        self._keys = keys
        self._by_client: dict[str, _Results] = {}
        self._waiting: set[str] = set()
        self._made = 0

    def endpoint(self, client: str) -> str:
        """Return where a client pulls its results from; bound now if it is new.

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
        """Send a result; nothing happens where the client has left."""
        results = self._by_client.get(client)
        if results is None or (not results.unsent and results.channel.send(message)):
            return
        if not results.unsent:
            results.unsent_since = time.monotonic()
            self._waiting.add(client)
        if len(results.unsent) < _UNSENT_MOST:
            results.unsent.append(message)

    def send_unsent(self, now: float) -> bool:
        """Try again what was not taken; return whether some is left."""
        for client in list(self._waiting):
            results = self._by_client[client]
            while results.unsent and results.channel.send(results.unsent[0]):
                results.unsent.popleft()
            if now - results.unsent_since > _UNSENT_SECONDS:
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
        """Close all of them. May be called twice."""
        for client in list(self._by_client):
            self.forget(client)
