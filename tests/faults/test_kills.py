"""Real signals: whatever is killed, every call that returned is stored, once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from sidecar.projections.rebuild import verify
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.connection import process_lives, read_connection
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.layout import needs_recovery
from tests.support import Leaks, ReadBack, Scripts, processes, wait_until
from tracker.reading.api import Api
from tracker.transport import launcher

BURST = """
import os, sys, tracker
run = tracker.init(id="run")
count = int(sys.argv[1])
print("started", flush=True)
input()
for step in range(count):
    run.log({"loss": step / 3, "step": step, "text": f"step {step}"})
print("returned", flush=True)
input()
"""


def sidecar_pid(root: Path) -> int:
    """Return the process id of the only sidecar, once it is ready."""

    def look() -> int:
        pids = []
        for path in (root / "sidecars").glob("*.json"):
            try:
                connection = read_connection(path)
            except ConnectionFileError:
                continue
            if process_lives(connection):
                pids.append(connection.pid)
        return pids[0] if len(pids) == 1 else 0

    return wait_until(look, "one sidecar is ready")


def wait_for_end(pid: int, temporary: Path) -> None:
    wait_until(lambda: pid not in [running for running, _ in processes(temporary)], f"process {pid} has ended")


def closed(directory: Path) -> ReadBack:
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is closed")
    assert not (directory / "windows").exists()
    return ReadBack(directory).check()


def expected(count: int) -> list[tuple[int, dict[str, object]]]:
    return [(step, {"loss": step / 3, "step": step, "text": f"step {step}"}) for step in range(count)]


@pytest.mark.parametrize("count", [1, 100, 30_000])
def test_a_trainer_is_killed_after_a_burst(scripts: Scripts, root: Path, temporary: Path, count: int) -> None:
    script = scripts.start(BURST, count)
    assert script.read_line() == "started"
    script.send_line()
    assert script.read_line() == "returned"
    pid = sidecar_pid(root)
    script.kill()
    script.wait(-signal.SIGKILL)
    wait_for_end(pid, temporary)
    stored = closed(root / "runs" / "run")
    assert stored.stored() == expected(count)
    assert stored.state["state"] == "crashed" and stored.state["losses"] == {}
    assert list((root / "sidecars").iterdir()) == []


def test_a_trainer_is_killed_in_the_middle_of_its_loop(scripts: Scripts, root: Path, temporary: Path) -> None:
    """It writes the step of each call that has returned to a pipe: all of them are stored, and at most one more."""
    script = scripts.start(
        """
        import os, tracker
        run = tracker.init(id="run")
        print("started", flush=True)
        input()
        step = 0
        while True:
            run.log({"x": step})
            os.write(1, b"%d\\n" % step)
            step += 1
        """
    )
    assert script.read_line() == "started"
    pid = sidecar_pid(root)
    script.send_line()
    while int(script.read_line()) < 5000:
        continue
    script.kill()
    out = script.wait(-signal.SIGKILL).out.split("\n")
    last = max([5000, *(int(line) for line in out[:-1])])
    wait_for_end(pid, temporary)
    stored = closed(root / "runs" / "run")
    count = len(stored.rows)
    assert count in (last + 1, last + 2)
    assert stored.stored() == [(step, {"x": step}) for step in range(count)]


def test_sidecars_are_killed_repeatedly_while_it_logs(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    kills = 4
    script = scripts.start(
        """
        import sys, tracker
        run = tracker.init(id="run")
        step = 0
        for _ in range(int(sys.argv[1])):
            print(step, flush=True)
            input()
            for _ in range(3000):
                run.log({"x": step})
                step += 1
        print(step, flush=True)
        input()
        """,
        kills,
    )
    leaks.allow_socket_directories()
    seen = set()
    for _ in range(kills):
        script.read_line()
        pid = sidecar_pid(root)
        seen.add(pid)
        script.send_line()  # from here on it logs while its sidecar is killed
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid, temporary)
    total = int(script.read_line())
    assert len(seen) == kills
    script.send_line()
    done = script.wait()
    stored = closed(root / "runs" / "run")
    assert stored.stored() == [(step, {"x": step}) for step in range(total)], (
        "a call is lost, duplicated or out of order"
    )
    assert stored.state["state"] == "finished" and stored.state["losses"] == {}
    assert "the sidecar is gone; another one is started" in done.err and done.err.count("\n") < 10


def test_a_sidecar_is_killed_while_finish_waits_for_it(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    script = scripts.start(
        """
        import tracker
        run = tracker.init(id="run")
        for step in range(20_000):
            run.log({"x": step})
        print("finishing", flush=True)
        run.finish()
        """
    )
    leaks.allow_socket_directories()
    assert script.read_line() == "finishing"
    os.kill(sidecar_pid(root), signal.SIGKILL)
    script.wait()
    stored = closed(root / "runs" / "run")
    assert stored.stored() == [(step, {"x": step}) for step in range(20_000)]
    assert stored.state["state"] == "finished"


def kill_both(scripts: Scripts, root: Path, temporary: Path, leaks: Leaks, count: int) -> None:
    script = scripts.start(BURST, count)
    leaks.allow_socket_directories()
    assert script.read_line() == "started"
    pid = sidecar_pid(root)
    os.kill(pid, signal.SIGSTOP)  # so that many records are only in the window
    script.send_line()
    assert script.read_line() == "returned"
    os.kill(pid, signal.SIGKILL)
    script.kill()
    script.wait(-signal.SIGKILL)
    wait_for_end(pid, temporary)


def test_both_are_killed_and_recovery_finds_everything(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    kill_both(scripts, root, temporary, leaks, 30_000)
    directory = root / "runs" / "run"
    wait_until(lambda: needs_recovery(directory), "the dead sidecar's lock is free")
    launcher.recover(root)
    stored = closed(directory)
    assert stored.stored() == expected(30_000)
    assert stored.state["state"] == "crashed"
    before = (directory / "transactions.log").read_bytes()
    launcher.recover(root)
    assert (directory / "transactions.log").read_bytes() == before, "a second recovery changed the log"


def test_both_are_killed_and_the_api_finds_everything(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    kill_both(scripts, root, temporary, leaks, 5000)
    wait_until(lambda: needs_recovery(root / "runs" / "run"), "the dead sidecar's lock is free")
    (run,) = Api(root).runs()
    assert run.state == "crashed"
    assert run.history()["step"] == list(range(5000))
    closed(root / "runs" / "run")


def test_both_are_killed_and_the_run_is_resumed(scripts: Scripts, root: Path, temporary: Path, leaks: Leaks) -> None:
    kill_both(scripts, root, temporary, leaks, 5000)
    done = scripts.run(
        """
        import tracker
        run = tracker.init(id="run", resume="must")
        print(run.step, run.summary["step"])
        run.log({"step": 5000})
        """
    )
    assert done.out == "5000 4999\n"
    stored = closed(root / "runs" / "run")
    assert [data["step"] for _, data in stored.logged()] == list(range(5001))
    assert stored.state["state"] == "finished"


def test_recovery_does_not_touch_a_live_run(scripts: Scripts, root: Path) -> None:
    script = scripts.start(BURST, 100)
    assert script.read_line() == "started"
    script.send_line()
    assert script.read_line() == "returned"
    launcher.recover(root)
    Api(root).runs()[0].history()
    script.send_line()
    assert script.wait().err == ""
    stored = closed(root / "runs" / "run")
    assert stored.stored() == expected(100) and stored.state["state"] == "finished"


def test_a_torn_log_and_a_lost_store_after_a_kill(scripts: Scripts, root: Path, temporary: Path, leaks: Leaks) -> None:
    """The sidecar died during a write, and its store is unusable."""
    kill_both(scripts, root, temporary, leaks, 3000)
    directory = root / "runs" / "run"
    wait_until(lambda: needs_recovery(directory), "the dead sidecar's lock is free")
    with open(directory / "transactions.log", "ab") as log:
        log.write(b"\xc1\x00\x10\x00torn")
    (directory / "store.db").write_bytes(b"no store")
    launcher.recover(root, ["run"])
    assert closed(directory).stored() == expected(3000)


def test_files_of_dead_sidecars_are_removed_in_the_end(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    before = set(temporary.glob("tracker-*"))
    kill_both(scripts, root, temporary, leaks, 10)
    scripts.run("import tracker; run = tracker.init(id='next'); run.log({'x': 1}); run.finish()")
    launcher.recover(root)
    closed(root / "runs" / "run")
    wait_until(lambda: not list((root / "sidecars").glob("*.json")), "connection files of dead sidecars are removed")
    wait_until(lambda: set(temporary.glob("tracker-*")) <= before, "sockets of dead sidecars are removed")


PIECES = """
import sys, tracker
run = tracker.init(id="run")
keys = [f"k{number}" for number in range(100)]
for step in range(2 * 8192 + 100):
    run.log({key: float(step % (7 + number)) for number, key in enumerate(keys)})
