"""`start`: from the arguments of `tracker.init` to a run that can be logged to. On the caller's thread; may wait."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import REMOTE_NAME, RUNS_NAME, STORE_NAME, make_root
from sidecar.protocol.limits import MAX_RECORD_BYTES, new_id
from tracker.errors import LaunchError, ResumeError, RunActiveError, SettingsError
from tracker.sdk import current, last_run, process
from tracker.sdk.disabled import DisabledLifecycle
from tracker.sdk.exits import exit_of
from tracker.sdk.lifecycle import AttachedLifecycle, short_path
from tracker.sdk.plain import plain_mapping
from tracker.sdk.process import Process
from tracker.sdk.run import Run
from tracker.settings import Settings, resolve, root_dir, unknown_variables
from tracker.terminal.messages import show
from tracker.terminal.text import clean

if TYPE_CHECKING:
    from tracker.transport.backend import Attached

_FIRST = "amber bold brisk calm clear deep early fair glad keen light lucid mild noble quiet rapid silver still vivid"
_SECOND = (
    "brook cedar cliff cloud comet delta dune ember fern field grove harbor lake maple meadow orbit peak river tide"
)

_ENVELOPE_BYTES = 1024
"""Bytes of a record besides its body, at most."""

_MAX_PATH_BYTES = 511
"""Maximum length of a path that SQLite opens (its ``MAX_PATHNAME``), in bytes."""

_warned: set[str] = set()

_MAX_SHOWN_CHANGES = 5
_MAX_SHOWN_CHARACTERS = 40


def start(arguments: Mapping[str, Any], config: Any, settings: Settings | dict[str, Any] | None) -> Run:
    """Start a run.

    Args:
        arguments: the settings that `tracker.init` was given by name; None means not given.
        config: the config to start with.
        settings: the ``settings=`` argument.

    Raises:
        see `tracker.init`.
    """
    try:
        resolved = resolve(arguments, settings)
    except SettingsError as error:
        raise error.with_traceback(None) from None  # its message is complete
    _warn_of_unknown_variables()
    process.log_to_stderr()
    values = plain_mapping(config, "config")
    if resolved.mode == "disabled":
        disabled = DisabledLifecycle(resolved)
        disabled.attach = attach
        run = Run(disabled, {"config": values}, resumed=False)
        current.enter(run, disabled)
        return run
    _check_size(values)
    shared = process.get()
    with shared.lock:
        previous = _previous(resolved)
        if previous is not None:
            return previous
        try:
            return _start(shared, resolved, values)
        except (LaunchError, ResumeError) as error:
            raise error.with_traceback(None) from None  # as above


def attach(address: Mapping[str, Any]) -> Run:
    """Return the run at an address, where a `Run` is unpickled: this process's object for it, else a new one.

    Args:
        address: see `Lifecycle.address`.

    Raises:
        ResumeError: the run has ended, or does not exist here. LaunchError: its sidecar cannot be reached.
    """
    run_id, root = address["run_id"], address["dir"]
    run: Run | None = current.find(run_id, root)
    if run is not None:
        return run
    elsewhere = address.get("mode") == "disabled" or address.get("sidecar")
    if not elsewhere and not (root / RUNS_NAME / run_id).is_dir():
        raise ResumeError(f"run {run_id!r} cannot be unpickled here: {root} has no run of this id")
    try:
        return start(address, None, None)
    except ResumeError as error:
        raise ResumeError(f"run {run_id!r} cannot be unpickled: {error}") from None


def _previous(settings: Settings) -> Run | None:
    """Finish the active run, return it, or raise, as `reinit` says; return None if a new one may start."""
    active = current.recording()
    if active is None or settings.reinit == "create_new":
        return None
    run: Run = active[0]
    lifecycle = active[1]
    if lifecycle.child:  # the parent's, in a forked child that now starts a run of its own
        current.leave(lifecycle)
        return None
    reinit = settings.reinit or ("finish_previous" if hasattr(sys, "ps1") or "ipykernel" in sys.modules else None)
    if reinit == "return_previous":
        current.enter(run, lifecycle)
        return run
    if reinit == "finish_previous":
        run.finish()
        return None
    raise RunActiveError(
        f"run {run.id!r} is active in this process: call finish() first, or pass reinit='finish_previous', "
        "'return_previous' or 'create_new'"
    )


def _start(shared: Process, settings: Settings, config: dict[str, Any]) -> Run:
    deadline = Deadline(settings.init_timeout)
    root = settings.root
    with contextlib.suppress(OSError):  # whatever makes a directory below it reports why
        make_root(root)
    backend = shared.backend(settings)
    backend.begin_launch()  # the sidecar starts up while this process imports and makes what it needs
    _import_late_parts(silent=settings.silent)
    run_id, resume = _choose(root, settings)
    directory = root / (REMOTE_NAME if settings.sidecar else RUNS_NAME) / run_id
    if not settings.sidecar:
        _check_length(directory)
    lifecycle = AttachedLifecycle(shared, settings, run_id, settings.name or _make_name(), directory)
    lifecycle.attach = attach
    attached = lifecycle.open(resume, deadline)
    if settings.name is None and attached.state.get("name"):
        lifecycle.name = attached.state["name"]
    if settings.sidecar:
        from tracker.transport.resend import send_in_background

        send_in_background(root, backend, settings.sidecar, settings.pump_interval)
    try:
        run = Run(lifecycle, attached.state, resumed=attached.resumed)
        lifecycle.publish("run", _describe(run, settings, attached))
        before = run.config.as_dict()
        run.config.update(config, allow_val_change=attached.resumed)
    except BaseException:
        lifecycle.end(exit_of(*sys.exc_info()))
        raise
    current.enter(run, lifecycle)
    shared.start()
    last_run.remember(root, run_id)
    if not settings.silent:
        _announce(run, lifecycle, attached, before)
    return run


def _import_late_parts(*, silent: bool) -> None:
    """Import what a run may need later, since its package may be upgraded or removed while it is running.

    It takes no time of its own: meanwhile the sidecar starts.
    """

    import tracker.media.histogram
    import tracker.reading.dashboards

    if not silent:
        import tracker.reading.closing  # noqa: F401


def _check_size(config: Mapping[str, Any]) -> None:
    """Raise ValueError if the config cannot be recorded, while there is no run yet."""
    from sidecar.protocol.codec import pack

    size = len(pack(config))
    if size > MAX_RECORD_BYTES - _ENVELOPE_BYTES:
        largest = max(config, key=lambda key: len(pack(config[key])))
        raise ValueError(
            f"config key {largest!r} cannot be recorded: the config has {size} bytes, at most "
            f"{MAX_RECORD_BYTES - _ENVELOPE_BYTES} are possible; save what is large as a file, with run.save()"
        )


def _check_length(directory: Path) -> None:
    """Raise LaunchError if SQLite could not open the store of a run in `directory`, whose path is too long for it."""
    longest = os.fsencode(os.path.realpath(directory / f"{STORE_NAME}.anew-journal"))
    if len(longest) > _MAX_PATH_BYTES:
        raise LaunchError(
            f"runs cannot be kept in {str(directory.parent)!r}: the path of a run's store would have {len(longest)} "
            f"bytes, at most {_MAX_PATH_BYTES} are possible; choose a shorter dir"
        )


def _choose(root: Path, settings: Settings) -> tuple[str, str | None]:
    """Return the run's id and how to resume, ``"auto"`` resolved."""
    if settings.resume != "auto":
        return settings.run_id or new_id(), settings.resume
    if settings.run_id:
        return settings.run_id, "allow"
    last = last_run.read(root)
    return (last, "allow") if last and (root / RUNS_NAME / last).is_dir() else (new_id(), "allow")


