"""The connection file: how a client finds a sidecar. JSON, appears whole, readable by its owner only.

Keys: ``protocol`` (int), ``door`` (the endpoint to attach at), ``pid``, ``place`` (where the pid is valid), ``host``,
``version``, ``public_key`` (CURVE, Z85 text, or null), ``started`` (Unix seconds).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import stat
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.errors import ConnectionFileError


class Connection(NamedTuple):
    """What a connection file says."""

    door: str
    pid: int
    place: str
    host: str
    version: str
    started: float
    public_key: str | None = None
    protocol: int = PROTOCOL_VERSION


@functools.cache
def place() -> str:
    """Return a name for where this process's id is valid: the boot of this machine and the pid namespace.

    Two processes that get the same answer can watch each other by process id. Linux only; elsewhere the host's name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def write_connection(path: Path, connection: Connection) -> None:
    """Write `connection` to `path`: first beside it, owner-only, then renamed, so nobody reads half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(fd, "w") as file:
        json.dump(connection._asdict(), file, indent=1)
        file.write("\n")
    os.rename(beside, path)


def read_connection(path: str | os.PathLike[str]) -> Connection:
    """Return what the connection file at `path` says.

    Raises:
        ConnectionFileError: it is not there, no connection file, or of another protocol version.
    """
    try:
        found = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConnectionFileError(f"connection file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConnectionFileError(f"connection file {path}: no JSON: {error}") from error
    return parse_connection(found, str(path))


def parse_connection(found: Any, source: str) -> Connection:
    """Return the connection in `found`, a decoded JSON object from `source`.

    Raises:
        ConnectionFileError: a key is missing, or it is of another protocol version.
    """
    if not isinstance(found, dict) or found.get("protocol") != PROTOCOL_VERSION:
        version = found.get("protocol") if isinstance(found, dict) else None
        raise ConnectionFileError(f"{source}: protocol {version!r}; this program speaks {PROTOCOL_VERSION}")
    try:
        return Connection(**{name: found[name] for name in Connection._fields})
    except KeyError as error:
        raise ConnectionFileError(f"{source}: the key {error} is missing") from error


def process_lives(connection: Connection) -> bool:
    """Whether the sidecar's process lives, as far as that can be seen from here; True where it cannot."""
    if connection.place != place():
        return True
    try:
        os.kill(connection.pid, 0)
        with open(f"/proc/{connection.pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except ProcessLookupError:
        return False
    except (OSError, IndexError):
        return connection.host == platform.node()
