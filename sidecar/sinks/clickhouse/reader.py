"""ClickhouseStore and ClickhouseReader: the runs of a ClickHouse database, read as the embedded store of a run is.

A reader goes by the row of the run: up to the offset that it names, all points are on the server; points beyond belong
to a batch that is still being sent, and are ignored. Duplicate rows, which were resent and not merged yet, count once,
without waiting for ClickHouse to merge them.

Can be used from any thread; one request at a time. Raises only `StoreError`: errors of sinks and requests end here.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.projections.store.blocks import Block, evenly
from sidecar.projections.store.buckets import DEFAULT_COUNT, Buckets, Grid, buckets, checked_grid, keys_to_read
from sidecar.projections.store.cache import BucketCache
from sidecar.protocol.codec import unpack
from sidecar.protocol.errors import RecordError, StoreError, UnreachableStoreError
from sidecar.protocol.limits import MAX_STEP, MIN_STEP
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.clickhouse.buckets import Source, read_buckets
from sidecar.sinks.clickhouse.client import Clickhouse
from sidecar.sinks.clickhouse.points import SERIES_SQL, Series, decode_one, join_series, read_series
from sidecar.sinks.clickhouse.sampling import SupersededError, sample
from sidecar.sinks.clickhouse.schema import POINTS, RUNS, quoted
from sidecar.sinks.clickhouse.wire import RowBinary
from sidecar.sinks.contract import SinkError, SinkUnavailableError

BLOCK_RECORDS = 8192
"""Maximum number of records in a block."""

_BLOCK_BYTES = 1 << 20
"""Size of the stretch of the log that makes a block of records without numbers, in bytes."""

_BLOCK_POINTS = 400_000
"""Approximate maximum number of points in a block: records with many values make smaller blocks."""

_FETCH_POINTS = 400_000
"""Approximate maximum number of points in a query."""

_FETCH_BLOCKS = 100
"""Maximum number of blocks in a query."""

_MAX_ROWS = 20_000
"""Maximum number of rows in a query; more than the keys of a record, so that each query makes progress."""

_TIMEOUT_SECONDS = 300.0
"""Maximum time for a query, in seconds; reading a long run takes long."""

_MAX_NAMED_BYTES = 150_000
"""Maximum size of a list of keys in a query, whose own maximum is 256 KiB; for longer ones all keys are read, and those
that are not wanted are dropped here."""


class Arrived(NamedTuple):
    """A ``log`` record, with the requested values.

    Attributes:
        position: its end in the log, which is the checkpoint after it.
    """

    position: int
    client: str
    step: int
    time: float
    data: dict[str, Any]


class ClickhouseStore:
    """The runs in one database.

    Args:
        address: ``clickhouse+http://host:8123/database``; see `sidecar.sinks.clickhouse.client`. It is connected to
            when something is read.

    Attributes:
        address: the same.

    Raises:
        ValueError: it is not an address of a ClickHouse server.
    """

    def __init__(self, address: str) -> None:
        self._parsed = parse_sink(address)
        if self._parsed.kind != "clickhouse":
            raise ValueError(f"{address!r} is not an address of a ClickHouse server")
        self.address = self._parsed.text
        self._server: Clickhouse | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def runs(self, project: str | None = None, ids: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return id and state of every run, or of those of a project or with these ids, with one query."""
        where = "" if project is None else f" WHERE project = {quoted(project)}"
        if ids is not None:
            where += f"{' AND' if where else ' WHERE'} run IN ({', '.join(map(quoted, ids)) or 'NULL'})"
        with self.answer(f"SELECT run, packed FROM {self.table(RUNS)} FINAL{where} ORDER BY run") as rows:
            return [(rows.text(), _state(rows.raw())) for _ in _each(rows)]

    def versions(self) -> dict[str, int]:
        """Return id -> the log offset up to which the run is on the server, of every run."""
        with self.answer(f"SELECT run, max(version) FROM {self.table(RUNS)} GROUP BY run") as rows:
            return {rows.text(): rows.int64() for _ in _each(rows)}

    def names(self) -> dict[str, str]:
        """Return id -> name of every run that is not deleted."""
        maybe = "position(packed, '\\xA7deleted\\xC3') > 0"  # as in msgpack; a text may have it, too
        sql = f"SELECT run, name, if({maybe}, packed, '') FROM {self.table(RUNS)} FINAL ORDER BY run"
        with self.answer(sql) as rows:
            found = [(rows.text(), rows.text(), rows.raw()) for _ in _each(rows)]
        return {id: name for id, name, packed in found if not (packed and _state(packed).get("deleted"))}

    def may_write(self) -> bool:
        """Return False: a run is edited where it was logged, and the edit is sent here."""
        return False

    def run(self, id: str) -> ClickhouseReader:
        """Return the reader of a run, which need not exist."""
        return ClickhouseReader(self, id)

    def table(self, name: str) -> str:
        """Return the name of a table in SQL."""
        with self._lock, _translated(self.address):
            return self._opened().schema.table(name)

    @contextlib.contextmanager
    def answer(self, sql: str) -> Iterator[RowBinary]:
        """Query, and give the result to the ``with`` block, whose errors in reading it become `StoreError`."""
        with self._lock, _translated(self.address):
            data = self._opened().query(f"{sql} FORMAT RowBinary")
        with _translated(self.address):
            yield RowBinary(data)

    def _opened(self) -> Clickhouse:
        if self._server is None or self._pid != os.getpid():  # a forked child needs a connection of its own
            self._server, self._pid = Clickhouse(self._parsed, _TIMEOUT_SECONDS), os.getpid()
        return self._server

    def close(self) -> None:
        """Close the connection; the next query opens another."""
        with self._lock:
            server, self._server = self._server, None
            if server is not None:
                server.close()


