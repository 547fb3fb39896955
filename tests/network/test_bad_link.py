"""A client over a link that is slow, stalls and cuts connections: it loses nothing, and its loop does not feel it.

``python -m tests.network.test_bad_link --seconds 600 --seeds 1 2 3`` is a long one.
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
from tests.network.link import Apart, Faults

RATE = 500

P99 = 0.005
"""Seconds, a generous bound: a call that waited for the link would take 50 ms at the least."""


class Found(NamedTuple):
    """What came of one run over a bad link, and of one beside it that was attached directly."""

    back: Comparison
    p99: float
    direct_p99: float
    worst: float
    seen: Counter[str]


def play(directory: Path, faults: Faults, seconds: float, mend: bool = False) -> Found:
    """Log for so long over a bad link, and beside that to the same sidecar directly; read both back.

    Args:
        mend: whether the link has got better when the run finishes; else that takes some time more.
    """
    with ExitStack() as stack:
        apart = stack.enter_context(Apart(directory, faults))
        far = stack.enter_context(apart.train("far", rate=RATE))
        direct = stack.enter_context(apart.train("direct", direct=True, rate=RATE))
        far.wait_for_stage()
        apart.link.begin()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            far.wait_for_calls(far.tally.returned() + RATE // 10)
        if mend:
            apart.link.mend()
        for trainer in (far, direct):
            trainer.tally.command = 1
        far.wait(seconds=120.0)
        direct.wait()
        check(apart.far_root, "direct", direct.tally)
        back = check(apart.far_root, "far", far.tally)
        return Found(back, far.tally.p99(), direct.tally.p99(), far.tally.worst(), apart.link.seen)


def check(root: Path, run: str, tally: Tally) -> Comparison:
    back = read_back(root, run, [tally])
    assert (back.lost, back.duplicated) == (0, 0), (
        f"{run}: of {back.calls} calls {back.lost} are lost, {back.duplicated} duplicated"
    )
    assert tally.raised() == 0
    assert back.run.state == "finished"
    return back


@pytest.mark.parametrize("seed", [1])
def test_a_bad_link_costs_nothing_but_time(seed: int, tmp_path: Path) -> None:
    faults = Faults(seed, stall_every=3.0, stall=2.0, cut_every=0.7)
    found = play(tmp_path, faults, 6.0, mend=True)
    assert found.seen["cut"] >= 3 and found.seen["stall"] >= 1, f"the link was not bad: {found.seen}"
    assert found.back.calls > 1500
    assert found.p99 < P99, f"99 of 100 calls took up to {found.p99 * 1e3:.1f} ms, {found.direct_p99 * 1e3:.1f} direct"


def test_a_connection_that_is_cut_in_its_handshake_is_begun_again(tmp_path: Path) -> None:
    with Apart(tmp_path, Faults(cut_first=2)) as apart:
        with apart.train("run", calls=10) as trainer:
            trainer.wait()
            assert check(apart.far_root, "run", trainer.tally).read == 10
        assert apart.link.seen["cut"] == 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.network.test_bad_link", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--delay", type=float, default=Faults.delay, help="seconds, each way (default: %(default)s)")
    parser.add_argument("--stall-every", type=float, default=Faults.stall_every, metavar="SECONDS")
    parser.add_argument("--stall", type=float, default=Faults.stall, help="seconds of the longest")
    parser.add_argument("--cut-every", type=float, default=Faults.cut_every, metavar="SECONDS")
    told = parser.parse_args()
    for seed in told.seeds:
        faults = Faults(seed, told.delay, told.stall_every, told.stall, told.cut_every)
        with tempfile.TemporaryDirectory() as directory:
            begin = time.monotonic()
            found = play(Path(directory), faults, told.seconds)
        print(
            f"seed {seed}: {found.back.calls} calls, {found.back.lost} lost, {found.back.duplicated} duplicated, p99 "
            f"{found.p99 * 1e6:.0f} us ({found.direct_p99 * 1e6:.0f} us direct), worst {found.worst * 1e3:.1f} ms, "
            f"{found.seen['cut']} cuts, {found.seen['stall']} stalls, {time.monotonic() - begin:.0f} s"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
