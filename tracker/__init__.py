"""tracker: an experiment tracker for people who train models. ::

    import tracker

    run = tracker.init(project="digits", config={"lr": 0.1})
    run.log({"loss": 0.3})
    run.finish()

Importing it is cheap: what needs a socket or a thread is imported by `init`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sidecar import __version__
from tracker import media as _media

if TYPE_CHECKING:
    from tracker.errors import TrackerError
    from tracker.media import *  # noqa: F403
    from tracker.reading.api import Api
    from tracker.sdk.config import Config
    from tracker.sdk.init import init
    from tracker.sdk.run import Run
    from tracker.sdk.summary import Summary
    from tracker.settings import Settings

    run: Run | None
    config: Config
    summary: Summary

_HOMES = {
    "Api": "tracker.reading.api",
    "Settings": "tracker.settings",
    **_media.HOMES,
    "Run": "tracker.sdk.run",
    "TrackerError": "tracker.errors",
}
_current: Any = None


def _set_current(run: Any) -> None:
    global _current
    _current = run


def _active(what: str) -> Any:
    if _current is None:
        from tracker.errors import TrackerError

        raise TrackerError(f"tracker.{what}: there is no run; call tracker.init() first")
    return _current


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Log to the current run; see `Run.log`."""
    _active("log()").log(data, step, commit)


def define_metric(name: str, **options: Any) -> None:
    """Define a metric of the current run; see `Run.define_metric`."""
    _active("define_metric()").define_metric(name, **options)


def finish(exit_code: int | None = None) -> None:
    """Finish the current run, if there is one; see `Run.finish`."""
    if _current is not None:
        _current.finish(exit_code)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")


class _Package(ModuleType):
    """The package as a module whose `run`, `config` and `summary` are the current run's.

    There are modules of these names too (``tracker/sdk/run.py``, …), which the import system would put in their place:
    a property stands before them.
    """

    run = property(lambda self: _current, lambda self, module: None)
    config = property(lambda self: _active("config").config, lambda self, module: None)
    summary = property(lambda self: _active("summary").summary, lambda self, module: None)
    init = property(lambda self: import_module("tracker.sdk.init").init, lambda self, module: None)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Api",
    "Run",
    "Settings",
    "TrackerError",
    "__version__",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "run",
    "summary",
]
__all__ += _media.__all__
