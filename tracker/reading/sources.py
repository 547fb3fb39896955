"""Sources of runs: a root directory, or a ClickHouse database. Does not know what a run contains.

Used on any thread. Of sidecars it only knows that one may have to recover what another left.
"""

from __future__ import annotations

import logging
import os
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.limits import valid_name
from tracker.errors import RootNotFoundError, TrackerError
from tracker.reading.catalog import Catalog, DirectoryCatalog
from tracker.reading.stored_run import StoredRun
from tracker.terminal.progress import Progress

if TYPE_CHECKING:
    from tracker.reading.server_catalog import ServerStore

_log = logging.getLogger("tracker")

Key = TypeVar("Key")


class Source(Protocol):
    """A place that runs are read from."""

    @property
    def place(self) -> str:
        """The root directory or the server's address, for people."""

    @property
    def catalog(self) -> Catalog:
        """What all runs are."""

    def run(self, id: str) -> StoredRun | None:
        """Return the run with this valid id; None if there is none. Reads no other run."""

    def runs(self, project: str | None = None) -> list[StoredRun]:
        """Return the runs of a project, or all."""

    def names(self, project: str | None = None) -> dict[str, str]:
        """Return id -> name of the runs of a project, or of all, without deleted ones."""

    def newest(self, project: str | None = None) -> StoredRun | None:
        """Return the run that was started last and is not deleted, of a project or of all."""

    def writable(self) -> bool:
        """Whether the runs can be edited from here."""

    def close(self) -> None:
        """Close connections; they are opened again on demand."""


class DirectorySource:
    """The runs below a root directory.

    Args:
        root: the root directory.
        stalled_after: see `StoredRun`.
        required: whether a root that does not exist is an error, instead of one without runs.
        silent: show no progress.
    """

    def __init__(self, root: Path, stalled_after: float, *, required: bool = False, silent: bool = False) -> None:
        self.root = root
        self._silent = silent
        self._stalled_after = stalled_after
        self._required = required
        self._catalog: DirectoryCatalog | None = None

    @property
    def place(self) -> str:
        return str(self.root)

    @property
    def catalog(self) -> DirectoryCatalog:
        """The catalog of the runs."""
        if self._catalog is None:
            self._catalog = DirectoryCatalog(self.root, self._stalled_after, recover)
        return self._catalog

    def run(self, id: str) -> StoredRun | None:
        self._check()
        recover(self.root, [id])
        directory = self.root / RUNS_NAME / id
        return self._stored(directory) if is_run(directory) else None

    def runs(self, project: str | None = None) -> list[StoredRun]:
        self._check()
        with Progress("reading runs", silent=self._silent) as progress:
            self.catalog.update(progress)
        runs = self.catalog.copies()
        return [run for run in runs if project is None or run.project == project]

    def names(self, project: str | None = None) -> dict[str, str]:
        return {run.id: run.name for run in self.runs(project) if not run.deleted}

    def newest(self, project: str | None = None) -> StoredRun | None:
        self._check()
        return next(by_start(*self.catalog.by_change(), project), None)

    def newest_first(self, project: str | None = None) -> Iterator[StoredRun]:
        """Yield the runs by their start, the last first; without the catalog."""
        changed = [(_last_change(directory), directory) for directory in run_directories(self.root)]
        return by_start(changed, self._stored, project)

    def writable(self) -> bool:
        return os.access(self.root, os.W_OK)

    def close(self) -> None:
        """Wait for what the catalog does in the background."""
        if self._catalog is not None:
            self._catalog.close()

    def _stored(self, directory: Path) -> StoredRun:
        return StoredRun(directory, self._stalled_after)

    def _check(self) -> None:
        if self._required and not self.root.is_dir():
            raise RootNotFoundError(f"there is no directory {self.root}")


