"""StoreReader: reads a run's store while it may be written, from any process, also on read-only media.

Holds no file open between calls, so it never holds a lock that a writer waits for, and never reads a store that was
replaced. Used by any thread. Knows nothing of rows as users see them (`rows`) or of the log.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from sidecar.projections.run_state import RunState
from sidecar.projections.store.blocks import (
    Block,
    Column,
    decode_column,
    decode_floats,
    decode_ints,
    evenly,
    slice_column,
)
from sidecar.projections.store.buckets import DEFAULT_COUNT, Buckets, Grid, buckets, checked_grid, keys_to_read
from sidecar.projections.store.cache import BucketCache
from sidecar.projections.store.database import BUSY_SECONDS, Database, StoreDamagedError, open_to_read
from sidecar.projections.store.sampling import UnorderedError, sample
from sidecar.projections.store.series import SeriesReader, series_buckets
from sidecar.protocol.codec import unpack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.limits import MAX_STEP, MIN_STEP

MAX_NAMED_KEYS = 500
"""Maximum number of keys named in a query; if more are wanted, all are read and filtered."""


class StoreReader:
    """The content of one store. All methods raise `StoreError` if it is missing, unreadable or damaged.

    Args:
        path: the store's file; opened by each method.
        busy_seconds: maximum wait for a locked store, in seconds.
    """

    def __init__(self, path: str | PathLike[str], busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path if isinstance(path, Path) else Path(path)
        self._busy_seconds = busy_seconds

    def state(self) -> dict[str, Any]:
        """Return the run's state, as `RunState.to_map` does."""
        with open_to_read(self.path, self._busy_seconds, snapshot=True) as database:
            return read_state(database)

    def checkpoint(self) -> int:
        """Return the offset in the log up to which the store is complete."""
        with open_to_read(self.path, self._busy_seconds) as database:
            return int(read_meta(database, "checkpoint"))

    def version(self) -> str:
        """Return a string that changes whenever the content does."""
        with open_to_read(self.path, self._busy_seconds) as database, database.transaction():
            return f"{read_meta(database, 'id')}-{read_meta(database, 'commits')}"

    def keys(self) -> list[str]:
        """Return the metrics that were logged, in the order of their first appearance."""
        with open_to_read(self.path, self._busy_seconds) as database:
            return [name for (name,) in database.run("SELECT name FROM key ORDER BY id")]

    def columns(
        self,
        keys: Iterable[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        after: Mapping[str, int] | None = None,
        most: int | None = None,
    ) -> Iterator[Block]:
        """Yield the blocks, ordered by their smallest step (then writer, then arrival), as `rows` needs them.

        The blocks are a snapshot from the time of the first one, however long the iteration takes and whatever is
        written in the meantime: rows are only ever appended.

        Args:
            keys: only these metrics, and no blocks without any of them; a key that was never logged is not an error.
            min_step: leave out blocks whose steps are all smaller. Blocks are whole: they may hold other steps too.
            max_step: leave out blocks whose steps are all larger.
            after: client id -> number of its first rows to leave out: ``block.first + len(block.steps)`` of the
                last block that was read of it. With it, a reader can follow a run that is being written.
            most: read at most this many blocks, evenly spaced, the first and the last among them; None: all.
        """
        wanted = None if keys is None else list(dict.fromkeys(keys))
        with open_to_read(self.path, self._busy_seconds) as database, _damage(self.path):
            yield from _Iteration(database, wanted).blocks(min_step, max_step, after or {}, most)

    def buckets(
        self,
        keys: Iterable[str],
        x: str = "step",
        low: float | None = None,
        high: float | None = None,
        count: int = DEFAULT_COUNT,
        *,
        log_x: bool = False,
        cache: BucketCache | None = None,
    ) -> Iterator[Buckets]:
        """Yield the buckets of each key and writer; see `buckets`.

        Args:
            keys: the metrics; those without numbers are left out, as are keys that were never logged.
            x: ``"step"``, ``"relative"`` (seconds since the start), ``"time"`` (Unix seconds) or a metric.
            low, high: the range of x, both ends included; None for the series' own.
            count: maximum number of buckets.
            log_x: whether buckets have equal ratios of x instead of equal widths.
            cache: of what was read before, for a process that reads often.

        Raises:
            ValueError: an invalid range or count.
        """
        grid = checked_grid(low, high, count, log_x)
        return self._buckets(list(dict.fromkeys(keys)), x, grid, cache)

    def _buckets(self, keys: list[str], x: str, grid: Grid, cache: BucketCache | None) -> Iterator[Buckets]:
        if x not in ("step", "time", "relative"):
            yield from buckets(self.columns(keys_to_read(keys, x)), keys, x, grid, None)
            return
        with open_to_read(self.path, self._busy_seconds) as database, _damage(self.path):
            for key in keys:
                with database.transaction():
                    found = list(_series(database, key, x, grid, cache))
                yield from found

    def sampled(self, keys: Iterable[str], samples: int, x: str) -> dict[str, list[Any]] | None:
        """Return at most `samples` rows as `rows.history` does, without reading all of them.

        Returns:
            the columns; None if the run is short, or cannot be sampled in this way: `rows.history` can do it.
        """
        if x not in ("step", "time"):
            return None
        with open_to_read(self.path, self._busy_seconds) as database, _damage(self.path), database.transaction():
            labels = {client: one["name"] for client, one in read_state(database).get("writers", {}).items()}
            with contextlib.suppress(UnorderedError):
                return sample(database, list(dict.fromkeys(keys)), samples, x, labels)
        return None

    def close(self) -> None:
        """Do nothing: no file is open between calls. It lets a reader be used in a ``with`` statement."""

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _series(database: Database, key: str, x: str, grid: Grid, cache: BucketCache | None) -> Iterator[Buckets]:
    """Yield the buckets of one key over steps or times, in a transaction."""
    ids = database.run("SELECT id FROM key WHERE name = ?", (key,))
    if not ids:
        return
    store = str(read_meta(database, "id"))
    version = read_meta(database, "commits")
    state = read_state(database)
    origin = float(state["start_time"] or 0.0) if x == "relative" else 0.0
    for writer, client in database.run("SELECT id, client FROM writer ORDER BY id"):
        place = (store, version, key, writer, x, grid)
        found = cache.get(place) if cache is not None else None
        if found is None:
            series = SeriesReader(database, ids[0][0], writer, x, origin, cache, store)
            label = state["writers"].get(client, {}).get("name")
            found = series_buckets(series, key, client, label, grid)
            if cache is not None:
                cache.put(place, found, 64 * len(found.n))
        if found.total:
            yield found


class _Iteration:
    """One pass over the blocks, on a connection of its own.

    No transaction stays open between two blocks. The ranges of row numbers to read are planned at the start; the writer
    may join the blocks of a range into a larger one later, which is then read in part.
    """

    def __init__(self, database: Database, keys: list[str] | None) -> None:
        self._database = database
        self._ids: set[int] | None = None
        if keys is not None:
            known = dict(database.run("SELECT name, id FROM key"))
            self._ids = {known[key] for key in keys if key in known}

    def blocks(
        self, min_step: int | None, max_step: int | None, after: Mapping[str, int], most: int | None
    ) -> Iterator[Block]:
        if self._ids is not None and not self._ids:
            return
        low = MIN_STEP if min_step is None else max(min_step, MIN_STEP)
        high = MAX_STEP if max_step is None else min(max_step, MAX_STEP)
        with self._database.transaction():
            labels = {client: one["name"] for client, one in read_state(self._database).get("writers", {}).items()}
            writers = dict(self._database.run("SELECT id, client FROM writer"))
            planned = self._database.run(
                "SELECT writer, first, rows, step_min FROM block WHERE step_max >= ? AND step_min <= ?"
                " ORDER BY step_min, writer, first",
                (low, high),
            )
        for writer, first, count, floor in evenly(planned, most):
            client = writers[writer]
            start, end = max(first, after.get(client, 0)), first + count
            if start >= end:
                continue
            content = self._read(writer, start, end)
            if content is not None:
                yield Block(client, labels.get(client), writer, start, *content, floor)

    def _read(self, writer: int, start: int, end: int) -> tuple[array[int], array[float], dict[str, Column]] | None:
        """Return steps, times and columns of rows in one block; None if they have none of the wanted keys."""
        with self._database.transaction():
            block, first, count, steps, times = self._database.run(
                "SELECT id, first, rows, steps, times FROM block WHERE writer = ? AND first <= ?"
                " ORDER BY first DESC LIMIT 1",
                (writer, start),
            )[0]
            rows = self._database.run(
                "SELECT key.id, key.name, type, column.rows, data FROM column JOIN key ON key.id = column.key"
                f" WHERE block = ?{self._chosen()} ORDER BY column.key",
                (block,),
            )
        columns = {
            name: decode_column(type_, present, data, count)
            for key, name, type_, present, data in rows
            if self._ids is None or key in self._ids
        }
        if self._ids is not None and not columns:
            return None
        all_steps, all_times = decode_ints(steps, count), decode_floats(times, count)
        if count == end - start:
            return all_steps, all_times, columns
        low, high = start - first, end - first
        parts = {key: slice_column(column, low, high) for key, column in columns.items()}
        return all_steps[low:high], all_times[low:high], {key: part for key, part in parts.items() if part is not None}

    def _chosen(self) -> str:
        if self._ids is None or len(self._ids) > MAX_NAMED_KEYS:
            return ""
        return f" AND column.key IN ({','.join(map(str, self._ids))})"


def read_meta(database: Database, name: str) -> Any:
    """Return the entry `name` of the store's own table of settings."""
    rows = database.run("SELECT value FROM meta WHERE name = ?", (name,))
    if not rows:
        raise StoreDamagedError(f"the store {database.path} lacks its {name!r}; `tracker rebuild` rebuilds it")
    return rows[0][0]


def read_state(database: Database) -> dict[str, Any]:
    """Return the run's state as a map; that of a new run if nothing was committed."""
    packed = read_meta(database, "state")
    with _damage(database.path):
        state = unpack(packed) if packed else RunState().to_map()
        if type(state) is not dict:
            raise ValueError(f"the state must be a map, not {type(state).__name__}")
    return state


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, IndexError, KeyError, TypeError, RecordError) as error:
        raise StoreDamagedError(f"the store {path} is damaged: {error}; `tracker rebuild` rebuilds it") from error
