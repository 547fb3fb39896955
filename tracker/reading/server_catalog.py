"""ServerCatalog: what the runs of a ClickHouse database are; see `catalog.Catalog`.

Used on any thread. Knows the server only through its reader.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tracker.reading.remote_run import RemoteRun
from tracker.reading.stored_run import StoredRun

if TYPE_CHECKING:
    from sidecar.sinks.clickhouse.reader import ClickhouseStore

_MOST_NAMED = 200
"""Maximum number of changed runs that are asked for by their ids; if more changed, all are read."""


class ServerCatalog:
    """The catalog of a ClickHouse database, in memory.

    Args:
        store: the database.
        stalled_after: see `StoredRun`.
    """

    def __init__(self, store: ClickhouseStore, stalled_after: float) -> None:
        self._store = store
        self._stalled_after = stalled_after
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}
        self._runs: dict[str, StoredRun] = {}

    @property
    def progress(self) -> tuple[int, int] | None:
        """None: the server answers at once."""
        return None

    def refresh(self) -> set[str]:
        """Compare the versions of the runs, with one query, and read those that changed, with another.

        Raises:
            sidecar.protocol.errors.StoreError: the server cannot be read from.
        """
        with self._lock:
            versions = self._store.versions()
            changed = {id for id, version in versions.items() if self._versions.get(id) != version}
            removed = self._versions.keys() - versions.keys()
            runs = {id: run for id, run in self._runs.items() if id not in removed}
            if changed:
                named = sorted(changed) if len(changed) <= _MOST_NAMED else None
                for id, state in self._store.runs(ids=named):
                    if id in changed:
                        runs[id] = RemoteRun(self._store.run(id), self._store.address, self._stalled_after, state)
            self._versions, self._runs = versions, runs
            return changed | removed

    def runs(self) -> list[StoredRun]:
        """Return the runs as of the last refresh, in no particular order."""
        return list(self._runs.values())

    def run(self, id: str) -> StoredRun | None:
        """Return a run as of the last refresh; None if there is none with this id."""
        return self._runs.get(id)

    def close(self) -> None:
        """Close the connection; it is opened again on demand."""
        self._store.close()
