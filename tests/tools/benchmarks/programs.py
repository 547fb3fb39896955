"""Duration of whole programs, from the start of the interpreter to its end, and of an import."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.tools.benchmarks.child import call, environment
from tests.tools.benchmarks.clock import median, quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.peers import PEERS, SCRIPTS, installed
from tests.tools.benchmarks.rows import Bar, Row, at_most

NAME = "whole process"


def run_program(code: str, directory: Path) -> float:
    """Run a program; return its duration in seconds."""
    command = [sys.executable, "-c", code]
    begin = time.perf_counter()
    done = subprocess.run(
        command, env=environment(directory), cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=180,
    )  # fmt: skip
    elapsed = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
    return elapsed


def measure(options: Options) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as name:
        return _measure(options, Path(name))


def _measure(options: Options, directory: Path) -> list[Row]:
    run_program("import tracker", directory)  # compiles the modules
    run_program(SCRIPTS["tracker"], directory)
    whole: list[float] = []
    bare: list[float] = []
    for _ in range(options.count(11, 7)):
        whole.append(run_program(SCRIPTS["tracker"], directory))
        bare.append(run_program("pass", directory))
    imports = [
        run_program("import tracker", directory) - run_program("pass", directory) for _ in range(options.count(25, 9))
    ]
    readable = call("programs:count_readable", directory, root=str(directory / "tracker"))
    all_readable = Bar(
        f"every run readable: {readable['good']} of {readable['runs']}", _all_good(readable, len(whole) + 1)
    )
    rows = [
        Row(
            NAME, "import, init, log, finish", "s", *quantiles(whole), median(bare),
            [at_most("median", median(whole), 0.4, " s"), all_readable], note="bare: python -c pass",
        ),
        Row(
            NAME, "import tracker, minus python -c pass", "ms", *quantiles(imports, 1000),
            bars=[at_most("median", median(imports) * 1000, 40, " ms")],
        ),
    ]  # fmt: skip
    for name in PEERS:
        if not installed(name):
            rows.append(Row(NAME, f"{name}: not installed"))
            continue
        try:
            run_program(SCRIPTS[name], directory)
            times = [run_program(SCRIPTS[name], directory) for _ in range(options.count(3, 1))]
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            rows.append(Row(NAME, f"{name}: failed", note=str(error)))
            continue
        rows.append(
            Row(NAME, f"{name}, the same", "s", median(times), bare=median(bare), note=f"median of {len(times)}")
        )
    return rows


def _all_good(readable: dict[str, Any], expected: int) -> bool:
    return bool(readable["good"] == readable["runs"] == expected)


def count_readable(root: str) -> dict[str, Any]:
    """In a child: count the runs, and those that have what was logged."""
    import tracker

    runs = list(tracker.Api(dir=root).runs())
    good = sum(run.history(keys=["loss"])["loss"] == [0.5] and run.state == "finished" for run in runs)
    return {"runs": len(runs), "good": good}
