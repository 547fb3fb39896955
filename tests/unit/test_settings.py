"""Settings: argument over environment over file over default, each fault by name, and one table for all of it."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import REPOSITORY, Scripts
from tracker import init
from tracker.errors import SettingsError
from tracker.settings import SETTINGS, Settings, markdown, resolve, root_dir, unknown_variables

README = REPOSITORY / "tracker" / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def resolved(tmp_path: Path, file: str = "", arguments: dict[str, Any] | None = None, **environment: str) -> Settings:
    if file:
        (tmp_path / "settings").write_text(f"[default]\n{file}\n")
    return resolve({"dir": tmp_path, **(arguments or {})}, None, environment)


def test_the_defaults(tmp_path: Path) -> None:
    found = resolved(tmp_path)
    assert (found.project, found.mode, found.durability, found.tags, found.silent) == (
        "uncategorized",
        "online",
        "os",
        (),
        False,
    )
    assert found.dir == tmp_path and found.resume is None and found.window_bytes == 1 << 30


def test_settings_are_complete_and_remember_what_was_given() -> None:
    settings = Settings(project="x", silent=True, label=None, tags=["a", "b", "a"])
    assert settings.given == {"project": "x", "silent": True, "tags": ("a", "b")}
    assert (settings.project, settings.tags, settings.mode, settings.finish_timeout) == ("x", ("a", "b"), "online", 30)
    for same in (copy.copy(settings), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):  # noqa: S301
        assert same == settings and same.given == settings.given
    with pytest.raises(SettingsError, match="mode must be 'online', 'offline' or 'disabled', not 'ofline'"):
        Settings(mode="ofline")


def test_argument_over_settings_over_environment_over_file(tmp_path: Path) -> None:
    file = "project = file\nname = file\ngroup = file\nnotes = file"
    environment = {"TRACKER_PROJECT": "variable", "TRACKER_NAME": "variable", "TRACKER_RUN_GROUP": "variable"}
    (tmp_path / "settings").write_text(f"[default]\n{file}\n")
    for given in (Settings(project="settings", name="settings"), {"project": "settings", "name": "settings"}):
        found = resolve({"dir": tmp_path, "project": "argument"}, given, environment)
        assert (found.project, found.name, found.group, found.notes) == ("argument", "settings", "variable", "file")


def test_a_default_that_is_given_takes_precedence(tmp_path: Path) -> None:
    environment = {"TRACKER_MODE": "offline", "TRACKER_SILENT": "1"}
    found = resolve({"dir": tmp_path, "mode": "online"}, Settings(silent=False), environment)
    assert (found.mode, found.silent) == ("online", False)


def test_the_root_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert root_dir() == tmp_path / ".tracker"
    assert resolve({}, None, {"TRACKER_DIR": "elsewhere"}).dir == tmp_path / "elsewhere"
    assert resolve({"dir": "here"}, None, {"TRACKER_DIR": "elsewhere"}).dir == tmp_path / "here"
    assert resolve({}, Settings(dir="there"), {"TRACKER_DIR": "elsewhere"}).root == tmp_path / "there"
    monkeypatch.setenv("TRACKER_DIR", "variable")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert root_dir() == tmp_path / "variable"
    assert root_dir("~/data") == Path("/home/somebody/data")


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("TRACKER_TAGS", "a, b,,a", "tags", ("a", "b")),
        ("TRACKER_SILENT", "1", "silent", True),
        ("TRACKER_SILENT", "False", "silent", False),
        ("TRACKER_SILENT", "", "silent", False),
        ("TRACKER_MODE", "offline", "mode", "offline"),
        ("TRACKER_RUN_ID", "abc", "run_id", "abc"),
        ("TRACKER_RESUME", "must", "resume", "must"),
        ("TRACKER_LABEL", "rank0", "label", "rank0"),
        ("TRACKER_SIDECAR", "tcp://host:1", "sidecar", "tcp://host:1"),
        ("TRACKER_DURABILITY", "disk", "durability", "disk"),
        ("TRACKER_SINKS", "mlflow+http://a,mlflow+http://b", "sinks", ("mlflow+http://a", "mlflow+http://b")),
    ],
)
def test_variables(tmp_path: Path, variable: str, text: str, name: str, value: Any) -> None:
    assert getattr(resolve({"dir": tmp_path}, None, {variable: text}), name) == value


def test_a_file(tmp_path: Path) -> None:
    found = resolved(tmp_path, "finish_timeout = 5\nwindow_bytes = 16777216\nsilent = yes\nname = 100% sure")
    assert (found.finish_timeout, found.window_bytes, found.silent, found.name) == (5.0, 1 << 24, True, "100% sure")


def test_numbers_of_numpy_are_numbers() -> None:
    found = Settings(window_bytes=np.int64(1 << 24), init_timeout=np.float32(2), finish_timeout=np.int32(3))
    assert type(found.window_bytes) is int and type(found.init_timeout) is type(found.finish_timeout) is float
    assert (found.window_bytes, found.init_timeout, found.finish_timeout) == (1 << 24, 2.0, 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "on"}, "mode must be 'online', 'offline' or 'disabled', not 'on'"),
        ({"resume": "yes"}, "resume must be 'allow', 'must', 'never' or 'auto', not 'yes'"),
        ({"run_id": "a/b"}, "run_id must be a valid run id (1 to 128 letters"),
        ({"run_id": ".."}, "not '..'"),
        ({"tags": "abc"}, "tags must be a sequence of non-empty strings, not 'abc'"),
        ({"tags": ["", "a"]}, "tags must be a sequence of non-empty strings, not ['', 'a']"),
        ({"tags": [1]}, "tags must be a sequence of non-empty strings, not [1]"),
        ({"tags": 1}, "tags must be a sequence of non-empty strings, not 1"),
        ({"name": ""}, "name must be a non-empty string of at most 100,000 characters, not ''"),
        ({"name": "x" * 100_001}, "at most 100,000 characters, not 'xxx"),
        ({"project": 5}, "project must be a non-empty string"),
        ({"window_bytes": 1.5}, "window_bytes must be a whole number of bytes, at least 8388608, not 1.5"),
        ({"window_bytes": (8 << 20) - 1}, "at least 8388608, not 8388607"),
        ({"window_bytes": True}, "not True"),
        ({"init_timeout": -1}, "init_timeout must be a number of seconds greater than 0, not -1"),
        ({"finish_timeout": float("nan")}, "not nan"),
        ({"pump_interval": "1"}, "pump_interval must be a number of seconds greater than 0, not '1'"),
        ({"durability": "much"}, "durability must be 'os' or 'disk', not 'much'"),
        ({"silent": 5}, "silent must be true or false, not 5"),
        ({"dir": 5}, "dir must be a path, not 5"),
        ({"sinks": ["nothing+http://x"]}, "not 'nothing+http://x'"),
    ],
)
def test_a_value_that_is_not_acceptable_is_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolved(tmp_path, arguments=arguments)
    assert message in str(caught.value) and len(str(caught.value)) < 400
    assert isinstance(caught.value, ValueError)


def test_a_password_in_a_sink_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        resolved(tmp_path, TRACKER_SINKS="mlflow+http://user:hunter2@host")
    assert "must not contain a user or a password" in str(caught.value) and "hunter2" not in str(caught.value)


def test_true_and_false_as_weights_and_biases_takes_them(tmp_path: Path) -> None:
    found = resolved(tmp_path, arguments={"resume": True, "reinit": True})
    assert (found.resume, found.reinit) == ("auto", "finish_previous")
    found = resolved(tmp_path, arguments={"resume": False, "reinit": False})
    assert (found.resume, found.reinit) == ("never", "return_previous")


def test_a_fault_says_where_it_was_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"mode must be .*, not 'on' \(from TRACKER_MODE\)"):
        resolved(tmp_path, TRACKER_MODE="on")
    with pytest.raises(SettingsError, match=rf"mode must be .*, not 'on' \(from {tmp_path}/settings\)"):
        resolved(tmp_path, "mode = on")
    with pytest.raises(SettingsError, match=r"unknown setting 'moed' \(from .*/settings\); did you mean 'mode'\?"):
        resolved(tmp_path, "moed = online")
    with pytest.raises(SettingsError, match="dir cannot be set in the settings file"):
        resolved(tmp_path, "dir = elsewhere")


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown setting 'slient' \(from settings=\); did you mean 'silent'\?"):
        resolve({}, {"slient": True}, {})
    with pytest.raises(SettingsError, match=r"unknown setting 'qqqq' .*; the settings are dir, project"):
        resolve({}, {"qqqq": 1}, {})
    with pytest.raises(SettingsError, match=r"settings must be a tracker\.Settings or a dict, not 5"):
        resolve({}, 5, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("section", ["DEFAULT", "Default", "other"])
def test_a_section_with_another_name_is_an_error(tmp_path: Path, section: str) -> None:
    (tmp_path / "settings").write_text(f"[{section}]\nmode = offline\n")
    with pytest.raises(SettingsError, match=rf"the section must be \[default\], not \[{section}\]"):
        resolve({"dir": tmp_path}, None, {})


def test_unknown_variables() -> None:
    known = {row.env: "x" for row in SETTINGS.values() if row.env}
    assert unknown_variables({**known, "TRACKER_CONSOLE": "1", "TRACKER_STRICT": "1", "HOME": "/"}) == []
    assert unknown_variables({"TRACKER_DURABILTY": "disk", "TRACKER_XYZZY": "1"}) == [
        "environment variable TRACKER_DURABILTY is unknown and ignored; did you mean TRACKER_DURABILITY?",
        "environment variable TRACKER_XYZZY is unknown and ignored",
    ]


def test_init_warns_of_an_unknown_variable_once(scripts: Scripts) -> None:
    done = scripts.run(
        "import tracker\nfor _ in range(2): tracker.init(mode='disabled').finish()", env={"TRACKER_DURABILTY": "disk"}
    )
    assert done.err.count("TRACKER_DURABILTY is unknown") == 1 and "did you mean TRACKER_DURABILITY?" in done.err


def test_each_setting_is_complete_in_the_table() -> None:
    for name, row in SETTINGS.items():
        assert row.doc.endswith(".") and row.doc[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ", name
        assert row.env is None or row.env.startswith("TRACKER_"), name
        if row.default is not None:
            assert row.check.accept(row.default) == row.default, name
        assert row.doc in (Settings.__doc__ or "")
    variables = [row.env for row in SETTINGS.values() if row.env]
    assert len(variables) == len(set(variables))


def test_the_arguments_of_init_are_settings() -> None:
    arguments = set(inspect.signature(init).parameters) - {"id", "config", "settings"}
    assert arguments | {"run_id"} <= set(SETTINGS)


def test_the_table_in_the_readme_is_the_generated_one(scripts: Scripts) -> None:
    text = README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert shown.strip() == markdown().strip(), "put there what 'python -m tracker.settings' prints"
    assert len(re.findall(r"^\| `", shown, re.MULTILINE)) == len(SETTINGS)
    assert scripts.run("import runpy; runpy.run_module('tracker.settings', run_name='__main__')").out == markdown()
