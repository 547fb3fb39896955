"""Where a sidecar's sockets are bound: in a private directory, on loopback, or where ``sidecar serve`` was told to.

Used on the HandlerThread. Knows nothing of what the sockets carry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from sidecar.protocol.channels import Channel
from sidecar.protocol.endpoints import advertised, is_local, join_tcp, split_tcp
from sidecar.protocol.errors import ChannelError

DEFAULT_PORT = 5757
PORTS = 1000
"""How many ports after the door's are taken for records and results where no range is named."""


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
        self.local = is_local(door)
        self._directory = beside if isinstance(beside, Path) else None
        self._ports = None if beside is None or isinstance(beside, Path) else deque(beside)
        self._range = f"{min(self._ports)}-{max(self._ports)}" if self._ports else ""
        self._held: dict[str, int] = {}

    @classmethod
    def private(cls, directory: Path) -> Endpoints:
        """Unix sockets in a private, short directory."""
        return cls(f"ipc://{directory}/door", directory)

    @classmethod
    def loopback(cls) -> Endpoints:
        """TCP on this machine only, where Unix sockets are missing."""
        return cls("tcp://127.0.0.1:*")

    @classmethod
    def listening(cls, listen: str, ports: range | None = None) -> Endpoints:
        """Where ``sidecar serve --listen`` says.

        Raises:
            ValueError: `listen` is no endpoint, or `ports` are given with one that has none.
        """
        if listen.startswith("ipc://") and len(listen) > len("ipc://"):
            if ports is not None:
                raise ValueError(f"{listen} has no ports; --ports goes with tcp://")
            path = Path(listen[len("ipc://") :])
            return cls(listen, path.with_name(path.name + ".d"))
        _, port = split_tcp(listen)
        if ports is None and port != "*":
            ports = range(int(port) + 1, min(int(port) + 1 + PORTS, 65536))
        return cls(listen, [each for each in ports if str(each) != port] if ports is not None else None)

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
        self.door = channel.bind(self.door)
        return advertised(self.door)

    def bind(self, channel: Channel, name: str) -> str:
        """Bind another socket, and return the endpoint as it is told.

        Raises:
            ChannelError: no address is left.
        """
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            return channel.bind(f"ipc://{self._directory}/{name}")
        host, _ = split_tcp(self.door)
        if self._ports is None:
            return advertised(channel.bind(join_tcp(host, "*")))
        for _ in range(len(self._ports)):
            port = self._ports.popleft()
            try:
                endpoint = advertised(channel.bind(join_tcp(host, port)))
            except ChannelError:
                self._ports.append(port)  # somebody else's, or not yet let go of
                continue
            self._held[endpoint] = port
            return endpoint
        raise ChannelError(f"no port is left on {host} for another client; name more with --ports")

    def release(self, endpoint: str) -> None:
        """The socket bound at `endpoint` was closed."""
        port = self._held.pop(endpoint, None)
        if port is not None and self._ports is not None:
            self._ports.append(port)

    def remove(self) -> None:
        """Remove the directory of the sockets, once all are closed."""
        if self._directory is not None and self.door != f"ipc://{self._directory}/door":
            for path in self._directory.glob("*"):
                path.unlink(missing_ok=True)
            self._directory.rmdir()
