"""The catalog: identity and state of every run of a root directory, without opening them.

`Catalog` is its interface, `DirectoryCatalog` that of a root directory. It keeps a row per run, in memory and in
``catalog.db``, and reads a run again when the size, time or inode of its files have changed. The file may be deleted at
any time, missing, stale or damaged: then runs are read again. Used by any thread, and by several processes at once.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Set
from pathlib import Path
from typing import Protocol

from sidecar.protocol.layout import RUNS_NAME
from sidecar.protocol.limits import valid_name
from tracker.reading.catalog_file import CatalogFile
from tracker.reading.catalog_row import CatalogRow, CatalogRun, make_row
from tracker.reading.run_files import JOURNAL, LOCKED, WINDOWS, Look, is_settled, look
from tracker.reading.stored_run import StoredRun
from tracker.reading.stores import unreadable_state

_log = logging.getLogger("tracker")

QUIET_SECONDS = 10.0
"""Time without a change after which the row of a running run is kept in the file as well, in seconds."""

ROUND_SECONDS = 10.0
"""Time in which `DirectoryCatalog.refresh` looks at every run that has ended, in seconds."""

RECOVERY_SECONDS = 10.0
"""Interval between two recoveries of the same run by `DirectoryCatalog.refresh`, in seconds."""

LEAST_RUNS = 64
"""Number of runs from which the catalog is kept in a file; fewer are read faster than the file is written."""

SAVE_SECONDS = 1.0
"""Interval between two commits while a catalog is built, in seconds, so that an interrupted build is not lost."""

Show = Callable[[int, int], None]
"""Progress callback: (done, total) runs."""


class Catalog(Protocol):
    """The runs of a place, kept up to date by `refresh`. Can be used from any thread."""

    @property
    def progress(self) -> tuple[int, int] | None:
        """(done, total) while many runs are being read; else None."""

    def refresh(self, seconds: float | None = None) -> set[str]:
        """Look for changes; return the ids of runs that are new, changed or removed since the last call.

        Cheap enough to be called once a second with 10,000 runs. The first call reads all that is not known yet.

        Args:
            seconds: time after which runs that were not read yet are left to the next call, the newest being read
                first; until then `progress` is not None. None to read all. A server's catalog does not use it.
        """

    def prefer(self, ids: Set[str]) -> Set[str]:
        """Have these runs read before the others that wait to be read; return the ids of those that exist, if their
        reading can be awaited.
        """

    def runs(self) -> list[StoredRun]:
        """Return the runs as of the last refresh, in no particular order; an unchanged one is the same object."""

    def run(self, id: str) -> StoredRun | None:
        """Return a run as of the last refresh; None if no run has this id."""

    def close(self) -> None:
        """Release what it holds; it can be used again."""


class _Entry:
    """A run in memory.

    Attributes:
        row: its row; None if no row can hold its state.
        look: its files when it was read.
        settled: whether a later change of its files shows.
        saved: whether the file has the row.
        run: the run; None until it is first asked for, if there is a row.
    """

    __slots__ = ("look", "row", "run", "saved", "settled")

    def __init__(
        self, row: CatalogRow | None, look: Look, run: StoredRun | None = None, *, settled: bool, saved: bool
    ) -> None:
        self.row = row
        self.look = look
        self.run = run
        self.settled = settled
        self.saved = saved

    @property
    def is_watched(self) -> bool:
        """Whether the run may change at any time."""
        if not self.settled or self.look.flags & (LOCKED | WINDOWS | JOURNAL) or self.row is None:
            return True
        return self.row.state in ("running", "unreadable")


class DirectoryCatalog:
    """The catalog of a root directory.

    Args:
        root: the root directory.
        stalled_after: see `StoredRun`.
        recover: recovers what dead processes left in these runs; takes their ids.
    """

    def __init__(self, root: Path, stalled_after: float, recover: Callable[[Path, Collection[str]], None]) -> None:
        self.root = root
        self._runs = root / RUNS_NAME
        self._stalled_after = stalled_after
        self._recover = recover
        self._file = CatalogFile(root)
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._stored: dict[str, CatalogRow] = {}
        self._loaded = False
        self._names: set[str] = set()
        self._listed: tuple[int, ...] = ()
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self._turn: list[str] = []
        self._turned = 0.0
        self._recovered: dict[str, float] = {}
        self._recovery: threading.Thread | None = None
        self._pending: list[tuple[str, Look]] = []
        self._preferred: Set[str] = frozenset()
        self._total = 0
        self._save_at = 0.0

    @property
    def path(self) -> Path | None:
        """The file that the catalog is kept in; None if it is kept in memory only."""
        return self._file.path

    @property
    def progress(self) -> tuple[int, int] | None:
        """(done, total) while many runs are being read; else None."""
        total, pending = self._total, len(self._pending)
        return (total - pending, total) if pending and total > 1 else None

    def runs(self) -> list[StoredRun]:
        """Return the runs as of the last refresh, in no particular order."""
        return [self._lasting(entry) for entry in list(self._entries.values())]

    def copies(self) -> list[StoredRun]:
        """Return copies of the runs, by id, which do not share a cache that `StoredRun.refresh` discards."""
        entries = dict(self._entries)
        return [self._copy(entries[id]) for id in sorted(entries)]

    def run(self, id: str) -> StoredRun | None:
        """Return a run as of the last refresh; None if no run has this id."""
        entry = self._entries.get(id)
        return None if entry is None else self._lasting(entry)

    def prefer(self, ids: Set[str]) -> Set[str]:
        """Have these runs read next; return the ids of those that exist. Does not wait for a refresh."""
        found = ids & self._names
        self._preferred |= found
        return found

    def refresh(self, seconds: float | None = None) -> set[str]:
        """Check the runs that may change and some of the others; return the ids of those that changed or vanished since
        the last call. What dead processes left is recovered in the background.
        """
        with self._lock:
            if self._pending:
                self._read_pending(seconds)
            else:
                self._pass(everything=not self._turned, wait=False, seconds=seconds)
            changed, self._changed = self._changed, set()
            return changed

    def update(self, show: Show | None = None) -> None:
        """Look at every run, after what dead processes left was recovered; read those that changed.

        Args:
            show: called while runs are read.
        """
        with self._lock:
            self._pass(everything=True, wait=True, show=show)

    def by_change(self) -> tuple[list[tuple[float, str]], Callable[[str], StoredRun]]:
        """Return the time of the last change and the id of each run, and a function that returns the run with an id.

        None is read before that function is called.
        """
        with self._lock, self._opened() as runs:
            looks: dict[str, Look] = {}
            if runs is not None:
                self._begin(runs)
                looks = self._look_at(runs, self._names)

        def fetch(id: str) -> StoredRun:
            with self._lock:
                if self._is_stale(id, looks[id]):
                    self._read(id, looks[id])
                return self._copy(self._entries[id])

        return [(seen.changed, id) for id, seen in looks.items()], fetch

    def close(self) -> None:
        """Wait for a recovery that is under way."""
        thread = self._recovery
        if thread is not None:
            thread.join()

    # -- a pass over the runs ----------------------------------------------------------------------------------------

    def _pass(self, *, everything: bool, wait: bool, show: Show | None = None, seconds: float | None = None) -> None:
        with self._opened() as runs:
            if runs is None:
                self._forget(set(self._entries))
                return
            self._begin(runs)
            chosen = self._names if everything else self._due()
            looks = self._look_at(runs, chosen)
            if self._heal({id for id, seen in looks.items() if seen.flags & (LOCKED | WINDOWS)}, wait=wait):
                looks |= self._look_at(runs, {id for id, seen in looks.items() if seen.flags & (LOCKED | WINDOWS)})
            self._forget({id for id in chosen if id not in looks and id in self._entries})
            stale = [(id, seen) for id, seen in looks.items() if self._is_stale(id, seen)]
            stale.sort(key=lambda run: (run[1].changed, run[0]))
            self._pending, self._total = stale, len(stale)
            self._save_at = time.monotonic() + SAVE_SECONDS
            self._read_pending(seconds, show)
            self._turned = time.monotonic()

    def _read_pending(self, seconds: float | None, show: Show | None = None) -> None:
        """Read what was found to have changed, what changed last first, until all is read or the time is over.

        What changes while it waits to be read differs from its look, and so is read again by the next pass.
        """
        pending = self._pending
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            while pending:
                if show is not None and self._total > 1:
                    show(self._total - len(pending), self._total)
                if self._preferred:
                    preferred, self._preferred = self._preferred, frozenset()
                    pending.sort(key=lambda run: run[0] in preferred)  # keeps the order of the others
                id, seen = pending[-1]
                self._read(id, seen)
                pending.pop()
                now = time.monotonic()
                if now >= self._save_at:
                    self._save()
                    self._save_at = time.monotonic() + SAVE_SECONDS
                if deadline is not None and now >= deadline:
                    break
        except BaseException:
            self._pending = []  # the next pass finds them again
            raise
        if not pending:
            self._save()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Open the directory of the runs; None if it does not exist."""
        try:
            descriptor = os.open(self._runs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _begin(self, runs: int) -> None:
        """Read the names in the directory if it changed, and the file once."""
        status = os.fstat(runs)
        listed = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        if listed == self._listed:
            return
        self._names = {name for name in os.listdir(runs) if valid_name(name)}
        self._listed = listed if is_settled(status.st_mtime) else ()
        if not self._loaded:
            self._loaded = True
            self._stored, self._gone = self._file.load(self._names)
        self._forget(self._entries.keys() - self._names)
        self._gone |= self._stored.keys() - self._names
        for id in self._gone:
            self._stored.pop(id, None)

    def _due(self) -> set[str]:
        """Return the runs to look at now: those that may change, and a part of the others."""
        due = {id for id in self._names if (entry := self._entries.get(id)) is None or entry.is_watched}
        if not self._turn:
            self._turn = [id for id, entry in self._entries.items() if not entry.is_watched]
        share = min(1.0, (time.monotonic() - self._turned) / ROUND_SECONDS)
        count = int(len(self._entries) * share) + 1
        due.update(self._turn[-count:])
        del self._turn[-count:]
        return due & self._names

    def _look_at(self, runs: int, ids: Collection[str]) -> dict[str, Look]:
        looks = {}
        for id in ids:
            entry, row = self._entries.get(id), self._stored.get(id)
            if entry is not None:
                seen = look(runs, id, entry.look.directory, entry.look.flags)
            elif row is not None:
                seen = look(runs, id, row.values[1], row.values[3])
            else:
                seen = look(runs, id)
            if seen is not None:
                looks[id] = seen
        return looks

    def _is_stale(self, id: str, seen: Look) -> bool:
        """Whether a run must be read; if its row in the file is still valid, that is used."""
        entry = self._entries.get(id)
        if entry is None:
            row = self._stored.pop(id, None)
            if row is None or row.values[2] != seen.content:
                return True
            self._entries[id] = _Entry(row, seen, settled=True, saved=True)
            self._changed.add(id)
            return False
        if entry.look.content != seen.content:
            return True
        entry.look = seen
        return not entry.settled and is_settled(seen.changed)

    def _read(self, id: str, seen: Look) -> None:
        """Read a run, whose files looked so before."""
        settled = is_settled(seen.changed)  # then what is read now has all changes that bear this time
        run = StoredRun(self._runs / id, self._stalled_after)
        try:
            state = run.snapshot()
        except Exception as error:  # whatever is wrong with one run, the others are shown
            _log.debug("run %s cannot be read", id, exc_info=True)
            state = unreadable_state(error)
        row = make_row(id, seen, state)
        entry = _Entry(row, seen, run if row is None else None, settled=settled, saved=False)
        previous = self._entries.get(id)
        self._entries[id] = entry
        if previous is not None and row is not None and row.is_same_state(previous.row):
            entry.run = previous.run  # it was read again, for certainty
        else:
            self._changed.add(id)

    def _lasting(self, entry: _Entry) -> StoredRun:
        if entry.run is None:
            entry.run = self._copy(entry)
        return entry.run

    def _copy(self, entry: _Entry) -> StoredRun:
        if entry.row is not None:
            return CatalogRun(self._runs, self._stalled_after, entry.row)
        assert entry.run is not None
        return copy.copy(entry.run)

    def _forget(self, ids: Collection[str]) -> None:
        for id in ids:
            entry = self._entries.pop(id)
            self._changed.add(id)
            if entry.saved:
                self._gone.add(id)

    def _save(self) -> None:
        """Write what is not in the file yet and will not change soon."""
        rows = {
            id: entry.row
            for id, entry in self._entries.items()
            if not entry.saved and entry.settled and entry.row is not None and _is_worth_keeping(entry)
        }
        if len(self._entries) < LEAST_RUNS or not (rows or self._gone):
            return
        self._file.save(rows.values(), self._gone - rows.keys())
        self._gone.clear()
        for id in rows:  # after a failure, it is not tried again at each pass
            self._entries[id].saved = True

    def _heal(self, ids: set[str], *, wait: bool) -> bool:
        """Recover what dead processes left in these runs; return whether some may have changed meanwhile."""
        if wait:
            if ids:
                self._recover(self.root, sorted(ids))
            return bool(ids)
        now = time.monotonic()
        self._recovered = {id: at for id, at in self._recovered.items() if id in ids}
        due = sorted(id for id in ids if now - self._recovered.get(id, -RECOVERY_SECONDS) >= RECOVERY_SECONDS)
        if due and (self._recovery is None or not self._recovery.is_alive()):
            self._recovered |= dict.fromkeys(due, now)
            self._recovery = threading.Thread(
                target=self._recover, args=(self.root, due), name="tracker-recovery", daemon=True
            )
            self._recovery.start()
        return False


def _is_worth_keeping(entry: _Entry) -> bool:
    assert entry.row is not None
    if entry.row.state == "unreadable":
        return False
    return entry.row.state != "running" or abs(time.time() - entry.look.changed) > QUIET_SECONDS
