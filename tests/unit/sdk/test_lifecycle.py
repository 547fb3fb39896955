"""Lifecycle: stepped by hand, with a real window and a stand-in for the sidecar; and the `Run` that it carries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol.deadline import Deadline
from tests.unit.sdk.interfaces import Sidecar, StubInterface, launch_error
from tracker.errors import ConfigChangeError, LaunchError, MissingKeyError, RunFinishedError
from tracker.media.histogram import Histogram
from tracker.sdk import lifecycle as lifecycle_module
from tracker.sdk.disabled import DisabledLifecycle
from tracker.sdk.exits import Exit
from tracker.sdk.lifecycle import AttachedLifecycle
from tracker.sdk.run import Run
from tracker.settings import Settings

FINISHED = Exit("finished", exit_code=0)

Make = Callable[..., AttachedLifecycle]


@pytest.fixture
def sidecar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sidecar]:
    monkeypatch.setattr("tracker.transport.interface.Interface", StubInterface)
    made = Sidecar()
    yield made
    made.close()


@pytest.fixture
def make(sidecar: Sidecar, tmp_path: Path) -> Make:
    """Makes a lifecycle, not opened yet."""

    def lifecycle(**settings: Any) -> AttachedLifecycle:
        complete = Settings(dir=tmp_path, silent=True, finish_timeout=0.2, **settings)
        process: Any = sidecar
        return AttachedLifecycle(process, complete, "run", "a name", tmp_path / "runs" / "run")

    return lifecycle


def opened(lifecycle: AttachedLifecycle) -> Run:
    attached = lifecycle.open(None, Deadline(1.0))
    return Run(lifecycle, attached.state, resumed=attached.resumed)


def forked(lifecycle: AttachedLifecycle) -> None:
    """What happens in a forked child, here in the same process: the parent's window is its own no longer."""
    window = lifecycle.window
    lifecycle.in_child()
    assert lifecycle.window is window, "the parent's window stays until it attaches"


# -- open, ending, ended ----------------------------------------------------------------------------------------------


def test_a_run_is_open_then_ending_then_ended(make: Make, sidecar: Sidecar) -> None:
    lifecycle = make()
    run = opened(lifecycle)
    (interface,) = sidecar.interfaces
    assert (lifecycle.state, lifecycle.phase, lifecycle.records, lifecycle.remote) == ("running", "open", True, False)
    sidecar.state = {"summary": {"loss": 1.0}, "losses": {}}
    phases: list[str] = []
    interface.on_ask = lambda: phases.append(lifecycle.phase)
    run.log({"loss": 1.0})
    lifecycle.publish("config", {"set": {"lr": 1}})
    lifecycle.end(FINISHED)
    assert phases == ["ending"] and (lifecycle.state, lifecycle.phase) == ("finished", "ended")
    assert interface.asked == ["state"] and not interface.open
    assert lifecycle.stored_state() == sidecar.state and interface.asked == ["state"], "the answer at the end stays"
    assert dict(run.summary) == {"loss": 1.0}


def test_the_records_of_a_run(make: Make, sidecar: Sidecar) -> None:
    lifecycle = make()
    run = opened(lifecycle)
    run.log({"loss": 1.0})
    run.log({"loss": 2.0}, step=7)
    run.tags = ["a", "a", "b"]
    run.notes = "n"
    run.name = "another"
    run.config["lr"] = 0.1
    run.summary["best"] = 1
    run.mark_preempting()
    lifecycle.losses.add("window full", 3)
    sidecar.answers = False
    (interface,) = sidecar.interfaces
    run.finish(exit_code=3)
    assert interface.final_records == [
        ("log", {"step": 0, "data": {"loss": 1.0}}),
        ("log", {"step": 7, "data": {"loss": 2.0}}),
        ("run", {"tags": ["a", "b"]}),
        ("run", {"notes": "n"}),
        ("run", {"name": "another"}),
        ("config", {"set": {"lr": 0.1}}),
        ("summary", {"set": {"best": 1}}),
        ("preempting", {}),
        ("losses", {"source": interface.client, "counts": {"window full": 3}}),
        ("exit", {"state": "failed", "exit_code": 3}),
    ]


def test_nothing_is_accepted_after_the_end(make: Make) -> None:
    lifecycle = make()
    run = opened(lifecycle)
    run.log({"x": 1.0})
    lifecycle.end(FINISHED)
    lifecycle.end(Exit("failed", exit_code=1))
    assert lifecycle.state == "finished"
    for call in (
        lambda: run.log({"x": 1.0}),
        lambda: run.log({"new": 1.0}),
        lambda: run.save(__file__),
        lambda: run.define_metric("x"),
        lambda: run.config.update(x=1),
        lambda: lifecycle.publish("config", {}),
        lifecycle.ensure_attached,
    ):
        with pytest.raises(RunFinishedError, match="'run' is finished"):
            call()
    assert run.flush() is True


