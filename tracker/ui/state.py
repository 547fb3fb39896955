"""Dashboard: the state of the server: its places, their runs, what changed since when.

Used by the threads of the pool. Reads runs through their catalogs; never writes to one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple

from sidecar.projections.store.cache import BucketCache
from sidecar.protocol.errors import SidecarError, reason
from sidecar.protocol.limits import valid_name
from sidecar.protocol.plain import flatten
from tracker.errors import TrackerError
from tracker.reading.api import Api, StoredRun
from tracker.reading.conditions import MISSING
from tracker.ui.errors import ApiError

REFRESH_SECONDS = 0.9
"""Minimum time between two scans of the runs of a directory or a sidecar, in seconds, however many tabs are open."""

SERVER_REFRESH_SECONDS = 4.9
"""Minimum time between two queries for a server's runs, in seconds."""

SLICE_SECONDS = 0.25
"""Time after which the runs that were read so far are shown while more are being read, in seconds."""

SCAN_WAIT_SECONDS = 2.0
"""Maximum wait for the first scan of the runs, in seconds. Where many runs must be read, it is over after
`SLICE_SECONDS`, and answers report the progress."""

READ_WAIT_SECONDS = 5.0
"""Maximum wait for runs that are asked for before the first scan has read them, in seconds."""

FIRST_WAIT_SECONDS = 0.5
"""Maximum wait for the first answer of a server, in seconds."""

ROLE_SECONDS = 30.0
"""Interval between two questions to a sidecar whether its runs can be edited from here, in seconds."""

MAX_CHANGES = 2_000
"""Maximum number of refs in an answer of ``changes``; with more, the page reads everything again."""

MAX_REMEMBERED = 20_000
"""Maximum number of removed runs that are remembered."""

MAX_CACHED_CELLS = 200
"""Maximum number of cached cells of a row."""

CACHE_BYTES = 64 * 2**20
"""Maximum size of the pieces of series and the buckets that are cached, in bytes."""

_AGING = frozenset({"running", "stalled"})
"""States that may change without a change of the run's files."""

Shape = tuple[tuple[str, bool], ...]
"""Names of a run's ``config.<key>`` and ``summary.<key>``, and whether each value is a number."""


class Row:
    """A run in the table, as it is now: after a change there is a new row.

    Attributes:
        ref: how the API names it.
        run: the run.
        deleted: whether it is hidden, until its deletion is undone.
    """

    __slots__ = ("_cells", "_shape", "deleted", "ref", "run")

    def __init__(self, ref: str, run: StoredRun) -> None:
        self.ref = ref
        self.run = run
        self.deleted = run.deleted
        self._cells: dict[str, Any] = {}
        self._shape: Shape | None = None

    def shape(self, known: dict[Shape, Shape]) -> Shape:
        """Return the run's shape; equal ones are one object, which `known` holds."""
        if self._shape is None:
            shape = tuple(
                (".".join((part, *path)), type(value) in (int, float))
                for part, values in (("config", self.run.config), ("summary", self.run.summary))
                for path, value in flatten(values)
            )
            self._shape = known.setdefault(shape, shape)
        return self._shape

    def cell(self, name: str, read: Callable[[StoredRun], Any]) -> Any:
        """Return what `read` returns for the run, which is cached under `name`."""
        value = self._cells.get(name, MISSING)
        if value is MISSING:
            value = read(self.run)
            if len(self._cells) < MAX_CACHED_CELLS:
                self._cells[name] = value
        return value


