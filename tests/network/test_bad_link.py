"""A client over a link that is slow, stalls and cuts connections loses nothing, and its ``log()`` is not delayed.

``python -m tests.network.test_bad_link --seconds 600 --seeds 1 2 3`` is a long test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.readback import Comparison, read_back
from tests.faults.trainers import Tally
from tests.network.link import Faults, SeparatedHosts

RATE = 500

P99 = 0.005
"""Maximum 99th percentile of a call, in seconds. A call that waited for the link would take at least 50 ms."""


class Measured(NamedTuple):
    """Results of a run over a bad link, and of a parallel run over a good one."""

    back: Comparison
    p99: float
    direct_p99: float
    worst: float
    events: Counter[str]


def play(directory: Path, faults: Faults, seconds: float, stop_faults: bool = False) -> Measured:
    """Log for `seconds` over a bad link, and in parallel to the same sidecar directly; read both runs back.

    Args:
        stop_faults: whether the faults stop before the run finishes; else finishing takes longer.
    """
    with ExitStack() as stack:
        hosts = stack.enter_context(SeparatedHosts(directory, faults))
        remote = stack.enter_context(hosts.train("remote", rate=RATE))
        direct = stack.enter_context(hosts.train("direct", direct=True, rate=RATE))
        remote.wait_for_stage()
        hosts.link.start_faults()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            remote.wait_for_calls(remote.tally.returned() + RATE // 10)
        if stop_faults:
            hosts.link.stop_faults()
        for trainer in (remote, direct):
            trainer.tally.command = 1
        remote.wait(seconds=120.0)
        direct.wait()
        check(hosts.remote_root, "direct", direct.tally)
        back = check(hosts.remote_root, "remote", remote.tally)
        return Measured(back, remote.tally.p99(), direct.tally.p99(), remote.tally.worst(), hosts.link.events)


def check(root: Path, run: str, tally: Tally) -> Comparison:
    back = read_back(root, run, [tally])
    assert (back.lost, back.duplicated) == (0, 0), (
        f"{run}: of {back.calls} calls {back.lost} lost, {back.duplicated} duplicated"
    )
    assert tally.raised() == 0
    assert back.run.state == "finished"
    return back


@pytest.mark.parametrize("seed", [1])
def test_bad_link_loses_nothing_and_does_not_delay_log(seed: int, tmp_path: Path) -> None:
    faults = Faults(seed, stall_every=3.0, stall=2.0, cut_every=0.7)
    result = play(tmp_path, faults, 6.0, stop_faults=True)
    assert result.events["cut"] >= 3 and result.events["stall"] >= 1, f"too few faults: {result.events}"
    assert result.back.calls > 1500
    assert result.p99 < P99, f"p99 {result.p99 * 1e3:.1f} ms, direct {result.direct_p99 * 1e3:.1f} ms"


def test_connection_cut_in_its_handshake_is_retried(tmp_path: Path) -> None:
    with SeparatedHosts(tmp_path, Faults(cut_first=2)) as hosts:
        with hosts.train("run", calls=10) as trainer:
            trainer.wait()
            assert check(hosts.remote_root, "run", trainer.tally).read == 10
        assert hosts.link.events["cut"] == 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.network.test_bad_link", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--delay", type=float, default=Faults.delay, help="seconds in each direction (default: %(default)s)"
    )
    parser.add_argument("--stall-every", type=float, default=Faults.stall_every, metavar="SECONDS")
    parser.add_argument("--stall", type=float, default=Faults.stall, help="maximum seconds (default: %(default)s)")
    parser.add_argument("--cut-every", type=float, default=Faults.cut_every, metavar="SECONDS")
    options = parser.parse_args()
    for seed in options.seeds:
        faults = Faults(seed, options.delay, options.stall_every, options.stall, options.cut_every)
        with tempfile.TemporaryDirectory() as directory:
            start = time.monotonic()
            result = play(Path(directory), faults, options.seconds)
        print(
            f"seed {seed}: {result.back.calls} calls, {result.back.lost} lost, {result.back.duplicated} duplicated, "
            f"p99 {result.p99 * 1e6:.0f} us ({result.direct_p99 * 1e6:.0f} us direct), "
            f"worst {result.worst * 1e3:.1f} ms, {result.events['cut']} cuts, {result.events['stall']} stalls, "
            f"{time.monotonic() - start:.0f} s"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
