"""tracker: an experiment tracker for people who train models. ::

    import tracker

    run = tracker.init(project="digits", config={"lr": 0.1})
    run.log({"loss": 0.3})
    run.finish()

``tracker.run`` is the current run, or None; ``tracker.config`` and ``tracker.summary`` are its own. Importing this is
cheap: what needs a socket or a thread is imported by `init`.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from sidecar import __version__
except ImportError:
    import sidecar

    raise ImportError(
        f"tracker needs its own package 'sidecar', but Python found {getattr(sidecar, '__file__', None)} first; "
        "rename that file, or remove its directory from sys.path"
    ) from None

from tracker import media as _media
from tracker.sdk import current as _current

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from tracker.errors import TrackerError
    from tracker.media import *  # noqa: F403
    from tracker.reading.api import Api
    from tracker.sdk.choices import Aggregates, Goal, Mode, Reinit, Resume
    from tracker.sdk.config import Config
    from tracker.sdk.run import Run
    from tracker.sdk.summary import Summary
    from tracker.settings import Settings

    run: Run | None
    config: Config
    summary: Summary


def init(
    project: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: Any = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    mode: Mode | None = None,
    resume: Resume | bool | None = None,
    reinit: Reinit | bool | None = None,
    label: str | None = None,
    sidecar: str | None = None,
    sinks: Sequence[str] | str | None = None,
    settings: Settings | dict[str, Any] | None = None,
    strict: bool | None = None,
) -> Run:
    """Start a run, and the sidecar that keeps it.

    Args:
        project, name, group, job_type, notes: for people, to find the run by.
        id: names the run in its root; default: random. If there is a run of this id, see `resume`.
        config: what the run is started with: a dict, or any object that has settings in it, such as a dataclass, an
            ``argparse.Namespace``, absl flags, a pydantic model, an OmegaConf or ml_collections config; see `Config`.
        tags: strings.
        dir: the root directory; default ``TRACKER_DIR``, else ``./.tracker``.
        mode: ``"online"``, ``"offline"`` (nothing is sent to `sinks` before ``tracker sync``), ``"disabled"`` (every
            call does nothing).
        resume: ``"allow"`` continues a run that exists, ``"must"`` requires one, ``"never"`` refuses one, ``"auto"``
            continues the last run here if it has not ended well. Default: a running run is shared; one that has ended
            is an error.
        reinit: what to do while a run is active in this process: ``"finish_previous"``, ``"return_previous"``,
            ``"create_new"``. Default: an error; in a notebook ``"finish_previous"``.
        label: names this process among the writers of a shared run (a rank, a host).
        sidecar: a sidecar to attach to (an endpoint or a connection file) instead of launching one.
        sinks: servers that the run is also sent to, such as ``["mlflow+http://host:5000"]``.
        settings: more settings, a `Settings` or a dict of its fields.
        strict: whether `log` raises for what it cannot log; default: it warns, and counts it in ``run.losses``.

    Returns:
        the run; also a context manager.

    Raises:
        SettingsError: an argument, variable or settings file is not valid; it is named. TypeError: `config` has no
        settings in it, or one that cannot be recorded; it is named. RunActiveError: a run is
        active. ResumeError: the run exists, or does not. LaunchError: the sidecar did not start; the message says why.
    """
    from tracker.sdk.init import start

    arguments = {
        "project": project,
        "name": name,
        "run_id": id,
        "group": group,
        "job_type": job_type,
        "tags": tags,
        "notes": notes,
        "dir": dir,
        "mode": mode,
        "resume": resume,
        "reinit": reinit,
        "label": label,
        "sidecar": sidecar,
        "sinks": sinks,
        "strict": strict,
    }
    return start(arguments, config, settings)


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Log metrics of one step to the current run; see `Run.log`.

    Args:
        data: keys to numbers (NaN and infinities too), strings, media, or None for no value; nested dicts' keys join
            with dots. A key or value that cannot be logged is left out, warned of once, and counted in ``run.losses``.
        step: any integer, in any order; None: the run's own, which counts up by itself. It also replaces a step that
            is not an integer.
        commit: whether the run's own step advances after this call; None: True where `step` is None.

    Raises:
        NoRunError: before `init`. RunFinishedError: after `finish`. TypeError, ValueError: only with ``strict=True``:
        a key, value or step that cannot be logged, by name; nothing of the call is recorded.
    """
    _latest("log()").log(data, step, commit)


