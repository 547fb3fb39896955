"""Rows from `Run.log` to the store, with real processes: nothing lost, nothing twice, whatever dies in the middle."""

from __future__ import annotations

import inspect
import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.verify import check_log
from tests.support import ReadBack, Scripts, exact, wait_until


def calls(count: int) -> Iterator[dict[str, Any]]:
    """Yield what is logged: many key sets, and a key with values of every type."""
    for number in range(count):
        value = [number * 0.5, number, number % 2 == 0, str(number), 2**63 + number][number // 7 % 5]
        yield {"mixed": value, **{f"k{bit}": number * 1.0 for bit in range(12) if number * 37 >> bit & 1}}


HEAD = """
from __future__ import annotations
import json, os, signal, sys, tracker
from pathlib import Path

def sidecar_pid():
    (file,) = Path(os.environ["TRACKER_DIR"], "sidecars").glob("*.json")
    return json.loads(file.read_text())["pid"]

""" + inspect.getsource(calls)


def script_of(code: str) -> str:
    return HEAD + textwrap.dedent(code)


def released(directory: Path) -> ReadBack:
    wait_until(lambda: not (directory / "lock").exists(), "the run is released", 60.0)
    assert check_log(directory / "transactions.log").problems == []
    return ReadBack(directory).check()


@pytest.mark.parametrize("killed", [0, 3])
def test_many_key_sets_and_types_are_read_back_also_when_the_sidecar_is_killed_again_and_again(
    scripts: Scripts, root: Path, killed: int
) -> None:
    scripts.run(
        script_of("""
    run = tracker.init(id="run")
    for number, data in enumerate(calls(20_000)):
        run.log(data)
        if int(sys.argv[1]) and number % 5000 == 4000:
            os.kill(sidecar_pid(), signal.SIGKILL)
    assert run.flush(60)
    run.finish()
    assert not run.losses.total(), run.losses
    """),
        killed,
    )
    found = released(root / "runs" / "run")
    assert exact(found.logged()) == exact(list(enumerate(calls(20_000))))


def test_a_process_that_is_killed_leaves_rows_that_are_taken_from_its_window(scripts: Scripts, root: Path) -> None:
    script = scripts.start(
        script_of("""
    run = tracker.init(id="run")
    os.kill(sidecar_pid(), signal.SIGKILL)
    for data in calls(20_000):
        run.log(data)
    print("logged", flush=True)
    signal.pause()
    """)
    )
    assert script.read_line() == "logged"
    os.kill(script.process.pid, signal.SIGKILL)
    script.wait(None)
    scripts.run("import tracker; tracker.init(id='run', resume='allow').finish()")
    found = released(root / "runs" / "run")
    first = next(record.client for record in found.log if record.client)
    assert exact(found.logged(first)) == exact(list(enumerate(calls(20_000))))


def test_forked_children_log_rows_of_their_own(scripts: Scripts, root: Path) -> None:
    scripts.run(
        script_of("""
    run = tracker.init(id="run")
    for data in calls(100):
        run.log(data)
    children = []
    for child in range(3):
        pid = os.fork()
        if not pid:
            for number in range(200):
                run.log({"child": child, "number": number * 0.5}, step=number)
            os._exit(0)
        children.append(pid)
        run.log({"mixed": -1.0}, step=1000 + child)
    for pid in children:
        os.waitpid(pid, 0)
    run.finish()
    """)
    )
    found = released(root / "runs" / "run")
    clients = {record.client for record in found.log if record.kind == "log"}
    assert len(clients) == 4
    by_client = [found.logged(client) for client in clients]
    by_child = sorted(
        (data["child"], step, data["number"]) for rows in by_client for step, data in rows if "child" in data
    )
    assert by_child == [(child, number, number * 0.5) for child in range(3) for number in range(200)]
    assert all(len({data.get("child") for _, data in rows}) == 1 for rows in by_client)
