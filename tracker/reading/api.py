"""Api: the runs of a root directory, or of a ClickHouse database, read only, from any process and any thread, also
while they go on.

Knows where runs are and which there are, not what is in them; of sidecars only that one may have to finish what a dead
one left.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.limits import valid_name
from tracker.errors import RunNotFoundError, TrackerError
from tracker.reading.filters import Order, compile_filter
from tracker.reading.remote_run import ServedRun
from tracker.reading.stored_run import StoredFile, StoredRun

if TYPE_CHECKING:
    from sidecar.sinks.clickhouse.reader import ClickhouseStore

_log = logging.getLogger("tracker")

_NEAR = 5


class Api:
    """Reads runs.

    Args:
        dir: the root directory, which holds ``runs/``; or the address of a ClickHouse server that runs were sent to,
            ``clickhouse+http://host:8123/database``; None for `TRACKER_DIR`, else ``./.tracker``.
        stalled_after: a run that is going on and has logged nothing for so many seconds is ``"stalled"``; None for
            the setting of that name.

    Attributes:
        place: where the runs are, as a text: the root directory, or the server's address.

    Raises:
        ValueError: `dir` is an address of a kind that cannot be read from.
    """

    def __init__(self, dir: str | os.PathLike[str] | None = None, stalled_after: float | None = None) -> None:
        from tracker.settings import resolve

        address = dir if isinstance(dir, str) and "://" in dir else None
        settings = resolve({"dir": None if address else dir, "stalled_after": stalled_after})
        self.stalled_after = settings.stalled_after
        self._shelf: _Shelf = (
            _Server(address, self.stalled_after)
            if address is not None
            else _Directory(settings.root, self.stalled_after)
        )
        self.place = self._shelf.place

    @property
    def dir(self) -> Path:
        """The root directory.

        Raises:
            TrackerError: the runs are on a server.
        """
        if isinstance(self._shelf, _Directory):
            return self._shelf.root
        raise TrackerError(f"the runs are at {self.place}, which is no directory here")

    def runs(
        self, project: str | None = None, filters: Mapping[str, Any] | None = None, order: str | None = None
    ) -> Runs:
        """Return the runs, newest first; they are read when the first is asked for.

        Args:
            project: only this project's.
            filters: only those that pass, such as ``{"state": "finished", "config.lr": 0.1, "summary.loss":
                {"$lt": 0.5}, "tags": "baseline"}``; operators: ``$eq $ne $lt $lte $gt $gte $in $nin $regex $and $or``.
            order: a field with ``+`` or ``-`` before it, such as ``"+summary.loss"``; None for ``"-start_time"``.

        Raises:
            ValueError: a field or an operator that does not exist.
        """
        return Runs(self._shelf, project, filters, order)

    def run(self, id: str) -> StoredRun:
        """Return the run with this id.

        Raises:
            RunNotFoundError: there is none; the message names those whose id or name is near.
            sidecar.protocol.errors.StoreError: a server cannot be read from.
        """
        run = self._shelf.run(id) if valid_name(id) else None
        if run is None:
            raise RunNotFoundError(self._not_found(str(id)))
        return run

    def close(self) -> None:
        """Let go of the connection to a server; it is made again when something is asked for. Nothing else is open."""
        self._shelf.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _not_found(self, wanted: str) -> str:
        message = f"there is no run {wanted!r} in {self.place}"
        names = self._shelf.names()
        if not names:
            return f"{message}, which holds no runs"
        near = [id for id in names if id.startswith(wanted) or (len(wanted) > 2 and wanted in id)] if wanted else []
        near += [id for id, name in names.items() if name == wanted]
        near += difflib.get_close_matches(wanted, names, n=_NEAR, cutoff=0.5)
        by_name = difflib.get_close_matches(wanted, set(names.values()), n=_NEAR, cutoff=0.6)
        near += [id for id, name in names.items() if name in by_name]
        if not near:
            return f"{message}; it holds {len(names)} others"
        shown = [id if names[id] in ("", id) else f"{id} ({names[id]})" for id in dict.fromkeys(near)]
        return f"{message}; near: {', '.join(shown[:_NEAR])}"

    def __repr__(self) -> str:
        return f"Api({self.place!r})"


class _Shelf(Protocol):
    """Where runs are."""

    @property
    def place(self) -> str:
        """Its name for people."""

    def run(self, id: str) -> StoredRun | None:
        """Return the run with this id, if it is there."""

    def runs(self, project: str | None) -> list[StoredRun]:
        """Return the runs of a project, or all."""

    def names(self) -> dict[str, str]:
        """Return id -> name of all runs."""

    def close(self) -> None:
        """Let go of connections."""


class _Directory:
    """The runs below a root directory."""

    def __init__(self, root: Path, stalled_after: float) -> None:
        self.root = root
        self._stalled_after = stalled_after

    @property
    def place(self) -> str:
        return str(self.root)

    def run(self, id: str) -> StoredRun | None:
        recover(self.root, [id])
        directory = self.root / RUNS_NAME / id
        return StoredRun(directory, self._stalled_after) if is_run(directory) else None

    def runs(self, project: str | None) -> list[StoredRun]:
        recover(self.root)
        found = [StoredRun(directory, self._stalled_after) for directory in run_directories(self.root)]
        return [run for run in found if project is None or run.project == project]

    def names(self) -> dict[str, str]:
        return {run.id: run.name for run in self.runs(None)}

    def close(self) -> None:
        """Nothing is open."""


class _Server:
    """The runs of a ClickHouse database."""

    def __init__(self, address: str, stalled_after: float) -> None:
        self._store = _store_at(address)
        self._stalled_after = stalled_after

    @property
    def place(self) -> str:
        return self._store.address

    def run(self, id: str) -> StoredRun | None:
        reader = self._store.run(id)
        state = reader.find()
        return None if state is None else ServedRun(reader, self.place, self._stalled_after, state)

    def runs(self, project: str | None) -> list[StoredRun]:
        return [
            ServedRun(self._store.run(id), self.place, self._stalled_after, state)
            for id, state in self._store.runs(project)
        ]

    def names(self) -> dict[str, str]:
        return self._store.names()

    def close(self) -> None:
        self._store.close()


def _store_at(address: str) -> ClickhouseStore:
    if not address.startswith("clickhouse+"):
        kind = address.partition("://")[0]
        raise ValueError(
            f"Api reads a directory, or clickhouse+http://host:8123/database, and cannot read from {kind}:// addresses"
        )
    from sidecar.sinks.clickhouse.reader import ClickhouseStore

    return ClickhouseStore(address)


class Runs(Sequence[StoredRun]):
    """The runs that were asked for, in order. Nothing is read before the first use; what was read is kept."""

    def __init__(
        self,
        shelf: _Shelf,
        project: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
    ) -> None:
        self._shelf = shelf
        self._project = project
        self._passes = compile_filter(filters)
        self._order = Order("-start_time" if order is None else order)
        self._found: list[StoredRun] | None = None

    def _runs(self) -> list[StoredRun]:
        if self._found is None:
            self._found = self._order.sort([run for run in self._shelf.runs(self._project) if self._passes(run)])
        return self._found

    def __len__(self) -> int:
        return len(self._runs())

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._runs())

    @overload
    def __getitem__(self, index: int) -> StoredRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[StoredRun]: ...

    def __getitem__(self, index: int | slice) -> StoredRun | list[StoredRun]:
        return self._runs()[index]

    def __repr__(self) -> str:
        return f"<Runs in {self._shelf.place!r}>"


def is_run(directory: Path) -> bool:
    """Whether `directory` is a run's: it holds a log or a store, or nobody here may look whether it does."""
    try:
        return (directory / LOG_NAME).is_file() or (directory / STORE_NAME).is_file()
    except PermissionError:
        return True


def run_directories(root: Path) -> list[Path]:
    """Return the directories of all runs below `root`, by id; empty where there is no root."""
    try:
        found = sorted((root / RUNS_NAME).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in found if valid_name(path.name) and is_run(path)]


def recover(root: Path, run_ids: Sequence[str] | None = None) -> None:
    """Let a sidecar finish what one that died has left, in these runs or in all. Never raises: reading goes on."""
    try:
        from tracker.transport.backend import recover as recover_runs
    except ImportError:
        return
    try:
        recover_runs(root, None if run_ids is None else list(run_ids))
    except (TrackerError, SidecarError, OSError) as error:
        _log.warning("runs that a dead sidecar has left are read as they are: %s", error)


__all__ = ["Api", "Runs", "ServedRun", "StoredFile", "StoredRun", "is_run", "recover", "run_directories"]