print("logged", flush=True)
input()
run.log({"after": 1.0})
run.finish()
print("finished", flush=True)
input()
"""


def pieces(directory: Path) -> int:
    """Return the number of columns of full blocks that have pieces for charts."""
    if not (directory / "store.db").exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{directory / 'store.db'}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM pyramid WHERE level = 0").fetchone()[0])
        except sqlite3.OperationalError:  # it is being created
            return 0


def test_pieces_appear_after_a_burst_and_a_kill_between_them_loses_nothing(scripts: Scripts, root: Path) -> None:
    directory = root / "runs" / "run"
    script = scripts.start(PIECES)
    assert script.read_line() == "logged"
    wait_until(lambda: pieces(directory) > 0, "the first pieces are made, without a further record")
    os.kill(sidecar_pid(root), signal.SIGKILL)
    made = pieces(directory)
    found = [list(one.high) for one in StoreReader(directory / "store.db").buckets(["k0", "k93"], count=100)]
    script.send_line()
    assert script.read_line() == "finished"
    wait_until(lambda: pieces(directory) == 2 * 100, "the pieces of all blocks are made")
    script.send_line()
    script.wait()
    assert len(closed(directory).rows) == 2 * 8192 + 100 + 1
    assert made <= 2 * 100
    again = StoreReader(directory / "store.db").buckets(["k0", "k93"], count=100)
    assert [max(highs) for highs in found] == [max(one.high) for one in again] == [6.0, 99.0]
    assert verify(directory).problems == []
