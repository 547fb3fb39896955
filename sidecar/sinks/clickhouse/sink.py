"""ClickhouseSink: sends one run's log to ClickHouse. Runs on the thread of its delivery.

Each batch is two inserts: its points, then the row of the run with the state after the batch. Both replace rows of the
same batch, so it can be resent at any time. Readers go by the row of the run, so they never see a part of a batch.
Knows nothing of the log's file, of threads or of checkpoints.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from sidecar.projections.run_state import RunState
from sidecar.protocol.codec import pack
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.plain import flatten, json_default
from sidecar.sinks.clickhouse.client import Clickhouse
from sidecar.sinks.clickhouse.points import native_points
from sidecar.sinks.clickhouse.schema import (
    POINT_COLUMNS,
    POINTS,
    RUN_COLUMNS,
    RUNS,
    VALUE_KINDS,
    identifier,
    is_modern,
    quoted,
)
from sidecar.sinks.clickhouse.wire import float64, int64, nullable, numbers, text, texts, varint
from sidecar.sinks.contract import Batch, SinkError, SinkTarget


class ClickhouseSink:
    """Sends one run to one server. See `sidecar.sinks.contract.Sink`.

    Args:
        target: the run and the server.
    """

    batch_bytes = 8 * 1024 * 1024
    """About 400,000 points. Each insert costs the server some milliseconds, however small it is."""

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._server: Clickhouse | None = None

    def open(self) -> None:
        """Connect, and create the database and the tables that do not exist.

        Raises:
            SinkError: it failed.
        """
        make_tables(self._connected())

    def send(self, batch: Batch, state: RunState) -> int:
        """Send a batch; return its end when the server has stored it.

        Raises:
            SinkError: the batch was not stored completely.
        """
        server = self._connected()
        points = native_points(self._target.run, batch)
        first = next(points, None)
        if first is not None:
            table = server.schema.table(POINTS)
            server.insert(table, map(identifier, POINT_COLUMNS), "Native", itertools.chain([first], points))
        row = run_row(self._target.run, batch.end, state)
        server.insert(server.schema.table(RUNS), map(identifier, RUN_COLUMNS), "RowBinary", row)
        return batch.end

    def version(self) -> str:
        """Return the server's version, such as "25.8.1.3889".

        Raises:
            SinkError: the server cannot be reached.
        """
        return version_of(self._connected())

    def _connected(self) -> Clickhouse:
        if self._server is None:
            self._server = Clickhouse(self._target.address)
        return self._server

    def close(self, deadline: Deadline) -> None:
        """Close the connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def make_tables(server: Clickhouse) -> None:
    """Create the tables that do not exist, with the types that the server has. A user without the right to create them
    can use tables that exist.

    Raises:
        SinkError: it failed.
    """
    if not _missing(server):
        return
    try:
        if not server.query(f"SELECT 1 FROM system.databases WHERE name = {quoted(server.schema.database)}"):
            server.query(server.schema.database_statement())
        for statement in server.schema.statements(modern=is_modern(version_of(server))):
            server.query(statement)
    except SinkError:
        if _missing(server):  # else the sink of another run has created them at the same time
            raise


def version_of(server: Clickhouse) -> str:
    """Ask a server for its version."""
    return server.query("SELECT version() FORMAT TabSeparated").decode(errors="replace").strip()


def _missing(server: Clickhouse) -> set[str]:
    database = quoted(server.schema.database)
    names = server.query(f"SELECT name FROM system.tables WHERE database = {database} FORMAT TabSeparated")
    return set(server.schema.names()) - set(names.decode().split("\n"))


def run_row(run: str, version: int, state: RunState) -> bytes:
    """Return the row of ``tracker_runs`` for a run, in RowBinary."""
    about = state.about
    values = [*_values("config", state.config), *_values("summary", state.summary.values)]
    kinds = bytes(kind for kind, _, _, _ in values)
    columns = {
        "run": text(run),
        "version": int64(version),
        **{name: text(about[name] or "") for name in ("project", "name", "group", "job_type", "notes")},
        "tags": texts(about["tags"] or []),
        "state": text(state.state),
        "exit_code": nullable(_int64(state.end["exit_code"])),
        "start_time": nullable(_float64(state.start_time)),
        "end_time": nullable(_float64(state.end_time)),
        "last_time": nullable(_float64(state.last_time)),
        "step": nullable(_int64(state.step)),
        "records": int64(state.records),
        "points": int64(state.points),
        "value_kinds": varint(len(values)) + kinds,
        "value_keys": texts([key for _, key, _, _ in values]),
        "value_numbers": varint(len(values)) + numbers("d", [number for _, _, number, _ in values]),
        "value_texts": texts([written for _, _, _, written in values]),
        "packed": text(pack(state.to_map())),
    }
    return b"".join([columns[name] for name in RUN_COLUMNS])


def _int64(value: Any) -> bytes | None:
    return int64(value) if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _float64(value: float | None) -> bytes | None:
    return None if value is None else float64(value)


def _values(kind: str, values: dict[str, Any]) -> list[tuple[int, str, float, str]]:
    """Return kind, key, number and text of each value, including nested ones."""
    code = VALUE_KINDS[kind]
    return [(code, ".".join(path), _number(value), _text(value)) for path, value in flatten(values)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=json_default)


__all__ = ["ClickhouseSink", "make_tables", "run_row", "version_of"]
