"""RemoteRun: a run on a server that it was sent to, read-only: a `StoredRun` without a directory.

Used on any thread. Knows the server only through its reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tracker.errors import TrackerError
from tracker.reading.reader import RunReader
from tracker.reading.stored_run import StoredFile, StoredRun


class RemoteReader(RunReader, Protocol):
    """Reads one run from a server or from a sidecar. What it cannot reach is an `UnreachableStoreError`."""

    id: str

    def moment(self) -> tuple[int, dict[str, Any]]:
        """Return the log offset up to which the run can be read, and its state there."""

    def find(self) -> dict[str, Any] | None:
        """Return the run's state; None if there is no such run."""

    def arrived(self, after: int, until: int, keys: Iterable[str] | None = None) -> Iterator[Any]:
        """Yield the ``log`` records between two offsets: ``position``, ``client``, ``step``, ``time``, ``data``."""


class RemoteRun(StoredRun):
    """A run of `tracker.Api` on a server. It has no directory and no files on this machine.

    Args:
        reader: reads the run from the server.
        address: the server's address.
        stalled_after: see `StoredRun.state`.
        state: the run's state, if already read.
    """

    def __init__(
        self, reader: RemoteReader, address: str, stalled_after: float, state: dict[str, Any] | None = None
    ) -> None:
        self._stalled_after = stalled_after
        self._reader = reader
        self._address = address
        self._state = state
        self.id = reader.id

    @property
    def dir(self) -> Path:  # type: ignore[override]
        """Not available.

        Raises:
            TrackerError: saying so.
        """
        raise TrackerError(f"run {self.id!r} is at {self._address}, and has no directory here")

    @property
    def place(self) -> str:
        return self._address

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """Empty: a server does not know where else the run is sent."""
        return {}

    @property
    def sizes(self) -> tuple[int, int]:
        """Zeros: the run has no log and no store here."""
        return 0, 0

    def files(self) -> list[StoredFile]:
        """Return an empty list: files are not sent to the server."""
        return []

    def store(self) -> RemoteReader:
        """Return the server's reader."""
        return self._reader

    def _read_state(self) -> dict[str, Any]:
        return self._reader.state()

    def __repr__(self) -> str:
        return f"<RemoteRun {self.id!r} at {self._address!r}>"