class ServerSource:
    """The runs of a ClickHouse database, or of a sidecar.

    Args:
        address: ``clickhouse+http://host:8123/database`` or ``sidecar+tcp://host:5757``.
        stalled_after: see `StoredRun`.

    Raises:
        ValueError: `address` is of a kind that cannot be read from.
    """

    def __init__(self, address: str, stalled_after: float) -> None:
        from tracker.reading.server_catalog import ServerCatalog
        from tracker.reading.sidecar_run import remote_run

        self._store = _store_at(address)
        self._stalled_after = stalled_after
        self._remote_run = remote_run
        self._catalog = ServerCatalog(self._store, stalled_after)

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    @property
    def place(self) -> str:
        return self._store.address

    def run(self, id: str) -> StoredRun | None:
        reader = self._store.run(id)
        state = reader.find()
        return None if state is None else self._remote_run(reader, self.place, self._stalled_after, state)

    def runs(self, project: str | None = None) -> list[StoredRun]:
        return [
            self._remote_run(self._store.run(id), self.place, self._stalled_after, state)
            for id, state in self._store.runs(project)
        ]

    def names(self, project: str | None = None) -> dict[str, str]:
        if project is None:
            return self._store.names()
        return {run.id: run.name for run in self.runs(project) if not run.deleted}

    def newest(self, project: str | None = None) -> StoredRun | None:
        runs = [run for run in self.runs(project) if not run.deleted]
        return max(runs, key=lambda run: (run.start_time or 0.0, run.id), default=None)

    def writable(self) -> bool:
        return self._store.may_write()

    def close(self) -> None:
        self._store.close()


def _store_at(address: str) -> ServerStore:
    kind = address.partition("+")[0]
    if kind == "sidecar":
        from tracker.reading.sidecar_store import SidecarStore

        return SidecarStore(address)
    if kind != "clickhouse":
        raise ValueError(
            "Api reads a directory, clickhouse+http://host:8123/database or sidecar+tcp://host:5757, and cannot read "
            f"from {address.partition('://')[0]}:// addresses"
        )
    from sidecar.sinks.clickhouse.reader import ClickhouseStore

    return ClickhouseStore(address)


def by_start(
    changed: Iterable[tuple[float, Key]], fetch: Callable[[Key], StoredRun], project: str | None = None
) -> Iterator[StoredRun]:
    """Yield runs that are not deleted by their start, the last first.

    Reads a run only when one that was written to earlier cannot come before it: nothing starts after its last change.

    Args:
        changed: for each run, the time of its last change, and what `fetch` takes.
        fetch: returns the run.
        project: only this project's.
    """
    remaining = sorted(changed, key=lambda pair: pair[0])
    read: list[tuple[float, str, StoredRun]] = []
    while remaining or read:
        while remaining and (not read or remaining[-1][0] >= read[-1][0]):
            run = fetch(remaining.pop()[1])
            if (project is None or run.project == project) and not run.deleted:
                insort(read, (run.start_time or 0.0, run.id, run), key=lambda entry: entry[:2])
        if read:
            yield read.pop()[2]


def is_run(directory: Path) -> bool:
    """Whether `directory` is a run's: it holds a log or a store, or this user may not look."""
    try:
        return (directory / LOG_NAME).is_file() or (directory / STORE_NAME).is_file()
    except PermissionError:
        return True


def run_directories(root: Path) -> list[Path]:
    """Return the directories of all runs below `root`, sorted by id; empty if there is no root."""
    try:
        paths = sorted((root / RUNS_NAME).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in paths if valid_name(path.name) and is_run(path)]


def _last_change(directory: Path) -> float:
    """Return when the run was last written to, Unix seconds; infinity if unknown."""
    moments = []
    for name in (LOG_NAME, STORE_NAME):
        try:
            moments.append(os.stat(directory / name).st_mtime)
        except FileNotFoundError:
            continue
        except OSError:
            return float("inf")
    return max(moments, default=float("inf"))


def recover(root: Path, run_ids: Collection[str] | None = None) -> None:
    """Have a sidecar recover what one that died has left, in these runs or in all. Never raises: reading continues."""
    try:
        from tracker.transport.launcher import recover as recover_runs
    except ImportError:
        return
    try:
        recover_runs(root, None if run_ids is None else list(run_ids))
    except (TrackerError, SidecarError, OSError) as error:
        _log.warning("runs that a dead sidecar left are read as they are: %s", error)