class ClickhouseReader:
    """Reads one run, as `StoreReader` does. All methods raise `StoreError`.

    Args:
        store: the database.
        id: the run's id.
    """

    def __init__(self, store: ClickhouseStore, id: str) -> None:
        self._store = store
        self.id = id

    def state(self) -> dict[str, Any]:
        """Return the run's state, as `RunState.to_map` does."""
        return self.moment()[1]

    def moment(self) -> tuple[int, dict[str, Any]]:
        """Return the log offset up to which the run is on the server, and its state there."""
        latest = self._latest()
        if latest is None:
            raise self._missing()
        return latest

    def find(self) -> dict[str, Any] | None:
        """Return the same as `state`, or None if there is no such run."""
        latest = self._latest()
        return None if latest is None else latest[1]

    def checkpoint(self) -> int:
        """Return the log offset up to which the server has everything."""
        sql = f"SELECT max(version), count() FROM {self._store.table(RUNS)} WHERE {self._mine}"
        with self._store.answer(sql) as rows:
            checkpoint, count = rows.int64(), rows.int64()
        if not count:
            raise self._missing()
        return checkpoint

    def version(self) -> str:
        """Return a string that changes when the content does."""
        return f"{self.id}-{self.checkpoint()}"

    def keys(self) -> list[str]:
        """Return the logged metrics, in the order of their first appearance."""
        sql = (
            f"SELECT key FROM {self._store.table(POINTS)} WHERE {self._mine} AND position <= {self.checkpoint()} "
            "GROUP BY key ORDER BY min(position), argMin(place, position)"
        )
        with self._store.answer(sql) as rows:
            return [rows.text() for _ in _each(rows)]

    def columns(
        self,
        keys: Iterable[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        most: int | None = None,
    ) -> Iterator[Block]:
        """Yield the blocks, as `StoreReader.columns` does, all from the same moment.

        Their `first` is the seq of the first record, not a row number: it only has to increase for each writer, to put
        rows in order.
        """
        wanted = None if keys is None else list(dict.fromkeys(keys))
        if wanted is not None and not wanted:
            return
        checkpoint, state = self.moment()
        labels = {client: writer["name"] for client, writer in state["writers"].items()}
        where = f"{self._mine} AND position <= {checkpoint}"
        named = f"{where}{_keys_condition(wanted)}"
        part = _part(state)
        low = MIN_STEP if min_step is None else max(min_step, MIN_STEP)
        high = MAX_STEP if max_step is None else min(max_step, MAX_STEP)
        planned = [plan for plan in self._plan(named, part) if plan.highest >= low and plan.lowest <= high]
        ordinals = self._ordinals(where, {plan.client for plan in planned})
        planned.sort(key=lambda plan: (plan.lowest, ordinals[plan.client], plan.start))
        for plans in _portions(evenly(planned, most)):
            fetched = self._fetch(named, part, plans, None if wanted is None else frozenset(wanted))
            for plan in plans:
                series = fetched.get(plan)
                if series:
                    stretch = join_series(series)
                    ordinal = ordinals[plan.client]
                    yield Block(plan.client, labels.get(plan.client), ordinal, *stretch, plan.lowest)

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
        """Yield the buckets of each key and writer, as `StoreReader.buckets` does; `cache` is not used."""
        grid = checked_grid(low, high, count, log_x)
        wanted = list(dict.fromkeys(keys))
        if x not in ("step", "relative", "time"):
            return buckets(self.columns(keys_to_read(wanted, x)), wanted, x, grid, None)
        return self._buckets(wanted, x, grid)

    def _buckets(self, keys: list[str], x: str, grid: Grid) -> Iterator[Buckets]:
        if not keys:
            return
        checkpoint, state = self.moment()
        where = f"{self._mine} AND position <= {checkpoint}"
        ordinals = self._ordinals(where, set(state["writers"]) | {""})
        labels = {
            client: state["writers"].get(client, {}).get("name")
            for client in sorted(ordinals, key=ordinals.__getitem__)
        }
        origin = float(state["start_time"] or 0.0) if x == "relative" else 0.0
        source = Source(self._store.answer, self._store.table(POINTS), f"{where}{_keys_condition(keys)}", origin)
        yield from read_buckets(source, keys, x, grid, labels)

    def sampled(self, keys: Iterable[str], samples: int, x: str) -> dict[str, list[Any]] | None:
        """Return at most `samples` rows as `rows.history` does, chosen by the server, as `StoreReader.sampled` does."""
        wanted = list(dict.fromkeys(keys))
        condition = _keys_condition(wanted)
        if x not in ("step", "time") or not wanted or not condition:
            return None
        checkpoint, state = self.moment()
        where = f"{self._mine} AND position <= {checkpoint}"
        ordinals = self._ordinals(where, set(state["writers"]) | {""})
        labels = {
            client: state["writers"].get(client, {}).get("name")
            for client in sorted(ordinals, key=ordinals.__getitem__)
        }
        source = Source(self._store.answer, self._store.table(POINTS), f"{where}{condition}", 0.0)
        with contextlib.suppress(SupersededError):
            return sample(source, wanted, samples, x, labels)
        return None

    def arrived(self, after: int, until: int, keys: Iterable[str] | None = None) -> Iterator[Arrived]:
        """Yield the ``log`` records between two checkpoints, in the order of the log.

        Args:
            after: checkpoint before the first record.
            until: checkpoint after the last record.
            keys: only these metrics, and only records that have any of them.
        """
        wanted = None if keys is None else list(dict.fromkeys(keys))
        if wanted is not None and not wanted:
            return
        while after < until:
            records, points = self._arrived(after, until, wanted)
            last = max(records, default=until)
            whole = points < _MAX_ROWS
            for position, record in records.items():
                if whole or position < last:  # the last record may be incomplete
                    yield record
            after = until if whole else last - 1

    def _arrived(self, after: int, until: int, keys: Sequence[str] | None) -> tuple[dict[int, Arrived], int]:
        sql = (
            "SELECT position, client, step, time, key, toInt8(kind), number, integer, text"
            f" FROM {self._store.table(POINTS)}"
            f" WHERE {self._mine} AND position > {after} AND position <= {until}{_keys_condition(keys)}"
            f" ORDER BY position, place LIMIT 1 BY position, place LIMIT {_MAX_ROWS}"
        )
        wanted = None if keys is None else frozenset(keys)
        records: dict[int, Arrived] = {}
        count = 0
        with self._store.answer(sql) as rows:
            for _ in _each(rows):
                count += 1
                position, client, step, time = rows.int64(), rows.text(), rows.int64(), rows.float64()
                key, kind, number, integer = rows.text(), rows.int8(), rows.float64(), rows.int64()
                raw = rows.raw()
                if wanted is None or key in wanted:
                    record = records.setdefault(position, Arrived(position, client, step, time, {}))
                    record.data[key] = decode_one(kind, number, integer, raw)
        return records, count

    def close(self) -> None:
        """Do nothing: the connection is the store's. Exists for ``with``."""

    def __enter__(self) -> ClickhouseReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _mine(self) -> str:
        return f"run = {quoted(self.id)}"

    def _missing(self) -> StoreError:
        return StoreError(f"no run {self.id!r} in {self._store.address}")

    def _latest(self) -> tuple[int, dict[str, Any]] | None:
        sql = f"SELECT version, packed FROM {self._store.table(RUNS)} WHERE {self._mine} ORDER BY version DESC LIMIT 1"
        with self._store.answer(sql) as rows:
            return None if rows.done() else (rows.int64(), _state(rows.raw()))

    def _plan(self, where: str, part: str) -> list[_Plan]:
        """Return the blocks of the run: the records of each client, in parts."""
        sql = (
            f"SELECT client, {part} AS part, min(seq), max(seq), min(step), max(step), count()"
            f" FROM {self._store.table(POINTS)} WHERE {where} GROUP BY client, part"
        )
        plans = []
        with self._store.answer(sql) as rows:
            for _ in _each(rows):
                client, number = rows.text(), rows.int64()
                plans.append(_Plan(client, number, *(rows.int64() for _ in range(5))))
        return plans

    def _ordinals(self, where: str, clients: set[str]) -> dict[str, int]:
        """Return client -> its position among the writers, in the order of their first rows."""
        if len(clients) < 2:
            return dict.fromkeys(clients, 1)
        sql = f"SELECT client FROM {self._store.table(POINTS)} WHERE {where} GROUP BY client ORDER BY min(position)"
        with self._store.answer(sql) as rows:
            return {rows.text(): ordinal for ordinal, _ in enumerate(_each(rows), 1)}

    def _fetch(
        self, where: str, part: str, plans: Sequence[_Plan], wanted: frozenset[str] | None
    ) -> dict[_Plan, dict[str, Series]]:
        """Return the series of each block, the keys in the order of their first appearance."""
        chosen = " OR ".join(plan.condition() for plan in plans)
        sql = (
            f"SELECT client, {part} AS part, key, {SERIES_SQL} FROM {self._store.table(POINTS)}"
            f" WHERE {where} AND ({chosen}) GROUP BY client, part, key ORDER BY min(position), argMin(place, position)"
        )
        by_name = {(plan.client, plan.part): plan for plan in plans}
        fetched: dict[_Plan, dict[str, Series]] = {}
        with self._store.answer(sql) as rows:
            for _ in _each(rows):
                plan, key = by_name[rows.text(), rows.int64()], rows.text()
                series = read_series(rows)
                if wanted is None or key in wanted:
                    fetched.setdefault(plan, {})[key] = series
        return fetched


class _Plan(NamedTuple):
    """A block to read: the records of one client from `start` to `end`."""

    client: str
    part: int
    start: int
    end: int
    lowest: int
    highest: int
    points: int

    def condition(self) -> str:
        return f"(client = {quoted(self.client)} AND seq >= {self.start} AND seq <= {self.end})"


def _part(state: Mapping[str, Any]) -> str:
    """Return the SQL for the number of the block, within those of its client, that a point belongs to."""
    density = max(1, state["points"] // max(1, state["records"]))
    records = max(64, min(BLOCK_RECORDS, _BLOCK_POINTS // density))
    return f"intDiv(seq, if(client = '', {_BLOCK_BYTES}, {records}))"


def _portions(plans: Sequence[_Plan]) -> Iterator[Sequence[_Plan]]:
    """Group the blocks into those of one query."""
    portion: list[_Plan] = []
    points = 0
    for plan in plans:
        if portion and (points + plan.points > _FETCH_POINTS or len(portion) == _FETCH_BLOCKS):
            yield portion
            portion, points = [], 0
        portion.append(plan)
        points += plan.points
    if portion:
        yield portion


def _keys_condition(keys: Sequence[str] | None) -> str:
    if keys is None:
        return ""
    named = ", ".join(map(quoted, keys))
    return f" AND key IN ({named})" if len(named.encode()) <= _MAX_NAMED_BYTES else ""


def _each(rows: RowBinary) -> Iterator[None]:
    """Yield once for each remaining row."""
    while not rows.done():
        yield


def _state(packed: bytes) -> dict[str, Any]:
    state = unpack(packed)
    if type(state) is not dict:
        raise ValueError(f"the state must be a map, not {type(state).__name__}")
    return state


@contextlib.contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except SinkUnavailableError as error:
        raise UnreachableStoreError(f"cannot read from {address}: {error}") from error
    except SinkError as error:
        raise StoreError(f"cannot read from {address}: {error}") from error
    except (ValueError, KeyError, TypeError, RecordError) as error:
        raise StoreError(f"{address} contains invalid data: {type(error).__name__}: {error}") from error


__all__ = ["Arrived", "ClickhouseReader", "ClickhouseStore", "UnreachableStoreError"]
