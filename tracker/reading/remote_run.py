"""A run as a server keeps it that it was sent to, read only: the same as `StoredRun`, without a directory.

Any thread. Knows no particular server but by its reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import TrackerError
from tracker.reading.stored_run import StoredFile, StoredRun

if TYPE_CHECKING:
    from sidecar.sinks.clickhouse.reader import ClickhouseReader


class RemoteRun(StoredRun):
    """A run of `tracker.Api` that is kept by a server. It has no directory, and no files here.

    Args:
        reader: what it is read through.
        address: the server's.
        state: what the run is, if that was read already.
    """

    def __init__(
        self, reader: ClickhouseReader, address: str, stalled_after: float, state: dict[str, Any] | None = None
    ) -> None:
        self._stalled_after = stalled_after
        self._reader = reader
        self._address = address
        self._state = state
        self.id = reader.id

    @property
    def dir(self) -> Path:  # type: ignore[override]
        """There is none.

        Raises:
            TrackerError: saying so.
        """
        raise TrackerError(f"run {self.id!r} is at {self._address}, and has no directory here")

    @property
    def place(self) -> str:
        return self._address

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """None that are known here."""
        return {}

    def files(self) -> list[StoredFile]:
        """Return none: a run's files stay where it was logged."""
        return []

    def store(self) -> ClickhouseReader:
        """Return what it is read through."""
        return self._reader

    def _read_state(self) -> dict[str, Any]:
        return self._reader.state()

    def __repr__(self) -> str:
        return f"<RemoteRun {self.id!r} at {self._address!r}>"
