"""Access: which clients may connect to a sidecar. Runs on the HandlerThread. Knows keys, not records.

`CurveAccess` encrypts, `OpenAccess` does not. With CURVE and without a list of clients, every client that knows the
sidecar's public key may connect. Each connection is identified by its key, so that no client can write as another.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from sidecar.protocol.channels import Gate
from sidecar.protocol.errors import KeyFileError
from sidecar.protocol.keys import READER, WRITER, KeyPair, read_clients

_log = logging.getLogger("sidecar")

_LOG_SECONDS = 60.0
"""Minimum time between two log lines about the same refusal, in seconds: a client may retry ten times a second."""

_MAX_LOGGED = 1000
"""Maximum number of refusals whose last log line is remembered."""


class OpenAccess:
    """Access without encryption: admits every client that can reach the sidecar.

    Attributes:
        keys: None.
        refused: number of failed handshakes by reason: ``"protocol"`` (the client encrypts).
    """

    keys: KeyPair | None = None

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}

    def open(self) -> Gate | None:
        """Return None: there is no handshake to answer."""
        return None

    def may_write(self, key: str) -> bool:
        """Whether the client with a public key may write to runs and edit them; every client may read."""
        return True

    def failed(self, refusal: str) -> None:
        """Count a failed handshake."""
        if not self.refused:
            _log.warning("a handshake failed: the client encrypts and this sidecar does not, or it disconnected")
        self.refused["protocol"] = self.refused.get("protocol", 0) + 1

    def close(self) -> None:
        return


class CurveAccess(OpenAccess):
    """Access with CURVE: answers the handshakes of a sidecar's sockets.

    Args:
        keys: the sidecar's key pair.
        clients: path of the list of clients that may connect, read again when it changes; None: all that know the
            sidecar's public key.

    Attributes:
        refused: number of failed handshakes by reason: ``"key"`` (not in the list), ``"protocol"`` (not encrypted, or
            a wrong key).

    Raises:
        KeyFileError: the list cannot be read.
    """

    def __init__(self, keys: KeyPair, clients: Path | None = None) -> None:
        super().__init__()
        self.keys: KeyPair = keys
        self._path = clients
        self._stamp: tuple[int, ...] | None = None
        self._listed: dict[str, str] = {}
        self._gate: Gate | None = None
        self._logged: dict[str, float] = {}
        if clients is not None:
            self._stamp, self._listed = _stamp(clients), read_clients(clients)

    def open(self) -> Gate:
        """Start to answer handshakes; return the gate, whose channel must be polled."""
        self._gate = Gate(self._allows)
        return self._gate

    def _allows(self, key: str) -> bool:
        if self._path is None or key == self.keys.public:
            return True
        self._read_again(self._path)
        if key in self._listed:
            return True
        self._warn(f"key {key}", f"a client was refused: its key {key} is not in {self._path}")
        return False

    def _read_again(self, path: Path) -> None:
        """Read the list again if it has changed; if it cannot be read, keep the previous one."""
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._listed = read_clients(path)
            readers = list(self._listed.values()).count(READER)
            _log.info("the list of clients was read again: %d keys, %d of them readers", len(self._listed), readers)
        except KeyFileError as error:
            _log.error("the list of clients cannot be read, so the previous one is kept: %s", error)

    def may_write(self, key: str) -> bool:
        if self._path is None or key == self.keys.public:
            return True
        self._read_again(self._path)
        return self._listed.get(key) == WRITER

    def failed(self, refusal: str) -> None:
        """Count a failed handshake. Refused keys are logged already.

        A client that detects the mismatch first disconnects, so a dropped connection counts as a mismatch.
        """
        refusal = "protocol" if refusal == "cut" else refusal
        self.refused[refusal] = self.refused.get(refusal, 0) + 1
        if refusal != "key":
            self._warn(
                refusal,
                "a client was refused: it does not encrypt, it expects another key of this sidecar, or it disconnected",
            )

    def _warn(self, about: str, line: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(about, -_LOG_SECONDS) >= _LOG_SECONDS:
            if len(self._logged) > _MAX_LOGGED:
                self._logged.clear()
            self._logged[about] = now
            _log.warning("%s", line)

    def close(self) -> None:
        if self._gate is not None:
            self._gate.close()
            self._gate = None


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file changes; None if it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
