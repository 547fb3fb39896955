"""What a sink is, and the store as the one that every run has. A sink is a projection of the log: it has a checkpoint,
and sending it the same records twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from sidecar.log.reader import Batch
from sidecar.protocol.layout import LOG_NAME, STORE_NAME
from sidecar.runs import Run
from sidecar.store.database import StoreDamagedError
from sidecar.store.writer import StoreWriter

_log = logging.getLogger("sidecar")


class Sink(Protocol):
    """Takes batches of a run's log, in order."""

    @property
    def checkpoint(self) -> int:
        """The offset in the log up to which everything is kept."""

    def send(self, batch: Batch) -> None:
        """Take a batch; it may be kept only by the next `commit`."""

    def commit(self) -> None:
        """Return when everything sent is kept, and the checkpoint is behind it."""

    def state(self) -> dict[str, Any]:
        """Return the run's state with everything sent."""

    def close(self) -> None:
        """Let go; what was not committed is sent again by the next."""


SinkFactory = Callable[[Run], Sink]


class StoreSink:
    """The embedded store of a run; made anew where it is broken or ahead of its log.

    Args:
        run: whose store.

    Raises:
        StoreError: it cannot be made.
    """

    def __init__(self, run: Run) -> None:
        path = run.directory / STORE_NAME
        try:
            self._store = StoreWriter(path)
        except StoreDamagedError as error:
            _log.warning("run %s: %s; the store is built anew", run.id, error)
            self._store = StoreWriter.create_anew(path)
        if self._store.checkpoint > (run.directory / LOG_NAME).stat().st_size:
            _log.warning("run %s: its store is ahead of its log; it is built anew", run.id)
            self._store.close()
            self._store = StoreWriter.create_anew(path)

    @property
    def checkpoint(self) -> int:
        return self._store.committed

    def send(self, batch: Batch) -> None:
        self._store.apply(batch.records, batch.end)

    def commit(self) -> None:
        self._store.commit()

    def state(self) -> dict[str, Any]:
        return self._store.state.to_map()

    def close(self) -> None:
        self._store.close()
