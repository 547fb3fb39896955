"""Where a sidecar's sockets are bound: in a private directory, on loopback, or where ``sidecar serve`` was told to.

Used on the HandlerThread. Knows nothing of what the sockets carry.
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

DEFAULT_PORT = 5757
PORTS = 1000
"""How many ports after the door's are taken for records and results where no range is named."""

_LET_GO_SECONDS = 0.2
"""ZeroMQ lets go of a port a moment after its socket was closed, on a thread of its own."""

_IPC = "ipc://"


class Endpoints:
    """The endpoints of one sidecar.

    Args:
        door: where the door is bound; ``tcp://host:*`` for any port.
        beside: a directory, for Unix sockets; a range of ports, on the door's host; None: any port there.

    Attributes:
        local: whether only this machine can reach them.
    """

    def __init__(self, door: str, beside: Path | Iterable[int] | None = None) -> None:
        self.door = door
        self.local = is_loopback(door)
        self._directory = beside if isinstance(beside, Path) else None
        self._ports = None if beside is None or isinstance(beside, Path) else deque(beside)
        self._range = f"{min(self._ports)}-{max(self._ports)}" if self._ports else ""
        self._held: dict[str, int] = {}
        self._released_at = -_LET_GO_SECONDS
        self._entered = False
        self._door_inode = 0

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
        """Where ``sidecar serve --listen`` says.

        Raises:
            ValueError: `listen` is no endpoint, or `ports` are too few, or given with an endpoint that has none.
        """
        if listen.startswith(f"{_IPC}/"):
            if ports is not None:
                raise ValueError(f"{listen} has no ports; --ports goes with tcp://")
            path = Path(listen[len(_IPC) :])
            if not path.name or path.is_dir():
                raise ValueError(f"{listen} is a directory; give the path of a socket in it")
            return cls(listen, path.with_name(path.name + ".d"))
        host, port = split_tcp(listen)
        if port == "0":
            port = ANY_PORT
        if ports is None and port != ANY_PORT:
            ports = range(int(port) + 1, min(int(port) + 1 + PORTS, 65536))
        door = join_tcp(numeric(host), port)
        if ports is None:
            return cls(door)
        beside = [each for each in ports if str(each) != port]
        if len(beside) < 2:
            raise ValueError(
                f"{listen} leaves {len(beside)} ports besides the door's; name a range with --ports: "
                "one for records, and one for each client"
            )
        return cls(door, beside)

    def about(self) -> str:
        """Say where records and results are."""
        if self._directory is not None:
            return f"sockets in {self._directory}"
        return f"ports {self._range} for records and results" if self._range else "any port for records and results"

    def bind_door(self, channel: Channel) -> str:
        """Bind the door, and return the endpoint as it is told.

        Raises:
            ChannelError: the address is in use, or cannot be.
        """
        if self.door.startswith(_IPC):
            _check_free(self.door)
        self.door = channel.bind(self.door)
        if self.door.startswith(_IPC):
            self._door_inode = _inode(self.door)
        return advertised(self.door)

    def bind(self, channel: Channel, name: str) -> str:
        """Bind another socket, and return the endpoint as it is told.

        Raises:
            ChannelError: no address is left.
        """
        if self._directory is not None:
            self._enter(self._directory)
            return channel.bind(f"{_IPC}{self._directory}/{name}")
        host, _ = split_tcp(self.door)
        if self._ports is None:
            return advertised(channel.bind(join_tcp(host, ANY_PORT)))
        lets_go = Deadline(self._released_at + _LET_GO_SECONDS - time.monotonic())
        while True:
            for _ in range(len(self._ports)):
                port = self._ports.popleft()
                try:
                    endpoint = advertised(channel.bind(join_tcp(host, port)))
                except ChannelError:
                    self._ports.append(port)  # somebody else's, or not yet let go of
                    continue
                self._held[endpoint] = port
                return endpoint
            if not self._ports or lets_go.over():
                raise ChannelError(
                    f"no port is left on {host} for another client: all of {self._range} are taken; "
                    "have the sidecar serve with more (--ports)"
                )
            time.sleep(0.002)

    def release(self, endpoint: str) -> None:
        """The socket bound at `endpoint` was closed."""
        port = self._held.pop(endpoint, None)
        if port is not None and self._ports is not None:
            self._ports.append(port)
            self._released_at = time.monotonic()

    def _enter(self, directory: Path) -> None:
        """Make the directory of the sockets; one that is there must be this user's own, and closed to others.

        Raises:
            ChannelError: it cannot be used.
        """
        if self._entered:
            return
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = directory.lstat()
        except OSError as error:
            raise ChannelError(f"the directory of the sockets {directory} cannot be made: {error.strerror}") from error
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not mine or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ChannelError(f"{directory} is not a directory that only this user can write to; remove it")
        self._entered = True

    def remove(self) -> None:
        """Remove the Unix sockets of one that serves, and their directory, once all are closed.

        ZeroMQ removes them, too, on a thread of its own, which a process that ends may not wait for.
        """
        if self._directory is None or self.door == f"{_IPC}{self._directory}/door":
            return
        with contextlib.suppress(OSError):
            if self._door_inode and _inode(self.door) == self._door_inode:  # and nobody else's by now
                os.unlink(self.door[len(_IPC) :])
        with contextlib.suppress(OSError):
            if self._entered:
                for path in self._directory.glob("*"):
                    path.unlink(missing_ok=True)
                self._directory.rmdir()
        self._entered, self._door_inode = False, 0


def _inode(endpoint: str) -> int:
    try:
        return os.lstat(endpoint[len(_IPC) :]).st_ino
    except OSError:
        return 0


def _check_free(endpoint: str) -> None:
    """Check that nobody listens at a Unix socket's path: ZeroMQ removes whatever is there before it binds.

    Raises:
        ChannelError: somebody does, or it is no socket.
    """
    path = endpoint[len(_IPC) :]
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ChannelError(f"{endpoint}: cannot bind: there is a file, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # left by a sidecar that was killed
        except OSError:
            pass
    raise ChannelError(f"{endpoint}: cannot bind: somebody listens there already")