def define_metric(
    name: str,
    *,
    step_metric: str | None = None,
    summary: Aggregates | None = None,
    goal: Goal | None = None,
    step_sync: bool | None = None,
) -> None:
    """Define how a metric of the current run is summarized and drawn; see `Run.define_metric`.

    Args:
        name: a key, or a pattern with ``*``.
        step_metric: the metric that is its x axis.
        summary: one of ``last, min, max, mean, best, first, none``, or several in a list, kept as ``key.min``, ….
        goal: ``"minimize"`` or ``"maximize"``, for ``best``.
        step_sync: whether rows that lack `step_metric` repeat its last value; default: where one is given.

    Raises:
        TypeError, ValueError: an argument that is not valid, by name.
        NoRunError: before `init`. RunFinishedError: after `finish`.
    """
    _latest("define_metric()").define_metric(
        name, step_metric=step_metric, summary=summary, goal=goal, step_sync=step_sync
    )


def save(path: str | os.PathLike[str], name: str | None = None, timeout: float | None = None) -> list[str]:
    """Save a file, or all files of a directory, with the current run; see `Run.save`.

    Args:
        path: the file or directory.
        name: its name among the run's files; ``/`` makes directories. None: the name that `path` has.
        timeout: seconds to wait for room in the window, where the content is sent; None waits without limit.

    Returns:
        the names, as `Api.run(...).files()` has them.

    Raises:
        FileNotFoundError, OSError: it cannot be read or copied. ValueError: a name that is not valid.
        TrackerError: not sent within `timeout`. NoRunError: before `init`. RunFinishedError: after `finish`.
    """
    return _latest("save()").save(path, name, timeout)


def flush(timeout: float | None = None) -> bool:
    """Wait until everything that was logged to the current run is durable in the log; see `Run.flush`.

    Args:
        timeout: seconds; None waits without limit.

    Returns:
        whether it is.

    Raises:
        NoRunError: before `init`.
    """
    return _latest("flush()").flush(timeout)


def mark_preempting() -> None:
    """Note that the machine is about to be taken away: if the current run then dies, it was preempted.

    Raises:
        NoRunError: before `init`. RunFinishedError: after `finish`.
    """
    _latest("mark_preempting()").mark_preempting()


def finish(exit_code: int | None = None) -> None:
    """Finish the current run, if there is one: wait until everything is durable; see `Run.finish`.

    Args:
        exit_code: 0 or None: ``finished``; 1 to 255: ``failed``.

    Raises:
        TypeError, ValueError: `exit_code` is not such an integer.
    """
    active: Run | None = _current.get()
    if active is not None:
        active.finish(exit_code)


def _latest(what: str) -> Run:
    """Return the current run, or the last to have ended, which says so itself.

    Raises:
        NoRunError: there was none.
    """
    latest: Run | None = _current.latest()
    return latest if latest is not None else _active(what)


def _active(what: str) -> Run:
    active: Run | None = _current.get()
    if active is None:
        from tracker.errors import NoRunError

        raise NoRunError(f"tracker.{what}: no run is active; call tracker.init() first")
    return active


_HOMES = {
    "Api": "tracker.reading.api",
    **_media.HOMES,
    "Run": "tracker.sdk.run",
    "Settings": "tracker.settings",
    "TrackerError": "tracker.errors",
}
"""Where the classes are that are imported when they are first asked for."""


if not TYPE_CHECKING:  # a checker that knew of these would accept any name and any argument

    def __getattr__(name: str) -> Any:
        if name == "run":
            return _current.get()
        if name in ("config", "summary"):
            return getattr(_active(name), name)
        if name not in _HOMES:
            raise AttributeError(f"module 'tracker' has no attribute {name!r}")
        try:
            made = getattr(import_module(_HOMES[name]), name)
        except AttributeError as error:  # `from tracker import …` and `hasattr` would hide it
            raise ImportError(f"tracker.{name} cannot be imported: {error}") from error
        globals()[name] = made
        return made

    def _answer_foreign_arguments(function):
        """Answer arguments of Weights & Biases that `function` does not have."""
        own = frozenset(function.__code__.co_varnames[: function.__code__.co_argcount])

        @wraps(function)
        def call(*args, **kwargs):
            for name in kwargs.keys() - own:
                from tracker.sdk.foreign import answer

                text = answer(name)
                if text is not None:
                    raise TypeError(text)
            return function(*args, **kwargs)

        return call

    init = _answer_foreign_arguments(init)


def __dir__() -> list[str]:
    return sorted([*__all__, "config", "run", "summary"])


__all__ = [
    "Api",
    "Run",
    "Settings",
    "TrackerError",
    "__version__",
    "define_metric",
    "finish",
    "flush",
    "init",
    "log",
    "mark_preempting",
    "save",
]
__all__ += _media.__all__
