"""Endpoints as ZeroMQ writes them: ``tcp://host:port``, ``ipc:///path``. Pure functions; a host's name is looked up."""

from __future__ import annotations

import ipaddress
import socket

ANY_HOST = "*"
"""Stands for the host of an endpoint that a sidecar hands out: the one at which the client reached the door."""


def split_tcp(endpoint: str) -> tuple[str, str]:
    """Return host and port of ``tcp://host:port``; a host in brackets without them.

    Raises:
        ValueError: it is of another form.
    """
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not colon or not host or not (port == "*" or (port.isdigit() and int(port) < 65536)):
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


def is_local(endpoint: str) -> bool:
    """Whether only this machine reaches it: a Unix socket, or TCP on a loopback address."""
    if not endpoint.startswith("tcp://"):
        return True
    host, _ = split_tcp(endpoint)
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except OSError:
            return False  # a name of an interface, ``*``, or of nobody
        found = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    return bool(found) and all(address.is_loopback for address in found)
