"""Launching a sidecar from unusual programs: without streams, frozen, with a path of their own, with many roots."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
import zmq

import sidecar
import tracker
from sidecar.protocol.layout import needs_recovery
from tests.support import ReadBack, Scripts, processes, wait_until

LOG = "run = tracker.init(id='run')\nfor i in range(100):\n    run.log({'a': i})\nrun.finish()\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(scripts: Scripts, root: Path, tmp_path: Path, closed: str) -> None:
    (tmp_path / "train.py").write_text("import tracker\n" + LOG)
    command = f"exec {sys.executable} train.py {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=scripts.environment(), check=False)
    assert done.returncode == 0
    run = ReadBack(root / "runs" / "run").check()
    assert run.state["state"] == "finished" and run.stored() == [(i, {"a": i}) for i in range(100)]


def test_what_is_printed_by_c_does_not_reach_our_files(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"import os, tracker\n{LOG}os.write(1, b'x' * 100)\nos.write(2, b'x' * 100)\n")
    code = (tmp_path / "train.py").read_text().replace("run.finish()\n", "")
    (tmp_path / "train.py").write_text(code)
    command = f"exec {sys.executable} train.py >&- 2>&-"
    subprocess.run(command, shell=True, cwd=tmp_path, env=scripts.environment(), check=True)
    assert ReadBack(root / "runs" / "run").check().stored() == [(i, {"a": i}) for i in range(100)]


@pytest.mark.parametrize("frozen", [True, False])
def test_a_program_that_is_not_python_is_not_started_again(
    scripts: Scripts, root: Path, tmp_path: Path, frozen: bool
) -> None:
    app = tmp_path / "app"
    (tmp_path / "train.py").write_text(
        f"""
import sys
open({str(tmp_path / "started")!r}, "a").write("x")
sys.executable, sys.frozen = {str(app)!r}, {frozen}
sys.prefix = sys.exec_prefix = sys.base_prefix = {str(tmp_path)!r}
import tracker
run = tracker.init(settings={{"init_timeout": 20.0}})
"""
    )
    app.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "train.py"} "$@"\n')
    app.chmod(0o755)
    done = subprocess.run([app], env=scripts.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "TRACKER_PYTHON" in done.stderr
    assert (tmp_path / "started").read_text() == ("x" if frozen else "xx")
    environment = {**scripts.environment(), "TRACKER_PYTHON": sys.executable}
    done = subprocess.run([app], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_path_that_the_program_made(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    for module, place in ((tracker, "one"), (sidecar, "one"), (msgpack, "two"), (zmq, "two")):
        assert module.__file__ is not None
        source = Path(module.__file__).parent
        shutil.copytree(source, tmp_path / place / source.name)
        libraries = source.parent / "pyzmq.libs"
        if module is zmq and libraries.is_dir():
            shutil.copytree(libraries, tmp_path / place / "pyzmq.libs")
    code = f"import sys\nsys.path[:0] = [{str(tmp_path / 'one')!r}, {str(tmp_path / 'two')!r}]\nimport tracker\n{LOG}"
    environment = {name: value for name, value in scripts.environment().items() if name != "PYTHONPATH"}
    bare = os.path.realpath(sys.executable)
    done = subprocess.run([bare, "-s", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_runs_of_many_roots_do_not_keep_a_sidecar_each(scripts: Scripts, temporary: Path, tmp_path: Path) -> None:
    script = scripts.start(
        """
        import sys, tracker
        for turn in range(2):
            for i in range(6):
                with tracker.init(dir=f"{sys.argv[1]}/{i}", reinit="create_new") as run:
                    run.log({"a": i})
        print("done", flush=True)
        input()
        """,
        tmp_path,
    )
    assert script.read_line() == "done"

    def sidecars() -> int:
        return sum("sidecar launch" in command for _, command in processes(temporary))

    wait_until(lambda: sidecars() <= 4, "sidecars of roots without a run exit")
    script.send_line()
    script.wait()
    for i in range(6):
        runs = list((tmp_path / str(i) / "runs").iterdir())
        assert [ReadBack(run).check().stored() for run in runs] == [[(0, {"a": i})]] * 2


def _is_closed(directory: Path) -> bool:
    return not needs_recovery(directory)


def test_removed_sockets_are_not_waited_for(scripts: Scripts, root: Path, temporary: Path) -> None:
    scripts.run(
        """
        import glob, shutil, sys, tracker
        first = tracker.init(id="first")
        first.log({"x": 1})
        for sockets in glob.glob(sys.argv[1] + "/tracker-*"):
            shutil.rmtree(sockets)
        second = tracker.init(id="second", reinit="create_new", settings={"init_timeout": 20.0})
        second.log({"x": 2})
        second.finish()
        """,
        temporary,
    )
    for name, value in (("first", 1), ("second", 2)):
        directory = root / "runs" / name
        wait_until(functools.partial(_is_closed, directory), "the run is closed")
        assert ReadBack(directory).check().stored() == [(0, {"x": value})]


def test_a_package_that_is_removed_during_a_run(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    for module in (tracker, sidecar):
        assert module.__file__ is not None
        shutil.copytree(Path(module.__file__).parent, tmp_path / "package" / module.__name__)
    done = scripts.run(
        """
        import shutil, sys, tracker
        run = tracker.init(id="run")
        run.log({"x": 1})
        shutil.rmtree(sys.argv[1])
        run.log({"x": tracker.Histogram([1.0, 2.0])})
        run.save(__file__)
        run.config.late = 1
        run.summary["best"] = 2
        run.define_metric("y", summary="max")
        run._repr_html_(), run.url, repr(run)
        assert run.flush(20)
        run.finish()
        """,
        tmp_path / "package",
        env={"PYTHONPATH": str(tmp_path / "package"), "PYTHONDONTWRITEBYTECODE": "1", "TRACKER_SILENT": None},
    )
    assert "finished" in done.err and "Traceback" not in done.err
    assert ReadBack(root / "runs" / "run").check().state["state"] == "finished"
