"""``import tracker`` as users meet it: help, completion, mocks, typos, shadowed and broken modules. Starts no run."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import get_args
from unittest import mock

import pytest

import tracker
from sidecar.protocol.records import GOALS, SUMMARIES
from tests.support import REPOSITORY, Scripts
from tracker.sdk import choices, foreign
from tracker.settings import SETTINGS

PARAMETERS = [
    *("project", "name", "id", "config", "group", "job_type", "tags", "notes", "dir", "mode", "resume", "reinit"),
    *("label", "sidecar", "sinks", "settings", "strict"),
]


def test_everything_that_exists_without_a_run(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import inspect, pydoc, sys, tracker
        text = pydoc.plain(pydoc.render_doc(tracker))
        names = dict(inspect.getmembers(tracker))
        assert "init(project:" in "".join(text.split()) and "class Run" in text and "class Settings" in text, text
        assert names["run"] is None and names["init"] is tracker.init and names["Api"] is tracker.Api
        assert not {"config", "summary"} & set(names) and not hasattr(tracker, "config")
        assert {"run", "config", "summary", "log", "save", "flush", "mark_preempting"} <= set(dir(tracker))
        help(tracker)
        """
    )
    assert "an experiment tracker for people who train models" in done.out


def test_from_tracker_import_everything(scripts: Scripts) -> None:
    scripts.run(
        """
        import tracker as package
        from tracker import *
        assert init is package.init and log is package.log and Run is package.Run and Histogram is package.Histogram
        assert issubclass(TrackerError, Exception) and "config" not in globals()
        """
    )


