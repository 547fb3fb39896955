"""One sidecar with 64 client processes: duration of calls, completeness of the records, fairness between the clients.

A child starts `sidecar serve` and forks the clients, so that modules are imported once. Each client makes 200 calls per
second, a bare one (encode, append to a deque) beside each `run.log`, and pauses with `time.sleep`.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from array import array
from collections import Counter
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import Quantiles, quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most, below
from tests.tools.benchmarks.work import POINTS, Bare, metrics

NAME = "many clients"
CLIENTS = 64
RUNS = 8
"""Number of runs that the clients are spread over, each with several writers."""

RATE = 200
FINISH_SECONDS = 120.0


def measure(options: Options) -> list[Row]:
    results = call("many_clients:run", options.directory, clients=CLIENTS, rate=RATE, seconds=options.count(20, 5))
    log, bare = Quantiles(*results["log"]), Quantiles(*results["bare"])
    difference = (log.p99 - bare.p99) / 1000.0
    rate = results["calls"] / results["seconds"]
    return [
        Row(
            NAME, f"run.log of {POINTS} floats, {CLIENTS} processes, {RATE} calls per second each", "µs",
            *log, bare.median, [below("p99 minus that of the bare loop", difference, 1.0, " ms")],
            f"the bare loop beside it: p99 {bare.p99:.0f} µs, p99.9 {bare.p999:.0f} µs; "
            f"{results['processors']} processors, load {results['load']:.1f} at the end",
        ),
        Row(
            NAME, "calls, read back from the log and the store", "calls", results["calls"],
            bars=[
                at_most("lost", results["lost"], 0),
                at_most("duplicated", results["duplicated"], 0),
                at_most("not in the store", results["not_stored"], 0),
            ],
            note=f"{results['read_back']:,} read back; {rate:,.0f} calls per second, planned: {CLIENTS * RATE:,}",
        ),
        Row(
            NAME, "spread of records per client in the log when the first client has ended", "%",
            results["spread"] * 100.0,
            bars=[at_most("spread", results["spread"] * 100.0, 10.0, " %")],
            note=f"{results['most']:,} at most, {results['least']:,} at least",
        ),
        Row(
            NAME, "the sidecar's share of one processor", "%", results["sidecar_share"] * 100.0,
            note=f"{results['sidecar_share'] / rate * 1e6:.1f} µs per record, with the store; "
            f"{results['sidecar_rss'] / 2**20:.0f} MiB",
        ),
        Row(NAME, "all finished, after the last call", "s", results["finish"]),
    ]  # fmt: skip


# -- in the child -----------------------------------------------------------------------------------------------------


def run(clients: int, rate: int, seconds: int) -> dict[str, Any]:
    """Serve, fork the clients, and read all records back."""
    import psutil

    import tracker  # noqa: F401  imported once for all clients
    from sidecar.protocol import ask, channels  # noqa: F401

    root = Path("served").absolute()
    serving, endpoint = serve(root)
    try:
        watched = psutil.Process(serving.pid)
        context = multiprocessing.get_context("fork")
        barrier, ended = context.Barrier(clients + 1), context.Event()
        processes = [
            context.Process(target=client, args=(index, clients, endpoint, rate, rate * seconds, barrier, ended))
            for index in range(clients)
        ]
        for process in processes:
            process.start()
        barrier.wait(60.0)
        begin, used = time.monotonic(), cpu(watched)
        assert ended.wait(20.0 * seconds), "no client has ended"
        sizes = {path: path.stat().st_size for path in root.glob("runs/*/transactions.log")}
        for process in processes:
            process.join(FINISH_SECONDS + 20.0 * seconds)
        assert [process.exitcode for process in processes] == [0] * clients, "a client failed"
        wall = time.monotonic() - begin
        share, rss = (cpu(watched) - used) / wall, watched.memory_info().rss
    finally:
        serving.terminate()
        serving.wait(60.0)
    at_end = Counter(dict.fromkeys(range(clients), 0))
    for path, size in sizes.items():
        at_end.update(writer for writer, _ in logged(path, size))
    last_calls = [float(Path(f"ended-{index}").read_text()) for index in range(clients)]
    most, least = max(at_end.values()), min(at_end.values())
    return {
        **read_back(root, clients, rate * seconds),
        "log": quantiles(times("log", clients), 1e6),
        "bare": quantiles(times("bare", clients), 1e6),
        "seconds": max(last_calls) - begin,
        "finish": begin + wall - max(last_calls),
        "most": most,
        "least": least,
        "spread": (most - least) / most if most else 1.0,
        "sidecar_share": share,
        "sidecar_rss": rss,
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def serve(root: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a sidecar on loopback; return its process and the address of its control socket."""
    from sidecar.protocol.connection import read_connection

    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "serve", "--dir", str(root), "--listen", "tcp://127.0.0.1:*"]
        + ["--ready-fd", str(write)],
        pass_fds=(write,),
        stdin=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read, "rb") as ready:
        assert ready.readline() == b"ready\n", "the sidecar is not ready"
    return process, read_connection(root / "sidecars" / "serve.json").control


