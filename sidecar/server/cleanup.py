"""Cleanup after killed sidecars: their connection files, empty logs and socket directories, never their runs."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from sidecar.protocol.connection import Connection, machine_id, process_lives, read_connection
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.layout import SOCKETS_PREFIX, sockets_in


def clean_up(directory: Path) -> None:
    """Remove the connection files in `directory` of sidecars that died on this machine, and what belongs to them."""
    here = machine_id()
    for file in directory.glob("*.json"):
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            continue
        if connection.machine_id != here or process_lives(connection):
            continue
        _remove_sockets(connection)
        log = file.with_suffix(".log")
        with contextlib.suppress(OSError):
            file.unlink()
            if log.stat().st_size == 0:
                log.unlink()


def _remove_sockets(connection: Connection) -> None:
    """Remove the directory of its control socket, if a sidecar of this user has made it."""
    scheme, _, path = connection.control.partition("://")
    sockets = Path(path).parent
    if scheme == "ipc" and sockets.parent == sockets_in() and sockets.name.startswith(SOCKETS_PREFIX):
        with contextlib.suppress(OSError):
            if sockets.stat().st_uid == os.getuid():
                shutil.rmtree(sockets, ignore_errors=True)
