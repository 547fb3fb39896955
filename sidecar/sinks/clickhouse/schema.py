"""The tables of runs in ClickHouse: their columns, and the SQL that creates them. Pure functions on text.

Three names, all in the database of the address. This is also the documentation for SQL queries against them.

``tracker_points``
    A row per logged value. A row may be there more than once until ClickHouse has merged its parts, so query
    ``FROM tracker_points FINAL``, or use aggregates that are not affected::

        SELECT step, number FROM tracker_points FINAL WHERE run = '7f3k2m9q' AND key = 'loss' ORDER BY step

    ``run, key``; ``client, seq``: the client that logged it, and the number of its record (the client ``''`` does not
    number its records: there, seq is the position); ``position``: the end of the record in the run's transaction log,
    which gives the order of arrival; ``place``: the index of the value in its record; ``step``; ``time`` in Unix
    seconds; ``kind``, which says where the value is::

        float           number (NaN and infinities too)
        int             integer; also number, rounded to a Float64
        uint            the same, from 2**63 on: toUInt64(integer)
        bool            integer, 0 or 1; also number
        text            text
        json            text: a media object as JSON, with "_type" in it
        msgpack         text: a media object that JSON cannot represent (NaN, bytes), as msgpack

    For values that are not numbers, ``number`` is NaN.

``tracker_runs``
    A row per run (again with FINAL): ``run``, ``version`` (the offset in the transaction log that the row describes;
    the row with the highest version counts), ``project, name, group, job_type, notes, tags, state, exit_code,
    start_time, end_time, last_time, step, records, points``, the config and the summary as arrays of the same length
    ``value_kinds, value_keys, value_numbers, value_texts``, and ``packed``: the complete state of the run, as msgpack.
    Points beyond ``version`` belong to a batch that is still being sent.

``tracker_values``
    A view of the config and the summary, a row per value: ``run, project, name, state, kind`` (``'config'`` or
    ``'summary'``), ``key`` (nested keys joined with dots), ``number`` (NaN if the value is not a number), ``text``,
    ``version``::

        SELECT run, number FROM tracker_values WHERE kind = 'summary' AND key = 'loss' ORDER BY number LIMIT 10

All inserts may be repeated: the engines replace rows with equal ORDER BY columns, in ``tracker_runs`` those with a
lower version. No table has partitions, since ClickHouse merges only parts of the same partition.

When the tables are created on ClickHouse 22.8 or later, repeated strings are ``LowCardinality(String)`` and numbers
have codecs, which takes about a quarter of the disk space. Older releases, down to 18.16, get plain columns. Tables
that exist are used as they are; queries are the same.

On a cluster, use these options of the address:

``cluster=NAME``
    Creates everything ``ON CLUSTER NAME``.
``engine=NAME(ARGUMENTS)``
    Replaces ``ReplacingMergeTree``, for example with
    ``ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')``. ``{table}`` and
    ``{database}`` are substituted here, since old releases do not know them; the version column is appended to the
    arguments. In the list of `TRACKER_SINKS`, write a comma as ``%2C`` and a space as ``%20``.
``distributed=NAME``
    Spreads rows over the shards of the cluster NAME by run: the tables are then ``tracker_points_local`` and
    ``tracker_runs_local`` on each of its hosts, with `Distributed` tables of the plain names in front of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ENGINE = "ReplacingMergeTree"

MODERN_RELEASE = (22, 8)
"""First release whose tables are created with `MODERN_TYPES`, as (year, month). The types are older, but were
experimental, or had other limits, in some releases before it."""

KINDS = {"float": 1, "int": 2, "uint": 3, "bool": 4, "text": 5, "json": 6, "msgpack": 7}
"""Kinds of values in ``tracker_points``."""

VALUE_KINDS = {"config": 1, "summary": 2}
"""Kinds of values in ``tracker_runs``."""


def _enum(names: Mapping[str, int]) -> str:
    return f"Enum8({', '.join(f'{quoted(name)} = {number}' for name, number in names.items())})"


def quoted(value: str) -> str:
    """Return `value` as a string literal in SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def identifier(value: str) -> str:
    """Return `value` as an identifier in SQL."""
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

_WORD = "LowCardinality(String)"

