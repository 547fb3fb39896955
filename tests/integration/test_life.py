"""The life of a run, in real processes: from `tracker.init()` to what is read back from its directory."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.reader import LogReader
from sidecar.protocol.layout import RunLock, is_held, needs_recovery
from tests.support import ReadBack, Scripts, exact, processes, wait_until
from tracker.reading.api import Api


def only_run(root: Path) -> Path:
    (directory,) = (root / "runs").iterdir()
    return directory


def read_closed_run(directory: Path) -> ReadBack:
    """Wait until the sidecar has closed the run, then read it and check it."""
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is closed")
    assert not (directory / "windows").exists()
    return ReadBack(directory).check()


def state_of(directory: Path) -> dict[str, Any]:
    return read_closed_run(directory).state


def test_init_log_finish(scripts: Scripts, root: Path) -> None:
    done = scripts.run(
        """
        import tracker
        run = tracker.init(project="digits", name="first", config={"lr": 0.1})
        assert run.state == "running" and run.step == 0 and tracker.run is run
        for step in range(100):
            run.log({"loss": 1 / (step + 1), "val": {"acc": step / 100}})
        run.finish()
        assert run.state == "finished"
        print(run.id, run.dir)
        """
    )
    run_id, directory = done.out.split()
    assert Path(directory) == root / "runs" / run_id
    run = read_closed_run(Path(directory))
    assert run.stored() == [(step, {"loss": 1 / (step + 1), "val.acc": step / 100}) for step in range(100)]
    state = run.state
    assert (state["project"], state["name"], state["state"], state["exit_code"]) == ("digits", "first", "finished", 0)
    assert state["config"] == {"lr": 0.1}
    assert state["summary"] == {"loss": 0.01, "val.acc": 0.99}
    assert sorted(path.name for path in Path(directory).iterdir()) == ["store.db", "transactions.log"]
    assert done.err == ""


def test_start_and_end_are_printed_to_standard_error(scripts: Scripts, root: Path) -> None:
    done = scripts.run(
        """
        import tracker
        run = tracker.init(name="talkative")
        run.finish()
        """,
        env={"TRACKER_SILENT": None},
    )
    assert done.out == ""
    started, ended, commands = done.err.splitlines()
    run_id = only_run(root).name
    assert "talkative" in started and run_id in started
    assert "talkative" in ended and "finished" in ended
    assert commands.strip() == f"tracker show {run_id}"


MILLION = 1_000_000


def test_million_points_are_read_back_equal_and_in_order(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import math, tracker
        run = tracker.init()
        special = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7e308, 7, -(2**63), 2**64 - 1, True]
        keys = [f"k{k}" for k in range(10)]
        for step in range(100_000):
            row = {key: (step + index) / 7 for index, key in enumerate(keys)}
            if step % 10 == 0:
                row[keys[step // 10 % 10]] = special[step // 10 % len(special)]
            if step % 1000 == 3:
                row["k5"] = f"text {step} ä☃"
            run.log(row)
        run.finish()
        """
    )
    special = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7e308, 7, -(2**63), 2**64 - 1, True]
    directory = only_run(root)
    run = ReadBack(directory)
    keys = [f"k{k}" for k in range(10)]
    expected = []
    for step in range(MILLION // 10):
        row: dict[str, Any] = {key: (step + index) / 7 for index, key in enumerate(keys)}
        if step % 10 == 0:
            row[keys[step // 10 % 10]] = special[step // 10 % len(special)]
        if step % 1000 == 3:
            row["k5"] = f"text {step} ä☃"
        expected.append((step, row))
    special_rows = {step for step in range(MILLION // 10) if step % 10 == 0 or step % 1000 == 3}
    for actual in (run.stored(), run.logged()):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):  # all other rows hold only floats
            assert exact(one) == exact(other) if other[0] in special_rows else one == other
    assert (run.state["points"], run.state["records"], run.state["losses"]) == (MILLION, MILLION // 10, {})
    rows = Api(root).run(directory.name).scan_history()
    for (step, data), row in zip(expected[::50], list(rows)[::50], strict=True):
        assert row["_step"] == step
        assert exact({key: value for key, value in row.items() if key[0] != "_"}) == exact(data)


def test_config_from_dict_dataclass_namespace_and_none(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import argparse, dataclasses, enum, pathlib, tracker

        class Color(enum.Enum):
            RED = "red"

        @dataclasses.dataclass
        class Options:
            lr: float = 0.1
            layers: tuple = (1, 2)
            path: pathlib.Path = pathlib.Path("/data")
            color: Color = Color.RED

        for number, config in enumerate([
            {"lr": 0.1, "deep": {"er": [1, None, True]}}, Options(), argparse.Namespace(lr=0.1, _hidden=1), None
        ]):
            run = tracker.init(id=f"run{number}", config=config)
            run.config["batch"] = 32
            run.config.update({"epochs": 3})
            run.config.seed = 1
            assert run.config.batch == run.config["batch"] == 32
            try:
                run.config["batch"] = 64
            except tracker.TrackerError as error:
                assert "batch" in str(error) and "allow_val_change" in str(error)
            else:
                raise AssertionError
            run.config.update({"epochs": 4}, allow_val_change=True)
            del run.config["seed"]
            assert tracker.config is run.config
            run.finish()
        """
    )
    configs = [read_closed_run(root / "runs" / f"run{number}").state["config"] for number in range(4)]
    updates = {"batch": 32, "epochs": 4}
    assert configs[0] == {"lr": 0.1, "deep": {"er": [1, None, True]}} | updates
    assert configs[1] == {"lr": 0.1, "layers": [1, 2], "path": "/data", "color": "red"} | updates
    assert configs[2] == {"lr": 0.1} | updates
    assert configs[3] == updates


def test_summary_definitions_tags_and_notes(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import tracker
        run = tracker.init(tags=["a", "b"], notes="first", group="g", job_type="train")
        run.define_metric("loss", summary="min")
        run.define_metric("acc", summary="max,last")
        run.define_metric("val.*", step_metric="epoch", summary="best", goal="maximize")
        run.define_metric("noise", summary="none")
        run.define_metric("synced", step_metric="epoch", step_sync=True)
        for step, loss in enumerate([3.0, 1.0, float("nan"), 2.0]):
            run.log({"loss": loss, "acc": -loss, "val": {"f1": loss}, "noise": 1, "plain": step})
        run.log({"epoch": 5})
        run.log({"synced": 1})
        assert run.summary["loss"] == 1.0 and run.summary["plain"] == 3, dict(run.summary)
        run.summary["best_of_all"] = 0.97
        run.summary.update({"temporary": 1})
        del run.summary["temporary"]
        tracker.summary["by_module"] = True
        run.tags += ("c",)
        run.notes = "second"
        assert run.tags == ("a", "b", "c") and run.notes == "second"
        run.finish()
        assert run.summary["val.f1"] == 3.0
        """
    )
    run = read_closed_run(only_run(root))
    assert run.state["summary"] == {
        "loss": 1.0,
        "acc.max": -1.0,
        "acc.last": -2.0,
        "val.f1": 3.0,
        "plain": 3,
        "epoch": 5,
        "synced": 1,
        "best_of_all": 0.97,
        "by_module": True,
    }
    assert run.stored()[-1] == (5, {"synced": 1, "epoch": 5})
    assert (run.state["tags"], run.state["notes"]) == (["a", "b", "c"], "second")
    assert (run.state["group"], run.state["job_type"]) == ("g", "train")


def test_steps_are_counted_or_set(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import tracker
        run = tracker.init()
        run.log({"a": 1})
        run.log({"a": 2}, commit=False)
        run.log({"b": 2})
        run.log({"a": 3}, step=10)
        run.log({"a": 4}, step=-5)
        run.log({"a": 5}, step=10)
        assert run.step == 10, run.step
        run.log({"a": 6})
        run.log({"a": 7}, step=20, commit=True)
        run.log({"a": 8})
        run.log({})
        run.log({"a": 9})
        run.finish()
        """
    )
    steps = [(step, data) for step, data in read_closed_run(only_run(root)).logged() if data]
    assert steps[:6] == [(0, {"a": 1}), (1, {"a": 2}), (1, {"b": 2}), (10, {"a": 3}), (-5, {"a": 4}), (10, {"a": 5})]
    assert steps[6:9] == [(10, {"a": 6}), (20, {"a": 7}), (21, {"a": 8})]


def test_module_functions_and_with_statement(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import tracker
        for call in (lambda: tracker.log({"x": 1}), lambda: tracker.config, lambda: tracker.summary,
                     lambda: tracker.define_metric("x")):
            try:
                call()
            except tracker.TrackerError as error:
                assert "tracker.init()" in str(error), error
            else:
                raise AssertionError
        tracker.finish()
        with tracker.init(id="with1") as run:
            tracker.define_metric("loss", summary="min")
            tracker.config["lr"] = 1
            tracker.log({"loss": 2.0})
            tracker.log({"loss": 3.0}, step=7)
        assert run.state == "finished"
        try:
            with tracker.init(id="with2") as run:
                run.log({"x": 1})
                raise ValueError("on purpose")
        except ValueError:
            pass
        assert run.state == "failed"
        tracker.init(id="with3")
        tracker.log({"x": 1})
        tracker.finish(exit_code=4)
        """
    )
    one, two, three = (state_of(root / "runs" / f"with{number}") for number in (1, 2, 3))
    assert (one["state"], one["summary"], one["config"]) == ("finished", {"loss": 2.0}, {"lr": 1})
    assert (two["state"], two["exit_code"]) == ("failed", 1) and "ValueError: on purpose" in two["traceback"]
    assert (three["state"], three["exit_code"]) == ("failed", 4)


def test_settings_from_arguments_environment_and_file(scripts: Scripts, root: Path) -> None:
    root.mkdir()
    (root / "settings").write_text("[default]\nproject = from-file\nname = from-file\ngroup = from-file\ntags = x, y\n")
    scripts.run(
        """
        import tracker
        run = tracker.init(name="from-argument", settings=tracker.Settings(job_type="from-settings"))
        assert run.label == "rank0"
        run.finish()
        """,
        env={"TRACKER_RUN_GROUP": "from-environment", "TRACKER_NAME": "from-environment", "TRACKER_LABEL": "rank0"},
    )
    state = state_of(only_run(root))
    assert (state["project"], state["group"], state["name"]) == ("from-file", "from-environment", "from-argument")
    assert (state["tags"], state["job_type"]) == (["x", "y"], "from-settings")


def test_consecutive_runs_share_a_sidecar(scripts: Scripts, root: Path) -> None:
    done = scripts.run(
        """
        import os, tracker
        from pathlib import Path
        for number in range(30):
            run = tracker.init(id=f"run{number}")
            run.log({"x": number})
            run.finish()
        print(len(list(Path(os.environ["TRACKER_DIR"], "sidecars").glob("*.json"))), flush=True)
        from tests.support import wait_until
        for number in range(30):
            lock = Path(os.environ["TRACKER_DIR"], "runs", f"run{number}", "lock")
            wait_until(lambda: not lock.exists(), f"run {number} is closed while its process still runs")
        """
    )
    assert done.out == "1\n"
    for number in range(30):
        assert read_closed_run(root / "runs" / f"run{number}").stored() == [(0, {"x": number})]


def test_reinit(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import tracker
        first = tracker.init(id="first")
        try:
            tracker.init()
        except tracker.TrackerError as error:
            assert "first" in str(error) and "finish()" in str(error) and "reinit" in str(error), error
        else:
            raise AssertionError
        assert tracker.init(reinit="return_previous") is first is tracker.run
        second = tracker.init(id="second", reinit="finish_previous")
        assert first.state == "finished" and second.state == "running"
        third = tracker.init(id="third", reinit="create_new")
        assert second.state == "running"
        for number, run in enumerate([third, second]):
            run.log({"x": number})
            run.finish()
        """
    )
    assert sorted(path.name for path in (root / "runs").iterdir()) == ["first", "second", "third"]
    assert read_closed_run(root / "runs" / "second").stored() == [(0, {"x": 1})]
    assert read_closed_run(root / "runs" / "third").stored() == [(0, {"x": 0})]


RESUME = """
import sys, tracker
try:
    run = tracker.init(id=sys.argv[2] if len(sys.argv) > 2 else None, resume=sys.argv[1])
except tracker.TrackerError as error:
    print(type(error).__name__, error)
    sys.exit(9)
print(run.id, run.resumed, run.step, run.config.as_dict(), dict(run.summary))
run.log({"x": run.step})
run.config.update({"seen": run.step}, allow_val_change=True)
"""


def test_resume(scripts: Scripts, root: Path) -> None:
    assert "does not exist" in scripts.run(RESUME, "must", "one", exit_code=9).out
    assert scripts.run(RESUME, "never", "one").out == "one False 0 {} {}\n"
    read_closed_run(root / "runs" / "one")
    refused = scripts.run(RESUME, "never", "one", exit_code=9).out
    assert refused.startswith("ResumeError") and "'one' exists" in refused
    assert scripts.run(RESUME, "allow", "one").out == "one True 1 {'seen': 1} {'x': 0}\n"
    assert scripts.run(RESUME, "must", "one").out == "one True 2 {'seen': 2} {'x': 1}\n"
    assert scripts.run(RESUME, "allow", "two").out == "two False 0 {} {}\n"
    run = read_closed_run(root / "runs" / "one")
    assert sorted(run.logged()) == [(0, {"x": 0}), (1, {"x": 1}), (2, {"x": 2})]
    assert run.state["state"] == "finished" and len(run.state["writers"]) == 3


def test_refused_resume_leaves_no_run_directory(scripts: Scripts, root: Path) -> None:
    for number in range(5):
        scripts.run(RESUME, "must", f"run{number}", exit_code=9)
    assert list((root / "runs").iterdir()) == []


def test_finished_run_is_not_resumed_by_default(scripts: Scripts, root: Path) -> None:
    code = """
    import tracker
    tracker.init(id="one").finish()
    try:
        tracker.init(id="one")
    except tracker.TrackerError as error:
        assert "resume='allow'" in str(error), error
    else:
        raise AssertionError
    """
    scripts.run(code)
    read_closed_run(root / "runs" / "one")


def test_resume_auto_continues_the_last_unfinished_run(scripts: Scripts, root: Path) -> None:
    crash = "import tracker, os, signal; r = tracker.init(resume='auto'); print(r.id, r.resumed); r.log({'x': 1}); "
    first = scripts.run(crash + "os.kill(os.getpid(), signal.SIGKILL)", exit_code=-9).out.split()
    second = scripts.run(crash + "raise SystemError('failed')", exit_code=1).out.split()
    third = scripts.run(crash + "r.finish()").out.split()
    fourth = scripts.run(crash + "r.finish()").out.split()
    assert first[1] == "False" and second == third == [first[0], "True"]
    assert fourth[0] != first[0] and fourth[1] == "False"
    run = read_closed_run(root / "runs" / first[0])
    assert run.state["state"] == "finished" and run.state["records"] == 3


@pytest.mark.parametrize(
    ("ending", "code", "state", "traceback"),
    [
        ("", 0, "finished", None),
        ("run.finish()", 0, "finished", None),
        ("raise ValueError('on purpose')", 1, "failed", "ValueError: on purpose"),
        ("sys.exit(3)", 3, "failed", None),
        ("sys.exit(0)", 0, "finished", None),
        ("sys.exit('a message')", 1, "failed", None),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -2, "killed", "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15, "preempted", None),
        ("os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)", -9, "crashed", None),
        ("os._exit(7)", 7, "crashed", None),
        ("run.mark_preempting(); os._exit(7)", 7, "preempted", None),
    ],
)
def test_end_states(scripts: Scripts, root: Path, ending: str, code: int, state: str, traceback: str | None) -> None:
    script = f"""
import os, signal, sys, time, tracker
run = tracker.init(id="run")
for step in range(100):
    run.log({{"x": step}})
{ending}
"""
    scripts.run(script, exit_code=code)
    run = read_closed_run(root / "runs" / "run")
    assert run.state["state"] == state
    assert run.stored() == [(step, {"x": step}) for step in range(100)]
    if state == "failed":
        assert run.state["exit_code"] == code
    if traceback:
        assert traceback in run.state["traceback"]
    else:
        assert run.state["traceback"] is None


def test_signal_during_fork_does_not_write_to_the_parents_window(scripts: Scripts, root: Path) -> None:
    script = """
    import os, signal, tracker

    def in_child():  # runs before tracker's own hook
        os.read(read_end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    read_end, write_end = os.pipe()
    os.register_at_fork(after_in_child=in_child)
    run = tracker.init(id="run", settings={"pump_interval": 0.2})
    for step in range(100):
        if step % 20 == 10:
            pid = os.fork()
        run.log({"x": step})
        if step % 20 == 15:
            os.write(write_end, b"!")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    """
    scripts.run(script)
    run = read_closed_run(root / "runs" / "run")
    assert run.state["state"] == "finished"
    assert run.stored() == [(step, {"x": step}) for step in range(100)]


def test_sys_exit_in_another_thread_does_not_end_the_run(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import sys, threading, tracker
        tracker.init(id="run")
        thread = threading.Thread(target=lambda: sys.exit(3))
        thread.start()
        thread.join()
        """
    )
    assert state_of(root / "runs" / "run")["state"] == "finished"


@pytest.mark.parametrize(
    ("ending", "code", "state"),
    [
        ("try: sys.exit(3)\nexcept SystemExit: pass\nrun.log({'x': 1})", 0, "finished"),
        ("try: 1 / 0\nexcept Exception: sys.excepthook(*sys.exc_info())\nrun.log({'x': 1})", 0, "finished"),
        ("try: sys.exit(3)\nfinally: run.log({'x': 1})", 3, "failed"),
        ("import atexit\natexit.register(run.log, {'x': 1})\nsys.exit(3)", 3, "failed"),
        ("import atexit\natexit.register(run.log, {'x': 1})\n1 / 0", 1, "failed"),
        ("import asyncio\nasync def main(): sys.exit(3)\nasyncio.run(main())", 3, "failed"),
    ],
)
def test_only_uncaught_exits_count(scripts: Scripts, root: Path, ending: str, code: int, state: str) -> None:
    scripts.run(f"import sys, tracker\nrun = tracker.init(id='run')\n{ending}", exit_code=code)
    run = state_of(root / "runs" / "run")
    assert (run["state"], run["exit_code"]) == (state, code)


def test_error_at_the_interactive_prompt_does_not_end_the_run(scripts: Scripts, root: Path) -> None:
    lines = ["import tracker", "run = tracker.init(id='run')", "1 / 0", "run.log({'x': 1})", ""]
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input="\n".join(lines),
        env=scripts.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ZeroDivisionError" in done.stderr
    run = read_closed_run(root / "runs" / "run")
    assert run.state["state"] == "finished" and run.stored() == [(0, {"x": 1})]


def test_ctrl_c_ends_the_loop_of_the_shell_too(scripts: Scripts, root: Path) -> None:
    code = "import os, signal, tracker; tracker.init().log({'x': 1}); os.kill(os.getpid(), signal.SIGINT); print('no')"
    done = scripts.run(code, env={"TRACKER_SILENT": None}, exit_code=-signal.SIGINT)
    assert "killed after" in done.err and done.out == ""
    code = "import sys, tracker\ntry: raise KeyboardInterrupt\nexcept KeyboardInterrupt: tracker.init(); sys.exit(130)"
    scripts.run(code, env={"TRACKER_SILENT": None}, exit_code=130)


def test_sigterm_prints_one_line(scripts: Scripts) -> None:
    code = "import os, signal, tracker; tracker.init(id='run', name='mine'); os.kill(os.getpid(), signal.SIGTERM)"
    done = scripts.run(code, env={"TRACKER_SILENT": None}, exit_code=-15)
    started, ended = done.err.splitlines()
    assert "run mine (run) in uncategorized" in started and ended.startswith("tracker: run mine preempted, kept in ")


def test_sigterm_does_not_wait_for_a_pipe_that_is_full(scripts: Scripts, root: Path) -> None:
    code = """
    import os, signal, tracker
    tracker.init(id="run")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.set_blocking(2, False)
    try:
        while os.write(2, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(2, True)
    signal.alarm(20)
    os.kill(os.getpid(), signal.SIGTERM)
    """
    scripts.run(code, env={"TRACKER_SILENT": None}, exit_code=-signal.SIGTERM)
    assert state_of(root / "runs" / "run")["state"] == "preempted"


def test_first_line_says_which_command_opens_the_run(scripts: Scripts, root: Path) -> None:
    code = """
    import os, tracker
    tracker.init(id="one", name="first\\nline", project="digits", config={"lr": 0.01, "a": 1}).finish()
    tracker.init(id="one", resume="allow", config={"lr": 0.5, "b": 2}).finish()
    tracker.init(id="two", dir="elsewhere").finish()
    """
    lines = scripts.run(code, env={"TRACKER_SILENT": None}).err.splitlines()
    started = [line for line in lines if " · open it: " in line]
    end = f"in digits, kept in {root.name} · open it: tracker ui"
    assert started[:2] == [f"tracker: run first line (one){how} {end}" for how in ("", " resumed")]
    assert started[2].endswith(f" in uncategorized · open it: tracker ui --dir {root.parent / 'elsewhere'}")
    assert "tracker: config changed on resume: lr 0.01 -> 0.5" in lines


def test_error_in_init_prints_one_short_traceback(scripts: Scripts) -> None:
    done = scripts.run("import tracker\ntracker.init(id='run').finish()\ntracker.init(id='run')", exit_code=1)
    assert done.err.count("Traceback") == 1 and "direct cause" not in done.err and "backend.py" not in done.err
    assert done.err.splitlines()[-1].startswith("tracker.errors.ResumeError: run 'run' ")
    done = scripts.run("import tracker\ntracker.init(resume='maybe')", exit_code=1)
    assert "settings.py" not in done.err and done.err.splitlines()[-1].endswith("not 'maybe'")


def test_forked_child_raises_no_resource_warning(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import gc, os, sys, tracker, warnings
        warnings.simplefilter("always", ResourceWarning)
        run = tracker.init()
        pid = os.fork()
        if pid == 0:
            gc.collect()
            run.log({"x": 1})
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
    )
    assert "ResourceWarning" not in done.err


def test_sidecar_exits_when_its_trainer_has_died(scripts: Scripts, root: Path, temporary: Path) -> None:
    script = scripts.start("import tracker; run = tracker.init(); run.log({'x': 1}); print(1); input()")
    script.read_line()
    (sidecar,) = [pid for pid, command in processes(temporary) if "sidecar launch" in command]
    script.kill()
    script.wait(-signal.SIGKILL)
    wait_until(lambda: sidecar not in [pid for pid, _ in processes(temporary)], "the sidecar exits")
    assert state_of(only_run(root))["state"] == "crashed"
    assert list((root / "sidecars").iterdir()) == []


def test_sidecar_without_a_run_stays_until_its_trainer_exits(scripts: Scripts, temporary: Path) -> None:
    script = scripts.start("import tracker; tracker.init().finish(); print(1); input(); tracker.init().finish()")
    script.read_line()
    assert [pid for pid, command in processes(temporary) if "sidecar launch" in command]
    script.send_line()
    script.wait()


def test_mode_disabled_launches_and_writes_nothing(scripts: Scripts, root: Path, temporary: Path) -> None:
    scripts.run(
        """
        import sys, tracker
        from pathlib import Path
        run = tracker.init(project="p", config={"lr": 0.1}, mode="disabled", resume="must", id="any")
        run.log({"loss": 1.0})
        run.log({"loss": 1.0}, step=3, commit=False)
        run.config["batch"] = 1
        run.summary["x"] = 1
        run.define_metric("loss", summary="min")
        run.tags = ["a"]
        run.notes = "n"
        run.mark_preempting()
        assert run.config.lr == 0.1 and run.flush() and dict(run.summary) == {"x": 1}
        tracker.log({"x": 1})
        run.finish()
        assert run.state == "finished"
        assert not {"zmq", "requests", "psutil", "sqlite3"} & set(sys.modules)
        tracker.init(mode="disabled")
        """
    )
    assert not root.exists()
    assert [command for _, command in processes(temporary) if "sidecar" in command] == []


def test_two_processes_share_a_run(scripts: Scripts, root: Path) -> None:
    code = """
    import sys, tracker
    label = sys.argv[1]
    run = tracker.init(id="shared", label=label)
    print(run.id)
    input()
    for step in range(2000):
        run.log({f"loss.{label}": step, "both": step})
    """
    first, second = scripts.start(code, "rank0"), scripts.start(code, "rank1")
    for script in (first, second):
        assert script.read_line() == "shared"
    for script in (first, second):
        script.send_line()
    for script in (first, second):
        assert script.wait().err == ""
    run = read_closed_run(root / "runs" / "shared")
    assert run.state["state"] == "finished"
    labels = {client: writer["label"] for client, writer in run.state["writers"].items()}
    assert sorted(labels.values()) == ["rank0", "rank1"]
    for client, label in labels.items():
        assert run.stored(client) == [(step, {f"loss.{label}": step, "both": step}) for step in range(2000)]
    rows = list(Api(root).run("shared").scan_history(keys=["both"]))
    assert len(rows) == 4000 and {row["_label"] for row in rows} == {"rank0", "rank1"}


def test_forked_children_log_to_their_parents_run(scripts: Scripts, root: Path) -> None:
    done = scripts.run(
        """
        import multiprocessing, os, sys, tracker
        run = tracker.init(id="run")
        run.log({"parent": 0})
        def work(number):
            for step in range(300):
                run.log({f"child{number}": step})
            if number == 2:
                run.finish()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        pid = os.fork()
        if pid == 0:
            run.log({"child3": 1})
            sys.exit(0)
        os.waitpid(pid, 0)
        for step in range(300):
            run.log({"parent": step})
        """
    )
    assert done.err == ""
    run = read_closed_run(root / "runs" / "run")
    by_keys: dict[str, list[Any]] = {}
    for _, data in run.logged():
        for key, value in data.items():
            by_keys.setdefault(key, []).append(value)
    children = {f"child{number}": list(range(300)) for number in range(3)}
    assert by_keys == children | {"child3": [1], "parent": [0, *range(300)]}
    writers = run.state["writers"].values()
    assert sum(writer["parent"] is not None for writer in writers) == 4
    assert run.state["state"] == "finished"


def test_many_threads_log_to_one_run(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import sys, threading, tracker
        sys.setswitchinterval(1e-5)
        run = tracker.init(id="run")
        def work(number):
            for step in range(2000):
                run.log({f"t{number}": step})
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    run = read_closed_run(root / "runs" / "run")
    for number in range(4):
        assert [data[f"t{number}"] for _, data in run.logged() if f"t{number}" in data] == list(range(2000))
    assert [step for step, _ in run.logged()] == list(range(8000))


def test_flush_waits_until_all_records_are_in_the_log(scripts: Scripts, root: Path) -> None:
    script = scripts.start(
        """
        import tracker
        run = tracker.init(id="run")
        for count in (1, 5000):
            for _ in range(count):
                run.log({"x": 1.0})
            assert run.flush() and run.flush(timeout=10)
            print(count)
            input()
        """
    )
    for expected in (1, 5001):
        script.read_line()
        with LogReader(root / "runs" / "run" / "transactions.log") as reader:
            kinds = [record.kind for batch in reader.batches() for record in batch.records]
        assert kinds.count("log") == expected
        script.send_line()
    script.wait()


def test_other_processes_read_a_live_run(scripts: Scripts, root: Path) -> None:
    script = scripts.start(
        """
        import tracker
        run = tracker.init(id="run", config={"lr": 1})
        while input() == "more":
            run.log({"x": run.step})
            run.flush()
            print(run.step)
        """
    )
    for count in range(1, 4):
        script.send_line("more")
        assert script.read_line() == str(count)
        wait_until(lambda count=count: Api(root).run("run").records == count, "the store has caught up")  # type: ignore[misc]
        run = Api(root).run("run")
        assert run.state == "running" and run.config == {"lr": 1}
        assert run.history()["x"] == list(range(count))
    assert is_held(root / "runs" / "run") is not None, "reading does not take the run from its sidecar"
    script.send_line("end")
    script.wait()
    assert state_of(root / "runs" / "run")["state"] == "finished"


def test_run_starts_although_its_lock_is_held_for_a_moment(scripts: Scripts, root: Path) -> None:
    """A process holds the run's lock for a moment without a connection file, as a recovery does."""
    directory = root / "runs" / "run"
    directory.mkdir(parents=True)
    lock = RunLock(directory)
    script = scripts.start("import tracker; run = tracker.init(id='run'); run.log({'x': 1}); run.finish()")
    logs = root / "sidecars"
    wait_until(
        lambda: script.process.poll() is not None or any("refused" in p.read_text() for p in logs.glob("*.log")),
        "the sidecar has found the run locked",
    )
    lock.release(remove=True)
    script.wait()
    assert read_closed_run(directory).stored() == [(0, {"x": 1})]


def test_child_process_uses_its_parents_sidecar(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, subprocess, sys, tracker
        from pathlib import Path
        run = tracker.init(id="parent")
        code = "import tracker; r = tracker.init(id='child'); r.log({'x': 1}); r.finish()"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert len(list(Path(os.environ["TRACKER_DIR"], "sidecars").glob("*.json"))) == 1
        """
    )
    assert read_closed_run(root / "runs" / "child").state["state"] == "finished"


def test_run_directory_can_be_moved(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    scripts.run("import tracker; r = tracker.init(id='run'); r.log({'x': 1}); r.finish()")
    read_closed_run(root / "runs" / "run")
    (tmp_path / "elsewhere" / "runs").mkdir(parents=True)
    os.rename(root / "runs" / "run", tmp_path / "elsewhere" / "runs" / "run")
    run = Api(tmp_path / "elsewhere").run("run")
    assert (run.state, run.history()["x"]) == ("finished", [1])
    resumed = scripts.run(RESUME, "must", "run", env={"TRACKER_DIR": str(tmp_path / "elsewhere")}).out
    assert resumed == "run True 1 {} {'x': 1}\n"
    read_closed_run(tmp_path / "elsewhere" / "runs" / "run")


def test_durability_disk(scripts: Scripts, root: Path) -> None:
    scripts.run("import tracker; r = tracker.init(id='run'); r.log({'x': 1})", env={"TRACKER_DURABILITY": "disk"})
    assert read_closed_run(root / "runs" / "run").stored() == [(0, {"x": 1})]


def test_finish_can_be_called_from_a_signal_handler_during_finish(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import signal, tracker
        for number in range(5):
            run = tracker.init(id=f"run{number}")
            run.log({"x": 1})
            signal.signal(signal.SIGALRM, lambda number, frame: run.finish())
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            run.finish()
            signal.setitimer(signal.ITIMER_REAL, 0)
        """
    )
    for number in range(5):
        run = read_closed_run(root / "runs" / f"run{number}")
        assert run.state["state"] == "finished" and len(run.stored()) == 1


@pytest.mark.parametrize(
    "stderr",
    ["open('/dev/full', 'w', buffering=1)", "None", "type('Tee', (), {'write': print, 'flush': lambda self: None})()"],
    ids=["full", "closed", "replaced"],
)
def test_unusable_standard_error_does_not_stop_training(scripts: Scripts, root: Path, stderr: str) -> None:
    scripts.run(
        f"""
        import os, sys, tracker
        del os.environ["TRACKER_SILENT"]
        sys.stderr = {stderr}
        run = tracker.init(id="run")
        run.log({{"x": 1}})
        run.finish()
        os._exit(0)
        """
    )
    assert read_closed_run(root / "runs" / "run").state["state"] == "finished"


def test_traceback_with_a_lone_surrogate(scripts: Scripts, root: Path) -> None:
    script = """
        import tracker
        with tracker.init(id="run"):
            raise ValueError("no file \\udc80")
        """
    scripts.run(script, exit_code=1)
    state = state_of(root / "runs" / "run")
    assert state["state"] == "failed" and "udc80" in str(state)


def test_finish_returns_although_the_sidecar_does_not_answer(scripts: Scripts, root: Path) -> None:
    """Its sidecar is stopped and does not answer: all records stay in the window and are recovered from there."""
    script = scripts.start(
        """
        import json, os, signal, tracker
        from pathlib import Path
        run = tracker.init(id="run", settings={"finish_timeout": 0.5})
        run.flush()
        (file,) = Path(os.environ["TRACKER_DIR"], "sidecars").glob("*.json")
        pid = json.loads(file.read_text())["pid"]
        os.kill(pid, signal.SIGSTOP)
        for step in range(100):
            run.log({"x": step})
        run.finish()
        print(json.dumps({"pid": pid}))
        """
    )
    pid = json.loads(script.read_line())["pid"]
    try:
        done = script.wait()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "101 records" in done.err or "102 records" in done.err, done.err
    assert read_closed_run(root / "runs" / "run").stored() == [(step, {"x": step}) for step in range(100)]
    assert state_of(root / "runs" / "run")["state"] == "finished"
