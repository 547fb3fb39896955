"""Real signals: whatever is killed, every call that had returned is there, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

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
print("begun", flush=True)
input()
for step in range(count):
    run.log({"loss": step / 3, "step": step, "text": f"step {step}"})
print("returned", flush=True)
input()
"""


def sidecar_pid(root: Path) -> int:
    """The process id of the one sidecar that says that it serves."""

    def look() -> int:
        found = []
        for path in (root / "sidecars").glob("*.json"):
            try:
                connection = read_connection(path)
            except ConnectionFileError:
                continue
            if process_lives(connection):
                found.append(connection.pid)
        return found[0] if len(found) == 1 else 0

    return wait_until(look, "one sidecar serves")


def gone(pid: int, temporary: Path) -> None:
    wait_until(lambda: pid not in [found for found, _ in processes(temporary)], f"process {pid} has ended")


def closed(directory: Path) -> ReadBack:
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is let go")
    assert not (directory / "windows").exists()
    return ReadBack(directory).check()


def expected(count: int) -> list[tuple[int, dict[str, object]]]:
    return [(step, {"loss": step / 3, "step": step, "text": f"step {step}"}) for step in range(count)]


@pytest.mark.parametrize("count", [1, 100, 30_000])
def test_a_trainer_is_killed_after_a_burst(scripts: Scripts, root: Path, temporary: Path, count: int) -> None:
    script = scripts.start(BURST, count)
    assert script.read_line() == "begun"
    script.send_line()
    assert script.read_line() == "returned"
    pid = sidecar_pid(root)
    script.kill()
    script.wait(-signal.SIGKILL)
    gone(pid, temporary)
    found = closed(root / "runs" / "run")
    assert found.stored() == expected(count)
    assert found.state["state"] == "crashed" and found.state["losses"] == {}
    assert list((root / "sidecars").iterdir()) == []


def test_a_trainer_is_killed_in_the_middle_of_its_loop(scripts: Scripts, root: Path, temporary: Path) -> None:
    """It says on a pipe what had returned, after each call: all of that is there, and at most one call more."""
    script = scripts.start(
        """
        import os, tracker
        run = tracker.init(id="run")
        print("begun", flush=True)
        input()
        step = 0
        while True:
            run.log({"x": step})
            os.write(1, b"%d\\n" % step)
            step += 1
        """
    )
    assert script.read_line() == "begun"
    pid = sidecar_pid(root)
    script.send_line()
    while int(script.read_line()) < 5000:
        continue
    script.kill()
    out = script.wait(-signal.SIGKILL).out.split("\n")
    last = max([5000, *(int(line) for line in out[:-1])])
    gone(pid, temporary)
    found = closed(root / "runs" / "run")
    count = len(found.rows)
    assert count in (last + 1, last + 2)
    assert found.stored() == [(step, {"x": step}) for step in range(count)]


def test_sidecars_are_killed_again_and_again_while_it_logs(
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
        script.send_line()  # it logs from now on, and its sidecar dies
        os.kill(pid, signal.SIGKILL)
        gone(pid, temporary)
    total = int(script.read_line())
    assert len(seen) == kills
    script.send_line()
    done = script.wait()
    found = closed(root / "runs" / "run")
    assert found.stored() == [(step, {"x": step}) for step in range(total)], "none lost, none twice, in order"
    assert found.state["state"] == "finished" and found.state["losses"] == {}
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
    found = closed(root / "runs" / "run")
    assert found.stored() == [(step, {"x": step}) for step in range(20_000)]
    assert found.state["state"] == "finished"


def kill_both(scripts: Scripts, root: Path, temporary: Path, leaks: Leaks, count: int) -> None:
    script = scripts.start(BURST, count)
    leaks.allow_socket_directories()
    assert script.read_line() == "begun"
    pid = sidecar_pid(root)
    os.kill(pid, signal.SIGSTOP)  # so that much is in the window only
    script.send_line()
    assert script.read_line() == "returned"
    os.kill(pid, signal.SIGKILL)
    script.kill()
    script.wait(-signal.SIGKILL)
    gone(pid, temporary)


def test_both_are_killed_and_the_next_who_looks_finds_everything(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    kill_both(scripts, root, temporary, leaks, 30_000)
    directory = root / "runs" / "run"
    wait_until(lambda: needs_recovery(directory), "the dead sidecar's lock is free")
    launcher.recover(root)
    found = closed(directory)
    assert found.stored() == expected(30_000)
    assert found.state["state"] == "crashed"
    before = (directory / "transactions.log").read_bytes()
    launcher.recover(root)
    assert (directory / "transactions.log").read_bytes() == before, "there is nothing left to do"


def test_both_are_killed_and_the_api_finds_everything(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    kill_both(scripts, root, temporary, leaks, 5000)
    wait_until(lambda: needs_recovery(root / "runs" / "run"), "the dead sidecar's lock is free")
    (found,) = Api(root).runs()
    assert found.state == "crashed"
    assert found.history()["step"] == list(range(5000))
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
    found = closed(root / "runs" / "run")
    assert [data["step"] for _, data in found.logged()] == list(range(5001))
    assert found.state["state"] == "finished"


def test_a_recovery_leaves_a_living_run_alone(scripts: Scripts, root: Path) -> None:
    script = scripts.start(BURST, 100)
    assert script.read_line() == "begun"
    script.send_line()
    assert script.read_line() == "returned"
    launcher.recover(root)
    Api(root).runs()[0].history()
    script.send_line()
    assert script.wait().err == ""
    found = closed(root / "runs" / "run")
    assert found.stored() == expected(100) and found.state["state"] == "finished"


def test_a_torn_log_and_a_lost_store_after_a_kill(scripts: Scripts, root: Path, temporary: Path, leaks: Leaks) -> None:
    """The sidecar died in the middle of a write, and its store is not worth much."""
    kill_both(scripts, root, temporary, leaks, 3000)
    directory = root / "runs" / "run"
    wait_until(lambda: needs_recovery(directory), "the dead sidecar's lock is free")
    with open(directory / "transactions.log", "ab") as log:
        log.write(b"\xc1\x00\x10\x00torn")
    (directory / "store.db").write_bytes(b"no store")
    launcher.recover(root, ["run"])
    assert closed(directory).stored() == expected(3000)


def test_sidecars_that_died_leave_nothing_behind_in_the_end(
    scripts: Scripts, root: Path, temporary: Path, leaks: Leaks
) -> None:
    before = set(temporary.glob("tracker-*"))
    kill_both(scripts, root, temporary, leaks, 10)
    scripts.run("import tracker; run = tracker.init(id='next'); run.log({'x': 1}); run.finish()")
    launcher.recover(root)
    closed(root / "runs" / "run")
    wait_until(lambda: not list((root / "sidecars").glob("*.json")), "no connection file of a dead sidecar is left")
    wait_until(lambda: set(temporary.glob("tracker-*")) <= before, "no sockets of a dead sidecar are left")
