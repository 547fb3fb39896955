"""Serves the dashboard: chooses the port, opens the browser, and runs the server until it is stopped."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tracker.errors import TrackerError
from tracker.reading import dashboards
from tracker.reading.api import Api
from tracker.ui.security import Security, is_loopback
from tracker.ui.state import Dashboard

DEFAULT_PORT = 7117
MAX_PORTS = 100
"""Maximum number of ports that are tried."""

_COLLECTION = (100_000, 50, 50)
"""Thresholds of the garbage collector: with Python's own, it takes a third of the time in which ten thousand runs are
read, since it looks at all of them again and again."""

BACKLOG = 128
GRACE_SECONDS = 1
"""Maximum wait for answers that are being sent when the server is stopped, in seconds."""


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on `port`; None for the first free one from `DEFAULT_PORT`.

    Raises:
        TrackerError: the port is in use, by a program that the message names; or the host has no such address.
    """
    ports = range(DEFAULT_PORT, DEFAULT_PORT + MAX_PORTS) if port is None else (port,)
    for number in ports:
        try:
            return _bound(host, number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise TrackerError(f"cannot listen on {host}, port {number}: {error.strerror or error}") from error
    if port is None:
        raise TrackerError(f"the ports {ports[0]} to {ports[-1]} are all in use; choose another with --port")
    raise TrackerError(f"port {port} is in use by {owner_of(port)}; choose another with --port, or leave it out")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)  # with it, asyncio sends small answers without delay
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def owner_of(port: int) -> str:
    """Return a description of the program that listens on a port of this machine."""
    for one in dashboards.running():
        if one.port == port:
            return f"the dashboard of {', '.join(one.places)} (process {one.pid})"
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and connection.pid and local and local.port == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def has_desktop(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser can be opened here: on a desktop, not over ssh."""
    if environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"):
        return False
    return sys.platform in ("darwin", "win32") or bool(
        environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY") or environment.get("WSL_DISTRO_NAME")
    )


def with_token(address: str, token: str) -> str:
    """Return the address to open first, which leaves a cookie in the browser."""
    return f"{address}?token={quote(token, safe='')}"


def open_browser(address: str) -> None:
    """Open an address in the browser, in the background."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def ssh_hint(port: int, environment: Mapping[str, str] = os.environ) -> str:
    """Return the ssh command that forwards the port to the user's own machine; empty without ssh."""
    parts = environment.get("SSH_CONNECTION", "").split()
    if len(parts) != 4:
        return ""
    return f"ssh -L {port}:127.0.0.1:{port} {environment.get('USER', 'USER')}@{parts[2]}"


def address_of(host: str, port: int) -> str:
    """Return the address of a server that listens on `host`."""
    if host in ("0.0.0.0", "::", ""):
        host = socket.gethostname()
    elif is_loopback(host) and ":" not in host:
        host = "127.0.0.1" if host == "localhost" else host
    return f"http://[{host.strip('[]')}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def place_names(apis: Sequence[Api]) -> list[str]:
    """Return the places as the register of dashboards names them."""
    return [api.place if "://" in api.place else os.path.realpath(api.place) for api in apis]


def serve(
    bound: socket.socket,
    apis: Sequence[Api],
    token: str,
    host: str,
    frontend: Path | None = None,
    *,
    usual: bool = True,
) -> None:
    """Serve until the process is told to stop.

    Args:
        bound: the listening socket.
        apis: what to show.
        token: the secret that a client must present.
        host: the host that it listens on, as given.
        frontend: directory of a custom page.
        usual: whether it serves the built-in page with this user's own token.
    """
    import uvicorn

    from tracker.ui.app import make_app

    port: int = bound.getsockname()[1]
    gc.set_threshold(*_COLLECTION)
    security = Security(token, host, port)
    dashboard = Dashboard(apis, security.write_token)
    dashboard.start()
    app = make_app(dashboard, security, frontend)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    registered = dashboards.register(address_of(host, port), port, place_names(apis), usual=usual)
    # uvicorn handles the signal, then raises it again for the handler that was there before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        if registered is not None:
            registered.unlink(missing_ok=True)
        dashboard.close()