class Place:
    """A root directory or a server that the dashboard shows.

    Attributes:
        number: its number, from 0: the part before ``~`` in the refs of its runs, if it is not 0.
        api: reads its runs.
        kind: ``"directory"``, ``"clickhouse"`` or ``"sidecar"``.
        rows: id -> row, as of the last refresh.
        error: why its runs cannot be read; empty if they can.
        looked: whether its runs have been scanned, at least in part, or cannot be.
        scanned: whether its first scan is over.
        looking: the thread that scans the runs of a server, which may take long; None while no scan runs.
    """

    def __init__(self, number: int, api: Api) -> None:
        self.number = number
        self.api = api
        self.kind = api.place.partition("+")[0] if "://" in api.place else "directory"
        self.rows: dict[str, Row] = {}
        self.error = ""
        self.looked = False
        self.scanned = False
        self.looking: threading.Thread | None = None
        self._catalog = api.catalog()
        self._states: dict[str, str] = {}
        self._total = 0
        self._next = 0.0
        self._may_write = False
        self._ask_at = 0.0
        self._renewed: set[str] = set()
        self._lock = threading.Lock()  # guards rows and the ids above

    @property
    def writable(self) -> bool:
        """Whether its runs can be edited from here; of a sidecar, as it said when it was last asked."""
        return self.api.writable() if self.kind == "directory" else self._may_write

    @property
    def progress(self) -> tuple[int, int] | None:
        """(done, total) while many runs are being read; else None."""
        return self._catalog.progress

    @property
    def indexing(self) -> tuple[int, int] | None:
        """(done, total) during the first scan, until what it read is in `rows`; None before and after."""
        if self.scanned:
            return None
        progress = self.progress
        if progress is not None:
            self._total = progress[1]
            return progress
        return (self._total, self._total) if self.looked and self._total else None

    def prefer(self, ids: Set[str]) -> Set[str]:
        """Have these runs read before the others; return the ids of those whose reading can be awaited."""
        return frozenset() if self.scanned else self._catalog.prefer(ids)

    @property
    def is_due(self) -> bool:
        """Whether it is time to scan its runs again."""
        return time.monotonic() >= self._next

    def ref(self, id: str) -> str:
        """Return how the API names the run with this id."""
        return f"{self.number}~{id}" if self.number else id

    def refresh(self) -> set[str]:
        """Scan for changes; return the ids of the runs that changed, appeared or vanished.

        While `progress` is not None, there is more to read, and the scan is due again at once.
        """
        now = time.monotonic()
        self._next = now + (SERVER_REFRESH_SECONDS if self.kind == "clickhouse" else REFRESH_SECONDS)
        with self._lock:
            self._renewed.clear()
        try:
            changed = self._catalog.refresh(SLICE_SECONDS)
            if self.progress is not None:
                self._next = 0.0
            if self.kind == "sidecar" and now >= self._ask_at:  # the role of a key may be changed
                self._may_write = self.api.writable()
                self._ask_at = now + ROLE_SECONDS
            self.error = ""
        except (TrackerError, SidecarError, OSError) as error:
            self.error = reason(error)
            return set()
        found = {id: self._catalog.run(id) for id in changed}
        rows = {id: Row(self.ref(id), run) for id, run in found.items() if run is not None}
        with self._lock:
            for id in self._renewed & rows.keys():  # the scan may have read it before it was edited
                rows[id] = Row(rows[id].ref, rows[id].run.refresh())
            kept = {id: row for id, row in self.rows.items() if id not in changed}
            self.rows = {**kept, **rows}  # at once: no answer has only a part of what was read
        for id, run in found.items():
            if run is None:
                self._states.pop(id, None)
            else:
                self._follow(id, run.state)
        aged = {id for id, state in self._states.items() if self.rows[id].run.state != state}
        for id in aged:
            run = self.rows[id].run
            self.rows[id] = Row(self.ref(id), run)
            self._follow(id, run.state)
        return changed | aged

    def renew(self, id: str) -> bool:
        """Read a run again after it was edited here; return whether it still exists."""
        with self._lock:
            row = self.rows.get(id)
            if row is not None:
                row.run.refresh()
                self.rows[id] = Row(row.ref, row.run)
                self._renewed.add(id)
        return row is not None

    def _follow(self, id: str, state: str) -> None:
        if state in _AGING:
            self._states[id] = state
        else:
            self._states.pop(id, None)

    def close(self) -> None:
        """Release the resources of the reader."""
        self._catalog.close()
        self.api.close()