def _describe(run: Run, settings: Settings, attached: Attached) -> dict[str, Any]:
    """Return the body of the ``run`` record: everything for a new run, what was given for one that existed before."""
    body: dict[str, Any] = {
        "label": run.label,
        "host": platform.node(),
        "pid": os.getpid(),
        "program": sys.argv[0] if sys.argv else None,
        "python": platform.python_version(),
    }
    if not attached.resumed:
        body["start_time"] = run.start_time
    for name in ("project", "name", "group", "job_type", "notes"):
        value = getattr(settings, name)
        if not attached.resumed:
            value = getattr(run, name)
        elif name == "project" and value == "uncategorized":
            value = None
        if value is not None:
            body[name] = value
    if settings.tags or not attached.resumed:
        body["tags"] = list(run.tags)
    return body


def _announce(run: Run, lifecycle: AttachedLifecycle, attached: Attached, before: dict[str, Any]) -> None:
    """Print that the run has started, and which values of the config it has changed."""
    joined = attached.state.get("state") == "running"
    how = " joined" if joined else " resumed" if attached.resumed else ""
    line = f"tracker: run {clean(run.name)} ({run.id}){how} in {clean(run.project)}"
    root = run.dir.parent.parent
    if lifecycle.remote:
        line += f", kept {lifecycle.location()}"
    elif root == root_dir():
        line += f", kept in {short_path(root)} · open it: {run.url or 'tracker ui'}"
    else:
        import shlex

        line += f" · open it: {run.url or f'tracker ui --dir {shlex.quote(str(root))}'}"
    show(line + "\n")
    now = run.config.as_dict()
    changed = [key for key in before if repr(now[key]) != repr(before[key])]
    changes = [f"{clean(key)} {_short(before[key])} -> {_short(now[key])}" for key in changed]
    if changes:
        more = len(changes) - _MAX_SHOWN_CHANGES
        shown = ", ".join(changes[:_MAX_SHOWN_CHANGES]) + (f" and {more} more" if more > 0 else "")
        show(f"tracker: config changed on {'joining' if joined else 'resume'}: {shown}\n")


def _warn_of_unknown_variables() -> None:
    """Warn of each unknown ``TRACKER_*`` variable, once per process."""
    for warning in unknown_variables():
        if warning not in _warned:
            _warned.add(warning)
            show(f"tracker: {warning}\n")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 1] + "…"


def _make_name() -> str:
    pick = random.SystemRandom().choice  # not the program's generator: a seeded run must stay as it was
    return f"{pick(_FIRST.split())}-{pick(_SECOND.split())}-{time.strftime('%m%d')}-{new_id(3)}"