def test_an_end_in_the_middle_of_an_end_does_nothing(make: Make, sidecar: Sidecar) -> None:
    """A signal handler that calls finish() while finish() waits."""
    lifecycle = make()
    opened(lifecycle)
    (interface,) = sidecar.interfaces

    def handler() -> None:
        lifecycle.end(Exit("failed", exit_code=1))
        assert lifecycle.phase == "ending"

    interface.on_ask = handler
    lifecycle.end(FINISHED)
    assert (lifecycle.state, lifecycle.phase) == ("finished", "ended")


def test_an_end_from_another_thread_waits_for_the_first(make: Make, sidecar: Sidecar) -> None:
    lifecycle = make()
    opened(lifecycle)
    (interface,) = sidecar.interfaces
    entered, go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go.wait(10)

    interface.on_ask = hold
    first = threading.Thread(target=lifecycle.end, args=(FINISHED,))
    first.start()
    assert entered.wait(10)
    seen: list[str] = []

    def end_too() -> None:
        lifecycle.end(FINISHED)
        seen.append(lifecycle.phase)

    second = threading.Thread(target=end_too)
    second.start()
    assert seen == []
    go.set()
    first.join()
    second.join()
    assert seen == ["ended"]


def test_ctrl_c_while_it_waits_leaves_the_rest_to_the_sidecar(
    make: Make, sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    lifecycle = make()
    opened(lifecycle)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    sidecar.interfaces[0].on_ask = ctrl_c
    lifecycle.end(FINISHED)
    assert lifecycle.phase == "ended" and not sidecar.interfaces[0].open
    assert "interrupted; the sidecar sends the rest in the background" in capsys.readouterr().err


def test_a_failed_start_leaves_nothing(make: Make, sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.error = launch_error()
    with pytest.raises(LaunchError):
        make().open(None, Deadline(1.0))
    assert not (tmp_path / "runs" / "run").exists() and not sidecar.interfaces[0].open
    (tmp_path / "runs" / "run").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "runs" / "run").write_text("in the way")
    with pytest.raises(LaunchError, match=r"run 'run' cannot be kept in .*: Not a directory$"):
        make().open(None, Deadline(1.0))


def test_in_a_signal_handler_only_the_end_is_appended(
    make: Make, sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    lifecycle = make()
    opened(lifecycle)
    assert lifecycle.append_end_in_signal_handler(Exit("preempted", 143, 15)) is None, "nothing has to be sent"
    assert sidecar.interfaces[0].records() == [("exit", {"state": "preempted", "exit_code": 143, "signal": 15})]
    assert sidecar.interfaces[0].asked == []
    lifecycle.report_signal(Exit("preempted", 143, 15))
    assert capsys.readouterr().err == "", "it is silent"
    lifecycle.end(FINISHED)
    assert lifecycle.append_end_in_signal_handler(Exit("preempted", 143, 15)) is None


def test_a_remote_run(make: Make, sidecar: Sidecar) -> None:
    sidecar.remote = True
    lifecycle = make(sidecar="tcp://10.0.0.1:5757")
    run = opened(lifecycle)
    assert lifecycle.remote and lifecycle.location() == "by the sidecar at tcp://10.0.0.1:5757"
    unsent: Any = lifecycle.append_end_in_signal_handler(FINISHED)
    assert unsent is sidecar.interfaces[0], "it must be sent from here"
    forked(lifecycle)
    run.log({"x": 1})
    assert sidecar.finalizers == 1


# -- forked children --------------------------------------------------------------------------------------------------


def test_a_child_attaches_when_it_first_logs(make: Make, sidecar: Sidecar) -> None:
    lifecycle = make(label="rank0")
    run = opened(lifecycle)
    run.log({"x": 1.0})
    lock, losses = lifecycle.lock, run.losses
    (parent,) = sidecar.interfaces
    forked(lifecycle)
    assert lifecycle.child and lifecycle.state == "running" and not parent.open
    assert lifecycle.lock is not lock and run.losses is not losses
    assert run.flush() is False and lifecycle.stored_state() is None, "there is nothing to ask"
    run.log({"x": 2.0})
    run.log({"x": 3.0})
    _, child = sidecar.interfaces
    assert child.parent == parent.client and child.asked == ["attach"]
    assert [kind for kind, _ in child.records()] == ["run", "log", "log"]
    assert child.records()[0][1]["parent"] == parent.client and child.records()[0][1]["label"] == "rank0"
    forked(lifecycle)
    lifecycle.publish("config", {"set": {"a": 1}})
    assert sidecar.interfaces[2].parent == child.client, "a child of the child"
    assert sidecar.finalizers == 0


def test_a_child_that_never_logged_ends_without_a_record(make: Make, sidecar: Sidecar) -> None:
    lifecycle = make()
    opened(lifecycle)
    forked(lifecycle)
    assert lifecycle.append_end_in_signal_handler(FINISHED) is None
    lifecycle.end(Exit("failed", exit_code=1))
    assert (lifecycle.state, lifecycle.phase) == ("failed", "ended")
    assert len(sidecar.interfaces) == 1 and sidecar.interfaces[0].records() == []


def test_a_child_of_a_parent_that_is_ending(make: Make) -> None:
    lifecycle = make()
    opened(lifecycle)
    lifecycle.phase = "ending"
    lifecycle.in_child()
    assert lifecycle.phase == "open", "the parent had not appended its end"
    lifecycle.state, lifecycle.phase = "finished", "ending"
    lifecycle.in_child()
    assert lifecycle.phase == "ended"


def test_a_child_is_not_held_up_by_a_thread_of_its_parent(make: Make) -> None:
    """At the fork another thread was in the middle of a change of the config; in the child there is no such thread."""
    lifecycle = make()
    run = opened(lifecycle)
    held, go = threading.Event(), threading.Event()

    def change() -> None:
        with lifecycle.lock:
            held.set()
            assert go.wait(10)

    thread = threading.Thread(target=change)
    thread.start()
    assert held.wait(10)
    forked(lifecycle)
    run.config["in the child"] = 1
    run.summary["in the child"] = 1
    assert run.config.as_dict() == {"in the child": 1}
    go.set()
    thread.join()


# -- what a run makes of it -------------------------------------------------------------------------------------------


def test_a_resumed_run_continues_where_it_stopped(make: Make, sidecar: Sidecar) -> None:
    sidecar.resumed = True
    sidecar.state = {
        "step": 9,
        "project": "digits",
        "group": "g",
        "job_type": "train",
        "tags": ["a"],
        "notes": "n",
        "config": {"lr": 0.1},
        "summary": {"loss": 1.0},
    }
    run = opened(make(resume="must"))
    assert (run.step, run.project, run.group, run.job_type) == (10, "digits", "g", "train")
    assert (run.tags, run.notes, run.resumed, run.config.lr) == (("a",), "n", True, 0.1)
    sidecar.answers = False
    assert dict(run.summary) == {"loss": 1.0}
    given = opened(make(project="p", group="h", tags=["b"], notes="m"))
    assert (given.step, given.project, given.group, given.tags, given.notes) == (0, "p", "h", ("b",), "m")


def test_a_step_metric_is_repeated_and_other_rows_stay_on_the_fast_path(make: Make, sidecar: Sidecar) -> None:
    run = opened(make())
    run.define_metric("val.*", step_metric="epoch")
    run.log({"epoch": 1, "loss": 1.0})
    for _ in range(2):
        run.log({"val.acc": 0.5})
    run.log({"loss": 2.0})
    (interface,) = sidecar.interfaces
    (_, defined), *rows = interface.records()
    assert defined["step_metric"] == "epoch" and defined["step_sync"] is True
    assert [body["data"] for _, body in rows] == [
        {"epoch": 1, "loss": 1.0},
        {"val.acc": 0.5, "epoch": 1},
        {"val.acc": 0.5, "epoch": 1},
        {"loss": 2.0},
    ]
    run.define_metric("loss", step_metric="epoch", step_sync=False, summary=["min", "last"])
    run.define_metric("acc", summary="max, mean")  # type: ignore[arg-type]
    *_, (_, without), (_, summary) = interface.records()
    assert without["step_sync"] is False and without["summary"] == ["min", "last"]
    assert "step_sync" not in summary and summary["summary"] == ["max", "mean"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"summary": "maxx"}, ValueError, "summary must be one or several of last, min.*, not 'maxx'"),
        ({"summary": ["min", 5]}, ValueError, "not 5"),
        ({"summary": {"min": 1}}, ValueError, "not {'min': 1}"),
        ({"goal": "up"}, ValueError, "goal must be 'minimize' or 'maximize', not 'up'"),
        ({"step_metric": ""}, TypeError, "step_metric must be a non-empty string, not ''"),
        ({"step_sync": True}, ValueError, "step_sync=True needs a step_metric"),
    ],
)
def test_definitions_that_are_not_valid(
    make: Make, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    run = opened(make())
    with pytest.raises(error, match=words):
        run.define_metric("loss", **options)
    with pytest.raises(TypeError, match="positional"):
        run.define_metric("loss", "min")  # type: ignore[call-arg]


def test_invalid_values_are_named(make: Make) -> None:
    run = opened(make())
    for exit_code, error, words in (
        (300, ValueError, "from 0 to 255, not 300"),
        (-9, ValueError, "not -9"),
        ("1", TypeError, "an integer, not '1'"),
        (True, TypeError, "not True"),
    ):
        with pytest.raises(error, match=f"finish: exit_code must be .*{words}"):
            run.finish(exit_code)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tags must be a sequence of non-empty strings, not 'a'"):
        run.tags = "a"
    with pytest.raises(TypeError, match="notes must be a string or None, not an int"):
        run.notes = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="name must be a non-empty string, not ''"):
        run.name = ""
    assert run.state == "running"


