"""Api: the runs of a root directory, read only, from any process and any thread, also while they go on.

Knows directories and what lies in them; of sidecars only that one may have to finish what a dead one left.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.limits import valid_name
from tracker.errors import RunNotFoundError, TrackerError
from tracker.filters import Order, compile_filter
from tracker.stored import STALLED_AFTER, StoredFile, StoredRun

_log = logging.getLogger("tracker")

_NEAR = 5


class Api:
    """Reads runs.

    Args:
        dir: the root directory, which holds ``runs/``; None for `TRACKER_DIR`, else ``./.tracker``.
        stalled_after: a run that is going on and has logged nothing for so many seconds is ``"stalled"``; None for
            the settings file's, else 600.

    Attributes:
        dir: the root directory.

    Raises:
        ValueError: `dir` is an address of a kind that this version cannot read from.
    """

    def __init__(self, dir: str | os.PathLike[str] | None = None, stalled_after: float | None = None) -> None:
        if isinstance(dir, str) and "://" in dir:
            raise ValueError(f"Api reads a directory, and cannot read from {dir.partition('://')[0]}:// addresses")
        from tracker.settings import resolve

        settings = resolve({"dir": dir, "stalled_after": stalled_after})
        self.dir = Path(settings.dir or "")
        self.stalled_after = settings.stalled_after or STALLED_AFTER

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
        return Runs(self.dir, project, filters, order, self.stalled_after)

    def run(self, id: str) -> StoredRun:
        """Return the run with this id.

        Raises:
            RunNotFoundError: there is none; the message names those whose id or name is near.
        """
        recover(self.dir, [id] if valid_name(id) else [])
        directory = self.dir / RUNS_NAME / str(id)
        if valid_name(id) and is_run(directory):
            return StoredRun(directory, self.stalled_after)
        raise RunNotFoundError(self._not_found(str(id)))

    def _not_found(self, wanted: str) -> str:
        message = f"there is no run {wanted!r} in {self.dir}"
        names = {directory.name: "" for directory in run_directories(self.dir)}
        if not names:
            return f"{message}, which holds no runs"
        for run in Runs(self.dir):
            names[run.id] = run.name
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
        return f"Api({str(self.dir)!r})"


class Runs(Sequence[StoredRun]):
    """The runs that were asked for, in order. Nothing is read before the first use; what was read is kept."""

    def __init__(
        self,
        root: Path,
        project: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        self._root = root
        self._stalled_after = stalled_after
        self._project = project
        self._passes = compile_filter(filters)
        self._order = Order("-start_time" if order is None else order)
        self._found: list[StoredRun] | None = None

    def _runs(self) -> list[StoredRun]:
        if self._found is None:
            recover(self._root)
            found = []
            for directory in run_directories(self._root):
                run = StoredRun(directory, self._stalled_after)
                if (self._project is None or run.project == self._project) and self._passes(run):
                    found.append(run)
            self._found = self._order.sort(found)
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
        return f"<Runs in {str(self._root)!r}>"


def is_run(directory: Path) -> bool:
    """Whether `directory` is a run's: it holds a log or a store."""
    return (directory / LOG_NAME).is_file() or (directory / STORE_NAME).is_file()


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
        from tracker.backend import recover as recover_runs
    except ImportError:
        return
    try:
        recover_runs(root, None if run_ids is None else list(run_ids))
    except (TrackerError, SidecarError, OSError) as error:
        _log.warning("runs that a dead sidecar has left are read as they are: %s", error)


__all__ = ["Api", "Runs", "StoredFile", "StoredRun", "is_run", "recover", "run_directories"]
