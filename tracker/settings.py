"""Settings: argument over environment over ``<root>/settings`` over default. Nothing here starts or writes anything."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.sink_address import SinkAddress, parse_sinks
from tracker.errors import SettingsError

MODES = ("online", "offline", "disabled")
RESUMES = ("allow", "must", "never", "auto")
REINITS = ("finish_previous", "return_previous", "create_new")
DURABILITIES = ("os", "disk")
SETTINGS_NAME = "settings"

MIN_WINDOW_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What can be set; None means: not set here.

    Args:
        dir: the root directory that holds ``runs/``; default ``./.tracker``; environment ``TRACKER_DIR``.
        project: default ``"uncategorized"``; ``TRACKER_PROJECT``.
        name: the run's name for people; default: made up; ``TRACKER_NAME``.
        run_id: default: random; ``TRACKER_RUN_ID``.
        group: ``TRACKER_RUN_GROUP``.
        job_type: what kind of job it is.
        tags: ``TRACKER_TAGS``, separated by commas.
        notes: free text.
        mode: ``"online"`` (default), ``"offline"``, ``"disabled"``; ``TRACKER_MODE``.
        resume: ``"allow"``, ``"must"``, ``"never"``, ``"auto"``; ``TRACKER_RESUME``.
        reinit: what `init` does while a run is active: ``"finish_previous"``, ``"return_previous"``, ``"create_new"``;
            default: an error, in a notebook ``"finish_previous"``.
        label: names this writer of a run that several processes share; ``TRACKER_LABEL``.
        sidecar: address of a sidecar to attach to: an endpoint or a connection file; ``TRACKER_SIDECAR``.
        sidecar_key: the public key of that sidecar, or a file with it, if it encrypts; ``TRACKER_SIDECAR_KEY``.
        client_key: a key file to be known by, if that sidecar lists its clients; ``TRACKER_CLIENT_KEY``.
        sinks: servers that the run is sent to besides, such as ``"mlflow+http://host:5000"``; ``TRACKER_SINKS``,
            separated by commas.
        durability: ``"os"`` (default: survives the death of any process) or ``"disk"`` (survives power loss);
            ``TRACKER_DURABILITY``.
        silent: print nothing but warnings; default False; ``TRACKER_SILENT``.
        init_timeout: seconds that `init` waits for a sidecar; default 30.
        finish_timeout: seconds that `finish` waits; default 30.
        window_bytes: how large the window of records without an ack may become; default 1 GiB.
        pump_interval: seconds between two looks of the pump thread at the window; default 0.005.
        stalled_after: a run that is going on and has logged nothing for so many seconds is shown as ``"stalled"``;
            default 600.
    """

    dir: str | os.PathLike[str] | None = None
    project: str | None = None
    name: str | None = None
    run_id: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None
    mode: str | None = None
    resume: str | None = None
    reinit: str | None = None
    label: str | None = None
    sidecar: str | None = None
    sidecar_key: str | None = None
    client_key: str | None = None
    sinks: tuple[str, ...] | None = None
    durability: str | None = None
    silent: bool | None = None
    init_timeout: float | None = None
    finish_timeout: float | None = None
    window_bytes: int | None = None
    pump_interval: float | None = None
    stalled_after: float | None = None


_VARIABLES = {
    "dir": "TRACKER_DIR",
    "project": "TRACKER_PROJECT",
    "name": "TRACKER_NAME",
    "run_id": "TRACKER_RUN_ID",
    "group": "TRACKER_RUN_GROUP",
    "tags": "TRACKER_TAGS",
    "mode": "TRACKER_MODE",
    "resume": "TRACKER_RESUME",
    "sidecar": "TRACKER_SIDECAR",
    "sidecar_key": "TRACKER_SIDECAR_KEY",
    "client_key": "TRACKER_CLIENT_KEY",
    "sinks": "TRACKER_SINKS",
    "durability": "TRACKER_DURABILITY",
    "label": "TRACKER_LABEL",
    "silent": "TRACKER_SILENT",
}

_CHOICES = {"mode": MODES, "resume": RESUMES, "reinit": REINITS, "durability": DURABILITIES}
_DEFAULTS: dict[str, Any] = {
    "project": "uncategorized",
    "tags": (),
    "sinks": (),
    "mode": "online",
    "durability": "os",
    "silent": False,
    "init_timeout": 30.0,
    "finish_timeout": 30.0,
    "window_bytes": 1024 * 1024 * 1024,
    "pump_interval": 0.005,
    "stalled_after": 600.0,
}
_SECONDS = ("init_timeout", "finish_timeout", "pump_interval", "stalled_after")
_NAMES = tuple(field.name for field in fields(Settings))