def test_without_a_run(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import tracker
        from tracker.errors import NoRunError
        calls = {
            "config": lambda: tracker.config,
            "summary": lambda: tracker.summary,
            "log()": lambda: tracker.log({"x": 1}),
            "define_metric()": lambda: tracker.define_metric("x"),
            "save()": lambda: tracker.save("x"),
            "flush()": lambda: tracker.flush(),
            "mark_preempting()": lambda: tracker.mark_preempting(),
        }
        for name, call in calls.items():
            try:
                call()
            except NoRunError as error:
                assert isinstance(error, tracker.TrackerError) and isinstance(error, AttributeError)
                assert str(error) == f"tracker.{name}: no run is active; call tracker.init() first", error
            else:
                raise AssertionError(name)
        assert tracker.run is None and tracker.finish() is None
        tracker.nothing
        """,
        exit_code=1,
    )
    assert done.err.splitlines()[-1] == "AttributeError: module 'tracker' has no attribute 'nothing'"


def test_the_current_run_of_mode_disabled(scripts: Scripts) -> None:
    scripts.run(
        """
        import tracker
        with tracker.init(mode="disabled", config={"lr": 1}) as run:
            assert isinstance(run, tracker.Run) and tracker.run is run and tracker.config.lr == 1
            inner = tracker.init(mode="disabled")
            assert tracker.run is inner
            inner.finish()
            assert tracker.run is run
        assert tracker.run is None and not hasattr(tracker, "summary")
        """
    )


def test_signatures_and_docstrings() -> None:
    assert list(inspect.signature(tracker.init).parameters) == PARAMETERS
    for name in ("init", "log", "define_metric", "save", "flush", "finish", "mark_preempting"):
        function = getattr(tracker, name)
        assert inspect.isfunction(function) and function.__module__ == "tracker"
        text = inspect.getdoc(function) or ""
        parameters = list(inspect.signature(function).parameters)
        assert all(f"{parameter}:" in text or f"{parameter}," in text for parameter in parameters)
        if name != "init":
            method = getattr(tracker.Run, name)
            assert list(inspect.signature(method).parameters)[1:] == parameters


def test_ipython_shows_signature_and_docstring(scripts: Scripts) -> None:
    scripts.run(
        """
        import tracker
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell()
        shell.push({"tracker": tracker})
        for name, parameter, text in (("init", "project", "Start a run"), ("log", "data", "Log metrics")):
            info = shell.object_inspect(f"tracker.{name}")
            assert info["type_name"] == "function" and info["file"].endswith("tracker/__init__.py"), info
            assert info["definition"].startswith(f"tracker.{name}(") and f"{parameter}:" in info["definition"], info
            assert info["docstring"].startswith(text), info
        """
    )


def test_a_mock_in_the_place_of_a_function() -> None:
    with mock.patch("tracker.init") as init, mock.patch("tracker.log") as log:
        assert tracker.init(project="x") is init.return_value
        tracker.log({"x": 1})
    init.assert_called_once_with(project="x")
    log.assert_called_once_with({"x": 1})
    assert inspect.isfunction(tracker.init) and inspect.isfunction(tracker.log)


def test_a_mock_in_the_place_of_the_run() -> None:
    with mock.patch("tracker.run", "a stand-in"), mock.patch("tracker.config", {"lr": 1}, create=True):
        assert (vars(tracker)["run"], vars(tracker)["config"]) == ("a stand-in", {"lr": 1})
    assert tracker.run is None and not hasattr(tracker, "config")


@pytest.mark.parametrize("argument", ["entity", "save_code", "anonymous", "force", "sync_tensorboard", "monitor_gym"])
def test_arguments_of_weights_and_biases_are_answered(argument: str) -> None:
    with pytest.raises(TypeError, match=rf"tracker\.init\(\) has no argument '{argument}': .*{argument}"):
        tracker.init(**{argument: "x"})  # type: ignore[arg-type]


def test_each_answer_names_its_argument_and_no_real_one() -> None:
    names = [
        "config_exclude_keys",
        "config_include_keys",
        "allow_val_change",
        "magic",
        "fork_from",
        "resume_from",
        "entity",
    ]
    for name in names:
        assert name in str(foreign.answer(name)) and name not in PARAMETERS
    assert foreign.answer("prject") is None
    with pytest.raises(TypeError, match="unexpected keyword argument 'prject'"):
        tracker.init(prject="x")  # type: ignore[call-arg]


def test_the_choices_for_type_checkers_are_those_that_are_checked() -> None:
    for name, alias in (("mode", choices.Mode), ("resume", choices.Resume), ("reinit", choices.Reinit)):
        for choice in get_args(alias):
            assert SETTINGS[name].check.accept(choice) == choice
            assert repr(choice) in SETTINGS[name].check.must_be
        assert SETTINGS[name].check.must_be.count("'") == 2 * len(get_args(alias))
    assert get_args(choices.Goal) == GOALS and get_args(choices.Aggregate) == SUMMARIES


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "AttributeError: module 'msgpack' has no attribute"),
        ("raise AttributeError('broken on purpose')", "AttributeError: broken on purpose"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    ],
)
def test_a_broken_dependency_shows_itself(scripts: Scripts, tmp_path: Path, content: str, error: str) -> None:
    (tmp_path / "msgpack.py").write_text(content)
    done = scripts.run("import tracker\ntracker.init()", exit_code=1)
    assert done.err.splitlines()[-1].startswith(error), done.err
    assert "msgpack" in done.err and "During handling" not in done.err


def test_an_attribute_error_behind_a_class_shows_itself(scripts: Scripts, tmp_path: Path) -> None:
    (tmp_path / "msgpack.py").write_text("raise AttributeError('broken on purpose')")
    for code in ("from tracker import Api", "import tracker; hasattr(tracker, 'Api')"):
        done = scripts.run(code, exit_code=1)
        assert "ImportError: tracker.Api cannot be imported: broken on purpose" in done.err
        assert str(tmp_path / "msgpack.py") in done.err


def test_a_file_that_shadows_the_sidecar_is_named(scripts: Scripts, tmp_path: Path) -> None:
    (tmp_path / "sidecar.py").write_text("motorcycles = True")
    done = scripts.run("import tracker", exit_code=1)
    assert f"Python found {tmp_path / 'sidecar.py'} first; rename that file" in done.err.splitlines()[-1]
    assert "During handling" not in done.err


def test_python_m_tracker(scripts: Scripts, root: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tracker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=scripts.environment(), check=False)

    assert run("--help").stdout.startswith("usage: tracker ")
    (root / "runs").mkdir(parents=True)
    done = run("ls", "--json")
    assert done.returncode == 0 and json.loads(done.stdout or "[]") == []
    assert run("nothing").returncode == 2


def test_the_metadata_of_the_package() -> None:
    metadata = ConfigParser()
    metadata.read(REPOSITORY / "setup.cfg")
    about = metadata["metadata"]
    assert about["license_expression"] == "MIT" and "License ::" not in about["classifiers"]  # both: a build error
    assert "MacOS" not in about["classifiers"]  # not tested there
    assert metadata["options.package_data"]["sidecar"] == "py.typed, PROTOCOL.md"
    for line in (REPOSITORY / "MANIFEST.in").read_text().splitlines():
        command, name = line.split(maxsplit=1)
        assert command not in ("include", "graft") or (REPOSITORY / name).exists(), line


def test_a_wheel_has_every_file_of_the_page() -> None:
    config = ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    patterns = config["options.package_data"]["tracker"].split(", ")
    package = REPOSITORY / "tracker"
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    page = {path for path in (package / "ui" / "static").rglob("*") if path.is_file()}
    assert page and page <= packed and package / "ui" / "API.md" in packed