def short_names(places: Sequence[str]) -> list[str]:
    """Return names of directories and addresses: as many of their last parts as tell them apart."""
    parts = [
        place.partition("://")[2].partition("?")[0].split("/") if "://" in place else place.split("/")
        for place in places
    ]
    for count in range(1, max(map(len, parts), default=1)):
        names = ["/".join(one if "://" in place else one[-count:]) for place, one in zip(places, parts, strict=True)]
        if len(set(names)) == len(names) and ".tracker" not in names:
            return names
    return list(places)


class Changes(NamedTuple):
    """What changed since a cursor.

    Attributes:
        cursor: the current cursor.
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

    Attributes:
        places: what it shows.
        labels: names of the places, as short as they differ.
        shapes: the runs' shapes, see `Row.shape`.
        cache: pieces of series that were read before.
    """

    def __init__(self, apis: Sequence[Api], token: str = "") -> None:
        self.places = [Place(number, api) for number, api in enumerate(apis)]
        self.labels = short_names([api.place for api in apis])
        self.token = token
        self.shapes: dict[Shape, Shape] = {}
        self.cache = BucketCache(CACHE_BYTES)
        self._epoch = secrets.token_hex(4)
        self._version = 0
        self._changed: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._oldest = 0
        self._lock = threading.Lock()  # guards the fields above
        self._looking = threading.Lock()  # held during a scan
        self._looked = threading.Event()
        self._advanced = threading.Condition()  # notified when runs were read
        self._next = 0.0
        self._may_write = False
        self._ask_at = 0.0

    @property
    def cursor(self) -> str:
        """The current cursor."""
        return f"{self._epoch}-{self._version}"

    @property
    def indexing(self) -> dict[str, int] | None:
        """``done`` and ``total`` runs while many are read for the first time; zeros before it is known how many there
        are; else None.
        """
        found = [progress for place in self.places if (progress := place.indexing) is not None]
        if not found:
            return None if all(place.looked for place in self.places) else {"done": 0, "total": 0}
        return {"done": sum(done for done, _ in found), "total": sum(total for _, total in found)}

    @property
    def is_partial(self) -> bool:
        """Whether it is known that there are runs that have not been read yet."""
        return any(place.indexing is not None for place in self.places)

    def start(self) -> None:
        """Start the first scan of the runs, in the background, until all are read."""
        threading.Thread(target=self._look, kwargs={"to_the_end": True}, name="catalog", daemon=True).start()

    def refresh(self) -> None:
        """Scan for changes, at most once per `REFRESH_SECONDS`.

        Waits at most `SCAN_WAIT_SECONDS` for the first scan.
        """
        if not self._looked.is_set():
            if self._looking.locked():
                self._looked.wait(SCAN_WAIT_SECONDS)
            else:
                self._look()
        elif time.monotonic() >= self._next:
            self._look()

    def _look(self, *, to_the_end: bool = False) -> None:
        """Scan the places whose scan is due.

        Args:
            to_the_end: read until nothing is pending, instead of for `SLICE_SECONDS`.
        """
        if not self._looking.acquire(blocking=False):
            return  # another thread is scanning: what is known is at most a second old
        try:
            due = [place for place in self.places if place.is_due and place.looking is None]
            servers = [place for place in due if place.kind != "directory"]
            for place in servers:  # one that does not answer holds up no other
                place.looking = threading.Thread(target=self._look_at, args=(place,), name="server", daemon=True)
                place.looking.start()
            for place in due:
                if place not in servers:
                    self._look_at(place)
                    while to_the_end and place.progress is not None:
                        self._looked.set()  # the runs that were read so far are shown
                        self._look_at(place)
            deadline = time.monotonic() + FIRST_WAIT_SECONDS
            for place in servers:
                thread = place.looking
                if thread is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))
            is_behind = any(place.progress is not None for place in self.places)
            self._next = 0.0 if is_behind else time.monotonic() + REFRESH_SECONDS
            self._looked.set()
        finally:
            self._looking.release()

    def _look_at(self, place: Place) -> None:
        before = place.error
        try:
            changed = place.refresh()
            with self._lock:
                self._note(place, changed)
                if place.error != before:
                    self._version += 1  # the answer of `changes` has it
        finally:
            place.scanned = place.scanned or place.progress is None
            place.looked = place.scanned or place.indexing is not None
            place.looking = None
            with self._advanced:
                self._advanced.notify_all()

    def _note(self, place: Place, ids: set[str]) -> None:
        if not ids:
            return
        self._version += 1
        for id in ids:
            ref = place.ref(id)
            if id in place.rows and not place.rows[id].deleted:
                self._changed[ref] = self._version
                self._removed.pop(ref, None)
            else:
                self._changed.pop(ref, None)
                self._removed[ref] = self._version
        if len(self._removed) > MAX_REMEMBERED:
            self._oldest = self._version
            self._removed.clear()

    def edited(self, rows: Sequence[Row]) -> None:
        """Apply edits that were made here, before the next scan finds them."""
        for place in self.places:
            ids = {row.run.id for row in rows if row.ref == place.ref(row.run.id) and place.renew(row.run.id)}
            with self._lock:
                self._note(place, ids)

    def changes(self, since: str) -> Changes:
        """Return what changed since `since`, an earlier cursor; an empty one is before everything.

        While runs are read for the first time, nothing has changed: what was read is in a later answer.
        """
        if self._looked.is_set():
            self.refresh()
        is_partial = self.is_partial
        with self._lock:
            epoch, _, number = since.partition("-")
            if epoch != self._epoch or not number.isdecimal() or int(number) < self._oldest:
                return Changes(self.cursor, [], [], all=True)
            version = int(number)
            if version >= self._version or is_partial:
                return Changes(since, [], [], all=False)
            changed = [ref for ref, at in self._changed.items() if at > version]
            removed = [ref for ref, at in self._removed.items() if at > version]
            cursor = self.cursor  # with a later one, the page would never hear of what changes meanwhile
        if len(changed) + len(removed) > MAX_CHANGES:
            return Changes(cursor, [], [], all=True)
        return Changes(cursor, changed, removed, all=False)

    def label_of(self, ref: str) -> str:
        """Return the short name of the place of a run."""
        head, mark, _ = ref.partition("~")
        return self.labels[int(head) if mark else 0]

    def rows(self, deleted: bool = False) -> Iterator[Row]:
        """Yield the rows of all places, as of the last refresh, those of deleted runs only if asked for."""
        for place in self.places:
            for row in list(place.rows.values()):
                if deleted or not row.deleted:
                    yield row

    def row(self, ref: str) -> Row:
        """Return the row of a run.

        Raises:
            ApiError: there is no such run, or it was deleted.
        """
        row = self._find(ref)
        if row is None:
            self.refresh()
            is_read = self.expect([ref])
            row = self._find(ref)
            if row is None and not is_read:
                raise ApiError(503, "indexing", f"run {ref} has not been read yet; try again in a few seconds")
        if row is not None:
            return row
        if ref in self._removed:
            raise ApiError(410, "deleted", f"run {ref} was deleted")
        raise ApiError(404, "run", f"there is no run {ref!r}; GET runs lists them")

    def expect(self, refs: Collection[str]) -> bool:
        """Wait until the first scan has read those of these runs that exist, which it reads before the others.

        Returns:
            False if some have not been read within `READ_WAIT_SECONDS`.
        """
        deadline = time.monotonic() + READ_WAIT_SECONDS
        if self._unread(refs):
            self.refresh()
        while any(place.prefer(ids) for place, ids in self._unread(refs)):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            with self._advanced:
                is_scanning = self._looking.locked()
                if is_scanning:
                    self._advanced.wait(min(remaining, SLICE_SECONDS))
            if not is_scanning:
                self._look()
        return True

    def _unread(self, refs: Iterable[str]) -> list[tuple[Place, set[str]]]:
        """Return the ids that have not been read, of places whose first scan is not over."""
        unread: dict[Place, set[str]] = {}
        for ref in refs:
            place, id = self._parts(ref)
            if place is not None and not place.scanned and id not in place.rows:
                unread.setdefault(place, set()).add(id)
        return list(unread.items())

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
            place.close()