def root_dir(dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the root directory, absolute: `dir`, else ``TRACKER_DIR``, else ``./.tracker``."""
    return Path(dir or os.environ.get("TRACKER_DIR") or ".tracker").expanduser().absolute()


def resolve(
    arguments: Mapping[str, Any], given: Settings | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return complete settings: `arguments` over `given` over environment over file over default.

    Args:
        arguments: what `init` was called with; None means not set.
        given: the ``settings=`` argument.
        environment: default ``os.environ``.

    Raises:
        SettingsError: a value that cannot be, naming it, where it was set, and what would be right.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, Any] = dict(_DEFAULTS)
    root = root_dir(arguments.get("dir") or (given.dir if given else None) or environment.get("TRACKER_DIR"))
    for name, value in _read_file(root / SETTINGS_NAME).items():
        found[name] = _parse(name, value, f"{root / SETTINGS_NAME}: {name}")
    for name, variable in _VARIABLES.items():
        if environment.get(variable):
            found[name] = _parse(name, environment[variable], variable)
    for source in (given and vars(given), arguments):
        for name, value in (source or {}).items():
            if value is not None:
                found[name] = _check(name, value, f"{name}=")
    found["dir"] = root
    return Settings(**found)


def _with_absolute_key(address: SinkAddress) -> str:
    """Return a sink's address; a key file in it by its full path, since the sidecar runs in another directory."""
    key = address.options.get("key")
    if key is None or not os.path.exists(key) or os.path.isabs(key):
        return address.text
    before, _, options = address.text.partition("?")
    parts = [f"key={quote(os.path.abspath(key))}" if part.startswith("key=") else part for part in options.split("&")]
    return f"{before}?{'&'.join(parts)}"


def _read_file(path: Path) -> dict[str, str]:
    """Return what a settings file says: an INI file, ``name = value`` lines below ``[default]``."""
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from error
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        said = " ".join(str(error).split())
        raise SettingsError(
            f"settings file {path}: {said}; it is lines 'name = value' below a line '[default]'"
        ) from error
    found: dict[str, str] = {}
    for section in parser.sections():
        if section != "default":
            raise SettingsError(f"settings file {path}: section [{section}]; only [default] is read")
        found.update(parser[section])
    return found


def _parse(name: str, text: str, where: str) -> Any:
    """Return the value that `text`, from the environment or the file, stands for."""
    if name not in _NAMES:
        raise SettingsError(f"{where}: no such setting; there are {', '.join(_NAMES)}")
    if name == "tags":
        return tuple(tag.strip() for tag in text.split(",") if tag.strip())
    if name == "sinks":
        return _check(name, text, f"{where}=")
    if name == "silent":
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise SettingsError(f"{where}={text!r}; true or false")
    if name in (*_SECONDS, "window_bytes"):
        try:
            number: float | int = int(text) if name == "window_bytes" else float(text)
        except ValueError as error:
            raise SettingsError(f"{where}={text!r}; a number") from error
        return _check(name, number, f"{where}=")
    return _check(name, text, f"{where}=")


def _check(name: str, value: Any, where: str) -> Any:
    """Return `value`, made plain, if the setting `name` may have it."""
    if name in _CHOICES:
        if name == "resume" and isinstance(value, bool):  # as Weights & Biases takes it
            return "auto" if value else "never"
        if name == "reinit" and isinstance(value, bool):
            return "finish_previous" if value else "return_previous"
        if value not in _CHOICES[name]:
            choices = ", ".join(repr(choice) for choice in _CHOICES[name])
            raise SettingsError(f"{where}{value!r}; one of {choices}")
        return value
    if name == "run_id":
        if not valid_name(value):
            raise SettingsError(f"run id {value!r}: {NAME_RULE}")
        return value
    if name == "tags":
        if isinstance(value, str) or not all(isinstance(tag, str) and tag for tag in value):
            raise SettingsError(f"{where}{value!r}; a sequence of strings that are not empty")
        return tuple(dict.fromkeys(value))
    if name == "sinks":
        try:
            return tuple(_with_absolute_key(address) for address in parse_sinks(value))
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{where}{value!r}: {error}") from error
    if name in _SECONDS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SettingsError(f"{where}{value!r}; seconds, over 0")
        return float(value)
    if name == "window_bytes":
        if isinstance(value, bool) or not isinstance(value, int) or value < MIN_WINDOW_BYTES:
            raise SettingsError(f"{where}{value!r}; bytes, at least {MIN_WINDOW_BYTES}")
        return value
    if name == "silent":
        return bool(value)
    if name == "dir":
        return value
    if not isinstance(value, str) or not value or len(value) > 100_000:
        raise SettingsError(f"{where}{value!r}; a string that is not empty")
    return value
