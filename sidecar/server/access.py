"""Guard: who may connect to a sidecar with CURVE. Runs on the HandlerThread. Knows keys and no records.

Without a list of clients whoever knows the sidecar's public key may connect; each connection is known by its key, so
that no client can speak for another.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from sidecar.protocol.channels import Gate
from sidecar.protocol.errors import KeyFileError
from sidecar.protocol.keys import KeyPair, read_clients

_log = logging.getLogger("sidecar")

_SAY_SECONDS = 60.0
"""Refusals of one sort are put into the log at most so often: a client may try ten times a second."""


class Guard:
    """Answers the handshakes of a sidecar's sockets.

    Args:
        keys: the sidecar's pair.
        clients: the list of the clients that may connect; read again when it changes. None: all who know the key.

    Attributes:
        refused: how many handshakes failed: ``"key"`` (not in the list), ``"protocol"`` (no encryption, a wrong key).

    Raises:
        KeyFileError: the list cannot be read.
    """

    def __init__(self, keys: KeyPair, clients: Path | None = None) -> None:
        self.keys = keys
        self.refused: dict[str, int] = {}
        self._path = clients
        self._stamp: tuple[int, ...] | None = None
        self._listed: frozenset[str] = frozenset()
        self._gate: Gate | None = None
        self._said: dict[str, float] = {}
        if clients is not None:
            self._stamp, self._listed = _stamp(clients), read_clients(clients)

    def open(self) -> Gate:
        """Begin to answer; return the gate, whose channel is to be polled."""
        self._gate = Gate(self._allows)
        return self._gate

    def _allows(self, key: str) -> bool:
        if self._path is None or key == self.keys.public:
            return True
        self._read_again(self._path)
        if key in self._listed:
            return True
        self._say(f"key {key}", f"a client was refused: its key {key} is not in {self._path}")
        return False

    def _read_again(self, path: Path) -> None:
        """Take the list anew where it has changed; where it cannot be read, go on with the one that was good."""
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._listed = read_clients(path)
            _log.info("the list of clients was read again: %d keys", len(self._listed))
        except KeyFileError as error:
            _log.error("the list of clients stays as it was: %s", error)

    def failed(self, refusal: str) -> None:
        """A handshake failed; one for its key was said before, with the key.

        A client that sees first that it does not fit ends the connection, so one that was cut is counted as such a one.
        """
        refusal = "protocol" if refusal == "cut" else refusal
        self.refused[refusal] = self.refused.get(refusal, 0) + 1
        if refusal != "key":
            self._say(
                refusal,
                "a client was refused: it does not encrypt, or with another key than this sidecar's, or was cut off",
            )

    def _say(self, about: str, line: str) -> None:
        now = time.monotonic()
        if now - self._said.get(about, -_SAY_SECONDS) >= _SAY_SECONDS:
            if len(self._said) > 1000:  # whoever tries many keys need not be remembered
                self._said.clear()
            self._said[about] = now
            _log.warning("%s", line)

    def close(self) -> None:
        if self._gate is not None:
            self._gate.close()
            self._gate = None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
