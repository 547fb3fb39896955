"""Duration of a call of ``run.log`` with the sidecar behind TCP, with and without CURVE, and behind a bad link.

``run.log`` copies into memory and the pump thread sends, so a link must not affect a call. Encryption costs time of
other threads of the process, which is in the notes. The kinds of links alternate, each in its own process, so that a
busier machine slows all of them. A bad link (50 ms each way, stalls, cuts; see tests/network/link.py) needs a network
namespace, which only root can create.
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

MAX_EXTRA = 2.0
"""Maximum additional duration of a call, compared with plain TCP, in microseconds."""

_TIMEOUT = 180.0

LAUNCHED, PLAIN, CURVE, BAD = "launched", "plain", "curve", "bad"


class _Times(NamedTuple):
    """Times for a kind of link, in microseconds: for each round, the quantiles of the calls, and the processor time of
    other threads per call."""

    calls: list[Quantiles]
    others: list[float]

    def quantiles(self) -> Quantiles:
        """Return the medians over the rounds."""
        return Quantiles(*(median(values) for values in zip(*self.calls, strict=True)))

    def note(self) -> str:
        return f"other threads of the process take {number(median(self.others))} µs per call"


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
        times: dict[str, _Times] = {kind: _Times([], []) for kind in kinds}
        for turn in range(rounds):
            order = list(kinds)[turn % 3 :] + list(kinds)[: turn % 3]
            for kind in order:
                _add(times[kind], kinds[kind]())
    with_curve, without = times[CURVE].quantiles(), times[PLAIN].quantiles()
    texts = {
        LAUNCHED: "run.log, 1 ms apart, a launched sidecar",
        PLAIN: "the same, TCP to 'sidecar serve'",
        CURVE: "the same, TCP with CURVE",
    }
    bars = {CURVE: [at_most("p50 over plain TCP", with_curve.median - without.median, MAX_EXTRA, " µs")]}
    rows = [
        Row(NAME, text, "µs", *times[kind].quantiles(), bars=bars.get(kind, []), note=times[kind].note())
        for kind, text in texts.items()
    ]
    return [*rows, _bad(directory, options.count(4000, 1500), without)]


def _add(times: _Times, results: Any) -> None:
    times.calls.append(Quantiles(*results["calls"]))
    times.others.append(results["others"])


def paced(calls: int, sidecar: str | None = None, key: str | None = None) -> Any:
    """In a child: call after a millisecond of pure Python, with ten floats created just before the call."""
    import tracker

    settings = {"sidecar_key": key} if key is not None else {}
    run = tracker.init(project="benchmark", sidecar=sidecar, settings=settings)
    clock = time.perf_counter
    for step in range(100):
        busy(0.001)
        run.log(metrics(step))
    durations: list[float] = []
    begin = time.process_time() - time.thread_time()
    for step in range(calls):
        busy(0.001)
        data = metrics(step)
        start = clock()
        run.log(data)
        durations.append(clock() - start)
    others = time.process_time() - time.thread_time() - begin
    run.finish()
    return {"calls": quantiles(durations, 1e6), "others": others / calls * 1e6}


@contextmanager
def _serve(directory: Path, *options: str) -> Iterator[Path]:
    """Run ``sidecar serve`` on a free port; yield its connection file."""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as name:
        root = Path(name) / "served"
        read, write = os.pipe()
        command = [sys.executable, "-m", "sidecar", "serve", "--dir", str(root), "--listen", "tcp://127.0.0.1:*"]
        process = subprocess.Popen(
            [*command, *options, "--ready-fd", str(write)],
            env=environment(Path(name)), cwd=name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=(write,),
        )  # fmt: skip
        os.close(write)
        try:
            with os.fdopen(read, "rb") as ready:
                if ready.readline() != b"ready\n":
                    raise ChildError(f"sidecar serve exited with {process.wait()}")
            yield root / "sidecars" / "serve.json"
        finally:
            process.terminate()
            process.wait()


def _bad(parent: Path, calls: int, without: Quantiles) -> Row:
    """Measure over a bad link; return a row that says why if it cannot be created."""
    from tests.network.link import Faults, SeparatedHosts
    from tests.network.namespaces import Process
    from tests.support import wait_until

    text = "the same, over a bad link"
    faults = Faults(seed=1, stall_every=2.0, stall=1.0, cut_every=1.0)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name, ExitStack() as stack:
        try:
            hosts = stack.enter_context(SeparatedHosts(Path(name), faults))
        except (AssertionError, OSError) as error:
            return Row(NAME, f"{text}: not measured", note=str(error).splitlines()[0])
        result, arguments = (
            hosts.client_dir / "result.json",
            {"calls": calls, "sidecar": hosts.ADDRESS, "key": hosts.key},
        )
        command = [
            sys.executable,
            "-m",
            "tests.tools.benchmarks.child",
            "link:paced",
            str(result),
            json.dumps(arguments),
        ]
        process = Process(hosts.host, command, hosts.client_dir / "child.out", environment(hosts.client_dir))
        stack.callback(process.close)
        wait_until(lambda: any((hosts.remote_root / "runs").glob("*")) or not process.alive(), "the client is attached")
        hosts.link.start_faults()
        if process.wait(_TIMEOUT) != 0:
            lines = process.output.read_text().strip().splitlines()
            raise ChildError(lines[-1] if lines else "no output")
        times = _Times([], [])
        _add(times, json.loads(result.read_text()))
        figures = times.quantiles()
        seen = hosts.link.events
        extra = at_most("p50 over plain TCP", figures.median - without.median, MAX_EXTRA, " µs")
        bars = [extra, below("p99", figures.p99, 1000, " µs")]  # a call that waits for the link takes 50 ms
        note = f"{times.note()}; {seen['cut']} cuts, {seen['stall']} stalls, 50 ms each way"
        return Row(NAME, text, "µs", *figures, bars=bars, note=note)