def client(index: int, clients: int, endpoint: str, rate: int, count: int, barrier: Barrier, ended: Event) -> None:
    """Run a client: attach, wait for the others, log at the given rate, finish."""
    import tracker

    settings = {"silent": True, "finish_timeout": FINISH_SECONDS}
    run = tracker.init(id=f"run{index % RUNS}", label=str(index), sidecar=endpoint, settings=settings)
    bare = Bare(run.id).log
    log, now, sleep = run.log, time.perf_counter, time.sleep
    ready = [metrics(step) for step in range(100)]
    logged, compared = array("d"), array("d")
    barrier.wait(60.0)
    due = now() + index / clients / rate  # so that the clients do not log at the same moments
    for step in range(count):
        data = ready[step % 100]
        if step & 1:
            begin = now()
            log(data)
            middle = now()
            bare(data)
            end = now()
            logged.append(middle - begin)
            compared.append(end - middle)
        else:
            begin = now()
            bare(data)
            middle = now()
            log(data)
            end = now()
            compared.append(middle - begin)
            logged.append(end - middle)
        due += 1 / rate
        if due > end:
            sleep(due - end)
    Path(f"ended-{index}").write_text(str(time.monotonic()))
    ended.set()
    run.finish()
    for name, values in (("log", logged), ("bare", compared)):
        Path(f"{name}-{index}").write_bytes(values.tobytes())


def times(name: str, clients: int) -> array[float]:
    """Return the durations of the calls of all clients, in seconds."""
    durations = array("d")
    for index in range(clients):
        durations.frombytes(Path(f"{name}-{index}").read_bytes())
    return durations


def cpu(process: Any) -> float:
    """Return the processor seconds that a process has used."""
    used = process.cpu_times()
    return float(used.user + used.system)


def logged(path: Path, size: int | None = None) -> list[tuple[int, int]]:
    """Return the number of the writer and the step for each row in the first `size` bytes of a log."""
    from sidecar.log.reader import LogReader

    if size is not None:
        part = path.with_suffix(".part")
        part.write_bytes(path.read_bytes()[:size])
        path = part
    labels: dict[str, int] = {}
    calls = []
    with LogReader(path) as reader:
        for batch in reader.batches():
            for record in batch.records:
                if record.kind == "run" and record.body.get("label"):
                    labels[record.client] = int(record.body["label"])
                elif record.kind == "log":
                    calls.append((labels[record.client], record.body["step"]))
    return calls


def read_back(root: Path, clients: int, count: int) -> dict[str, int]:
    """Compare the stored records with the calls that were made."""
    from tracker.reading.api import Api

    rows = [row for path in sorted(root.glob("runs/*/transactions.log")) for row in logged(path)]
    distinct = set(rows)
    stored = sum(run.records for run in Api(root).runs())
    return {
        "calls": clients * count,
        "read_back": len(rows),
        "lost": clients * count - len(distinct),
        "duplicated": len(rows) - len(distinct),
        "not_stored": clients * count - stored,
    }
