"""Duration of a call of ``run.log``: paced as in training, and in a tight loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import ChildError, call
from tests.tools.benchmarks.clock import Quantiles, busy, median, quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.peers import CALLS, PEERS, installed
from tests.tools.benchmarks.rows import Bar, Row, at_least, at_most, below
from tests.tools.benchmarks.work import Bare, json_line_writer, metrics

PACED = "call, paced"
TIGHT = "call, tight"


def measure_paced(options: Options) -> list[Row]:
    results = call("calls:paced", options.directory, calls=options.count(4000, 800))
    log, bare, line = (Quantiles(*results[name]) for name in ("log", "bare", "line"))
    rows = [
        Row(
            PACED, "run.log of 10 floats, 1 ms apart", "µs", *log, bare.median,
            [at_most("p50 / bare", log.median / bare.median, 2.5), below("p99", log.p99, 100, " µs")],
        ),
        Row(PACED, "the bare loop itself", "µs", *bare, bare.median),
        Row(
            PACED, "os.write of a JSON line", "µs", *line, bare.median,
            [Bar(f"run.log is faster: {results['log_beside_line']:.1f} µs", results["log_beside_line"] < line.median)],
            note="compared with calls of run.log interleaved with it, in a separate pass",
        ),
    ]  # fmt: skip
    for name in PEERS:
        if not installed(name):
            rows.append(Row(PACED, f"{CALLS[name]}: not installed"))
            continue
        try:
            peer = call("peers:paced", options.directory, name=name, calls=options.count(1500), at_most_seconds=12.0)
        except ChildError as error:
            rows.append(Row(PACED, f"{CALLS[name]}: failed", note=str(error).splitlines()[0]))
            continue
        figures = Quantiles(*peer["log"])
        times = figures.median / log.median
        bar = (
            at_least("run.log is faster, times", times, 30) if name == "wandb" else below("run.log / it", 1 / times, 1)
        )
        rows.append(Row(PACED, CALLS[name], "µs", *figures, peer["bare"][0], [bar], f"{peer['calls']} calls"))
    return rows


def measure_tight(options: Options) -> list[Row]:
    results = call("calls:tight", options.directory, blocks=options.count(60, 12), calls=5000)
    rows = [
        Row(
            TIGHT, "run.log of 10 floats, blocks of 5,000", "µs", *Quantiles(*results["log"]), results["bare"][0],
            [at_most("median / bare", results["log"][0] / results["bare"][0], 4)],
            note="means of blocks; flushed before each block, so that the bare loop has the machine to itself",
        ),
        Row(
            TIGHT, "run.log, 200,000 calls without a pause", "µs", results["continuous"], bare=results["bare"][0],
            note="the mean",
        ),
    ]  # fmt: skip
    for name in PEERS:
        if not installed(name):
            rows.append(Row(TIGHT, f"{CALLS[name]}: not installed"))
            continue
        try:
            peer = call("peers:tight", options.directory, name=name, calls=options.count(10_000), at_most_seconds=5.0)
        except ChildError as error:
            rows.append(Row(TIGHT, f"{CALLS[name]}: failed", note=str(error).splitlines()[0]))
            continue
        rows.append(
            Row(TIGHT, CALLS[name], "µs", peer["mean"], bare=results["bare"][0], note=f"{peer['calls']:,} calls")
        )
    return rows


def paced(calls: int) -> dict[str, Any]:
    """In a child: alternate the calls, each after a millisecond of pure Python, with floats created just before it."""
    import tracker

    run = tracker.init(project="benchmark")
    bare = Bare(run.id)
    write, close = json_line_writer(Path("lines.jsonl"))
    for step in range(50):
        run.log(metrics(step))
        bare.log(metrics(step))
        write(metrics(step))

    def interleave(pairs: int, *targets: Any) -> list[list[float]]:
        clock = time.perf_counter
        durations: list[list[float]] = [[] for _ in targets]
        for step in range(pairs):
            for target, times in zip(targets, durations, strict=True):
                busy(0.001)
                data = metrics(step)
                begin = clock()
                target(data)
                times.append(clock() - begin)
        return durations

    log_times, bare_times = interleave(calls, run.log, bare.log)
    log_beside, line_times = interleave(calls // 4, run.log, write)
    close()
    run.finish()
    return {
        "log": quantiles(log_times, 1e6),
        "bare": quantiles(bare_times, 1e6),
        "line": quantiles(line_times, 1e6),
        "log_beside_line": median(log_beside) * 1e6,
    }


def tight(blocks: int, calls: int) -> dict[str, Any]:
    """In a child: alternate blocks of calls of the tracker and the bare loop; then many calls without a pause."""
    import tracker

    run = tracker.init(project="benchmark")
    bare = Bare(run.id)
    ready = [metrics(step) for step in range(calls)]
    clock = time.perf_counter

    def block(log: Any) -> float:
        run.flush()
        begin = clock()
        for data in ready:
            log(data)
        return (clock() - begin) / calls * 1e6

    block(run.log)
    block(bare.log)
    log_means: list[float] = []
    bare_means: list[float] = []
    for _ in range(blocks):
        log_means.append(block(run.log))
        bare_means.append(block(bare.log))
    run.flush()
    turns = max(1, 200_000 // calls) if blocks > 20 else 4
    begin = clock()
    for _ in range(turns):
        for data in ready:
            run.log(data)
    continuous = (clock() - begin) / (turns * calls) * 1e6
    run.finish()
    return {"log": quantiles(log_means), "bare": quantiles(bare_means), "continuous": continuous}
