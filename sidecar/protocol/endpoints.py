"""Endpoints as ZeroMQ writes them: ``tcp://host:port``, ``ipc:///path``. Pure functions; a host's name is looked up."""

from __future__ import annotations

import ipaddress
import re
import socket

ANY_HOST = "*"
"""Stands for the host of an endpoint that a sidecar hands out: the one at which the client reached the door."""

ANY_PORT = "*"
"""Stands for a port that the system chooses when a socket is bound."""

_HOST = re.compile(r"[^\s/\[\]]+|\[[^\s/\[\]]+\]")


def split_tcp(endpoint: str) -> tuple[str, str]:
    """Return host and port of ``tcp://host:port``; a host in brackets without them.

    Raises:
        ValueError: it is of another form.
    """
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    number = port.isascii() and port.isdigit() and int(port) < 65536
    if scheme != "tcp" or not colon or not _HOST.fullmatch(host) or not (port == ANY_PORT or number):
        raise ValueError(f"{endpoint!r}; an endpoint is tcp://host:port or ipc:///path")
    return host.strip("[]"), port


def join_tcp(host: str, port: int | str) -> str:
    """Return ``tcp://host:port``."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def advertised(endpoint: str) -> str:
    """Return a bound endpoint as clients are told it: one that is bound on all addresses with `ANY_HOST`."""
    if not endpoint.startswith("tcp://"):
        return endpoint
    host, port = split_tcp(endpoint)
    return join_tcp(ANY_HOST if host in ("0.0.0.0", "::", ANY_HOST) else host, port)


def reached(endpoint: str, door: str) -> str:
    """Return an endpoint that a sidecar handed out, its host filled in from the `door` that was reached."""
    if not endpoint.startswith(f"tcp://{ANY_HOST}:") or not door.startswith("tcp://"):
        return endpoint
    return join_tcp(split_tcp(door)[0], split_tcp(endpoint)[1])


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine reaches it: a Unix socket, or TCP on a loopback address."""
    if not endpoint.startswith("tcp://"):
        return True
    host, _ = split_tcp(endpoint)
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except (OSError, UnicodeError):
            return False  # a name of an interface, ``*``, or of nobody
        found = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    return bool(found) and all(address.is_loopback for address in found)


def numeric(host: str) -> str:
    """Return the address of a host, IPv4 first, to bind at: ZeroMQ binds no names.

    `host` itself where it is an address, `ANY_HOST`, a network interface, or nobody's name.
    """
    if host == ANY_HOST or host in _interfaces():
        return host
    try:
        ipaddress.ip_address(host)
        return host
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return host
    return str(min(found, key=lambda info: info[0] != socket.AF_INET)[4][0])


def connectable(endpoint: str) -> str:
    """Return an endpoint as it is to be connected to: of a name that has IPv4 and IPv6 addresses ZeroMQ tries one only,
    and that is the IPv6 one, such as ``::1`` for ``localhost``, where most sidecars do not listen."""
    try:
        host, port = split_tcp(endpoint)
    except ValueError:
        return endpoint
    return join_tcp(numeric(host), port)


def _interfaces() -> list[str]:
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        return []
