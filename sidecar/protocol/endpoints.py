"""Endpoints as ZeroMQ writes them: ``tcp://host:port``, ``ipc:///path``. Pure but for look-ups of host names."""

from __future__ import annotations

import ipaddress
import re
import socket

ANY_HOST = "*"
"""Host of an endpoint in an ``attached`` answer; it stands for the host at which the control socket was reached."""

ANY_PORT = "*"
"""Port of an endpoint to bind; the system chooses one."""

_HOST = re.compile(r"[^\s/\[\]]+|\[[^\s/\[\]]+\]")


def split_tcp(endpoint: str) -> tuple[str, str]:
    """Return host and port of ``tcp://host:port``; an IPv6 address without its brackets.

    Raises:
        ValueError: it has another form.
    """
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    number = port.isascii() and port.isdigit() and int(port) < 65536
    if scheme != "tcp" or not colon or not _HOST.fullmatch(host) or not (port == ANY_PORT or number):
        raise ValueError(f"an endpoint must be tcp://host:port or ipc:///path, not {endpoint!r}")
    return host.strip("[]"), port


def join_tcp(host: str, port: int | str) -> str:
    """Return ``tcp://host:port``."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def advertised(endpoint: str) -> str:
    """Return a bound endpoint as it is given to clients: with `ANY_HOST` if it is bound on all addresses."""
    if not endpoint.startswith("tcp://"):
        return endpoint
    host, port = split_tcp(endpoint)
    return join_tcp(ANY_HOST if host in ("0.0.0.0", "::", ANY_HOST) else host, port)


def reached(endpoint: str, control: str) -> str:
    """Return an endpoint given by a sidecar, with `ANY_HOST` replaced by the host of the `control` endpoint."""
    if not endpoint.startswith(f"tcp://{ANY_HOST}:") or not control.startswith("tcp://"):
        return endpoint
    return join_tcp(split_tcp(control)[0], split_tcp(endpoint)[1])


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint can be reached from this machine only: a Unix socket, or TCP on a loopback address."""
    if not endpoint.startswith("tcp://"):
        return True
    host, _ = split_tcp(endpoint)
    try:
        addresses = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            texts = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except (OSError, UnicodeError):
            return False  # an interface, ``*``, or an unknown name
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
    return bool(addresses) and all(address.is_loopback for address in addresses)


def numeric(host: str) -> str:
    """Return the address of a host, preferably IPv4, since ZeroMQ cannot bind names.

    That is `host` itself if it is an address, `ANY_HOST`, a network interface, or an unknown name.
    """
    if host == ANY_HOST or host in _interfaces():
        return host
    try:
        ipaddress.ip_address(host)
        return host
    except ValueError:
        pass
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return host
    return str(min(addresses, key=lambda info: info[0] != socket.AF_INET)[4][0])


def connectable(endpoint: str) -> str:
    """Return an endpoint to connect to, its host name replaced by an address, preferably IPv4.

    Of a name with several addresses ZeroMQ tries only the IPv6 one, such as ``::1`` for ``localhost``, where most
    sidecars do not listen.
    """
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