MODERN_TYPES: Mapping[str, Mapping[str, str]] = {
    POINTS: {
        "run": _WORD,
        "key": _WORD,
        "client": _WORD,
        "seq": "UInt64 CODEC(DoubleDelta, ZSTD)",
        "position": "UInt64 CODEC(DoubleDelta, ZSTD)",
        "step": "Int64 CODEC(DoubleDelta, ZSTD)",
        "time": "Float64 CODEC(Delta, ZSTD)",
        "number": "Float64 CODEC(ZSTD)",
        "integer": "Int64 CODEC(ZSTD)",
        "text": "String CODEC(ZSTD)",
    },
    RUNS: {
        "project": _WORD,
        "group": _WORD,
        "job_type": _WORD,
        "state": _WORD,
        "value_keys": f"Array({_WORD})",
        "value_texts": "Array(String) CODEC(ZSTD)",
        "packed": "String CODEC(ZSTD)",
    },
}
"""Types and codecs of columns on `MODERN_RELEASE` and later, where they differ from the plain ones. Measured on a
million points of ten metrics, merged: steps, seqs and positions shrink from 4.0 MB or more each to 0.01 MB, times from
6.0 to 2.0 MB, the table from 24.8 to 6.7 MB. On noisy metrics Gorilla was no smaller than ZSTD alone (4.6 and 4.4 MB),
and LowCardinality saves 0.2 MB: sorted strings compress well."""


class _Table(NamedTuple):
    columns: Mapping[str, str]
    order: str
    version: str

    def definitions(self, types: Mapping[str, str]) -> str:
        """Return the column definitions, with `types` in place of the plain ones."""
        return ",\n".join(f"    {identifier(name)} {types.get(name, plain)}" for name, plain in self.columns.items())


_TABLES: Mapping[str, _Table] = {
    POINTS: _Table(POINT_COLUMNS, "run, key, client, seq", ""),
    RUNS: _Table(RUN_COLUMNS, "run", "version"),
}

_ENGINE = re.compile(r"([A-Za-z0-9]*ReplacingMergeTree)\s*(?:\(([^;]*)\))?", re.DOTALL)
_CLUSTER = re.compile(r"[A-Za-z0-9_.\-{}]+")


class Schema(NamedTuple):
    """Where the tables are, and how they are created.

    Attributes:
        database: name of the database.
        engine: engine of the tables, with its arguments.
        cluster: cluster on which everything is created; "" for a single server.
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
            ValueError: an option is unknown, or its value is invalid.
        """
        unknown = sorted(set(options) - {"engine", "cluster", "distributed"})
        if unknown:
            raise ValueError(
                f"unknown option {unknown[0]!r}; valid options are engine, cluster, distributed and setting.NAME"
            )
        engine = options.get("engine", ENGINE).strip()
        if _ENGINE.fullmatch(engine) is None:
            raise ValueError(
                f"engine={engine!r} must be an engine such as {ENGINE} or ReplicatedReplacingMergeTree('…', '…')"
            )
        cluster = options.get("distributed") or options.get("cluster", "")
        for name in ("cluster", "distributed"):
            if name in options and _CLUSTER.fullmatch(options[name]) is None:
                raise ValueError(f"{name}={options[name]!r} is not a valid name of a cluster")
        if options.get("cluster", cluster) != cluster:
            raise ValueError(f"cluster={options['cluster']!r} and distributed={cluster!r} must name the same cluster")
        return cls(database, engine, cluster, "distributed" in options)

    def table(self, name: str) -> str:
        """Return the full name of a table in SQL."""
        return f"{identifier(self.database)}.{identifier(name)}"

    def names(self) -> tuple[str, ...]:
        """Return the names of all tables and views."""
        local = [f"{name}_local" for name in _TABLES] if self.distributed else []
        return (*_TABLES, *local, VALUES)

    def statements(self, *, modern: bool = False) -> Iterator[str]:
        """Yield the SQL that creates all tables and views in the database that do not exist.

        Args:
            modern: whether the server has `MODERN_RELEASE` or later; see `is_modern`.
        """
        for name, table in _TABLES.items():
            stored = f"{name}_local" if self.distributed else name
            columns = table.definitions(MODERN_TYPES[name] if modern else {})
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
        """Return the SQL that creates the database."""
        return f"CREATE DATABASE IF NOT EXISTS {identifier(self.database)}{self._on_cluster()}"

    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quoted(self.cluster)}" if self.cluster else ""

    def _engine(self, table: str, version: str) -> str:
        match = _ENGINE.fullmatch(self.engine)
        assert match is not None
        name, arguments = match[1], (match[2] or "").strip()
        arguments = arguments.replace("{database}", self.database).replace("{table}", table)
        inner = ", ".join(filter(None, [arguments, version]))
        return f"{name}({inner})" if inner else f"{name}()"


def is_modern(version: str) -> bool:
    """Whether a server with this version, such as "25.8.1.3889", is of `MODERN_RELEASE` or later."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= MODERN_RELEASE


__all__ = [
    "KINDS", "MODERN_RELEASE", "MODERN_TYPES", "POINTS", "POINT_COLUMNS", "RUNS", "RUN_COLUMNS", "VALUES",
    "VALUE_KINDS", "Schema", "identifier", "is_modern", "quoted",
]  # fmt: skip
