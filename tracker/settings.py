"""Settings: argument over environment over ``<root>/settings`` over default. Nothing here starts or writes anything.

The fields of `Settings` are the one table of all settings: name, default, environment variable, check and text.
``python -m tracker.settings`` prints it as Markdown, as it stands in ``tracker/README.md``.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import cleandoc
from pathlib import Path
from typing import Any

from tracker.checks import Check, addresses, at_least, flag, one_of, path, run_name, seconds, strings, text, words
from tracker.errors import SettingsError

SETTINGS_NAME = "settings"
"""The settings file's name below the root directory."""

_SECTION = "default"
_PREFIX = "TRACKER_"
_OTHER_VARIABLES = ("TRACKER_CONSOLE", "TRACKER_LAUNCHED", "TRACKER_LAUNCHING", "TRACKER_PYTHON")
"""Variables without a setting: a reserved one, two that a process sets for its children, the sidecars' interpreter."""

_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings.

    Attributes:
        default: the value where nothing else is given.
        check: what values are acceptable.
        doc: one sentence for users.
        env: the environment variable.
        shown: the default in words; None: derived from `default`.
        in_file: whether the settings file may set it.
    """

    default: Any
    check: Check
    doc: str
    env: str | None = None
    shown: str | None = None
    in_file: bool = True

    @property
    def default_text(self) -> str:
        """The default in words."""
        if self.shown is not None:
            return self.shown
        if self.default is None or self.default == ():
            return "none"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def __repr__(self) -> str:  # in the signature that help(Settings) shows
        return f"<{self.default_text}>"


def setting(default: Any, **row: Any) -> Any:
    """Return a row of the table, typed so that it can stand as the default of a field of `Settings`."""
    return Setting(default, **row)


# -- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, complete: what is not given has its default. Keyword arguments only.

    Attributes:
        given: the settings that were given, by name; None counts as not given. Only these take precedence over the
            environment and the settings file.

    Raises:
        SettingsError: a value that is not acceptable.
    """

    dir: str | os.PathLike[str] = setting(  # noqa: RUF009 (a row of the table, which is immutable)
        ".tracker",
        env="TRACKER_DIR",
        check=path(),
        in_file=False,
        doc="Root directory, which holds `runs/`. Cannot be set in the settings file.",
    )
    project: str = setting(
        "uncategorized", env="TRACKER_PROJECT", check=words(), doc="Project that the run belongs to."
    )
    name: str | None = setting(
        None, env="TRACKER_NAME", check=words(), shown="generated", doc="Display name of the run."
    )
    run_id: str | None = setting(
        None,
        env="TRACKER_RUN_ID",
        check=run_name(),
        shown="random",
        doc="Id of the run, unique in its root directory; `id=` of `init()`.",
    )
    group: str | None = setting(None, env="TRACKER_RUN_GROUP", check=words(), doc="Group of runs that belong together.")
    job_type: str | None = setting(None, check=words(), doc="Kind of job, such as `train` or `eval`.")
    tags: Sequence[str] = setting(
        (), env="TRACKER_TAGS", check=strings(), doc="Tags of the run; separated by commas in text."
    )
    notes: str | None = setting(None, check=words(), doc="Free text about the run.")
    mode: str = setting(
        "online",
        env="TRACKER_MODE",
        check=one_of("online", "offline", "disabled"),
        doc="`online`; `offline`: send nothing to `sinks` until `tracker sync`; `disabled`: every call does nothing.",
    )
    resume: str | None = setting(
        None,
        env="TRACKER_RESUME",
        check=one_of("allow", "must", "never", "auto", true="auto", false="never"),
        doc="`allow` continues an existing run, `must` requires one, `never` refuses one; `auto` continues the last "
        "run of this root directory unless it has finished. Default: share a running run, refuse an ended one.",
    )
    reinit: str | None = setting(
        None,
        check=one_of(
            "finish_previous", "return_previous", "create_new", true="finish_previous", false="return_previous"
        ),
        shown="an error; `finish_previous` in a notebook",
        doc="What `init()` does while a run is active in this process: `finish_previous`, `return_previous` or "
        "`create_new`.",
    )
    label: str | None = setting(
        None, env="TRACKER_LABEL", check=words(), doc="Label of this writer of a run that several processes share."
    )
    sidecar: str | None = setting(
        None,
        env="TRACKER_SIDECAR",
        check=text(),
        shown="launch one",
        doc="Sidecar to attach to: an endpoint, or the path of a connection file. The window is then kept in "
        "`<root>/remote/`; what remains there after a crash is sent by the next `init()` with the same `sidecar`.",
    )
    sidecar_key: str | None = setting(
        None,
        env="TRACKER_SIDECAR_KEY",
        check=text(),
        shown="from the connection file",
        doc="Public key of that sidecar, or the path of a file that holds it.",
    )
    client_key: str | None = setting(
        None,
        env="TRACKER_CLIENT_KEY",
        check=text(),
        shown="generated",
        doc="Path of this client's key file, if the sidecar admits listed clients only.",
    )
    sinks: Sequence[str] = setting(
        (),
        env="TRACKER_SINKS",
        check=addresses(),
        doc="Servers that the run is also sent to, such as `mlflow+http://host:5000`; separated by commas in text.",
    )
    durability: str = setting(
        "os",
        env="TRACKER_DURABILITY",
        check=one_of("os", "disk"),
        doc="`os`: an acked record survives the death of any process; `disk`: also a power failure (ack after fsync).",
    )
    silent: bool = setting(False, env="TRACKER_SILENT", check=flag(), doc="Print nothing but warnings.")
    strict: bool = setting(
        False,
        env="TRACKER_STRICT",
        check=flag(),
        doc="Raise for a metric, a key or a step that cannot be logged, instead of a warning and a count in `losses`.",
    )
    init_timeout: float = setting(
        30.0, check=seconds(), doc="Maximum time that `init()` waits for a sidecar, in seconds."
    )
    finish_timeout: float = setting(30.0, check=seconds(), doc="Maximum time that `finish()` waits, in seconds.")
    window_bytes: int = setting(
        1 << 30,
        check=at_least(8 << 20),
        shown="1 GiB",
        doc="Maximum size of the window of records without an ack, in bytes; at least 8 MiB.",
    )
    pump_interval: float = setting(
        0.005,
        check=seconds(),
        doc="Interval at which the pump thread looks at the window while there is much to send, in seconds; up to 0.2 "
        "otherwise.",
    )
    stalled_after: float = setting(
        600.0,
        check=seconds(),
        doc="Time without new records after which a running run is shown as `stalled`, in seconds.",
    )
    given: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in SETTINGS}
        given = {
            name: _accept(name, value)
            for name, value in values.items()
            if value is not None and not isinstance(value, Setting)
        }
        for name, row in SETTINGS.items():
            object.__setattr__(self, name, given.get(name, row.default))
        object.__setattr__(self, "given", given)

    @property
    def root(self) -> Path:
        """The root directory, absolute."""
        return Path(self.dir).expanduser().absolute()


