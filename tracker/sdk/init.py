"""`init`: from arguments to a run that can be logged to. Runs on the caller's thread; the only part that may wait."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import REMOTE_NAME, RUNS_NAME, make_root
from sidecar.protocol.limits import new_id
from tracker.errors import LaunchError, RunActiveError
from tracker.sdk import last_run
from tracker.sdk import setup as setup_module
from tracker.sdk.disabled import DisabledRun
from tracker.sdk.run import Run
from tracker.sdk.values import as_mapping, plain
from tracker.settings import Settings, resolve, unknown_variables
from tracker.terminal.messages import show

if TYPE_CHECKING:
    from tracker.sdk.setup import Setup
    from tracker.transport.backend import Attached

_FIRST = "amber bold brisk calm clear deep early fair glad keen light lucid mild noble quiet rapid silver still vivid"
_SECOND = (
    "brook cedar cliff cloud comet delta dune ember fern field grove harbor lake maple meadow orbit peak river tide"
)

_warned: set[str] = set()


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
    mode: str | None = None,
    resume: str | bool | None = None,
    reinit: str | bool | None = None,
    label: str | None = None,
    sidecar: str | None = None,
    sinks: Sequence[str] | str | None = None,
    settings: Settings | dict[str, Any] | None = None,
) -> Run:
    """Start a run, and the sidecar that keeps it.

    Args:
        project, name, group, job_type, notes: for people, to find the run by.
        id: names the run in its root; default: random. With an id that is there, see `resume`.
        config: what the run is started with: a dict, a dataclass, an ``argparse.Namespace``.
        tags: strings.
        dir: the root directory; default ``TRACKER_DIR``, else ``./.tracker``.
        mode: ``"online"``, ``"offline"`` (nothing is sent to `sinks` before ``tracker sync``), ``"disabled"`` (every
            call does nothing).
        resume: ``"allow"`` goes on with a run that is there, ``"must"`` needs one, ``"never"`` refuses one, ``"auto"``
            goes on with the last run here if it has not ended. Default: a run that is going on is shared, one that
            has ended is an error.
        reinit: what to do while a run is active in this process: ``"finish_previous"``, ``"return_previous"``,
            ``"create_new"``. Default: an error; in a notebook ``"finish_previous"``.
        label: names this process among the writers of a shared run (a rank, a host).
        sidecar: a sidecar to attach to (an endpoint or a connection file) instead of launching one.
        sinks: servers that the run is sent to besides, such as ``["mlflow+http://host:5000"]``.
        settings: more settings, a `Settings` or a dict of its fields.

    Returns:
        the run; also a context manager.

    Raises:
        SettingsError: an argument, variable or settings file that cannot be, by name. RunActiveError: a run is
        active. ResumeError: the run is there, or is not. LaunchError: the sidecar did not start; the reason is in it.
    """
    resolved = resolve(
        {
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
        },
        settings,
    )
    _warn_of_unknown_variables()
    values = {key: plain(value) for key, value in as_mapping(config, "config").items()}
    if resolved.mode == "disabled":
        return _become_current(DisabledRun(resolved, values))
    setup = setup_module.get()
    with setup.lock:
        previous = _previous(setup, resolved)
        if previous is not None:
            return _become_current(previous)
        return _become_current(_start(setup, resolved, values))


def _previous(setup: Setup, settings: Settings) -> Run | None:
    """Return the active run to be returned again; finish it, or raise, as `reinit` says."""
    active = setup.runs[-1] if setup.runs else None
    if active is None or settings.reinit == "create_new":
        return None
    if active._child:  # the parent's, in a forked child that now starts a run of its own
        setup.forget(active)
        return None
    reinit = settings.reinit or ("finish_previous" if hasattr(sys, "ps1") or "ipykernel" in sys.modules else None)
    if reinit == "return_previous":
        return active
    if reinit == "finish_previous":
        active.finish()
        return None
    raise RunActiveError(
        f"run {active.id!r} is active in this process: call finish() first, or give reinit='finish_previous', "
        "'return_previous' or 'create_new'"
    )


def _start(setup: Setup, settings: Settings, config: dict[str, Any]) -> Run:
    deadline = Deadline(settings.init_timeout)
    root = settings.root
    with contextlib.suppress(OSError):  # what makes directories below it says why
        make_root(root)
    backend = setup.backend(settings)
    backend.begin_launch()  # it starts up while this process imports and makes what it needs
    run_id, resume = _choose(root, settings)
    kept_in = root / (REMOTE_NAME if settings.sidecar else RUNS_NAME) / run_id
    run = Run(setup, settings, run_id, settings.name or _make_name(), kept_in)
    try:
        interface = setup.make_interface(run)
    except OSError as error:
        raise LaunchError(f"run {run_id!r} cannot be kept in {run.dir}: {error}") from error
    try:
        attached = interface.attach(resume, deadline)
    except BaseException:
        interface.close(Deadline(1.0))
        _remove_empty(run.dir)
        raise
    setup.adopt(run, interface)
    if settings.sidecar:
        from tracker.transport.resend import send_in_background

        run.dir = attached.directory or run.dir
        run._far = attached.directory is None
        send_in_background(root, backend, settings.sidecar, settings.pump_interval)
    _take_state(run, settings, attached)
    run._publish("run", _describe(run, settings, attached))
    if config:
        run.config.update(config, allow_val_change=attached.resumed)
    setup.runs.append(run)
    setup.start()
    last_run.remember(root, run_id)
    if not settings.silent:
        going_on = attached.state.get("state") == "running"
        again = " joined" if going_on else " resumed" if attached.resumed else ""
        show(f"tracker: run {run.name} ({run.id}){again}, kept {run._kept()}\n")
    return run


def _choose(root: Path, settings: Settings) -> tuple[str, str | None]:
    """Return the run's id and how to resume, ``"auto"`` resolved."""
    if settings.resume != "auto":
        return settings.run_id or new_id(), settings.resume
    if settings.run_id:
        return settings.run_id, "allow"
    last = last_run.read(root)
    return (last, "allow") if last and (root / RUNS_NAME / last).is_dir() else (new_id(), "allow")


