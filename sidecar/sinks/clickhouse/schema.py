"""What a run is in ClickHouse: the tables, their columns, and the SQL that makes them. Pure functions on text.

Three names, all in the database that the address says; what is said here is for whoever queries them with SQL.

``tracker_points``
    A row for each value that was logged. The same row may be there more than once until ClickHouse has merged its
    parts, so ask for ``FROM tracker_points FINAL``, or for aggregates that do not mind::

        SELECT step, number FROM tracker_points FINAL WHERE run = '7f3k2m9q' AND key = 'loss' ORDER BY step

    ``run, key``; ``client, seq``: who logged it in which of its records (``''`` has no numbers of its own: there, seq
    is the position); ``position``: where the record ends in the run's transaction log, so the order of arrival;
    ``place``: which of the record's values it was; ``step``; ``time`` in Unix seconds; ``kind``, which says where the
    value is::

        float           number (NaN and infinities too)
        int             integer; number has it too, as near as a Float64 can
        uint            the same, from 2**63 on: toUInt64(integer)
        bool            integer, 0 or 1; number too
        text            text
        json            text: a media object as JSON, with "_type" in it
        msgpack         text: a media object that JSON cannot say (NaN, bytes), as msgpack

    Where there is no number, ``number`` is NaN.

``tracker_runs``
    A row for each run (again with FINAL): ``run``, ``version`` (where in the transaction log this is from; the row with
    the highest is the run), ``project, name, group, job_type, notes, tags, state, exit_code, start_time, end_time,
    last_time, step, records, points``, the config and the summary as arrays of the same length ``value_kinds,
    value_keys, value_numbers, value_texts``, and ``packed``: all that the run is, as msgpack. Points behind ``version``
    are of a batch that is still on its way.

``tracker_values``
    A view of the config and the summary, a row for each value: ``run, project, name, state, kind`` (``'config'`` or
    ``'summary'``), ``key`` (nested ones joined with dots), ``number`` (NaN if it is none), ``text``, ``version``::

        SELECT run, number FROM tracker_values WHERE kind = 'summary' AND key = 'loss' ORDER BY number LIMIT 10

All inserts may be repeated: the engines replace rows with the same order-by columns, in ``tracker_runs`` those with a
lower version. No table has partitions, since only parts of one partition are merged.

On a cluster, options of the address say so:

``cluster=NAME``
    Makes everything ``ON CLUSTER NAME``.
``engine=NAME(ARGUMENTS)``
    Instead of ``ReplacingMergeTree``, such as
    ``ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')``. ``{table}`` and
    ``{database}`` are filled in here, since old releases do not know them; the column of the version is added where it
    belongs. In an address a comma is ``%2C`` in the list of `TRACKER_SINKS`, and a space ``%20``.
``distributed=NAME``
    Rows are spread over the shards of the cluster NAME by their run: the tables are then ``tracker_points_local`` and
    ``tracker_runs_local``, on every host of it, with `Distributed` ones of the plain names before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ENGINE = "ReplacingMergeTree"

KINDS = {"float": 1, "int": 2, "uint": 3, "bool": 4, "text": 5, "json": 6, "msgpack": 7}
"""The kinds of values in ``tracker_points``."""

VALUE_KINDS = {"config": 1, "summary": 2}
"""The kinds of values in ``tracker_runs``."""


def _enum(names: Mapping[str, int]) -> str:
    return f"Enum8({', '.join(f'{quoted(name)} = {number}' for name, number in names.items())})"


def quoted(value: str) -> str:
    """Return `value` as a text in SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def identifier(value: str) -> str:
    """Return `value` as the name of something in SQL."""
    escaped = value.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


POINT_COLUMNS: Mapping[str, str] = {
    "run": "String",
    "key": "String",
    "client": "String",
    "seq": "UInt64",
    "position": "UInt64",
    "place": "UInt16",
    "step": "Int64",
    "time": "Float64",
    "kind": _enum(KINDS),
    "number": "Float64",
    "integer": "Int64",
    "text": "String",
}

RUN_COLUMNS: Mapping[str, str] = {
    "run": "String",
    "version": "UInt64",
    "project": "String",
    "name": "String",
    "group": "String",
    "job_type": "String",
    "notes": "String",
    "tags": "Array(String)",
    "state": "String",
    "exit_code": "Nullable(Int64)",
    "start_time": "Nullable(Float64)",
    "end_time": "Nullable(Float64)",
    "last_time": "Nullable(Float64)",
    "step": "Nullable(Int64)",
    "records": "UInt64",
    "points": "UInt64",
    "value_kinds": f"Array({_enum(VALUE_KINDS)})",
    "value_keys": "Array(String)",
    "value_numbers": "Array(Float64)",
    "value_texts": "Array(String)",
    "packed": "String",
}

