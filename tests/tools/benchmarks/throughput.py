"""Sustained throughput of a sidecar: records from the socket to the log, checked, ordered and acked."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_least
from tests.tools.benchmarks.work import metrics

NAME = "sidecar throughput"
PER_MESSAGE = 100
ROWS_PER_MESSAGE = 1000


def measure(options: Options) -> list[Row]:
    results = call("throughput:flood", options.directory, records=options.count(1_000_000, 150_000))
    rows = call("throughput:flood", options.directory, records=options.count(1_000_000, 300_000), packed=True)
    sdk = call("throughput:from_the_sdk", options.directory, records=options.count(400_000, 60_000))
    rate, bare = results["log"], results["bare"]
    return [
        Row(
            NAME, "10 floats, from a raw client, durable in the log", "records/s", rate, bare=bare,
            bars=[at_least("rate", rate, 60_000), at_least("rate / bare", rate / bare, 1 / 3)],
            note=f"{results['records']:,} records in {results['seconds']:.1f} s, encoded beforehand, {PER_MESSAGE} per "
            "message; the bare loop receives, unpacks and appends the same messages",
        ),
        Row(
            NAME, "the same, until readable in the store", "records/s", results["store"], bare=bare,
            note=f"the store was {results['store_behind']:.2f} s behind the log at the end",
        ),
        Row(
            NAME, "packed rows of 10 floats, durable in the log", "records/s", rows["log"],
            bars=[at_least("rate", rows["log"], 600_000)],
            note=f"{rows['records']:,} rows in {rows['seconds']:.1f} s, as `run.log` writes them, "
            f"{ROWS_PER_MESSAGE} per message",
        ),
        Row(
            NAME, "the same, until readable in the store", "records/s", rows["store"],
            bars=[at_least("rate", rows["store"], 400_000)],
            note=f"the store was {rows['store_behind']:.2f} s behind the log at the end",
        ),
        Row(
            NAME, "10 floats, from a loop of run.log, until flushed", "records/s", sdk["rate"], bare=bare,
            note="trainer and sidecar share the processors; the slower one determines the rate",
        ),
    ]  # fmt: skip


def flood(records: int, packed: bool = False) -> dict[str, Any]:
    """In a child: launch a sidecar as a trainer does, then flood it from a client without the SDK."""
    import tracker
    from tests.tools.benchmarks.raw_client import RawClient, connection_of, encode_messages, encode_rows

    run = tracker.init(project="benchmark")
    run.flush()
    client = RawClient(connection_of(str(run.dir)).control, run.id)
    if packed:
        messages, bare = encode_rows(run.id, client.client, records, ROWS_PER_MESSAGE), 0.0
    else:
        messages = encode_messages(run.id, client.client, records, PER_MESSAGE)
        bare = flood_bare(messages, records)
    begin = time.perf_counter()
    client.flood(messages)
    client.ask("flush")
    seconds = time.perf_counter() - begin
    client.ask("state")
    readable = time.perf_counter() - begin
    client.close(records)
    run.finish()
    return {
        "records": records,
        "seconds": seconds,
        "log": records / seconds,
        "store": records / readable,
        "store_behind": readable - seconds,
        "bare": bare,
    }


def flood_bare(messages: list[bytes], records: int) -> float:
    """Return the throughput of the bare loop for the same messages, in records per second."""
    import zmq

    receiver = subprocess.Popen(
        [sys.executable, "-c", "from tests.tools.benchmarks.throughput import bare_receiver; bare_receiver()"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.setsockopt(zmq.SNDHWM, 64)
    push.connect(receiver.stdout.readline().strip())
    begin = time.perf_counter()
    for message in messages:
        push.send(message)
    push.send(b"")
    receiver.stdout.readline()
    seconds = time.perf_counter() - begin
    receiver.communicate(timeout=10)
    context.destroy(linger=0)
    return records / seconds


def bare_receiver() -> None:
    """In a separate process: receive, unpack every record, append the message to a file. No checks, no acks."""
    import msgpack
    import zmq

    from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS

    pull = zmq.Context().socket(zmq.PULL)
    pull.setsockopt(zmq.RCVHWM, 64)
    pull.bind("tcp://127.0.0.1:*" if sys.platform == "win32" else "ipc://*")
    print(str(pull.get_string(zmq.LAST_ENDPOINT)).rstrip("\0"), flush=True)
    unpack, head = msgpack.unpackb, HEAD.unpack_from
    with open("bare.log", "wb", buffering=0) as file:
        while message := pull.recv():
            view = memoryview(message)
            start = 0
            while start < len(message):
                end = start + HEAD_BYTES + (head(message, start)[0] & LENGTH_BITS)
                unpack(view[start + HEAD_BYTES : end])
                start = end
            file.write(message)
    print("done", flush=True)


def from_the_sdk(records: int) -> dict[str, Any]:
    """In a child: a training process that only logs."""
    import tracker

    run = tracker.init(project="benchmark")
    ready = [metrics(step) for step in range(5000)]
    begin = time.perf_counter()
    for _ in range(records // len(ready)):
        for data in ready:
            run.log(data)
    run.flush()
    rate = records // len(ready) * len(ready) / (time.perf_counter() - begin)
    run.finish()
    return {"rate": rate}
