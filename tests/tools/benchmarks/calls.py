"""What one call of ``run.log`` takes: paced as in training, and in a tight loop."""

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
    found = call("calls:paced", options.directory, calls=options.count(4000, 800))
    log, bare, line = (Quantiles(*found[name]) for name in ("log", "bare", "line"))
    rows = [
        Row(
            PACED, "run.log of 10 floats, 1 ms apart", "us", *log, bare.median,
            [at_most("p50 / bare", log.median / bare.median, 2.5), below("p99", log.p99, 100, " us")],
        ),
        Row(PACED, "the bare loop itself", "us", *bare, bare.median),
        Row(
            PACED, "os.write of a JSON line", "us", *line, bare.median,
            [Bar(f"run.log is faster: {found['log_beside_line']:.1f} us", found["log_beside_line"] < line.median)],
            note="run.log interleaved with it, in a pass of its own, is the figure it is compared with",
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
        theirs = Quantiles(*peer["log"])
        times = theirs.median / log.median
        must = (
            at_least("run.log is faster, times", times, 30) if name == "wandb" else below("run.log / it", 1 / times, 1)
        )
        rows.append(Row(PACED, CALLS[name], "us", *theirs, peer["bare"][0], [must], f"{peer['calls']} calls"))
    return rows


def measure_tight(options: Options) -> list[Row]:
    found = call("calls:tight", options.directory, blocks=options.count(60, 12), calls=5000)
    rows = [
        Row(
            TIGHT, "run.log of 10 floats, blocks of 5,000", "us", *Quantiles(*found["log"]), found["bare"][0],
            [at_most("median / bare", found["log"][0] / found["bare"][0], 4)],
            note="means of blocks; before a block all is durable, so that the bare loop has the machine to itself",
        ),
        Row(TIGHT, "run.log, 200,000 calls on end", "us", found["on_end"], bare=found["bare"][0], note="the mean"),
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
        rows.append(Row(TIGHT, CALLS[name], "us", peer["mean"], bare=found["bare"][0], note=f"{peer['calls']:,} calls"))
    return rows


def paced(calls: int) -> dict[str, Any]:
    """In a child: A B A B, a millisecond of pure Python before each, the ten floats made just before each."""
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
        taken: list[list[float]] = [[] for _ in targets]
        for step in range(pairs):
            for target, times in zip(targets, taken, strict=True):
                busy(0.001)
                data = metrics(step)
                begin = clock()
                target(data)
                times.append(clock() - begin)
        return taken

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
    """In a child: blocks of calls, tracker and bare in turn; then many calls on end."""
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
    on_end = (clock() - begin) / (turns * calls) * 1e6
    run.finish()
    return {"log": quantiles(log_means), "bare": quantiles(bare_means), "on_end": on_end}
