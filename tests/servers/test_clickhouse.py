"""ClickhouseSink with real servers, an old release and the current one: the stored rows, whatever fails."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import new_id
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.clickhouse.schema import MODERN_TYPES, Schema, is_modern
from sidecar.sinks.clickhouse.sink import ClickhouseSink
from sidecar.sinks.contract import SinkRefusedError, SinkTarget, SinkUnavailableError
from tests.servers import clickhouse_server
from tests.servers.clickhouse_server import CLUSTER, PASSWORD, READER, USER, ClickhouseServer
from tests.servers.feed import feed
from tests.servers.proxy import CUT_AFTER, CUT_BEFORE, HALF, Fault, FaultyProxy, answer
from tests.support import REPOSITORY, Scripts, exact, wait_until
from tests.unit.run_builder import START, RunBuilder
from tracker.cli.main import main
from tracker.reading.api import Api

clickhouse = clickhouse_server.clickhouse
modern_clickhouse = clickhouse_server.modern_clickhouse

Captured = pytest.CaptureFixture[str]


class SmallBatches(ClickhouseSink):
    """A sink that sends a log in several batches."""

    batch_bytes = 1000


@pytest.fixture(params=["18.16", "current"])
def any_clickhouse(
    request: pytest.FixtureRequest, clickhouse: ClickhouseServer, modern_clickhouse: ClickhouseServer
) -> ClickhouseServer:
    """Each of the two releases."""
    return clickhouse if request.param == "18.16" else modern_clickhouse


@pytest.fixture
def database() -> str:
    """The name of a database that does not exist."""
    return f"db_{new_id()}"


def build(root: Path, id: str = "run00001") -> RunBuilder:
    """Build a run of three clients, which is sent in a few batches."""
    run = RunBuilder(root, id, name="it's", tags=["a", "b'c"], group="g")
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd"}}})
    for step in range(20):
        run.row(step, None, loss=1.0 / (step + 1), acc=step)
        run.row(step, "client000002", loss=-float(step))
        run.row(step, "", shell=f"text {step}")
    run.write("exit", {"state": "finished"}, "client000002")
    return run.finish()


def read(address: str, id: str = "run00001") -> Any:
    """Return everything that a reader has of a run, except its location and its sinks."""
    with Api(address) as api:
        run = api.run(id)
        content = run.to_map() | {"keys": run.keys(), "history": run.history(), "rows": list(run.scan_history())}
    return exact({key: value for key, value in content.items() if key not in ("dir", "sinks")})


def target(address: str, directory: Path) -> SinkTarget:
    return SinkTarget(parse_sink(address), directory.name, directory, {})


# -- sending ----------------------------------------------------------------------------------------------------------


def test_rows_have_what_was_logged(any_clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    run = RunBuilder(root, "run00001", project="p", name="it's", tags=["a", "b'c"])
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd", "layers": [1, 2]}}})
    run.row(0, None, loss=0.5, n=3, ok=True, big=2**64 - 1, note="a\tb", hist={"_type": "histogram", "bins": [1]})
    run.row(1, None, loss=math.nan)
    run.row(2, None, loss=-math.inf)
    run.finish("failed")
    feed(ClickhouseSink, any_clickhouse.address(database), run.dir)

    points = f"FROM {database}.tracker_points FINAL WHERE run = 'run00001'"
    assert any_clickhouse.rows(
        f"SELECT key, seq, step, time, kind, number, integer, text {points} ORDER BY seq, place"
    ) == [
        ("loss", "3", "0", "1700000003", "float", "0.5", "0", ""),
        ("n", "3", "0", "1700000003", "int", "3", "3", ""),
        ("ok", "3", "0", "1700000003", "bool", "1", "1", ""),
        ("big", "3", "0", "1700000003", "uint", "18446744073709552000", "-1", ""),
        ("note", "3", "0", "1700000003", "text", "nan", "0", "a\\tb"),
        ("hist", "3", "0", "1700000003", "json", "nan", "0", '{"_type": "histogram", "bins": [1]}'),
        ("loss", "4", "1", "1700000004", "float", "nan", "0", ""),
        ("loss", "5", "2", "1700000005", "float", "-inf", "0", ""),
    ]
    assert any_clickhouse.query(f"SELECT toUInt64(integer) {points} AND key = 'big'") == f"{2**64 - 1}\n"
    runs = f"FROM {database}.tracker_runs FINAL"
    assert any_clickhouse.rows(
        f"SELECT project, name, `group`, tags, state, exit_code, step, records, points {runs}"
    ) == [("p", "it\\'s", "", "['a','b\\'c']", "failed", "1", "2", "3", "8")]
    assert any_clickhouse.query(f"SELECT start_time, end_time > start_time {runs}") == f"{START:.0f}\t1\n"
    values = f"SELECT kind, key, number, text FROM {database}.tracker_values WHERE run = 'run00001'"
    assert any_clickhouse.rows(f"{values} AND kind = 'config' ORDER BY key") == [
        ("config", "lr", "0.1", "0.1"),
        ("config", "opt.layers", "nan", "[1, 2]"),
        ("config", "opt.name", "nan", "sgd"),
    ]
    assert any_clickhouse.rows(f"{values} AND kind = 'summary' AND key IN ('n', 'note', 'ok') ORDER BY key") == [
        ("summary", "n", "3", "3"),
        ("summary", "note", "nan", "a\\tb"),
        ("summary", "ok", "1", "true"),
    ]


def test_packed_rows_are_read_as_from_the_run_itself(
    any_clickhouse: ClickhouseServer, database: str, root: Path
) -> None:
    run = RunBuilder(root, "run00001")
    run.rows(
        0, loss=[step / 7 for step in range(3000)], n=list(range(3000)), ok=[step % 2 == 0 for step in range(3000)]
    )
    run.rows(5, "client000002", loss=[math.nan, math.inf, -0.0] * 10)
    run.row(3000, None, loss=1, n=2**64 - 1, ok="text")
    run.rows(3001, loss=list(range(40)), n=[0.5] * 40, ok=[True] * 40)
    run.finish()
    feed(ClickhouseSink, any_clickhouse.address(database), run.dir)
    assert read(any_clickhouse.address(database)) == read(str(root))


def test_a_run_of_the_sdk(any_clickhouse: ClickhouseServer, database: str, root: Path, scripts: Scripts) -> None:
    address = any_clickhouse.address(database)
    done = scripts.run(
        """
        import sys, tracker
        with tracker.init(project="digits", config={"lr": 0.1}, sinks=[sys.argv[1]]) as run:
            for step in range(500):
                run.log({"loss": 1 / (step + 1), "val": {"acc": step}, "text": str(step)})
            run.log({"hist": tracker.Histogram([1.0, 2.0])})
        print(run.id)
        """,
        address,
    )
    id = done.out.strip()
    assert read(address, id) == read(str(root), id)


def test_a_database_with_an_odd_name(any_clickhouse: ClickhouseServer, root: Path) -> None:
    run = build(root)
    address = any_clickhouse.address("it%27s%20`odd`")
    feed(ClickhouseSink, address, run.dir)
    assert read(address) == read(str(root))
    assert any_clickhouse.query("SELECT count() FROM system.databases WHERE name = 'it\\'s `odd`'") == "1\n"


def test_many_sinks_create_the_tables_at_the_same_time(
    any_clickhouse: ClickhouseServer, database: str, root: Path
) -> None:
    address = any_clickhouse.address(database)
    directories = [build(root, f"run0000{number}").dir for number in range(6)]
    failed: list[Exception] = []

    def one(directory: Path) -> None:
        try:
            feed(ClickhouseSink, address, directory, tries=5)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(directory,)) for directory in directories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Api(address) as api:
        assert len(api.runs()) == 6


def test_the_version(any_clickhouse: ClickhouseServer, database: str, tmp_path: Path) -> None:
    sink = ClickhouseSink(target(any_clickhouse.address(database), tmp_path))
    assert sink.version() == any_clickhouse.query("SELECT version()").strip()
    sink.close(Deadline(1.0))
    sink.close(Deadline(1.0))


# -- the tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["tracker_points", "tracker_runs"])
def test_an_old_release_gets_plain_columns(clickhouse: ClickhouseServer, database: str, root: Path, table: str) -> None:
    assert clickhouse.query("SELECT version()").startswith("18.")
    feed(ClickhouseSink, clickhouse.address(database), build(root).dir)
    statement = clickhouse.query(f"SHOW CREATE TABLE {database}.{table} FORMAT TabSeparatedRaw")
    assert "LowCardinality" not in statement and "CODEC" not in statement


@pytest.mark.parametrize("table", ["tracker_points", "tracker_runs"])
def test_the_current_release_gets_low_cardinality_and_codecs(
    modern_clickhouse: ClickhouseServer, database: str, root: Path, table: str
) -> None:
    assert is_modern(modern_clickhouse.query("SELECT version()"))
    feed(ClickhouseSink, modern_clickhouse.address(database), build(root).dir)
    columns = modern_clickhouse.rows(
        "SELECT name, trim(concat(type, ' ', compression_codec)) FROM system.columns"
        f" WHERE database = '{database}' AND table = '{table}'"
    )
    expected = {name: re.sub(r"\bZSTD\b", "ZSTD(1)", type_) for name, type_ in MODERN_TYPES[table].items()}
    made = {name: re.sub(r"(Delta)\(\d\)", r"\1", type_) for name, type_ in columns if name in expected}
    assert made == expected


def test_tables_of_an_old_release_are_used_as_they_are(
    modern_clickhouse: ClickhouseServer, database: str, root: Path
) -> None:
    """As on a server that was upgraded, or with tables of an earlier version of the sink."""
    schema = Schema.of(database, {})
    for statement in (schema.database_statement(), *schema.statements()):
        modern_clickhouse.query(statement)
    tables = f"SELECT name, create_table_query FROM system.tables WHERE database = '{database}' ORDER BY name"
    before = modern_clickhouse.query(tables)
    run = build(root)
    address = modern_clickhouse.address(database)
    for _ in range(2):
        feed(SmallBatches, address, run.dir)
    assert read(address) == read(str(root))
    assert modern_clickhouse.query(tables) == before and "CODEC" not in before


def test_the_types_of_the_current_release_take_half_the_space_at_most(
    modern_clickhouse: ClickhouseServer, database: str, root: Path
) -> None:
    run = RunBuilder(root, "run00001")
    random = Random(1)
    for step in range(20_000):
        run.clock += random.random() / 100
        run.row(step, None, loss=2.0 / (1 + step / 500) + random.gauss(0, 0.05), acc=random.random(), epoch=step // 500)
    run.finish()
    plain = Schema.of(f"{database}_plain", {})
    for statement in (plain.database_statement(), *plain.statements()):
        modern_clickhouse.query(statement)
    sizes = []
    for name in (f"{database}_plain", database):
        feed(ClickhouseSink, modern_clickhouse.address(name), run.dir)
        modern_clickhouse.query(f"OPTIMIZE TABLE {name}.tracker_points FINAL")
        bytes_on_disk = f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{name}'"
        sizes.append(int(modern_clickhouse.query(f"{bytes_on_disk} AND table = 'tracker_points'")))
    assert modern_clickhouse.query(f"SELECT count() FROM {database}.tracker_points") == "60000\n"
    assert 0 < sizes[1] < sizes[0] / 2, sizes


def test_a_low_cardinality_column_is_sharded_like_a_string(modern_clickhouse: ClickhouseServer) -> None:
    """So that tables of both kinds send a run to the same shard."""
    hashes = "SELECT cityHash64('run00001') = cityHash64(CAST('run00001' AS LowCardinality(String)))"
    assert modern_clickhouse.query(hashes) == "1\n"


# -- resending --------------------------------------------------------------------------------------------------------


def test_resent_batches_change_nothing(any_clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    run = build(root)
    address = any_clickhouse.address(database)
    expected = read(str(root))
    feed(SmallBatches, address, run.dir)
    for table in ("tracker_points", "tracker_runs"):
        any_clickhouse.query(f"SYSTEM STOP MERGES {database}.{table}")
    for sink in (SmallBatches, ClickhouseSink, SmallBatches):
        feed(sink, address, run.dir)
        assert read(address) == expected
    raw, once = (
        int(any_clickhouse.query(f"SELECT count() FROM {database}.tracker_points {final}")) for final in ("", "FINAL")
    )
    assert once == 80
    assert raw >= 3 * once, "no row was stored more than once, so nothing was tested"
    for table in ("tracker_points", "tracker_runs"):
        any_clickhouse.query(f"SYSTEM START MERGES {database}.{table}")
    any_clickhouse.query(f"OPTIMIZE TABLE {database}.tracker_points FINAL")
    any_clickhouse.query(f"OPTIMIZE TABLE {database}.tracker_runs FINAL")
    assert read(address) == expected
    assert any_clickhouse.query(f"SELECT count() FROM {database}.tracker_points") == "80\n"
    assert any_clickhouse.query(f"SELECT count() FROM {database}.tracker_runs") == "1\n"


@pytest.mark.parametrize("fault", [CUT_AFTER, CUT_BEFORE, HALF, answer(503)], ids=["after", "before", "half", "503"])
def test_a_fault_at_any_request_changes_nothing(clickhouse: ClickhouseServer, root: Path, fault: Fault) -> None:
    run = build(root)
    expected = read(str(root))
    with FaultyProxy(clickhouse.port) as proxy:
        feed(SmallBatches, clickhouse.address(f"db_{new_id()}", proxy.port), run.dir)
        total = len(proxy.requests)
    assert total > 12
    for faulty in range(1, total + 1):
        if fault is not CUT_AFTER and 8 < faulty < total - 1:
            continue  # the requests in the middle are alike
        name = f"db_{new_id()}"
        with FaultyProxy(clickhouse.port, at(faulty, fault)) as proxy:
            feed(SmallBatches, clickhouse.address(name, proxy.port), run.dir, tries=2)
            assert len(proxy.requests) > total or fault is HALF  # half of an empty response is complete
        assert read(clickhouse.address(name)) == expected, f"request {faulty} of {total}"
        clickhouse.query(f"DROP DATABASE {name}")


def at(faulty: int, fault: Fault) -> Callable[[int, str, str], Fault | None]:
    return lambda number, method, path: fault if number == faulty else None


def test_readers_see_no_incomplete_batch(any_clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    run = build(root)
    address = any_clickhouse.address(database)

    def plan(number: int, method: str, path: str) -> Fault | None:
        return (
            CUT_BEFORE
            if "tracker_runs" in path and sum(inserts_a_run(request.path) for request in proxy.requests) > 1
            else None
        )

    def inserts_a_run(path: str) -> bool:
        return "tracker_runs" in path

    with FaultyProxy(any_clickhouse.port, plan) as proxy, pytest.raises(SinkUnavailableError):
        feed(SmallBatches, any_clickhouse.address(database, proxy.port), run.dir)
    with Api(address) as api:
        sent = api.run("run00001")
        assert sent.state == "stalled"
        assert 0 < sent.records < 60
        assert len(list(sent.scan_history())) == sent.records
        assert len(sent.keys()) <= 3
    assert int(any_clickhouse.query(f"SELECT uniq(client, seq) FROM {database}.tracker_points")) > sent.records
    feed(SmallBatches, address, run.dir)
    assert read(address) == read(str(root))


def test_a_batch_makes_two_parts(clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    run = RunBuilder(root, "run00001")
    for step in range(60):
        run.row(step, None, **{f"k{number}": float(step) for number in range(30)})
    run.finish()

    class Tiny(ClickhouseSink):
        batch_bytes = 700

    with FaultyProxy(clickhouse.port) as proxy:
        feed(Tiny, clickhouse.address(database, proxy.port), run.dir)
        inserts = [request for request in proxy.requests if "INSERT" in request.path]
    batches = sum("tracker_runs" in request.path for request in inserts)
    assert batches > 30
    assert len(inserts) <= 2 * batches
    parts = clickhouse.rows(
        f"SELECT table, countIf(active) FROM system.parts WHERE database = '{database}' GROUP BY table ORDER BY table"
    )
    assert [table for table, _ in parts] == ["tracker_points", "tracker_runs"]
    assert all(int(count) < batches for _, count in parts), "the parts were not merged"


# -- users, errors and options ----------------------------------------------------------------------------------------


def test_user_and_password_come_from_the_environment(
    clickhouse: ClickhouseServer, database: str, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = build(root)
    address = clickhouse.address(database)
    monkeypatch.setenv("CLICKHOUSE_USER", USER)
    with pytest.raises(SinkRefusedError, match=r"(?i)password"):
        feed(ClickhouseSink, address, run.dir)
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "wrong")
    with pytest.raises(SinkRefusedError, match=r"(?i)password") as caught:
        feed(ClickhouseSink, address, run.dir)
    assert "wrong" not in str(caught.value).lower().replace("wrong password", "")
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    monkeypatch.delenv("CLICKHOUSE_PASSWORD")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD_FILE", str(tmp_path / "secret"))
    with FaultyProxy(clickhouse.port) as proxy:
        feed(ClickhouseSink, clickhouse.address(database, proxy.port), run.dir)
        assert all(PASSWORD not in request.path for request in proxy.requests)
    assert read(address) == read(str(root))


def test_a_read_only_user_can_read_but_not_send(
    clickhouse: ClickhouseServer, database: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build(root)
    address = clickhouse.address(database)
    monkeypatch.setenv("CLICKHOUSE_USER", READER)
    with pytest.raises(SinkRefusedError, match=r"(?i)readonly"):
        feed(ClickhouseSink, address, run.dir)
    monkeypatch.delenv("CLICKHOUSE_USER")
    feed(ClickhouseSink, address, run.dir)
    monkeypatch.setenv("CLICKHOUSE_USER", READER)
    assert read(address) == read(str(root))
    with pytest.raises(SinkRefusedError, match=r"(?i)readonly"):
        feed(ClickhouseSink, address, run.dir)


def test_a_server_that_is_down(database: str, root: Path, capsys: Captured) -> None:
    run = build(root)
    with FaultyProxy(1) as proxy:
        port = proxy.port
    address = f"clickhouse+http://127.0.0.1:{port}/{database}"
    with pytest.raises(SinkUnavailableError, match="refused"):
        feed(ClickhouseSink, address, run.dir)
    assert main(["ls", "--dir", address]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"tracker ls: cannot read from {address}: ")
    assert len(line.splitlines()) == 1


def test_reading_does_not_create_a_database(any_clickhouse: ClickhouseServer, database: str, capsys: Captured) -> None:
    assert main(["ls", "--dir", any_clickhouse.address(database)]) == 1
    line = capsys.readouterr().err
    assert database in line
    assert "exist" in line
    assert any_clickhouse.query(f"SELECT count() FROM system.databases WHERE name = '{database}'") == "0\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "unknown option 'colour'"),
        ({"engine": "MergeTree"}, "engine='MergeTree'"),
        ({"cluster": "a'b"}, "is not a valid name of a cluster"),
        ({"cluster": "a", "distributed": "b"}, "must name the same cluster"),
        ({"cluster": "nowhere"}, r"(?i)cluster|zookeeper|ddl"),
        ({"setting.no_such_setting": "1"}, "no_such_setting"),
    ],
)
def test_an_invalid_option_is_refused(
    clickhouse: ClickhouseServer, database: str, root: Path, options: dict[str, str], message: str
) -> None:
    run = build(root)
    with pytest.raises((SinkRefusedError, SinkUnavailableError), match=message):
        feed(ClickhouseSink, clickhouse.address(database, options=options), run.dir)


def test_settings_are_sent_with_every_request(clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    run = build(root)
    with FaultyProxy(clickhouse.port) as proxy:
        address = clickhouse.address(database, proxy.port, {"setting.max_insert_block_size": "1000"})
        feed(ClickhouseSink, address, run.dir)
        assert all("max_insert_block_size=1000" in request.path for request in proxy.requests)


def test_tables_on_the_shards_of_a_cluster(clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    """The tables are created without ON CLUSTER, which needs ZooKeeper; the rest is as on a cluster."""
    run = build(root)
    address = clickhouse.address(database, options={"distributed": CLUSTER})
    schema = Schema.of(database, {"distributed": CLUSTER})
    for statement in (schema.database_statement(), *schema.statements()):
        assert f" ON CLUSTER '{CLUSTER}'" in statement
        clickhouse.query(statement.replace(f" ON CLUSTER '{CLUSTER}'", ""))
    for _ in range(2):
        feed(SmallBatches, address, run.dir)
    assert read(address) == read(str(root))
    assert clickhouse.query(f"SELECT count() FROM {database}.tracker_points_local FINAL") == "80\n"
    assert clickhouse.query(f"SELECT number FROM {database}.tracker_values WHERE key = 'lr'") == "0.1\n"


# -- reading ----------------------------------------------------------------------------------------------------------


def test_all_runs_are_read_in_one_query(any_clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    for number in range(5):
        feed(ClickhouseSink, any_clickhouse.address(database), build(root, f"run0000{number}").dir)
    with FaultyProxy(any_clickhouse.port) as proxy, Api(any_clickhouse.address(database, proxy.port)) as api:
        runs = api.runs(filters={"config.lr": 0.1, "state": "finished"}, order="-summary.loss")
        assert proxy.requests == [], "a request was sent before the runs were used"
        assert [len(runs), runs[0].summary["acc"], runs[4].config["opt"]] == [5, 19, {"name": "sgd"}]
        assert len(proxy.requests) == 1


def test_commands_that_read_runs(clickhouse: ClickhouseServer, database: str, root: Path, capsys: Captured) -> None:
    build(root)
    address = clickhouse.address(database)
    feed(ClickhouseSink, address, root / "runs" / "run00001")

    def outputs(*arguments: str) -> list[str]:
        """Return what a command prints for the directory, and for the server."""
        texts = []
        for source in (str(root), address):
            assert main([*arguments, "--dir", source]) == 0
            texts.append(capsys.readouterr().out)
        return texts

    for command in (
        ["ls"],
        ["ls", "--where", "summary.acc>18", "--columns", "config.lr"],
        ["export", "run00001"],
        ["export", "run00001", "--format", "jsonl", "--keys", "loss", "--min-step", "5"],
        ["tail", "run00001", "-n", "3"],
        ["tail", "run00001", "--json", "--keys", "shell", "--no-follow"],
    ):
        local, remote = outputs(*command)
        assert local == remote
        assert local
    local, remote = outputs("show", "run00001")
    assert ["server", address] in [line.split() for line in remote.splitlines()]
    assert [line.split() for line in remote.splitlines() if address not in line] == [
        line.split() for line in local.splitlines() if str(root) not in line
    ]
    local, remote = outputs("show", "run00001", "--json")
    assert json.loads(remote) | {"dir": ""} == json.loads(local) | {"dir": ""}


@pytest.mark.parametrize(
    "command", [["verify"], ["rebuild"], ["rm", "--yes", "run00001"], ["sync"], ["log", "run00001", "loss=1"]]
)
def test_commands_that_need_a_directory_refuse_a_server(
    clickhouse: ClickhouseServer, capsys: Captured, command: list[str]
) -> None:
    address = clickhouse.address("anything")
    assert main([*command, "--dir", address]) == 1
    expected = f"tracker {command[0]}: needs a directory of runs, and {address} is a server\n"
    assert capsys.readouterr().err == expected


def test_tail_follows_a_run_until_it_ends(clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    address = clickhouse.address(database)
    run = RunBuilder(root, "run00001")
    run.row(0, None, loss=0.0, acc=1)
    delivery = Delivery(address, run.dir)
    delivery.send_new()
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.cli.main", "tail", "run00001", "--json", "--dir", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    watchdog = threading.Timer(60.0, process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None and process.stderr is not None
        rows = [json.loads(process.stdout.readline())]
        run.row(1, None, loss=1.0)
        run.row(1, "client000002", loss=1.5)
        delivery.send_new()
        rows += [json.loads(process.stdout.readline()) for _ in range(2)]
        run.row(0, "", loss=2.0)  # lower steps are shown when they arrive
        delivery.send_new()
        rows.append(json.loads(process.stdout.readline()))
        run.write("exit", {"state": "finished"}, "client000002")
        run.finish()
        delivery.send_new()
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith("run run00001 finished after")
    watchdog.cancel()
    delivery.close()
    assert [(row["_step"], row["loss"]) for row in rows] == [(0, 0.0), (1, 1.0), (1, 1.5), (0, 2.0)]
    assert rows[0]["acc"] == 1
    assert rows[2]["_label"] == "client000002"


class Delivery:
    """Sends a growing log."""

    def __init__(self, address: str, directory: Path) -> None:
        self._sink = ClickhouseSink(target(address, directory))
        self._sink.open()
        self._state = RunState()
        self._reader = LogReader(directory / "transactions.log")

    def send_new(self) -> None:
        for batch in self._reader.batches():
            for record in batch.records:
                self._state.apply(record)
            assert self._sink.send(batch, self._state) == batch.end

    def close(self) -> None:
        self._reader.close()
        self._sink.close(Deadline(5.0))


def test_a_reader_sees_new_records(any_clickhouse: ClickhouseServer, database: str, root: Path) -> None:
    address = any_clickhouse.address(database)
    run = RunBuilder(root, "run00001")
    delivery = Delivery(address, run.dir)
    delivery.send_new()
    with Api(address, stalled_after=1e12) as api:
        sent = api.run("run00001")
        cards = api.catalog()
        assert cards.refresh() == {"run00001"} and cards.refresh() == set()
        version = sent.store().version()
        assert (sent.state, sent.history()["_step"]) == ("running", [])
        run.row(0, None, x=1)
        delivery.send_new()
        assert sent.store().version() != version
        assert cards.refresh() == {"run00001"}
        assert (sent.history()["x"], sent.step, sent.refresh().step) == ([1], None, 0)
        run.finish()
        delivery.send_new()
        assert wait_until(lambda: sent.refresh().state == "finished")
    delivery.close()


def test_invalid_data_is_an_error_that_names_the_server(
    any_clickhouse: ClickhouseServer, database: str, root: Path
) -> None:
    from sidecar.protocol.errors import StoreError

    run = build(root)
    address = any_clickhouse.address(database)
    feed(ClickhouseSink, address, run.dir)
    any_clickhouse.query(
        f"INSERT INTO {database}.tracker_runs (run, version, packed) VALUES ('run00001', 99999999, 'x')"
    )
    with Api(address) as api, pytest.raises(StoreError, match="contains invalid data"):
        api.runs()[0]
