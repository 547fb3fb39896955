"""ClickhouseSink: sends one run's log to ClickHouse, its points and what the run is. On a delivery's thread.

Each batch is two inserts: its points, then the run with the batch applied. Both replace what is there of the same, so a
batch may be sent again after anything. A reader goes by the run's row, so it sees no half of a batch. Knows nothing of
the log's file, of threads or of checkpoints.
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
from sidecar.sinks.clickhouse.schema import POINT_COLUMNS, POINTS, RUN_COLUMNS, RUNS, VALUE_KINDS, identifier, quoted
from sidecar.sinks.clickhouse.wire import float64, int64, nullable, numbers, text, texts, varint
from sidecar.sinks.contract import Batch, SinkError, SinkTarget


class ClickhouseSink:
    """One run's way to one server. See `sidecar.sinks.contract.Sink`.

    Args:
        target: the run and the server.
    """

    batch_bytes = 8 * 1024 * 1024
    """About 400,000 points: each insert costs the server some milliseconds, however small it is."""

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._server: Clickhouse | None = None

    def open(self) -> None:
        """Reach the server, and make the database and the tables that are not there.

        Raises:
            SinkError: it cannot be done.
        """
        make_tables(self._connected())

    def send(self, batch: Batch, state: RunState) -> int:
        """Return when the server keeps the batch.

        Raises:
            SinkError: not all of it.
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
        """Ask the server for its version.

        Raises:
            SinkError: it cannot be reached.
        """
        return self._connected().query("SELECT version() FORMAT TabSeparated").decode(errors="replace").strip()

    def _connected(self) -> Clickhouse:
        if self._server is None:
            self._server = Clickhouse(self._target.address)
        return self._server

    def close(self, deadline: Deadline) -> None:
        """Let go of the connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def make_tables(server: Clickhouse) -> None:
    """Make what is not there. Who may not make databases or tables can use those that somebody else has made.

    Raises:
        SinkError: it cannot be done.
    """
    missing = _missing(server)
    if not missing:
        return
    try:
        if not server.query(f"SELECT 1 FROM system.databases WHERE name = {quoted(server.schema.database)}"):
            server.query(server.schema.database_statement())
        for statement in server.schema.statements():
            server.query(statement)
    except SinkError:
        if _missing(server):  # else another run's sink was making them at the same time, and has
            raise


def _missing(server: Clickhouse) -> set[str]:
    database = quoted(server.schema.database)
    found = server.query(f"SELECT name FROM system.tables WHERE database = {database} FORMAT TabSeparated")
    return set(server.schema.names()) - set(found.decode().split("\n"))


def run_row(run: str, version: int, state: RunState) -> bytes:
    """Return the row of ``tracker_runs`` that says what the run is, in RowBinary."""
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
        "value_texts": texts([shown for _, _, _, shown in values]),
        "packed": text(pack(state.to_map())),
    }
    return b"".join([columns[name] for name in RUN_COLUMNS])


def _int64(value: Any) -> bytes | None:
    return int64(value) if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _float64(value: float | None) -> bytes | None:
    return None if value is None else float64(value)


def _values(kind: str, found: dict[str, Any]) -> list[tuple[int, str, float, str]]:
    """Return kind, key, number and text of each value, nested ones too."""
    code = VALUE_KINDS[kind]
    return [(code, ".".join(path), _number(value), _shown(value)) for path, value in flatten(found)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=json_default)


__all__ = ["ClickhouseSink", "make_tables", "run_row"]