POINTS, RUNS, VALUES = "tracker_points", "tracker_runs", "tracker_values"


class _Table(NamedTuple):
    columns: Mapping[str, str]
    order: str
    version: str


_TABLES: Mapping[str, _Table] = {
    POINTS: _Table(POINT_COLUMNS, "run, key, client, seq", ""),
    RUNS: _Table(RUN_COLUMNS, "run", "version"),
}

_ENGINE = re.compile(r"([A-Za-z0-9]*ReplacingMergeTree)\s*(?:\(([^;]*)\))?", re.DOTALL)
_CLUSTER = re.compile(r"[A-Za-z0-9_.\-{}]+")


class Schema(NamedTuple):
    """Where the tables are and how they are made.

    Attributes:
        database: its name.
        engine: of the tables.
        cluster: what everything is made on; "" for one server.
        distributed: whether rows are spread over the shards of `cluster`.
    """

    database: str
    engine: str = ENGINE
    cluster: str = ""
    distributed: bool = False

    @classmethod
    def of(cls, database: str, options: Mapping[str, str]) -> Schema:
        """Return the schema that an address asks for.

        Raises:
            ValueError: an option that does not exist, or a value that it cannot have.
        """
        unknown = sorted(set(options) - {"engine", "cluster", "distributed"})
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r}; there are engine, cluster, distributed and setting.NAME")
        engine = options.get("engine", ENGINE).strip()
        if _ENGINE.fullmatch(engine) is None:
            raise ValueError(f"engine={engine!r}; one such as {ENGINE} or ReplicatedReplacingMergeTree('…', '…')")
        cluster = options.get("distributed") or options.get("cluster", "")
        for name in ("cluster", "distributed"):
            if name in options and _CLUSTER.fullmatch(options[name]) is None:
                raise ValueError(f"{name}={options[name]!r} is no name of a cluster")
        if options.get("cluster", cluster) != cluster:
            raise ValueError(f"cluster={options['cluster']!r} and distributed={cluster!r}; the two are one cluster")
        return cls(database, engine, cluster, "distributed" in options)

    def table(self, name: str) -> str:
        """Return the full name of a table in SQL."""
        return f"{identifier(self.database)}.{identifier(name)}"

    def names(self) -> tuple[str, ...]:
        """Return what there must be in the database."""
        local = [f"{name}_local" for name in _TABLES] if self.distributed else []
        return (*_TABLES, *local, VALUES)

    def statements(self) -> Iterator[str]:
        """Yield the SQL that makes everything below the database which is not there yet."""
        for name, table in _TABLES.items():
            stored = f"{name}_local" if self.distributed else name
            columns = ",\n".join(f"    {identifier(column)} {type_}" for column, type_ in table.columns.items())
            yield (
                f"CREATE TABLE IF NOT EXISTS {self.table(stored)}{self._on_cluster()}\n(\n{columns}\n)\n"
                f"ENGINE = {self._engine(stored, table.version)}\nORDER BY ({table.order})"
            )
            if self.distributed:
                yield (
                    f"CREATE TABLE IF NOT EXISTS {self.table(name)}{self._on_cluster()}\n(\n{columns}\n)\n"
                    f"ENGINE = Distributed({quoted(self.cluster)}, {quoted(self.database)}, {quoted(stored)}, "
                    "cityHash64(run))"
                )
        yield (
            f"CREATE VIEW IF NOT EXISTS {self.table(VALUES)}{self._on_cluster()} AS\n"
            "SELECT run, project, name, state, kind, key, number, text, version\n"
            f"FROM {self.table(RUNS)} FINAL\n"
            "ARRAY JOIN value_kinds AS kind, value_keys AS key, value_numbers AS number, value_texts AS text"
        )

    def database_statement(self) -> str:
        """Return the SQL that makes the database."""
        return f"CREATE DATABASE IF NOT EXISTS {identifier(self.database)}{self._on_cluster()}"

    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quoted(self.cluster)}" if self.cluster else ""

    def _engine(self, table: str, version: str) -> str:
        found = _ENGINE.fullmatch(self.engine)
        assert found is not None
        name, arguments = found[1], (found[2] or "").strip()
        arguments = arguments.replace("{database}", self.database).replace("{table}", table)
        inner = ", ".join(filter(None, [arguments, version]))
        return f"{name}({inner})" if inner else f"{name}()"


__all__ = [
    "KINDS", "POINTS", "POINT_COLUMNS", "RUNS", "RUN_COLUMNS", "VALUES", "VALUE_KINDS", "Schema", "identifier", "quoted"
]  # fmt: skip
