"""The sockets of both sides. The only file that imports zmq; its exceptions end here.

Each channel is made, used and closed by one thread. The sidecar binds, clients connect. Messages are bytes; what they
mean is the codec's. A context does not survive a fork: the child makes its own and leaves the parent's alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import zmq

from sidecar.protocol.errors import ChannelError
from sidecar.protocol.limits import MAX_MESSAGE_BYTES

IPC_PATH_BYTES = 107
"""What a Unix socket's path may have: ``sun_path`` of unix(7) without its closing zero."""

_HIGH_WATER = 64
"""Messages a socket queues per peer; clients also bound what they have in flight, in bytes."""

_context: zmq.Context[Any] | None = None


def _shared_context() -> zmq.Context[Any]:
    global _context
    if _context is None:
        _context = zmq.Context()
    return _context


def _forget_context() -> None:
    global _context
    _context = None


os.register_at_fork(after_in_child=_forget_context)


def has_ipc() -> bool:
    """Whether there are Unix sockets here."""
    return bool(zmq.has("ipc"))


class Channel:
    """One socket, for one thread. Closed at once: what is unsent is kept elsewhere, so nothing lingers."""

    def __init__(self, kind: int, high_water: int = _HIGH_WATER) -> None:
        self._pid = os.getpid()
        try:
            self._socket: zmq.Socket[bytes] = _shared_context().socket(kind)
        except zmq.ZMQError as error:
            raise ChannelError(f"no socket could be made: {error}") from error
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, high_water)
        self._socket.setsockopt(zmq.RCVHWM, high_water)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.IPV6, 1)

    def bind(self, endpoint: str) -> str:
        """Bind, and return the endpoint as it is reached (a port ``*`` is given a number).

        Raises:
            ChannelError: the address is malformed, too long, in use, or not allowed.
        """
        if endpoint.startswith("ipc://") and len(os.fsencode(endpoint[6:])) > IPC_PATH_BYTES:
            raise ChannelError(
                f"{endpoint}: a socket's path has at most {IPC_PATH_BYTES} bytes; use a shorter directory"
            )
        try:
            self._socket.bind(endpoint)
            return self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()  # type: ignore[union-attr]
        except zmq.ZMQError as error:
            raise ChannelError(f"{endpoint}: cannot bind: {error}") from error

    def connect(self, endpoint: str) -> None:
        """Connect; the peer need not be there yet.

        Raises:
            ChannelError: the address is malformed.
        """
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise ChannelError(f"{endpoint}: cannot connect: {error}") from error

    def send(self, message: bytes) -> bool:
        """Send without waiting; return False where the queue is full or nobody is there."""
        try:
            self._socket.send(message, zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot send: {error}") from error
        return True

    def receive(self) -> bytes | None:
        """Return a message that is there, or None."""
        try:
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return None  # an eighth of what an exception costs
            return self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error

    def send_parts(self, parts: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # a ROUTER's peer that is gone
            return False
        return True

    def receive_parts(self) -> list[bytes] | None:
        try:
            return self._socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error

    def wait(self, seconds: float) -> bool:
        """Wait for a message at most `seconds`; return whether one is there."""
        try:
            return bool(self._socket.poll(max(0, round(seconds * 1000))))
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot wait: {error}") from error

    def close(self) -> None:
        if self._pid == os.getpid():  # never the parent's, in a fork
            self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def push() -> Channel:
    return Channel(zmq.PUSH)


def pull(high_water: int = _HIGH_WATER) -> Channel:
    return Channel(zmq.PULL, high_water)


def router() -> Channel:
    """The sidecar's end of the door; messages are ``[who, …, request]``."""
    return Channel(zmq.ROUTER, high_water=1000)


def dealer() -> Channel:
    """A client's end of the door."""
    return Channel(zmq.DEALER)


class Poll:
    """Waits on channels and file descriptors at once."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def add(self, source: Channel | int) -> None:
        self._poller.register(source._socket if isinstance(source, Channel) else source, zmq.POLLIN)

    def remove(self, source: Channel | int) -> None:
        try:
            self._poller.unregister(source._socket if isinstance(source, Channel) else source)
        except KeyError:
            return

    def wait(self, seconds: float, channels: list[Channel]) -> Iterator[Channel | int]:
        """Wait at most `seconds`; yield those of `channels`, and the descriptors, that have something."""
        by_socket = {channel._socket: channel for channel in channels}
        try:
            ready = self._poller.poll(max(0, round(seconds * 1000)))
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot wait: {error}") from error
        for source, _ in ready:
            if isinstance(source, int):
                yield source
            elif source in by_socket:
                yield by_socket[source]
