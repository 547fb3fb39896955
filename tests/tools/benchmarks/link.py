"""What one call of ``run.log`` takes where the sidecar is reached by TCP, with and without CURVE, and over a bad link.

``run.log`` copies into memory and the pump thread sends, so no link may show in a call. What encryption takes is taken
by other threads of the process; it is told in the notes. The kinds take turns, each in a process of its own, so that
a machine that gets busier does it to all of them. A bad link (50 ms each way, stalls, cuts; see tests/network/link.py)
needs a network of its own, which only root can make.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.channels import new_key_pair
from sidecar.protocol.keys import write_key_pair
from tests.tools.benchmarks.child import ChildError, call, environment
from tests.tools.benchmarks.clock import Quantiles, busy, median, quantiles
from tests.tools.benchmarks.options import Options
from tests.tools.benchmarks.rows import Row, at_most, below, number
from tests.tools.benchmarks.work import metrics

NAME = "link"

MORE = 2.0
"""Microseconds that a call may take more with CURVE than without."""

_PATIENCE = 180.0

LAUNCHED, PLAIN, CURVE, BAD = "launched", "plain", "curve", "bad"


class _Taken(NamedTuple):
    """Of one kind, in microseconds: of each round the quantiles of the calls, and what other threads took a call."""

    calls: list[Quantiles]
    others: list[float]

    def quantiles(self) -> Quantiles:
        """The median of the rounds."""
        return Quantiles(*(median(found) for found in zip(*self.calls, strict=True)))

    def note(self) -> str:
        return f"other threads of the process take {number(median(self.others))} us a call"


def measure(options: Options) -> list[Row]:
    rounds, calls = options.count(7, 2), options.count(3000, 600)
    directory = options.directory
    with ExitStack() as stack:
        plain = stack.enter_context(_serve(directory))
        pair = new_key_pair()
        secret, _ = write_key_pair(directory / f"link-{os.urandom(3).hex()}", pair)
        curve = stack.enter_context(_serve(directory, "--key", str(secret)))
        kinds: dict[str, Callable[[], Any]] = {
            LAUNCHED: lambda: call("link:paced", directory, calls=calls),
            PLAIN: lambda: call("link:paced", directory, calls=calls, sidecar=str(plain)),
            CURVE: lambda: call("link:paced", directory, calls=calls, sidecar=str(curve)),
        }
        found: dict[str, _Taken] = {kind: _Taken([], []) for kind in kinds}
        for turn in range(rounds):
            order = list(kinds)[turn % 3 :] + list(kinds)[: turn % 3]
            for kind in order:
                _add(found[kind], kinds[kind]())
    with_curve, without = found[CURVE].quantiles(), found[PLAIN].quantiles()
    texts = {
        LAUNCHED: "run.log, 1 ms apart, a launched sidecar",
        PLAIN: "the same, tcp to `sidecar serve`",
        CURVE: "the same, tcp with CURVE",
    }
    bars = {CURVE: [at_most("p50 over tcp without", with_curve.median - without.median, MORE, " us")]}
    rows = [
        Row(NAME, text, "us", *found[kind].quantiles(), bars=bars.get(kind, []), note=found[kind].note())
        for kind, text in texts.items()
    ]
    return [*rows, _bad(directory, options.count(4000, 1500), without)]


def _add(taken: _Taken, found: Any) -> None:
    taken.calls.append(Quantiles(*found["calls"]))
    taken.others.append(found["others"])


def paced(calls: int, sidecar: str | None = None, key: str | None = None) -> Any:
    """In a child: a millisecond of pure Python before each call, the ten floats made just before it."""
    import tracker

    settings = {"sidecar_key": key} if key is not None else {}
    run = tracker.init(project="benchmark", sidecar=sidecar, settings=settings)
    clock = time.perf_counter
    for step in range(100):
        busy(0.001)
        run.log(metrics(step))
    taken: list[float] = []
    begin = time.process_time() - time.thread_time()
    for step in range(calls):
        busy(0.001)
        data = metrics(step)
        start = clock()
        run.log(data)
        taken.append(clock() - start)
    others = time.process_time() - time.thread_time() - begin
    run.finish()
    return {"calls": quantiles(taken, 1e6), "others": others / calls * 1e6}


@contextmanager
def _serve(directory: Path, *options: str) -> Iterator[Path]:
    """Have ``sidecar serve`` on a port of its own; yield its connection file."""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as name:
        root = Path(name) / "served"
        read, write = os.pipe()
        words = [sys.executable, "-m", "sidecar", "serve", "--dir", str(root), "--listen", "tcp://127.0.0.1:*"]
        process = subprocess.Popen(
            [*words, *options, "--ready-fd", str(write)],
            env=environment(Path(name)), cwd=name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=(write,),
        )  # fmt: skip
        os.close(write)
        try:
            with os.fdopen(read, "rb") as ready:
                if ready.readline() != b"ready\n":
                    raise ChildError(f"sidecar serve ended with {process.wait()}")
            yield root / "sidecars" / "serve.json"
        finally:
            process.terminate()
            process.wait()


def _bad(parent: Path, calls: int, without: Quantiles) -> Row:
    """Measure over a bad link; the row says so where there can be none."""
    from tests.network.link import Apart, Faults
    from tests.network.namespaces import Process
    from tests.support import wait_until

    text = "the same, over a bad link"
    faults = Faults(seed=1, stall_every=2.0, stall=1.0, cut_every=1.0)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name, ExitStack() as stack:
        try:
            apart = stack.enter_context(Apart(Path(name), faults))
        except (AssertionError, OSError) as error:
            return Row(NAME, f"{text}: not made", note=str(error).splitlines()[0])
        result, told = apart.mine / "result.json", {"calls": calls, "sidecar": apart.ADDRESS, "key": apart.key}
        words = [sys.executable, "-m", "tests.tools.benchmarks.child", "link:paced", str(result), json.dumps(told)]
        process = Process(apart.host, words, apart.mine / "child.out", environment(apart.mine))
        stack.callback(process.close)
        wait_until(lambda: any((apart.far_root / "runs").glob("*")) or not process.alive(), "the client is attached")
        apart.link.begin()
        if process.wait(_PATIENCE) != 0:
            said = process.output.read_text().strip().splitlines()
            raise ChildError(said[-1] if said else "no word")
        taken = _Taken([], [])
        _add(taken, json.loads(result.read_text()))
        found = taken.quantiles()
        seen = apart.link.seen
        more = at_most("p50 over tcp without", found.median - without.median, MORE, " us")
        bars = [more, below("p99", found.p99, 1000, " us")]  # a call that waited for the link would take 50 ms
        note = f"{taken.note()}; {seen['cut']} cuts, {seen['stall']} stalls, 50 ms each way"
        return Row(NAME, text, "us", *found, bars=bars, note=note)
