"""Time to send a log to ClickHouse, beside a bare insert of the same rows; and time to read a history.

Starts a ClickHouse server, which shares the processors with the measured process.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most
from tests.tools.benchmarks.work import POINTS, metrics

NAME = "to ClickHouse"
RECORDS = 100_000


def measure(options: Options) -> list[Row]:
    records = options.count(RECORDS)
    results = call("sink_clickhouse:send", options.directory, records=records, rounds=options.count(9, 3))
    sent, bare, bulk = (quantiles(results[name]) for name in ("sent", "bare", "bulk"))
    points = records * POINTS
    return [
        Row(
            NAME, f"{points:,} points from the log, 10 floats per record", "s", *sent, bare=bare.median,
            bars=[at_most("median / one bare bulk insert", sent.median / bulk.median, 3)],
            note=f"{points / sent.median:,.0f} points per second; read from the log, applied to the run's state, "
            f"encoded, inserted in {results['batches']} batches; bare only inserts the same {results['bytes']:,} bytes "
            "of Native blocks in as many requests; alternating, each into new tables",
        ),
        Row(NAME, "the same rows in one bare bulk insert", "s", *bulk),
        Row(NAME, "the same points, encoding alone", "s", *quantiles(results["encoded"])),
        Row(
            NAME, f"history of one key of {records:,} points", "ms", *quantiles(results["history"], 1000),
            note="from ClickHouse; the Api is opened for each",
        ),
        Row(NAME, f"scan_history() of {records:,} rows of 10 keys", "ms", *quantiles(results["scanned"], 1000)),
    ]  # fmt: skip


def send(records: int, rounds: int) -> dict[str, Any]:
    """In a child: write a log, start a server, then alternate sending the log and rows encoded from it beforehand."""
    from tests.servers.clickhouse_server import ClickhouseServer

    directory = _log(records)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), ignore_cleanup_errors=True) as name:
        server = ClickhouseServer(Path(name))
        try:
            server.start()
            return _measure(server, directory, rounds) | _read(server, directory.name, records, rounds)
        finally:
            server.stop()


def _log(records: int) -> Path:
    from tests.unit.run_builder import RunBuilder

    run = RunBuilder(Path.cwd() / "root", "bench001")
    rows = [metrics(step) for step in range(records)]
    run.rows(0, None, **{name: [row[name] for row in rows] for name in rows[0]})
    run.write("exit", {"state": "finished"})
    run.log.close()
    return run.dir


def _measure(server: Any, directory: Path, rounds: int) -> dict[str, Any]:
    from sidecar.log.reader import LogReader
    from sidecar.protocol.layout import LOG_NAME
    from sidecar.protocol.sink_address import parse_sink
    from sidecar.sinks.clickhouse.client import Clickhouse
    from sidecar.sinks.clickhouse.points import native_points
    from sidecar.sinks.clickhouse.schema import POINT_COLUMNS, POINTS, identifier
    from sidecar.sinks.clickhouse.sink import ClickhouseSink, make_tables
    from tests.servers.feed import feed

    times: dict[str, list[float]] = {"sent": [], "bare": [], "bulk": [], "encoded": []}
    columns = [identifier(name) for name in POINT_COLUMNS]

    def insert(database: str, bodies: list[bytes]) -> float:
        client = Clickhouse(parse_sink(server.address(database)))
        begin = time.perf_counter()
        for body in bodies:
            client.insert(client.schema.table(POINTS), columns, "Native", body)
        elapsed = time.perf_counter() - begin
        client.close()
        return elapsed

    for _ in range(rounds):
        for database in ("sent", "bare", "bulk"):
            server.query(f"DROP DATABASE IF EXISTS {database}")
            client = Clickhouse(parse_sink(server.address(database)))
            make_tables(client)
            client.close()
        encoded = 0.0
        bodies = []
        with LogReader(directory / LOG_NAME) as reader:
            for batch in reader.batches(ClickhouseSink.batch_bytes):
                begin = time.perf_counter()
                blocks = list(native_points(directory.name, batch))
                encoded += time.perf_counter() - begin
                bodies.append(b"".join(blocks))
            del batch, blocks
        times["encoded"].append(encoded)
        times["bare"].append(insert("bare", bodies))
        size, batches = sum(map(len, bodies)), len(bodies)
        bodies = [b"".join(bodies)]
        times["bulk"].append(insert("bulk", bodies))
        bodies.clear()
        begin = time.perf_counter()
        feed(ClickhouseSink, server.address("sent"), directory)
        times["sent"].append(time.perf_counter() - begin)
        sums = {
            server.query(f"SELECT count(), sum(number) FROM {database}.tracker_points FINAL")
            for database in ("sent", "bare", "bulk")
        }
        if len(sums) != 1 or not sums.pop().startswith(f"{_points(directory)}\t"):
            raise RuntimeError("the tables do not have the same rows")
    return {**times, "batches": batches, "bytes": size}


def _points(directory: Path) -> int:
    from sidecar.log.reader import LogReader
    from sidecar.protocol.layout import LOG_NAME

    with LogReader(directory / LOG_NAME) as reader:
        return sum(record.kind == "log" for batch in reader.batches() for record in batch.records) * POINTS


def _read(server: Any, run: str, records: int, rounds: int) -> dict[str, Any]:
    from tracker.reading.api import Api

    def timed(read: Any) -> float:
        begin = time.perf_counter()
        with Api(server.address("sent")) as api:
            count = read(api.run(run))
        if count != records:
            raise RuntimeError(f"{count} of {records} rows were read")
        return time.perf_counter() - begin

    return {
        "history": [timed(lambda stored: len(stored.history(["metric0"])["metric0"])) for _ in range(rounds)],
        "scanned": [timed(lambda stored: sum(1 for _ in stored.scan_history())) for _ in range(3)],
    }
