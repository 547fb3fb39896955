"""Api: reads the runs of a root directory or of a ClickHouse database, from any process and any thread, also while
they are running."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError
from tracker.reading.catalog import Catalog
from tracker.reading.references import find_run
from tracker.reading.remote_run import RemoteRun
from tracker.reading.root import find_root
from tracker.reading.runs import Runs
from tracker.reading.sources import DirectorySource, ServerSource, Source, is_run, recover, run_directories
from tracker.reading.stored_run import StoredFile, StoredRun
from tracker.settings import resolve


class Api:
    """Reads runs.

    Args:
        dir: the root directory, which holds ``runs/``; or the address of a ClickHouse server that runs were sent to,
            ``clickhouse+http://host:8123/database``, or of a sidecar that keeps runs, ``sidecar+tcp://host:5757``
            (``?key=FILE`` or the setting ``sidecar_key`` is its public key, if it encrypts); None for ``TRACKER_DIR``,
            else the nearest ``.tracker`` in this directory or one above it.
        stalled_after: seconds without a record after which a running run is ``"stalled"``; None for the setting.

    Attributes:
        place: the root directory or the server's address, as a string.

    Raises:
        ValueError: `dir` is an address of a kind that cannot be read from.
    """

    def __init__(self, dir: str | os.PathLike[str] | None = None, stalled_after: float | None = None) -> None:
        address = dir if isinstance(dir, str) and "://" in dir else None
        root = None if address else find_root(dir)
        settings = resolve({"dir": root, "stalled_after": stalled_after})
        self.stalled_after = settings.stalled_after
        self._source: Source = (
            DirectorySource(root, self.stalled_after, required=dir is not None, silent=settings.silent)
            if root is not None
            else ServerSource(address or "", self.stalled_after)
        )
        self.place = self._source.place

    @property
    def dir(self) -> Path:
        """The root directory.

        Raises:
            TrackerError: the runs are on a server.
        """
        if isinstance(self._source, DirectorySource):
            return self._source.root
        raise TrackerError(f"the runs are at {self.place}, which is not a directory on this machine")

    def runs(
        self,
        project: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
        *,
        deleted: bool = False,
    ) -> Runs:
        """Return the runs, newest first; they are read when the first is asked for.

        Args:
            project: only this project's.
            filters: only those that pass, such as ``{"state": "finished", "config.lr": 0.1, "summary.loss":
                {"$lt": 0.5}, "tags": "baseline"}``; operators: ``$eq $ne $lt $lte $gt $gte $in $nin $regex $contains
                $exists``, and ``$and $or $not $search`` in place of a field.
            order: a field with ``+`` or ``-`` before it, such as ``"+summary.loss"``; None for ``"-start_time"``.
            deleted: return the runs that were deleted, and can be brought back, instead of the others.

        Raises:
            ValueError: a field or an operator that does not exist.
        """
        return Runs(self._source, project, filters, order, deleted=deleted)

    def run(self, ref: str) -> StoredRun:
        """Return one run.

        Args:
            ref: its id, a unique prefix of the id, its exact name, or ``"last"`` for the run that was started last;
                ``"project/ref"`` looks only among the runs of that project. An id is found without reading other runs.

        Raises:
            RunNotFoundError: no run fits; the message names similar ones. AmbiguousRunError: several fit; it lists
                them. RootNotFoundError: `dir` does not exist. sidecar.protocol.errors.StoreError: a server cannot be
                read from.
        """
        return find_run(self._source, ref)

    def catalog(self) -> Catalog:
        """Return the catalog: what all runs are, kept up to date by its `refresh()`. The same object each time."""
        return self._source.catalog

    def writable(self) -> bool:
        """Whether runs can be edited from here: no for ClickHouse, nor with a key that may only read.

        Raises:
            sidecar.protocol.errors.StoreError: a sidecar cannot be asked.
        """
        return self._source.writable()

    def close(self) -> None:
        """Close the connection to a server, if there is one; it is opened again on demand."""
        self._source.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Api({self.place!r})"


__all__ = ["Api", "RemoteRun", "Runs", "StoredFile", "StoredRun", "is_run", "recover", "run_directories"]
