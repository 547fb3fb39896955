"""How a run says that it ended, in real processes: every way in which Python ends a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol.layout import needs_recovery
from tests.support import ReadBack, Scripts, wait_until

CAUGHT = "try: sys.exit(3)\nexcept SystemExit as error: kept = error\nrun.log({'x': 1})"
HANDLED = "try: raise ValueError('diverged')\nexcept Exception: sys.exit(2)"
ENDINGS = [
    ("raise SystemExit(3)", 3, "failed", None),
    ("raise SystemExit", 0, "finished", None),
    ("raise SystemExit('a message')", 1, "failed", None),
    ("exit(3)", 3, "failed", None),
    ("quit(3)", 3, "failed", None),
    ("exit()", 0, "finished", None),
    ("sys.exit('a message')", 1, "failed", None),
    (CAUGHT, 0, "finished", None),
    (HANDLED, 2, "failed", "ValueError: diverged"),
    ("try: raise ValueError('diverged')\nexcept Exception: sys.exit(0)", 0, "finished", None),
    ("import argparse\nargparse.ArgumentParser().parse_args(['--wrong'])", 2, "failed", None),
]


def state_of(directory: Path) -> dict[str, Any]:
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is closed")
    return ReadBack(directory).check().state


@pytest.mark.parametrize(("ending", "code", "state", "traceback"), ENDINGS)
def test_exits_of_a_script(
    scripts: Scripts, root: Path, ending: str, code: int, state: str, traceback: str | None
) -> None:
    scripts.run(f"import sys, tracker\nrun = tracker.init(id='run')\n{ending}\n", exit_code=code)
    run = state_of(root / "runs" / "run")
    assert (run["state"], run["exit_code"]) == (state, code)
    assert (traceback or "") in (run["traceback"] or "") and bool(traceback) == bool(run["traceback"])


@pytest.mark.parametrize("arguments", [["-c"], ["-m"], ["-i", "-q"]])
def test_exits_of_other_programs(scripts: Scripts, root: Path, tmp_path: Path, arguments: list[str]) -> None:
    code = "import tracker; tracker.init(id='run')\nraise SystemExit(3)\n"
    text = None
    if arguments == ["-c"]:
        arguments = ["-c", code]
    elif arguments == ["-m"]:
        (tmp_path / "training.py").write_text(code)
        arguments = ["-m", "training"]
    else:
        text = code
    environment = scripts.environment()
    done = subprocess.run(
        [sys.executable, *arguments], input=text, text=True, env=environment, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 3
    run = state_of(root / "runs" / "run")
    assert (run["state"], run["exit_code"]) == ("failed", 3)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_exits_of_children_of_multiprocessing(scripts: Scripts, root: Path, method: str) -> None:
    endings = [*ENDINGS[:-1], ("raise ValueError('diverged')", 1, "failed", "ValueError: diverged")]
    scripts.run(
        f"""
        import multiprocessing, os, sys, tracker

        ENDINGS = {[ending for ending, *_ in endings]!r}

        def work(number):
            run = tracker.init(id=f"run{{number}}", reinit="create_new")
            exec(ENDINGS[number], {{"run": run, "sys": sys}})

        if __name__ == "__main__":
            parent = tracker.init(id="parent")
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work, args=(number,)) for number in range(len(ENDINGS))]
            for child in children:
                child.start()
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == {[code for _, code, *_ in endings]!r}
        """
    )
    for number, (_, code, state, traceback) in enumerate(endings):
        run = state_of(root / "runs" / f"run{number}")
        assert (run["state"], run["exit_code"]) == (state, code)
        assert (traceback or "") in (run["traceback"] or "")
    assert state_of(root / "runs" / "parent")["state"] == "finished"


def test_a_program_that_replaces_itself_and_resumes(scripts: Scripts, root: Path) -> None:
    code = """
        import os, sys, tracker
        turn = int(sys.argv[1])
        run = tracker.init(id="run", resume="allow")
        assert run.step == 100 * turn, run.step
        for i in range(100):
            run.log({"i": 100 * turn + i})
        if turn < 2:
            os.execv(sys.executable, [sys.executable, __file__, str(turn + 1)])
        sys.exit(3 if len(sys.argv) > 2 else 0)
    """
    scripts.run(code, 0)
    assert state_of(root / "runs" / "run")["state"] == "finished"
    assert ReadBack(root / "runs" / "run").stored() == [(i, {"i": i}) for i in range(300)]


def test_a_program_that_replaces_itself_and_starts_another_run(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, sys, tracker
        tracker.init(id=sys.argv[1]).log({"x": 1})
        if sys.argv[1] == "first":
            os.execv(sys.executable, [sys.executable, __file__, "second"])
        """,
        "first",
    )
    states = [state_of(root / "runs" / name)["state"] for name in ("first", "second")]
    assert states == ["crashed", "finished"]


DAEMON = """
import os, sys, tracker
run = tracker.init(id="run")
run.log({"i": 0})
here = os.getpid()
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
while os.getppid() == here:
    pass
for i in range(1, 100):
    run.log({"i": i})
run.flush()
with open(sys.argv[1] + ".part", "w") as file:
    file.write(str(os.getpid()))
os.rename(file.name, sys.argv[1])
"""


@pytest.mark.parametrize(
    ("ending", "state"),
    [("run.finish()", "finished"), ("", "finished"), ("sys.exit(3)", "failed"), ("os._exit(3)", "crashed")],
)
def test_a_daemon_says_how_the_run_ends(scripts: Scripts, root: Path, tmp_path: Path, ending: str, state: str) -> None:
    scripts.run(DAEMON + ending, tmp_path / "logged")
    wait_until((tmp_path / "logged").exists, "the daemon has logged")
    pid = (tmp_path / "logged").read_text()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")
    assert state_of(root / "runs" / "run")["state"] == state
    assert len(ReadBack(root / "runs" / "run").stored()) == 100


def test_a_forked_worker_does_not_say_how_the_run_ends(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, signal, sys, tracker
        run = tracker.init(id="run")
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(write_end)
            run.log({"x": 1})
            os.read(read_end, 1)  # its parent has died
            sys.exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        exit_code=-9,
    )
    assert state_of(root / "runs" / "run")["state"] == "crashed"
