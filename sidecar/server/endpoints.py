"""Endpoints: where a sidecar's sockets are bound: a private directory, loopback, or as ``sidecar serve`` was told.

Used on the HandlerThread. Does not know what the sockets carry.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from sidecar.protocol.channels import Channel
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.endpoints import ANY_PORT, advertised, is_loopback, join_tcp, numeric, split_tcp
from sidecar.protocol.errors import ChannelError

PORTS = 1000
"""Number of ports after the control socket's that are used for records and results by default."""

_RELEASE_SECONDS = 0.2
"""Maximum time after which ZeroMQ, on its own thread, has released the port of a closed socket, in seconds."""

_IPC = "ipc://"


class Endpoints:
    """The endpoints of one sidecar.

    Args:
        control: endpoint of the control socket; ``tcp://host:*`` for any port.
        others: for the other sockets: a directory of Unix sockets, or ports on the control socket's host; None: any
            port there.

    Attributes:
        control: endpoint of the control socket, with its real port once it is bound.
        local: whether only this machine can reach the sockets.
    """

    def __init__(self, control: str, others: Path | Iterable[int] | None = None) -> None:
        self.control = control
        self.local = is_loopback(control)
        self._directory = others if isinstance(others, Path) else None
        self._ports = None if others is None or isinstance(others, Path) else deque(others)
        self._range = f"{min(self._ports)}-{max(self._ports)}" if self._ports else ""
        self._held: dict[str, int] = {}
        self._released_at = -_RELEASE_SECONDS
        self._entered = False
        self._control_inode = 0

    @classmethod
    def private(cls, directory: Path) -> Endpoints:
        """Unix sockets in a private, short directory."""
        return cls(f"{_IPC}{directory}/door", directory)

    @classmethod
    def loopback(cls) -> Endpoints:
        """TCP on this machine only, where Unix sockets are missing."""
        return cls(f"tcp://127.0.0.1:{ANY_PORT}")

    @classmethod
    def listening(cls, listen: str, ports: range | None = None) -> Endpoints:
        """The endpoints for ``sidecar serve --listen``.

        Raises:
            ValueError: `listen` is not a valid endpoint, or `ports` are too few or do not go with it.
        """
        if listen.startswith(f"{_IPC}/"):
            if ports is not None:
                raise ValueError(f"--ports needs a tcp:// endpoint, not {listen}")
            path = Path(listen[len(_IPC) :])
            if not path.name or path.is_dir():
                raise ValueError(f"{listen} is a directory; name a socket in it")
            return cls(listen, path.with_name(path.name + ".d"))
        host, port = split_tcp(listen)
        if port == "0":
            port = ANY_PORT
        if ports is None and port != ANY_PORT:
            ports = range(int(port) + 1, min(int(port) + 1 + PORTS, 65536))
        control = join_tcp(numeric(host), port)
        if ports is None:
            return cls(control)
        others = [each for each in ports if str(each) != port]
        if len(others) < 2:
            raise ValueError(
                f"{listen} leaves {len(others)} ports besides the control socket's; name a range with --ports: "
                "one for records, and one for each client"
            )
        return cls(control, others)

    def about(self) -> str:
        """Describe where records and results are."""
        if self._directory is not None:
            return f"sockets in {self._directory}"
        return f"ports {self._range} for records and results" if self._range else "any port for records and results"

    def bind_control(self, channel: Channel) -> str:
        """Bind the control socket; return the endpoint to tell clients.

        Raises:
            ChannelError: the address is in use or not valid.
        """
        if self.control.startswith(_IPC):
            _check_free(self.control)
        self.control = channel.bind(self.control)
        if self.control.startswith(_IPC):
            self._control_inode = _inode(self.control)
        return advertised(self.control)

    def bind(self, channel: Channel, name: str) -> str:
        """Bind another socket; return the endpoint to tell clients.

        Raises:
            ChannelError: no port is free.
        """
        if self._directory is not None:
            self._enter(self._directory)
            return channel.bind(f"{_IPC}{self._directory}/{name}")
        host, _ = split_tcp(self.control)
        if self._ports is None:
            return advertised(channel.bind(join_tcp(host, ANY_PORT)))
        released = Deadline(self._released_at + _RELEASE_SECONDS - time.monotonic())
        while True:
            for _ in range(len(self._ports)):
                port = self._ports.popleft()
                try:
                    endpoint = advertised(channel.bind(join_tcp(host, port)))
                except ChannelError:
                    self._ports.append(port)  # in use by another process, or not released yet
                    continue
                self._held[endpoint] = port
                return endpoint
            if not self._ports or released.over():
                raise ChannelError(
                    f"no port is free on {host} for another client: all of {self._range} are in use; "
                    "start the sidecar with more (--ports)"
                )
            time.sleep(0.002)

    def release(self, endpoint: str) -> None:
        """Note that the socket bound at `endpoint` was closed."""
        port = self._held.pop(endpoint, None)
        if port is not None and self._ports is not None:
            self._ports.append(port)
            self._released_at = time.monotonic()

    def _enter(self, directory: Path) -> None:
        """Make the directory of the sockets; an existing one must belong to this user and not be writable by others.

        Raises:
            ChannelError: it cannot be used.
        """
        if self._entered:
            return
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
        except OSError as error:
            raise ChannelError(f"cannot make {directory} for the sockets: {error.strerror}") from error
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if not mine or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ChannelError(f"{directory} is not a directory that only this user can write to; remove it")
        self._entered = True

    def remove(self) -> None:
        """Remove the Unix sockets of ``sidecar serve``, and their directory, after all are closed.

        ZeroMQ removes them too, but on its own thread, which an ending process does not wait for.
        """
        if self._directory is None or self.control == f"{_IPC}{self._directory}/door":
            return
        with contextlib.suppress(OSError):
            if self._control_inode and _inode(self.control) == self._control_inode:  # not replaced since
                os.unlink(self.control[len(_IPC) :])
        with contextlib.suppress(OSError):
            if self._entered:
                for path in self._directory.glob("*"):
                    path.unlink(missing_ok=True)
                self._directory.rmdir()
        self._entered, self._control_inode = False, 0


def _inode(endpoint: str) -> int:
    try:
        return os.lstat(endpoint[len(_IPC) :]).st_ino
    except OSError:
        return 0


def _check_free(endpoint: str) -> None:
    """Check that no process listens on a Unix socket's path: ZeroMQ removes an existing file before it binds.

    Raises:
        ChannelError: a process listens there, or the file is not a socket.
    """
    path = endpoint[len(_IPC) :]
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ChannelError(f"{endpoint}: cannot bind: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # left by a sidecar that was killed
        except OSError:
            pass
    raise ChannelError(f"{endpoint}: cannot bind: another process is listening there")
