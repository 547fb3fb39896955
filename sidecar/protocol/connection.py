"""The connection file: how a client finds a sidecar. JSON, appears whole, readable by its owner only.

Keys: ``protocol`` (int), ``door`` (the endpoint of the control socket), ``pid``, ``place`` (the machine on which the
pid is valid, see `machine_id`), ``host``, ``version``, ``public_key`` (CURVE, Z85 text, or null), ``started`` (Unix
seconds).
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
from sidecar.protocol.atomic import replace_bytes
from sidecar.protocol.errors import ConnectionFileError


class Connection(NamedTuple):
    """The content of a connection file.

    Attributes:
        control: the endpoint of the control socket; ``door`` in the file.
        pid: the sidecar's process id.
        machine_id: where that id is valid; ``place`` in the file.
        host: the machine's name.
        version: of the sidecar.
        started: when the sidecar started, in Unix seconds.
        public_key: the sidecar's CURVE key, in Z85; None: connections are not encrypted.
        protocol: the protocol's version.
    """

    control: str
    pid: int
    machine_id: str
    host: str
    version: str
    started: float
    public_key: str | None = None
    protocol: int = PROTOCOL_VERSION


FILE_KEYS = {field: {"control": "door", "machine_id": "place"}.get(field, field) for field in Connection._fields}
"""Field of `Connection` -> its key in the file."""


@functools.cache
def machine_id() -> str:
    """Return an identifier of the scope of this process's id: the boot of this machine, and the pid namespace.

    Two processes with the same one can watch each other by process id. On systems other than Linux it is the host's
    name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def write_connection(path: Path, connection: Connection) -> None:
    """Write `connection` to `path`, whole and owner-only.

    Raises:
        OSError: it cannot be written.
    """
    content = {FILE_KEYS[field]: value for field, value in connection._asdict().items()}
    replace_bytes(path, json.dumps(content, indent=1).encode() + b"\n", mode=stat.S_IRUSR | stat.S_IWUSR)


def read_connection(path: str | os.PathLike[str]) -> Connection:
    """Return the content of the connection file at `path`.

    Raises:
        ConnectionFileError: the file does not exist, is not a connection file, or is of another protocol version.
    """
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConnectionFileError(f"connection file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConnectionFileError(f"connection file {path}: not valid JSON: {error}") from error
    return parse_connection(content, str(path))


def parse_connection(content: Any, source: str) -> Connection:
    """Return the connection in `content`, a decoded JSON value from `source`.

    Raises:
        ConnectionFileError: a key is missing, or it is of another protocol version.
    """
    if not isinstance(content, dict) or content.get("protocol") != PROTOCOL_VERSION:
        version = content.get("protocol") if isinstance(content, dict) else None
        raise ConnectionFileError(f"{source}: protocol must be {PROTOCOL_VERSION}, not {version!r}")
    try:
        return Connection(**{field: content[key] for field, key in FILE_KEYS.items()})
    except KeyError as error:
        raise ConnectionFileError(f"{source}: the key {error} is missing") from error


def is_reachable(connection: Connection) -> bool:
    """Whether a sidecar's process lives and its socket is still there, as far as that can be told from here."""
    scheme, _, path = connection.control.partition("://")
    return process_lives(connection) and (scheme != "ipc" or os.path.exists(path))


def process_lives(connection: Connection) -> bool:
    """Whether the sidecar's process lives, as far as this process can tell; True where it cannot."""
    if connection.machine_id != machine_id():
        return True
    try:
        os.kill(connection.pid, 0)
        with open(f"/proc/{connection.pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except ProcessLookupError:
        return False
    except (OSError, IndexError):
        return connection.host == platform.node()
