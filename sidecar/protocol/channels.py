"""The sockets of both sides. The only file that imports zmq; its exceptions end here.

Each channel is made, used and closed by one thread. The sidecar binds, clients connect. Messages are bytes; what they
mean is the codec's. A context does not survive a fork: the child makes its own and leaves the parent's alone.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import zmq

from sidecar.protocol.endpoints import connectable
from sidecar.protocol.errors import ChannelError
from sidecar.protocol.keys import KeyPair, Security
from sidecar.protocol.limits import MAX_MESSAGE_BYTES

_log = logging.getLogger("sidecar.gate")
_log.setLevel(logging.WARNING)

IPC_PATH_BYTES = 107
"""What a Unix socket's path may have: ``sun_path`` of unix(7) without its closing zero."""

_MAPPED = re.compile(r"\[::ffff:([0-9.]+)\]")
"""How libzmq writes an IPv4 address that it has bound as an IPv6 one."""

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


def new_key_pair() -> KeyPair:
    """Return a new CURVE pair.

    Raises:
        ChannelError: this libzmq was built without CURVE.
    """
    try:
        public, secret = zmq.curve_keypair()
    except zmq.ZMQError as error:
        raise ChannelError(f"this libzmq has no CURVE: {error}") from error
    return KeyPair(public.decode(), secret.decode())


class Channel:
    """One socket, for one thread. Closed at once: what is unsent is kept elsewhere, so nothing lingers.

    Args:
        kind: the socket's type.
        high_water: messages that are queued per peer.
        security: a client's keys, or a sidecar's own pair; None: nothing is encrypted.
    """

    def __init__(self, kind: int, high_water: int = _HIGH_WATER, security: Security | KeyPair | None = None) -> None:
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
        self._monitor: zmq.Socket[bytes] | None = None
        if security is not None:
            self._secure(security)

    def _secure(self, security: Security | KeyPair) -> None:
        own = security.own if isinstance(security, Security) else security
        try:
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
            if isinstance(security, Security):
                self._socket.setsockopt(zmq.CURVE_SERVERKEY, security.server.encode())
            else:
                self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        except zmq.ZMQError as error:
            raise ChannelError(f"the keys cannot be used: {error}") from error

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
            bound: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        except zmq.ZMQError as error:
            raise ChannelError(f"{endpoint}: cannot bind: {error}") from error
        return _MAPPED.sub(r"\1", bound.rstrip(b"\0").decode())

    def connect(self, endpoint: str) -> None:
        """Connect; the peer need not be there yet.

        Raises:
            ChannelError: the address is malformed.
        """
        try:
            self._socket.connect(connectable(endpoint))
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

    def receive_from(self) -> tuple[bytes, str] | None:
        """Return a message that is there, and its sender's public key; or None. For a socket with CURVE."""
        try:
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return None
            frame = self._socket.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error
        return frame.bytes, _sender(frame)

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

    def receive_parts_from(self) -> tuple[list[bytes], str] | None:
        """Return a message of several parts, and its sender's public key ("" without CURVE); or None."""
        try:
            frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error
        return [frame.bytes for frame in frames], _sender(frames[-1])

    def watch_handshakes(self) -> Channel:
        """Return a channel on which `refusals` tells of handshakes that failed; it is closed with this one."""
        failed = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        try:
            self._monitor = self._socket.get_monitor_socket(failed | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot watch a socket: {error}") from error
        watching = Channel.__new__(Channel)
        watching._pid, watching._socket, watching._monitor = self._pid, self._monitor, None
        return watching

    def refusals(self) -> list[str]:
        """On a channel of `watch_handshakes`: why handshakes failed since the last call, a word each: ``"key"`` (the
        peer is not allowed), ``"protocol"`` (one side encrypts and the other does not; a sidecar: or with a wrong key),
        ``"cut"`` (the connection ended: a bad link looks so, and to a client its own wrong key)."""
        words = {zmq.EVENT_HANDSHAKE_FAILED_AUTH: "key", zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "protocol"}
        found = []
        while (parts := self.receive_parts()) is not None:
            found.append(words.get(zmq.Event(int.from_bytes(parts[0][:2], sys.byteorder)), "cut"))
        return found

    def wait(self, seconds: float) -> bool:
        """Wait for a message at most `seconds`; return whether one is there."""
        try:
            return bool(self._socket.poll(max(0, round(seconds * 1000))))
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot wait: {error}") from error

    def close(self, linger: float = 0.0) -> None:
        """Close it; what is unsent is sent in the background for `linger` seconds."""
        if self._pid != os.getpid():  # never the parent's, in a fork
            return
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self._socket.disable_monitor()
            monitor.close()
        self._socket.close(round(linger * 1000))

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sender(frame: zmq.Frame) -> str:
    try:
        found = frame.get("User-Id")
    except zmq.ZMQError:
        return ""
    return found if isinstance(found, str) else ""


def push(security: Security | KeyPair | None = None) -> Channel:
    return Channel(zmq.PUSH, security=security)


def pull(high_water: int = _HIGH_WATER, security: Security | KeyPair | None = None) -> Channel:
    return Channel(zmq.PULL, high_water, security)


def router(security: KeyPair | None = None) -> Channel:
    """The sidecar's end of the door; messages are ``[who, …, request]``."""
    return Channel(zmq.ROUTER, 1000, security)


def dealer(security: Security | None = None) -> Channel:
    """A client's end of the door."""
    return Channel(zmq.DEALER, security=security)


class Gate:
    """Decides who may connect to this process's sockets with CURVE: it answers their handshakes.

    libzmq asks for every connection by ZAP (https://rfc.zeromq.org/spec/27/); one for all sockets of the process.

    Args:
        allowed: says whether the client with this public key, at this address, may connect.
    """

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        from zmq.auth.base import Authenticator

        self._authenticator = Authenticator(_shared_context(), log=_log)
        self._allowed = allowed
        self._authenticator.configure_curve_callback("*", self)
        try:
            self._authenticator.start()
        except zmq.ZMQError as error:
            raise ChannelError(f"handshakes cannot be answered: {error}") from error
        self.channel = Channel.__new__(Channel)
        self.channel._pid, self.channel._socket, self.channel._monitor = (
            os.getpid(),
            self._authenticator.zap_socket,
            None,
        )

    def callback(self, domain: str, key: bytes) -> bool:
        """What the authenticator asks."""
        return self._allowed(key.decode())

    def answer(self) -> None:
        """Answer the handshakes that wait."""
        while (parts := self.channel.receive_parts()) is not None:
            answering = self._authenticator.handle_zap_message(parts)
            try:
                answering.send(None)  # it waits for nothing, since `callback` does not
            except StopIteration:
                continue
            answering.close()

    def close(self) -> None:
        self._authenticator.stop()


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