SETTINGS: Mapping[str, Setting] = {
    each.name: each.default for each in fields(Settings) if isinstance(each.default, Setting)
}
"""The table: name -> row."""

# Without its indentation, as Python 3.13 and later compile it.
Settings.__doc__ = cleandoc(Settings.__doc__ or "").replace(
    "\nAttributes:\n",
    "\nAttributes:\n" + "".join(f"    {name}: {row.doc}\n" for name, row in SETTINGS.items()),
)


def root_dir(dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the root directory, absolute: `dir`, else ``TRACKER_DIR``, else ``./.tracker``."""
    given = dir or os.environ.get("TRACKER_DIR") or SETTINGS["dir"].default
    return Path(_accept("dir", given)).expanduser().absolute()


def resolve(
    arguments: Mapping[str, Any],
    given: Settings | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return complete settings: `arguments` over `given` over environment over file over default.

    Args:
        arguments: the arguments of `init`; None means not given.
        given: its argument ``settings=``.
        environment: default ``os.environ``.

    Raises:
        SettingsError: an unknown setting, or a value that is not acceptable; the message says where it comes from.
    """
    environment = os.environ if environment is None else environment
    passed = {**_given(given), **{name: value for name, value in arguments.items() if value is not None}}
    root = root_dir(passed.get("dir") or environment.get("TRACKER_DIR"))
    values = _read_file(root / SETTINGS_NAME)
    for name, row in SETTINGS.items():
        if row.env and environment.get(row.env):
            values[name] = _parse(name, environment[row.env], row.env)
    return Settings(**{**values, **passed, "dir": root})


def _given(given: object) -> Mapping[str, Any]:
    """Return what the argument ``settings=`` of `init` sets, by name."""
    if isinstance(given, Settings):
        return given.given
    if given is not None and not isinstance(given, Mapping):
        raise SettingsError(f"settings must be a tracker.Settings or a dict, not {_shown(given)}")
    values = {name: value for name, value in (given or {}).items() if value is not None}
    for name in values:
        _check_name(name, "settings=")
    return values


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence about each ``TRACKER_*`` variable that is not one of ours."""
    known = [row.env for row in SETTINGS.values() if row.env] + list(_OTHER_VARIABLES)
    endings = [name.removeprefix(_PREFIX) for name in known]
    unknown = {name for name in (os.environ if environment is None else environment) if name.startswith(_PREFIX)}
    sentences = []
    for name in sorted(unknown - set(known)):
        near = _nearest(name.removeprefix(_PREFIX), endings)
        hint = f"; did you mean {_PREFIX}{near}?" if near else ""
        sentences.append(f"environment variable {name} is unknown and ignored{hint}")
    return sentences


def _check_name(name: object, where: str) -> None:
    if name not in SETTINGS:
        near = _nearest(str(name), SETTINGS)
        hint = f"did you mean {near!r}?" if near else f"the settings are {', '.join(SETTINGS)}"
        raise SettingsError(f"unknown setting {name!r} (from {where}); {hint}")


def _nearest(name: str, names: Iterable[str]) -> str | None:
    import difflib  # only for a mistyped name

    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def _parse(name: str, value: str, where: str) -> Any:
    """Return the value that a text from the environment or the settings file stands for."""
    try:
        parsed = SETTINGS[name].check.parse(value)
    except ValueError:
        raise SettingsError(_complaint(name, value, where)) from None
    return _accept(name, parsed, where)


def _accept(name: str, value: Any, where: str = "") -> Any:
    """Return `value` in its plain form, if the setting `name` takes it."""
    try:
        return SETTINGS[name].check.accept(value)
    except (ValueError, TypeError) as error:
        raise SettingsError(_complaint(name, value, where, str(error))) from None


def _complaint(name: str, value: object, where: str, reason: str = "") -> str:
    source = f" (from {where})" if where else ""
    must_be = SETTINGS[name].check.must_be
    return f"{name} must be {must_be}, not {_shown(value)}{source}" if must_be else f"{name}: {reason}{source}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"


def _read_file(path: Path) -> dict[str, Any]:
    """Return the values in a settings file: an INI file, ``name = value`` lines below ``[default]``."""
    try:
        content = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from error
    # The parser's own section of defaults has a name that no file can have, so that [DEFAULT] is a section like others.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(content)
    except configparser.Error as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"settings file {path}: {reason}; it must have lines 'name = value' below a line '[{_SECTION}]'"
        ) from error
    values: dict[str, Any] = {}
    for section in parser.sections():
        if section != _SECTION:
            raise SettingsError(f"settings file {path}: the section must be [{_SECTION}], not [{section}]")
        for name, value in parser[section].items():
            _check_name(name, str(path))
            if not SETTINGS[name].in_file:
                raise SettingsError(f"{name} cannot be set in the settings file (from {path})")
            values[name] = _parse(name, value, str(path))
    return values


# -- the table as a document ----------------------------------------------------------------------------------------


def markdown() -> str:
    """Return the table of settings in Markdown."""
    lines = ["| setting | environment variable | default | meaning |", "|---|---|---|---|"]
    for name, row in SETTINGS.items():
        variable = f"`{row.env}`" if row.env else ""
        default = row.default_text
        literal = row.shown is None and default != "none"
        lines.append(f"| `{name}` | {variable} | {f'`{default}`' if literal else default} | {row.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
