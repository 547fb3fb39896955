"""The transport with real processes: a sidecar that dies during an attach, a pump that outlives ``finish()``."""

from __future__ import annotations

import functools
import json
import os
import signal
from pathlib import Path

import pytest

from tests.support import ReadBack, Scripts, wait_until

HEAD = """
    import json, logging, os, signal, sys, threading, time, tracker
    from pathlib import Path

    def sidecar_pid():
        (file,) = Path(os.environ["TRACKER_DIR"], "sidecars").glob("*.json")
        return json.loads(file.read_text())["pid"]
"""


def _released(run_directory: Path) -> bool:
    return not (run_directory / "lock").exists()


def test_init_launches_another_sidecar_if_its_own_dies_before_it_answers(scripts: Scripts, root: Path) -> None:
    script = scripts.start(
        HEAD
        + """
    first = tracker.init(id="first")
    first.flush()
    pid = sidecar_pid()
    os.kill(pid, signal.SIGSTOP)
    print(pid, flush=True)
    started = time.monotonic()
    second = tracker.init(id="second", reinit="create_new", settings={"init_timeout": 60.0})
    print(time.monotonic() - started)
    for run in (first, second):
        run.log({"x": 1})
        run.finish()
    """
    )
    pid = int(script.read_line())
    try:
        wait_until(lambda: list((root / "runs" / "second" / "windows").glob("[!.]*")), "init() is about to attach")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert float(script.read_line()) < 30.0
    script.wait()
    for run in ("first", "second"):
        wait_until(functools.partial(_released, root / "runs" / run), f"{run} is released")
        assert ReadBack(root / "runs" / run).check().logged() == [(0, {"x": 1})]


def test_pump_that_outlives_finish_closes_the_window(scripts: Scripts, root: Path) -> None:
    """The sidecar does not answer until ``finish()`` has given up."""
    done = scripts.run(
        HEAD
        + """
    class Silent(logging.Handler):
        def emit(self, record):
            if "does not answer" in record.getMessage():
                silent.set()

    silent = threading.Event()
    logging.getLogger("tracker").addHandler(Silent())
    run = tracker.init(id="run", settings={"finish_timeout": 0.5})
    run.flush()
    pid = sidecar_pid()
    os.kill(pid, signal.SIGSTOP)
    for step in range(100):
        run.log({"x": step})
    silent.wait(20.0)  # from now on the pump waits for the answer to an attach
    run.finish()
    os.kill(pid, signal.SIGCONT)
    (pump,) = [thread for thread in threading.enumerate() if thread.name == "tracker-pump"] or [None]
    if pump is not None:
        pump.join(20.0)
        assert not pump.is_alive()
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2
             if os.path.exists(f"/proc/self/fd/{fd}")]
    print(json.dumps([name for name in names if "/windows/" in name]))
    """
    )
    assert "sending failed" not in done.err and "Traceback" not in done.err
    assert json.loads(done.out) == []
    wait_until(functools.partial(_released, root / "runs" / "run"), "the run is released")
    assert [data for _, data in ReadBack(root / "runs" / "run").check().logged()] == [{"x": x} for x in range(100)]


@pytest.mark.parametrize("forked", [False, True])
def test_no_resource_warning_at_exit(scripts: Scripts, root: Path, forked: bool) -> None:
    fork = "pid = os.fork()\n    if pid == 0: sys.exit()\n    os.waitpid(pid, 0)"
    done = scripts.run(
        HEAD
        + f"""
    run = tracker.init(id="run")
    run.log({{"x": 1}})
    {fork if forked else ""}
    run.finish()
    """,
        env={"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "default,ignore::DeprecationWarning"},
    )
    assert done.err == ""
