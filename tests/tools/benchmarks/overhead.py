"""Slowdown of a training loop by logging: steps of 1 ms of pure Python, with ten floats logged in each.

A round has three blocks, in changing order: without logging, with ``run.log``, and with the bare loop instead (the
minimum on this machine). All of them create the ten floats, which a training loop has anyway. Each block begins with
uncounted steps of its kind, so that the pump thread has finished the work of the previous block. Each is compared with
the block without logging of its round. The judged figure is wall time or, where that is too noisy to tell one per cent,
processor time. There the pump thread counts against ``run.log`` in full, even while nothing is logged: a block with
logging counts the whole process, a block without counts only the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.tools.benchmarks.child import call
from tests.tools.benchmarks.clock import median, spin, turns_for
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most, number
from tests.tools.benchmarks.work import Bare, metrics

NAME = "training loop"

BAR = 1.0
"""Maximum slowdown, in per cent."""

WALL_ERROR = 0.3
"""Maximum standard error of the median for which wall time is judged, in per cent."""


def measure(options: Options) -> list[Row]:
    results = call("overhead:blocks", options.directory, rounds=options.count(90, 12), steps=100, uncounted=50)
    judged = "wall" if results["wall_error"] <= WALL_ERROR else "cpu"
    rows = []
    for name, kind in (("wall", "wall time"), ("cpu", "processor time")):
        slowdown, error = results[f"log_{name}"], results[f"{name}_error"]
        bar = at_most("slower by", slowdown, BAR, " %")
        if abs(slowdown - BAR) < 2 * error:  # too noisy to judge
            bar = replace(bar, reached=None)
        rows.append(
            Row(
                NAME, f"run.log in each step, {kind}", "+ %", slowdown, bare=results[f"bare_{name}"],
                bars=[bar] if name == judged else [], note=f"standard error of the median {number(error)}",
            )
        )  # fmt: skip
    note = (
        f"; of that, other threads take {number(results['others_logging'])}, and "
        f"{number(results['others_idle'])} while nothing is logged; {results['rounds']} rounds, steps of "
        f"{results['step_ms']:.2f} ms"
    )
    return [rows[0], replace(rows[1], note=rows[1].note + note)]


def blocks(rounds: int, steps: int, uncounted: int) -> dict[str, Any]:
    """In a child: alternate the three blocks; return medians of the slowdown by logging, in per cent."""
    import tracker

    run = tracker.init(project="benchmark")
    bare = Bare(run.id)
    turns = turns_for(0.001)

    def nothing(data: dict[str, float]) -> None:
        pass

    def block(log: Callable[[dict[str, float]], Any]) -> tuple[float, float, float]:
        """Return wall time, processor time of the process, and processor time of this thread, in seconds."""
        for step in range(uncounted):
            spin(turns)
            log(metrics(step))
        begin = time.perf_counter(), time.process_time(), time.thread_time()
        for step in range(steps):
            spin(turns)
            log(metrics(step))
        end = time.perf_counter(), time.process_time(), time.thread_time()
        return end[0] - begin[0], end[1] - begin[1], end[2] - begin[2]

    modes: list[tuple[str, Callable[[dict[str, float]], Any]]]
    modes = [("none", nothing), ("log", run.log), ("bare", bare.log)]
    block(run.log)
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in modes}
    for turn in range(rounds):
        for name, log in modes[turn % 3 :] + modes[: turn % 3]:
            times[name].append(block(log))
    run.finish()

    def over(name: str, index: int, base: int) -> list[float]:
        pairs = zip(times[name], times["none"], strict=True)
        return [(mine[index] / without[base] - 1) * 100 for mine, without in pairs]

    def others(name: str) -> float:
        return median([(cpu - thread) / thread * 100 for _, cpu, thread in times[name]])

    def error(values: list[float]) -> float:
        """Return the standard error of the median, estimated from the quartiles as for a normal distribution."""
        ordered = sorted(values)
        spread = ordered[len(ordered) * 3 // 4] - ordered[len(ordered) // 4]
        return 1.2533 * spread / 1.349 / float(len(ordered) ** 0.5)

    log_wall, log_cpu = over("log", 0, 0), over("log", 1, 2)
    return {
        "log_wall": median(log_wall),
        "bare_wall": median(over("bare", 0, 0)),
        "log_cpu": median(log_cpu),
        "bare_cpu": median(over("bare", 2, 2)),
        "others_logging": others("log"),
        "others_idle": others("none"),
        "wall_error": error(log_wall),
        "cpu_error": error(log_cpu),
        "step_ms": median([wall for wall, _, _ in times["none"]]) / steps * 1000,
        "rounds": rounds,
    }
