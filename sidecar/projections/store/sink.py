"""The embedded store and the files that came through the socket: the sink that every run has. On the SenderThread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sidecar.log.reader import Batch
from sidecar.pipeline.held_run import Run
from sidecar.projections.files import Files
from sidecar.projections.store.database import StoreDamagedError, set_aside
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.layout import LOG_NAME, STORE_NAME

_log = logging.getLogger("sidecar")


class StoreSink:
    """The embedded store of a run; made anew where it is broken or ahead of its log.

    Args:
        run: whose store.

    Raises:
        StoreError: it cannot be made.
    """

    def __init__(self, run: Run) -> None:
        path = run.directory / STORE_NAME
        self._files = Files(run.directory)
        try:
            self._store = StoreWriter(path)
        except StoreDamagedError as error:
            _log.warning("run %s: %s; the store is built anew", run.id, error)
            self._store = StoreWriter.create_anew(path)
        if self._store.checkpoint > (run.directory / LOG_NAME).stat().st_size:
            self._store.close()
            kept = set_aside(path)
            _log.warning("run %s: its store is ahead of its log; it is kept as %s and built anew", run.id, kept.name)
            self._store = StoreWriter(path)

    @property
    def checkpoint(self) -> int:
        """The offset in the log up to which everything is kept."""
        return self._store.committed

    def send(self, batch: Batch) -> None:
        """Take a batch; it may be kept only by the next `commit`."""
        for record in batch.records:
            if record.kind == "file":
                self._files.apply(record)
        self._store.apply(batch.records, batch.end)

    def commit(self) -> None:
        """Return when everything sent is kept, and the checkpoint is behind it."""
        self._store.commit()

    def state(self) -> dict[str, Any]:
        """Return the run's state with everything sent."""
        return self._store.state.to_map()

    def close(self) -> None:
        """Let go; what was not committed is sent again by the next."""
        self._store.close()


OpenStore = Callable[[Run], StoreSink]
