"""ClickHouse without a server: addresses, the SQL that makes the tables, points and runs as bytes, errors."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.log.reader import Batch
from sidecar.protocol.records import Record
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.clickhouse import points
from sidecar.sinks.clickhouse.client import Endpoint, endpoint_of, error_of
from sidecar.sinks.clickhouse.points import Series, decode_one, join_series, native_points, read_series
from sidecar.sinks.clickhouse.schema import (
    KINDS,
    MODERN_TYPES,
    POINT_COLUMNS,
    POINTS,
    RUN_COLUMNS,
    RUNS,
    Schema,
    identifier,
    is_modern,
    quoted,
)
from sidecar.sinks.clickhouse.wire import (
    Column,
    RowBinary,
    float64,
    int64,
    native_block,
    nullable,
    numbers,
    text,
    texts,
    varint,
)
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.http import Answer
from tests.support import exact
from tests.unit.sinks.row_logs import batch_of, mixed_logs, one_by_one


def endpoint(text: str) -> Endpoint:
    return endpoint_of(parse_sink(text))


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url", "database"),
    [
        ("clickhouse+http://host", "http://host:8123", "default"),
        ("clickhouse+http://host/", "http://host:8123", "default"),
        ("clickhouse+https://host/db", "https://host:8443", "db"),
        ("clickhouse+http://host:9000/db", "http://host:9000", "db"),
        ("clickhouse+http://[::1]/db", "http://[::1]:8123", "db"),
        ("clickhouse+http://[::1]:81/db", "http://[::1]:81", "db"),
        ("clickhouse+https://gate:443/click/house/my%20db/", "https://gate:443/click/house", "my db"),
    ],
)
def test_an_address_names_a_server_and_a_database(text: str, url: str, database: str) -> None:
    found = endpoint(text)
    assert (found.url, found.schema.database, found.settings) == (url, database, {})


def test_options_of_an_address() -> None:
    found = endpoint("clickhouse+http://host/db?setting.async_insert=1&cluster=c1&setting.insert_quorum=2")
    assert found.settings == {"async_insert": "1", "insert_quorum": "2"}
    assert found.schema == Schema("db", cluster="c1")
    found = endpoint("clickhouse+http://host/db?distributed=c1")
    assert found.settings == {"insert_distributed_sync": "1"}
    assert found.schema == Schema("db", cluster="c1", distributed=True)


@pytest.mark.parametrize(
    "options",
    [
        "colour=red",
        "engine=Log",
        "engine=ReplacingMergeTree();DROP",
        "cluster=a b",
        "distributed=",
        "cluster=a&distributed=b",
    ],
)
def test_an_invalid_option_is_named(options: str) -> None:
    address = f"clickhouse+http://host/db?{options}"
    with pytest.raises(ValueError, match=rf"^{re.escape(address)}: .*{options.partition('=')[0]}"):
        endpoint(address)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, "Code: 60. DB::Exception: Table db.x does not exist. (UNKNOWN_TABLE) (version 25.8.1)", SinkRefusedError),
        (500, "Code: 193, e.displayText() = DB::Exception: Wrong password, e.what() = DB::Exception", SinkRefusedError),
        (403, "Code: 516. DB::Exception: alice: Authentication failed. (AUTHENTICATION_FAILED)", SinkRefusedError),
        (500, "Code: 497. DB::Exception: Not enough privileges. (ACCESS_DENIED)", SinkRefusedError),
        (500, "Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)", SinkUnavailableError),
        (500, "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", SinkUnavailableError),
        (500, "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)", SinkUnavailableError),
        (404, "<html>nothing here</html>", SinkRefusedError),
        (500, "<html>a bad gateway's words</html>", SinkUnavailableError),
    ],
)
def test_errors_are_classified_by_what_to_do(status: int, body: str, error: type[Exception]) -> None:
    found = error_of("http://host:8123", Answer(status, body.encode()))
    assert type(found) is error
    assert str(found).startswith(f"http://host:8123: {status}: ")
    assert "e.what()" not in str(found)


# -- the SQL ----------------------------------------------------------------------------------------------------------

POINTS_COLUMNS_SQL = """(
    `run` String,
    `key` String,
    `client` String,
    `seq` UInt64,
    `position` UInt64,
    `place` UInt16,
    `step` Int64,
    `time` Float64,
    `kind` Enum8('float' = 1, 'int' = 2, 'uint' = 3, 'bool' = 4, 'text' = 5, 'json' = 6, 'msgpack' = 7),
    `number` Float64,
    `integer` Int64,
    `text` String
)"""


def test_tables_on_one_server() -> None:
    schema = Schema.of("db", {})
    assert schema.database_statement() == "CREATE DATABASE IF NOT EXISTS `db`"
    made_points, made_runs, values = schema.statements()
    assert made_points == (
        f"CREATE TABLE IF NOT EXISTS `db`.`tracker_points`\n{POINTS_COLUMNS_SQL}\n"
        "ENGINE = ReplacingMergeTree()\nORDER BY (run, key, client, seq)"
    )
    assert made_runs.startswith(
        "CREATE TABLE IF NOT EXISTS `db`.`tracker_runs`\n(\n    `run` String,\n    `version` UInt64"
    )
    assert made_runs.endswith("\nENGINE = ReplacingMergeTree(version)\nORDER BY (run)")
    assert values.startswith("CREATE VIEW IF NOT EXISTS `db`.`tracker_values` AS\nSELECT run, project, name")
    assert schema.names() == ("tracker_points", "tracker_runs", "tracker_values")


def test_a_release_that_has_them_gets_low_cardinality_and_codecs() -> None:
    made_points, made_runs, values = Schema.of("db", {}).statements(modern=True)
    lines = made_points.splitlines()
    assert "    `run` LowCardinality(String)," in lines
    assert "    `step` Int64 CODEC(DoubleDelta, ZSTD)," in lines
    assert "    `place` UInt16," in lines, "columns without a better type stay plain"
    assert "    `value_keys` Array(LowCardinality(String))," in made_runs.splitlines()
    for statement in Schema.of("db", {"distributed": "c"}).statements():
        assert "LowCardinality" not in statement and "CODEC" not in statement
    plain_points, plain_runs, plain_values = Schema.of("db", {}).statements()
    assert values == plain_values
    for name, statement, plain in ((POINTS, made_points, plain_points), (RUNS, made_runs, plain_runs)):
        for column, type_ in MODERN_TYPES[name].items():
            simple = (POINT_COLUMNS if name == POINTS else RUN_COLUMNS)[column]
            statement = statement.replace(f"`{column}` {type_}", f"`{column}` {simple}")
        assert statement == plain, "nothing else differs"


@pytest.mark.parametrize(
    ("version", "modern"),
    [
        ("18.16.1", False),
        ("21.8.15.7", False),
        ("22.7.1.1", False),
        ("22.8.5.29", True),
        ("25.8.1.3889", True),
        ("26.9.2.1", True),
        ("100.1", True),
        ("", False),
        ("unknown", False),
    ],
)
def test_which_releases_have_them(version: str, modern: bool) -> None:
    assert is_modern(version) is modern


def test_replicated_tables_on_a_cluster() -> None:
    engine = "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
    schema = Schema.of("db", {"cluster": "prod", "engine": engine})
    made_points, made_runs, values = schema.statements()
    where = "'/clickhouse/tables/{shard}/db/tracker_"
    assert f"ENGINE = ReplicatedReplacingMergeTree({where}points', '{{replica}}')\nORDER" in made_points
    assert f"ENGINE = ReplicatedReplacingMergeTree({where}runs', '{{replica}}', version)\nORDER" in made_runs
    assert schema.database_statement() == "CREATE DATABASE IF NOT EXISTS `db` ON CLUSTER 'prod'"
    for statement in (made_points, made_runs, values):
        assert re.match(r"CREATE \w+ IF NOT EXISTS `db`.`tracker_\w+` ON CLUSTER 'prod'", statement)


def test_an_engine_without_arguments_gets_its_version() -> None:
    _, made_runs, _ = Schema.of("db", {"engine": "SharedReplacingMergeTree"}).statements()
    assert "ENGINE = SharedReplacingMergeTree(version)\n" in made_runs


def test_distributed_tables_before_local_ones() -> None:
    schema = Schema.of("it's", {"distributed": "prod"})
    statements = list(schema.statements())
    assert len(statements) == 5
    assert [re.findall(r"EXISTS `it's`.`(\w+)` ON CLUSTER 'prod'", statement)[0] for statement in statements] == [
        "tracker_points_local", "tracker_points", "tracker_runs_local", "tracker_runs", "tracker_values"
    ]  # fmt: skip
    distributed = "ENGINE = Distributed('prod', 'it\\'s', 'tracker_{}_local', cityHash64(run))"
    assert statements[1].endswith(distributed.format("points"))
    assert statements[3].endswith(distributed.format("runs"))
    assert "ENGINE = ReplacingMergeTree(version)" in statements[2]
    assert set(schema.names()) == {
        "tracker_points", "tracker_points_local", "tracker_runs", "tracker_runs_local", "tracker_values"
    }  # fmt: skip


def test_texts_and_names_in_sql() -> None:
    assert quoted("a'b\\c\0") == "'a\\'b\\\\c\\0'"
    assert identifier("a`b\\") == "`a\\`b\\\\`"


# -- bytes ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63), st.text(), st.floats(), st.integers(-(2**63), 2**63 - 1), st.lists(st.binary()))
def test_row_binary_reads_what_was_written(n: int, said: str, x: float, i: int, several: list[bytes]) -> None:
    floats = [x, -x]
    data = varint(n) + text(said) + float64(x) + int64(i) + texts(several) + varint(2) + numbers("d", floats)
    row = RowBinary(data)
    assert row.varint() == n
    assert row.text() == said
    assert exact(row.float64()) == exact(x)
    assert row.int64() == i
    assert row.raws() == several
    assert not row.done()
    assert exact(list(row.numbers("d"))) == exact(floats)
    assert row.done()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x05abc"])
def test_an_incomplete_result_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="ends in the middle"):
        RowBinary(data).text()


def test_nullable() -> None:
    assert (nullable(None), nullable(int64(1))) == (b"\1", b"\0\1" + bytes(7))


def test_a_native_block() -> None:
    block = native_block(2, [Column("n", "UInt8", b"\1\2"), Column("s", "String", b"\1a\0")])
    assert block == b"\2\2" + b"\1n\5UInt8\1\2" + b"\1s\6String\1a\0"


def read_native(blocks: list[bytes]) -> list[dict[str, Any]]:
    """Return the rows of Native blocks, as the server reads them."""
    rows: list[dict[str, Any]] = []
    sizes = {"UInt64": 8, "UInt16": 2, "Int64": 8, "Float64": 8}
    for block in blocks:
        data = RowBinary(block)
        columns, count = data.varint(), data.varint()
        made: list[dict[str, Any]] = [{} for _ in range(count)]
        for _ in range(columns):
            name, type_ = data.text(), data.text()
            assert POINT_COLUMNS[name] == type_
            for row in made:
                if type_ == "String":
                    row[name] = data.raw()
                elif type_ == "Float64":
                    row[name] = data.float64()
                elif type_.startswith("Enum8"):
                    row[name] = data.int8()
                else:
                    raw = bytes(data.int8() for _ in range(sizes[type_]))
                    row[name] = int.from_bytes(raw, "little", signed=type_ == "Int64")
        assert data.done()
        rows += made
    return rows


def batch(*records: Record) -> Batch:
    ends = [1000 + 100 * number for number in range(len(records))]
    return Batch(list(records), ends)


def log(client: str, seq: int, step: int, **data: Any) -> Record:
    return Record("log", "run", client, seq, seq / 2, {"step": step, "data": data})


plain_values = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.text(),
    st.dictionaries(
        st.text(), st.one_of(st.none(), st.floats(), st.binary(), st.text(), st.lists(st.integers(0, 9)))
    ).map(lambda found: {**found, "_type": "odd"}),
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "ü"]), plain_values, min_size=1), min_size=1, max_size=30))
def test_values_come_back_equal_and_of_the_same_type(logged: list[dict[str, Any]]) -> None:
    records = [log("client", seq, -seq, **data) for seq, data in enumerate(logged, 1)]
    rows = read_native(list(native_points("run", batch(*records))))
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        value = decode_one(row["kind"], row["number"], row["integer"], row["text"])
        found.setdefault(row["seq"], {})[row["key"].decode()] = value
        assert row["step"] == -row["seq"]
        assert row["time"] == row["seq"] / 2
    assert exact([found[seq] for seq in sorted(found)]) == exact(
        [dict(sorted(data.items())) for data in logged]
    ) or exact([dict(sorted(found[seq].items())) for seq in sorted(found)]) == exact(
        [dict(sorted(data.items())) for data in logged]
    )


def test_the_columns_of_a_row() -> None:
    rows = read_native(
        list(
            native_points(
                "r1",
                batch(
                    log("c2", 7, 3, loss=0.5, acc=1),
                    Record("config", "run", "c2", 8, 0.0, {"set": {"lr": 1}}),
                    log("", 0, 4, acc=2),
                    log("c1", 1, 5, acc="x"),
                    log("c1", 2, 5),
                ),
            )
        )
    )
    names = ("run", "key", "client", "seq", "position", "place", "step")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (b"r1", b"acc", b"", 1200, 1200, 0, 4),
        (b"r1", b"acc", b"c1", 1, 1300, 0, 5),
        (b"r1", b"acc", b"c2", 7, 1000, 1, 3),
        (b"r1", b"loss", b"c2", 7, 1000, 0, 3),
    ]
    assert math.isnan(rows[1]["number"]), "only numbers have one"


def test_points_are_sent_in_the_order_of_the_table_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "BLOCK_POINTS", 10)
    records = [log("c", seq, seq, **{f"k{number}": 0.5 for number in range(7)}) for seq in range(1, 7)]
    blocks = list(native_points("run", batch(*records)))
    assert [len(read_native([block])) for block in blocks] == [12, 12, 12, 6]
    order = [(row["key"], row["client"], row["seq"]) for row in read_native(blocks)]
    assert order == sorted(order)


def test_a_batch_without_points_has_no_blocks() -> None:
    assert list(native_points("run", batch(Record("config", "run", "c", 1, 0.0, {"set": {}})))) == []


@given(mixed_logs())
def test_rows_in_columns_become_the_same_bytes_as_one_by_one(log: bytes) -> None:
    mixed = batch_of(log)
    assert list(native_points("run", mixed)) == list(native_points("run", one_by_one(mixed)))


def answered(*rows: tuple[int, int, float, Any]) -> bytes:
    """Return the result of `SERIES_SQL` for rows of seq, step, time and value."""
    encoded = [points._encode_one(value) for _, _, _, value in rows]
    floats = [number for kind, number, _, _ in encoded if kind == KINDS["float"]]
    integers = [integer for kind, _, integer, _ in encoded if kind in (KINDS["int"], KINDS["uint"], KINDS["bool"])]
    raws = [raw for kind, _, _, raw in encoded if kind in (KINDS["text"], KINDS["json"], KINDS["msgpack"])]

    def array(code: str, values: list[Any]) -> bytes:
        return varint(len(values)) + numbers(code, values)

    seqs, steps, times, _ = (list(column) for column in zip(*rows, strict=True))
    kinds = [kind for kind, _, _, _ in encoded]
    return (
        array("Q", seqs) + array("q", steps) + array("d", times) + array("b", kinds)
        + array("d", floats) + array("q", integers) + texts(raws)
    )  # fmt: skip


def test_duplicate_rows_in_any_order_count_once() -> None:
    rows = [(3, 30, 0.3, 1), (1, 10, 0.1, "x"), (3, 30, 0.3, 1), (2, 20, 0.2, math.nan), (1, 10, 0.1, "x")]
    series = read_series(RowBinary(answered(*rows)))
    assert list(series.seqs) == [1, 2, 3]
    assert list(series.steps) == [10, 20, 30]
    assert list(series.times) == [0.1, 0.2, 0.3]
    assert exact(list(series.values)) == exact(["x", math.nan, 1])
    floats = read_series(RowBinary(answered((2, 1, 0.0, 2.5), (1, 1, 0.0, 1.5), (2, 1, 0.0, 2.5))))
    assert (list(floats.seqs), list(floats.values)) == ([1, 2], [1.5, 2.5])


def series(**values: Any) -> Series:
    return read_series(RowBinary(answered(*((int(seq[1:]), 0, 0.0, value) for seq, value in values.items()))))


def test_series_of_the_same_records_join_as_whole_columns() -> None:
    stretch = join_series({"a": series(_4=1.0, _6=2.0), "b": series(_4=1, _6=2)})
    assert stretch.first == 4
    assert {key: (rows, list(values)) for key, (rows, values) in stretch.columns.items()} == {
        "a": (None, [1.0, 2.0]),
        "b": (None, [1, 2]),
    }


def test_series_of_different_records_join_by_record() -> None:
    stretch = join_series({"a": series(_2=1.0, _9=2.0), "b": series(_1="x", _2="y"), "c": series(_9=True)})
    assert (stretch.first, len(stretch.steps), len(stretch.times)) == (1, 3, 3)
    assert {key: (list(rows or ()), list(values)) for key, (rows, values) in stretch.columns.items()} == {
        "a": ([1, 2], [1.0, 2.0]),
        "b": ([0, 1], ["x", "y"]),
        "c": ([2], [True]),
    }
