"""StoreSink: the projections that every run has in its directory, the store among them. On the SenderThread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.log.reader import Batch
from sidecar.projections.registry import RunProjections
from sidecar.projections.store.database import StoreDamagedError, set_aside
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.layout import LOG_NAME, STORE_NAME

_log = logging.getLogger("sidecar")


class StoreSink:
    """A run's store, files and other projections, with one checkpoint; the store is rebuilt if it is of no use.

    Args:
        run_directory: the run's directory, with its log; its name is the run's id.

    Raises:
        StoreError: the store cannot be opened or created.
    """

    def __init__(self, run_directory: Path) -> None:
        run = run_directory.name
        path = run_directory / STORE_NAME
        self._others = RunProjections(run_directory)
        try:
            self._store = StoreWriter(path)
        except StoreDamagedError as error:
            _log.warning("run %s: %s; the store is rebuilt from the log", run, error)
            self._store = StoreWriter.create_new(path)
        if self._store.checkpoint > (run_directory / LOG_NAME).stat().st_size:
            self._store.close()
            renamed = set_aside(path)
            _log.warning(
                "run %s: the store is ahead of its log; it was renamed to %s and is rebuilt", run, renamed.name
            )
            self._store = StoreWriter(path)

    @property
    def checkpoint(self) -> int:
        """The offset in the log up to which everything is stored."""
        return self._store.committed

    def apply(self, batch: Batch) -> None:
        """Take a batch; it is stored at the next `commit`, or earlier."""
        if self._store.full:
            self.commit()  # here, since the store alone would commit a checkpoint that the others have not reached
        self._others.apply(batch)
        self._store.apply(batch)

    def commit(self) -> int:
        """Store everything applied, the store last, since its checkpoint stands for all; return the checkpoint."""
        self._others.commit()
        return self._store.commit()

    @property
    def pieces_pending(self) -> bool:
        """Whether what is committed may lack pieces for charts."""
        return self._store.pieces_pending

    def make_pieces(self, seconds: float | None = None) -> bool:
        """Make pieces for charts from what is committed; return whether there may be more to make.

        Args:
            seconds: how long, approximately; None: until all are made.

        Raises:
            StoreError: they could not be written. Nothing else is affected.
        """
        return self._store.make_pieces(seconds)

    def state(self) -> dict[str, Any]:
        """Return the run's state with everything applied."""
        return self._store.state.to_map()

    def close(self) -> None:
        """Close the store; what was not committed is applied again by the next owner."""
        self._store.close()


OpenStore = Callable[[Path], StoreSink]
"""Opens the projections of the run in a directory."""
