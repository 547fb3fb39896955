"""Dashboard: what the server knows: the places, their runs, what changed since when.

Used by the threads of the pool. Reads runs; never writes to one.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.errors import SidecarError, reason
from sidecar.protocol.layout import LOG_NAME, STORE_NAME
from sidecar.protocol.limits import valid_name
from tracker.errors import TrackerError
from tracker.reading.api import Api, StoredRun, run_directories
from tracker.ui.errors import ApiError

REFRESH_SECONDS = 1.0
"""Least time between two looks at the runs' files, in seconds, whatever the number of tabs."""

SERVER_REFRESH_SECONDS = 5.0
"""Least time between two looks at a server's runs, in seconds."""

MAX_CHANGES = 2_000
"""Maximum number of refs in an answer of ``changes``; of more, the page reads all again."""

MAX_REMEMBERED = 20_000
"""Maximum number of removed runs that are remembered."""

_STATES_THAT_AGE = frozenset({"running", "stalled"})


class Row(NamedTuple):
    """A run and its values.

    Attributes:
        ref: how the API names it.
        run: the run.
        cells: ``config.<key>`` and ``summary.<key>``, nested keys joined with dots -> value.
    """

    ref: str
    run: StoredRun
    cells: dict[str, Any]


class Place:
    """A root directory or a server that the dashboard shows.

    Attributes:
        number: its number, from 0: the part before ``~`` in the refs of its runs.
        api: reads its runs.
        kind: ``"directory"``, ``"clickhouse"`` or ``"sidecar"``.
        rows: id -> row, as of the last refresh.
        error: why its runs cannot be read; empty if they can.
    """

    def __init__(self, number: int, api: Api) -> None:
        self.number = number
        self.api = api
        self.kind = api.place.partition("+")[0] if "://" in api.place else "directory"
        self.rows: dict[str, Row] = {}
        self.error = ""
        self._stamps: dict[str, Any] = {}
        self._states: dict[str, str] = {}
        self._next = 0.0

    @property
    def writable(self) -> bool:
        """Whether runs of it can be changed from here."""
        return self.kind == "directory" and os.access(self.api.place, os.W_OK)

    def ref(self, id: str) -> str:
        """Return how the API names the run with this id."""
        return f"{self.number}~{id}" if self.number else id

    def refresh(self, now: float) -> set[str]:
        """Look for changes; return the ids of the runs that changed, appeared or vanished."""
        if now < self._next:
            return set()
        self._next = now + (REFRESH_SECONDS if self.kind == "directory" else SERVER_REFRESH_SECONDS) * 0.9
        try:
            found = self._found()
            self.error = ""
        except (TrackerError, SidecarError, OSError) as error:
            self.error = reason(error)
            return set()
        changed = self.rows.keys() - found.keys()
        for id in changed:
            del self.rows[id], self._stamps[id]
            self._states.pop(id, None)
        for id, (stamp, run) in found.items():
            known = self.rows.get(id)
            if known is None or self._stamps[id] != stamp:
                self.rows[id] = self._row(run)
                self._stamps[id] = stamp
                changed.add(id)
            elif self._states.get(id) in _STATES_THAT_AGE and known.run.state != self._states[id]:
                changed.add(id)
            if id in changed or id not in self._states:
                self._states[id] = self.rows[id].run.state
        return changed

    def _found(self) -> dict[str, tuple[Any, StoredRun]]:
        if self.kind != "directory":
            return {run.id: (repr(run.to_map()), run) for run in self.api.runs(order="+start_time")}
        found: dict[str, tuple[Any, StoredRun]] = {}
        for directory in run_directories(Path(self.api.place)):
            known = self.rows.get(directory.name)
            run = known.run if known else StoredRun(directory, self.api.stalled_after)
            found[directory.name] = (_stamp(directory), run)
        return found

    def _row(self, run: StoredRun) -> Row:
        run.refresh()
        cells = {sys.intern(key): value for key, value in run.to_row(()).items()}
        return Row(self.ref(run.id), run, cells)


