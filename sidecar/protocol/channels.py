"""The sockets of both sides. The only file that imports zmq; its exceptions become `ChannelError` here.

Each channel is made, used and closed by one thread. The sidecar binds, clients connect. Messages are bytes, which the
codec reads and writes. A context does not survive a fork: the child makes its own and leaves the parent's alone.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
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
"""Maximum length of a Unix socket's path, in bytes: ``sun_path`` of unix(7) without its closing zero."""

_MAPPED_IPV4 = re.compile(r"\[::ffff:([0-9.]+)\]")
"""An IPv4 address that libzmq bound as an IPv6 one."""

_HIGH_WATER = 64
"""Maximum number of messages that a socket queues per peer. Clients also bound the bytes they have in flight."""

_CONTROL_HIGH_WATER = 1000
"""The same for the control socket."""

_CONTEXT_THREADS = 2
"""Threads that a context starts with its first socket: for input and output, and one that closes sockets."""

_context: zmq.Context[Any] | None = None


def _shared_context() -> zmq.Context[Any]:
    """Return this process's context.

    Raises:
        ChannelError: its threads cannot be started now.
    """
    global _context
    if _context is None:
        _check_threads()
        _context = zmq.Context()
    return _context


def _check_threads() -> None:
    """Check that as many threads can be started as a context has; libzmq ends the process if one cannot."""
    before, done = _thread_count(), threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(_CONTEXT_THREADS):
            thread = threading.Thread(target=done.wait, name="tracker-check", daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise ChannelError(f"no more threads can be started in this process or container: {error}") from error
    finally:
        done.set()
        for thread in started:
            thread.join()
    for _ in range(100):  # the kernel counts a thread for a moment after it has ended
        if _thread_count() <= before:
            break
        time.sleep(0.0001)


def _thread_count() -> int:
    """Return the number of threads of this process; 0 if the system does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def _forget_context() -> None:
    global _context
    _context = None


os.register_at_fork(after_in_child=_forget_context)


def has_ipc() -> bool:
    """Whether Unix sockets are available."""
    return bool(zmq.has("ipc"))


def new_key_pair() -> KeyPair:
    """Return a new pair of CURVE keys.

    Raises:
        ChannelError: libzmq was built without CURVE.
    """
    try:
        public, secret = zmq.curve_keypair()
    except zmq.ZMQError as error:
        raise ChannelError(f"libzmq was built without CURVE: {error}") from error
    return KeyPair(public.decode(), secret.decode())


class Channel:
    """One socket, for one thread. It does not linger when it is closed: what is unsent is stored elsewhere.

    Args:
        kind: the socket's type.
        high_water: maximum number of messages queued per peer.
        security: a client's keys, or a sidecar's own pair; None: connections are not encrypted.

    Raises:
        ChannelError: the socket cannot be made, or the keys are not valid.
    """

    def __init__(self, kind: int, high_water: int = _HIGH_WATER, security: Security | KeyPair | None = None) -> None:
        self._pid = os.getpid()
        try:
            self._socket: zmq.Socket[bytes] = _shared_context().socket(kind)
        except zmq.ZMQError as error:
            raise ChannelError(f"a socket cannot be made: {error}") from error
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, high_water)
        self._socket.setsockopt(zmq.RCVHWM, high_water)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.IPV6, 1)
        self._monitor: zmq.Socket[bytes] | None = None
        if security is not None:
            self._secure(security)

    @classmethod
    def wrap(cls, socket: zmq.Socket[bytes]) -> Channel:
        """Return a channel for a socket that libzmq or pyzmq made."""
        channel = cls.__new__(cls)
        channel._pid, channel._socket, channel._monitor = os.getpid(), socket, None
        return channel

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
            raise ChannelError(f"the keys are not valid: {error}") from error

    def bind(self, endpoint: str) -> str:
        """Bind, and return the endpoint with the port that the system chose for ``*``.

        Raises:
            ChannelError: the endpoint is malformed, too long, in use, or not allowed.
        """
        if endpoint.startswith("ipc://") and len(os.fsencode(endpoint[6:])) > IPC_PATH_BYTES:
            raise ChannelError(
                f"{endpoint}: a socket's path must have at most {IPC_PATH_BYTES} bytes; use a shorter directory"
            )
        try:
            self._socket.bind(endpoint)
            bound: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        except zmq.ZMQError as error:
            raise ChannelError(f"{endpoint}: cannot bind: {error}") from error
        return _MAPPED_IPV4.sub(r"\1", bound.rstrip(b"\0").decode())

    def connect(self, endpoint: str) -> None:
        """Connect; the peer may start later.

        Raises:
            ChannelError: the endpoint is malformed.
        """
        try:
            self._socket.connect(connectable(endpoint))
        except zmq.ZMQError as error:
            raise ChannelError(f"{endpoint}: cannot connect: {error}") from error

    def send(self, message: bytes) -> bool:
        """Send without waiting; return False if the queue is full or there is no peer."""
        try:
            self._socket.send(message, zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot send: {error}") from error
        return True

    def receive(self) -> bytes | None:
        """Return the next message; None if none has arrived."""
        try:
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return None  # at an eighth of the cost of an exception
            return self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error

    def receive_from(self) -> tuple[bytes, str] | None:
        """Return the next message and its sender's public key; None if none has arrived. For a socket with CURVE."""
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
        """Send a message of several parts without waiting; return False if it cannot be sent."""
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # a ROUTER's peer has disconnected
            return False
        return True

    def receive_parts(self) -> list[bytes] | None:
        """Return the next message of several parts; None if none has arrived."""
        try:
            return self._socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error

    def receive_parts_from(self) -> tuple[list[bytes], str] | None:
        """Return the next message of several parts and its sender's public key ("" without CURVE); or None."""
        try:
            frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot receive: {error}") from error
        return [frame.bytes for frame in frames], _sender(frames[-1])

    def watch_handshakes(self) -> Channel:
        """Return a channel whose `refusals` are the failed handshakes of this one; it is closed with this one."""
        failed = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        try:
            self._monitor = self._socket.get_monitor_socket(failed | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        except zmq.ZMQError as error:
            raise ChannelError(f"a socket cannot be monitored: {error}") from error
        return Channel.wrap(self._monitor)

    def refusals(self) -> list[str]:
        """On a channel from `watch_handshakes`: return the reasons of the handshakes that failed since the last call.

        ``"key"``: the peer is not allowed. ``"protocol"``: only one side encrypts; on a sidecar also: the client has a
        wrong key. ``"cut"``: the connection ended, because of a bad link; on a client also: its own key is wrong.
        """
        reasons = {zmq.EVENT_HANDSHAKE_FAILED_AUTH: "key", zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "protocol"}
        failures = []
        while (parts := self.receive_parts()) is not None:
            failures.append(reasons.get(zmq.Event(int.from_bytes(parts[0][:2], sys.byteorder)), "cut"))
        return failures

    def wait(self, seconds: float) -> bool:
        """Wait for a message, at most `seconds`; return whether one has arrived."""
        try:
            return bool(self._socket.poll(max(0, round(seconds * 1000))))
        except zmq.ZMQError as error:
            raise ChannelError(f"cannot wait: {error}") from error

    def close(self, linger: float = 0.0) -> None:
        """Close the socket; unsent messages are sent in the background for at most `linger` seconds."""
        if self._pid != os.getpid():  # in a forked child: the socket is the parent's
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
    """Return the public key of a frame's sender; "" without CURVE."""
    try:
        key = frame.get("User-Id")
    except zmq.ZMQError:
        return ""
    return key if isinstance(key, str) else ""


def push(security: Security | KeyPair | None = None) -> Channel:
    """Return a channel that only sends."""
    return Channel(zmq.PUSH, security=security)


def pull(high_water: int = _HIGH_WATER, security: Security | KeyPair | None = None) -> Channel:
    """Return a channel that only receives."""
    return Channel(zmq.PULL, high_water, security)


def router(security: KeyPair | None = None) -> Channel:
    """Return a sidecar's control socket; its messages are ``[sender's address, …, request]``."""
    return Channel(zmq.ROUTER, _CONTROL_HIGH_WATER, security)


def dealer(security: Security | None = None) -> Channel:
    """Return a client's socket for requests to a control socket."""
    return Channel(zmq.DEALER, security=security)


class Gate:
    """Decides which clients may connect to this process's sockets with CURVE: it answers their handshakes.

    libzmq asks for every connection by ZAP (https://rfc.zeromq.org/spec/27/); one gate serves all sockets of a process.

    Args:
        allowed: whether the client with a public key may connect.

    Raises:
        ChannelError: the handshakes cannot be answered.
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
        self.channel = Channel.wrap(self._authenticator.zap_socket)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key is allowed; called by the authenticator."""
        return self._allowed(key.decode())

    def answer(self) -> None:
        """Answer the pending handshakes."""
        while (parts := self.channel.receive_parts()) is not None:
            answering = self._authenticator.handle_zap_message(parts)
            try:
                answering.send(None)  # a coroutine that never waits, since `callback` does not
            except StopIteration:
                continue
            answering.close()

    def close(self) -> None:
        """Stop answering, and close the channel."""
        self._authenticator.stop()


class Poll:
    """Waits on channels and file descriptors at once."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def add(self, source: Channel | int) -> None:
        """Wait on a channel or a descriptor from now on."""
        self._poller.register(source._socket if isinstance(source, Channel) else source, zmq.POLLIN)

    def remove(self, source: Channel | int) -> None:
        """Do not wait on it any longer."""
        try:
            self._poller.unregister(source._socket if isinstance(source, Channel) else source)
        except KeyError:
            return

    def wait(self, seconds: float, channels: list[Channel]) -> Iterator[Channel | int]:
        """Wait at most `seconds`; yield the channels of `channels`, and the descriptors, that are ready to be read."""
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