def test_a_config_value_that_is_too_large_is_named(make: Make) -> None:
    run = opened(make())
    with pytest.raises(ValueError, match="config key 'large' cannot be recorded: a record must have"):
        run.config.update({"small": 1, "large": "x" * 9_000_000})
    assert run.config.as_dict() == {}


def test_a_row_that_is_too_large_is_refused_by_its_size(make: Make) -> None:
    run = opened(make(strict=True))
    for values in ([1.5] * 100, [2.5] * 100):
        data = {f"h{key}": Histogram(np_histogram=(values, [0.5] * 101)) for key in range(5000)}
        with pytest.raises(ValueError, match="a record must have at most 8388608 bytes, not 9"):
            run.log(data)
    run.log({"n": 1})
    with pytest.raises(ValueError, match="metric 'n' is an integer of 71 bits"):
        run.log({"n": 1 << 70})
    assert run.step == 1


def test_repr_and_html(make: Make) -> None:
    lifecycle = make(project="a <project>")
    run = opened(lifecycle)
    assert repr(run).startswith("<tracker.Run run (a name) in a <project>: running, kept in ")
    html = run._repr_html_()
    assert "a name (run)" in html and "a &lt;project&gt;" in html and "<project>" not in html
    assert repr(run.losses) == "<tracker.Losses: none>"
    run.losses.add("window full", 2)
    assert repr(run.losses) == "<tracker.Losses: 2 (window full)>"