def _take_state(run: Run, settings: Settings, attached: Attached) -> None:
    """Go on where a run that was there before stands."""
    state = attached.state
    run.resumed = attached.resumed
    if not state:
        return
    if state.get("step") is not None and settings.resume is not None:
        run._step = state["step"] + 1
    run.config._load(state.get("config") or {})
    run.summary._load(state.get("summary") or {})
    for name in ("name", "group", "job_type"):
        if getattr(settings, name) is None and state.get(name):
            setattr(run, name, state[name])
    if not settings.tags and state.get("tags"):
        run._tags = tuple(state["tags"])
    if settings.notes is None:
        run._notes = state.get("notes")


def _describe(run: Run, settings: Settings, attached: Attached) -> dict[str, Any]:
    """Return the body of the ``run`` record: what is said anew, and for a run that was there only what was given."""
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
        body["tags"] = list(run._tags)
    return body


def _make_name() -> str:
    pick = random.SystemRandom().choice  # not the program's generator: a seeded run must stay as it was
    return f"{pick(_FIRST.split())}-{pick(_SECOND.split())}-{time.strftime('%m%d')}-{new_id(3)}"


def _remove_empty(directory: Path) -> None:
    """Remove what a failed start has made, if nothing else is in it."""
    for path in (directory / "windows", directory):
        try:
            path.rmdir()
        except OSError:
            return


def _warn_of_unknown_variables() -> None:
    """Warn of each unknown ``TRACKER_*`` variable, once per process."""
    for warning in unknown_variables():
        if warning not in _warned:
            _warned.add(warning)
            show(f"tracker: {warning}\n")


def _become_current(run: Run) -> Run:
    import tracker

    tracker._set_current(run)
    return run
