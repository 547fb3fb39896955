"""ServerCatalog: the catalog of a server, a ClickHouse database or a sidecar; see `catalog.Catalog`.

Used on any thread. Knows the server only through its reader.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from tracker.reading.remote_run import RemoteReader
from tracker.reading.sidecar_run import remote_run
from tracker.reading.stored_run import StoredRun

_MOST_NAMED = 200
"""Maximum number of changed runs that are queried by id; if more changed, all are read."""


class ServerStore(Protocol):
    """The runs of a server. Its methods raise `sidecar.protocol.errors.StoreError`."""

    address: str

    def versions(self) -> Mapping[str, Any]:
        """Return id -> version of every run; a version changes whenever the content of the run does."""

    def runs(self, project: str | None = None, ids: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return id and state of every run, or of those of a project, or of some."""

    def names(self) -> dict[str, str]:
        """Return id -> name of every run that is not deleted."""

    def may_write(self) -> bool:
        """Whether this client may edit the runs."""

    def run(self, id: str) -> RemoteReader:
        """Return the reader of a run, which need not exist."""

    def close(self) -> None:
        """Close the connection; it is opened again on demand."""


class ServerCatalog:
    """The catalog of a server, in memory.

    Args:
        store: its runs.
        stalled_after: see `StoredRun`.
    """

    def __init__(self, store: ServerStore, stalled_after: float) -> None:
        self._store = store
        self._stalled_after = stalled_after
        self._lock = threading.Lock()
        self._versions: dict[str, Any] = {}
        self._runs: dict[str, StoredRun] = {}

    @property
    def progress(self) -> tuple[int, int] | None:
        """None: the server answers at once."""
        return None

    def refresh(self, seconds: float | None = None) -> set[str]:
        """Compare the versions of the runs, with one query, and read those that changed, with another.

        Raises:
            sidecar.protocol.errors.StoreError: the server cannot be read from.
        """
        with self._lock:
            versions = dict(self._store.versions())
            changed = {id for id, version in versions.items() if self._versions.get(id) != version}
            removed = self._versions.keys() - versions.keys()
            runs = {id: run for id, run in self._runs.items() if id not in removed}
            if changed:
                named = sorted(changed) if len(changed) <= _MOST_NAMED else None
                for id, state in self._store.runs(ids=named):
                    if id in changed:
                        runs[id] = remote_run(self._store.run(id), self._store.address, self._stalled_after, state)
            self._versions, self._runs = versions, runs
            return changed | removed

    def prefer(self, ids: Set[str]) -> Set[str]:
        """Return nothing: runs do not wait to be read."""
        return frozenset()

    def runs(self) -> list[StoredRun]:
        """Return the runs as of the last refresh, in no particular order."""
        return list(self._runs.values())

    def run(self, id: str) -> StoredRun | None:
        """Return a run as of the last refresh; None if no run has this id."""
        return self._runs.get(id)

    def close(self) -> None:
        """Close the connection; it is opened again on demand."""
        self._store.close()