# -- disabled ---------------------------------------------------------------------------------------------------------


def test_a_disabled_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lifecycle = DisabledLifecycle(Settings(mode="disabled"))
    run = Run(lifecycle, {"config": {"lr": 0.1}}, resumed=False)
    assert (run.id, run.name, run.state, run.config.lr) == ("disabled", "disabled", "running", 0.1)
    run.log({"loss": 1.0})
    run.log("not a dict", step="not a step")  # type: ignore[arg-type]
    assert run.step == 0 and run.save("no file") == [] and run.flush() is True
    run.define_metric("loss", summary="min", step_metric="epoch")
    run.mark_preempting()
    run.tags, run.notes, run.name = ["a"], "n", "another"
    assert (run.tags, run.notes, run.name) == (("a",), "n", "another")
    run.config["batch"] = 1
    run.summary["x"] = 1
    assert dict(run.config) == {"lr": 0.1, "batch": 1} and dict(run.summary) == {"x": 1}
    with pytest.raises(ConfigChangeError):
        run.config["lr"] = 1
    with pytest.raises(MissingKeyError):
        run.summary["y"]
    with pytest.raises(RuntimeError, match="mode 'disabled' has no files"):
        _ = run.files_dir
    lifecycle.in_child()
    lifecycle.ensure_attached()
    lifecycle.report_signal(FINISHED)
    assert lifecycle.append_end_in_signal_handler(FINISHED) is None and lifecycle.stored_state() is None  # type: ignore[func-returns-value]
    with run:
        pass
    lifecycle.end(Exit("failed", exit_code=1))
    run.log({"loss": 1.0})
    run.config["after"] = 1
    assert run.state == "finished" and list(tmp_path.iterdir()) == []


def test_paths_for_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert lifecycle_module.short_path(tmp_path / ".tracker") == ".tracker"
    assert lifecycle_module.short_path(Path("/data")) == "/data"

    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    assert lifecycle_module.short_path(Path("/data")) == "/data"