def _stamp(directory: Path) -> tuple[Any, ...]:
    stamp: list[Any] = []
    for name in (LOG_NAME, STORE_NAME, f"{STORE_NAME}-wal"):
        try:
            status = os.stat(directory / name)
            stamp.append((status.st_size, status.st_mtime_ns))
        except OSError as error:
            stamp.append(error.errno)
    return tuple(stamp)


class Changes(NamedTuple):
    """What changed since a cursor.

    Attributes:
        cursor: the cursor of now.
        changed, removed: refs.
        all: everything may have changed: the cursor is of another server, or too old.
    """

    cursor: str
    changed: list[str]
    removed: list[str]
    all: bool


class Dashboard:
    """The state that all answers share.

    Args:
        apis: what the dashboard shows, the first without a number in its refs.
        token: the token for writes, which `meta` hands to a page.
    """

    def __init__(self, apis: Sequence[Api], token: str = "") -> None:
        self.places = [Place(number, api) for number, api in enumerate(apis)]
        self.token = token
        self._epoch = secrets.token_hex(4)
        self._version = 0
        self._changed: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._oldest = 0
        self._lock = threading.Lock()
        self._next = 0.0

    @property
    def cursor(self) -> str:
        """The cursor of now."""
        return f"{self._epoch}-{self._version}"

    def refresh(self) -> None:
        """Look for changes, at most once per `REFRESH_SECONDS`."""
        if time.monotonic() < self._next:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            for place in self.places:
                self._note(place, place.refresh(now))
            self._next = time.monotonic() + REFRESH_SECONDS * 0.9

    def _note(self, place: Place, ids: set[str]) -> None:
        if not ids:
            return
        self._version += 1
        for id in ids:
            ref = place.ref(id)
            if id in place.rows:
                self._changed[ref] = self._version
                self._removed.pop(ref, None)
            else:
                self._changed.pop(ref, None)
                self._removed[ref] = self._version
        if len(self._removed) > MAX_REMEMBERED:
            self._oldest = self._version
            self._removed.clear()

    def changes(self, since: str) -> Changes:
        """Return what changed since `since`, an earlier cursor; an empty one is before everything."""
        self.refresh()
        with self._lock:
            epoch, _, number = since.partition("-")
            if epoch != self._epoch or not number.isdecimal() or int(number) < self._oldest:
                return Changes(self.cursor, [], [], all=True)
            version = int(number)
            if version >= self._version:
                return Changes(self.cursor, [], [], all=False)
            changed = [ref for ref, at in self._changed.items() if at > version]
            removed = [ref for ref, at in self._removed.items() if at > version]
        if len(changed) + len(removed) > MAX_CHANGES:
            return Changes(self.cursor, [], [], all=True)
        return Changes(self.cursor, changed, removed, all=False)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all places, as of the last refresh."""
        for place in self.places:
            yield from list(place.rows.values())

    def row(self, ref: str) -> Row:
        """Return the row of a run.

        Raises:
            ApiError: there is no such run, or it was deleted.
        """
        row = self._find(ref)
        if row is None:
            self.refresh()
            row = self._find(ref)
        if row is not None:
            return row
        if ref in self._removed:
            raise ApiError(410, "deleted", f"run {ref} was deleted")
        raise ApiError(404, "run", f"there is no run {ref!r}; GET runs lists them")

    def _find(self, ref: str) -> Row | None:
        place, id = self._parts(ref)
        if place is None or not valid_name(id):
            return None
        return place.rows.get(id)

    def _parts(self, ref: str) -> tuple[Place | None, str]:
        head, mark, id = ref.partition("~")
        if not mark:
            return self.places[0], ref
        if not head.isdecimal() or not 0 < int(head) < len(self.places):
            return None, ""
        return self.places[int(head)], id

    def run(self, ref: str) -> StoredRun:
        """Return a run. Raises as `row` does."""
        return self.row(ref).run

    def close(self) -> None:
        """Close the connections to servers."""
        for place in self.places:
            place.api.close()
