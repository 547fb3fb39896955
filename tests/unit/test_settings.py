"""Settings: argument over environment over file over default, and each fault by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracker.errors import SettingsError
from tracker.settings import Settings, resolve, root_dir


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


def test_argument_over_settings_over_environment_over_file(tmp_path: Path) -> None:
    file = "project = file\nname = file\ngroup = file\nnotes = file"
    environment = {"TRACKER_PROJECT": "variable", "TRACKER_NAME": "variable", "TRACKER_RUN_GROUP": "variable"}
    (tmp_path / "settings").write_text(f"[default]\n{file}\n")
    given = Settings(project="settings", name="settings")
    found = resolve({"dir": tmp_path, "project": "argument"}, given, environment)
    assert (found.project, found.name, found.group, found.notes) == ("argument", "settings", "variable", "file")


def test_the_root_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert root_dir() == tmp_path / ".tracker"
    assert resolve({}, None, {"TRACKER_DIR": "elsewhere"}).dir == tmp_path / "elsewhere"
    assert resolve({"dir": "here"}, None, {"TRACKER_DIR": "elsewhere"}).dir == tmp_path / "here"
    assert resolve({}, Settings(dir="there"), {"TRACKER_DIR": "elsewhere"}).dir == tmp_path / "there"
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
    ],
)
def test_variables(tmp_path: Path, variable: str, text: str, name: str, value: Any) -> None:
    found = resolve({"dir": tmp_path}, None, {variable: text})
    assert tuple(dict.fromkeys(found.tags or ())) == value if name == "tags" else getattr(found, name) == value


def test_a_file(tmp_path: Path) -> None:
    found = resolved(tmp_path, "finish_timeout = 5\nwindow_bytes = 16777216\nsilent = yes\nname = 100% sure")
    assert (found.finish_timeout, found.window_bytes, found.silent, found.name) == (5.0, 1 << 24, True, "100% sure")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "on"}, "mode='on'; one of 'online', 'offline', 'disabled'"),
        ({"resume": "yes"}, "resume='yes'; one of 'allow'"),
        ({"run_id": "a/b"}, "run id 'a/b': 1 to 128 letters"),
        ({"run_id": ".."}, "run id '..'"),
        ({"tags": "abc"}, "tags='abc'; a sequence of strings"),
        ({"tags": ["", "a"]}, "a sequence of strings that are not empty"),
        ({"tags": [1]}, "a sequence of strings"),
        ({"name": ""}, "name=''; a string"),
        ({"project": 5}, "project=5; a string"),
        ({"window_bytes": 1.5}, "window_bytes=1.5; bytes"),
        ({"window_bytes": True}, "window_bytes=True; bytes"),
        ({"init_timeout": -1}, "init_timeout=-1; seconds"),
        ({"finish_timeout": float("nan")}, "finish_timeout=nan; seconds"),
        ({"pump_interval": "1"}, "pump_interval='1'; seconds"),
        ({"durability": "much"}, "durability='much'"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolved(tmp_path, arguments=arguments)
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_true_and_false_as_weights_and_biases_takes_them(tmp_path: Path) -> None:
    found = resolved(tmp_path, arguments={"resume": True, "reinit": True})
    assert (found.resume, found.reinit) == ("auto", "finish_previous")
    found = resolved(tmp_path, arguments={"resume": False, "reinit": False})
    assert (found.resume, found.reinit) == ("never", "return_previous")


def test_a_fault_says_where_it_was_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRACKER_MODE='on'"):
        resolved(tmp_path, TRACKER_MODE="on")
    with pytest.raises(SettingsError, match=f"{tmp_path}/settings: mode='on'"):
        resolved(tmp_path, "mode = on")
    with pytest.raises(SettingsError, match="no such setting"):
        resolved(tmp_path, "moed = online")
