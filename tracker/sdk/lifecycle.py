"""Lifecycle: a run of this process from its start to its end, with its attachment to the sidecar, also across a fork.

A run is open, then ending (its last record is appended, `finish` waits), then ended. A forked child inherits its
parent's lifecycle without the attachment, and attaches on its own when it first logs. Any thread may call it. Knows
nothing of metrics, config or summary: those are the `Run`'s.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from tracker.errors import LaunchError, RunFinishedError
from tracker.sdk.exits import Exit
from tracker.sdk.finish import EndedRun, drain
from tracker.settings import Settings
from tracker.terminal.messages import show
from tracker.terminal.text import clean
from tracker.transport.losses import Losses

if TYPE_CHECKING:
    from tracker.sdk.files import Source
    from tracker.sdk.process import Process
    from tracker.transport.backend import Attached
    from tracker.transport.interface import Interface
    from tracker.transport.window import Window

_STATE_SECONDS = 5.0
"""Maximum time that reading the summary waits for the sidecar, in seconds."""

_STORED = ("name", "group", "job_type", "tags", "notes", "sinks")
"""Settings that the run has already where another process attaches to it."""


class Lifecycle(ABC):
    """How a run begins, records and ends.

    Args:
        settings: the run's, complete.
        run_id, name: the run's.
        directory: the directory that keeps the run.

    Attributes:
        id, name, settings, directory, losses: the run's.
        start_time: Unix seconds.
        state: ``"running"``, or how the run ended here.
        phase: ``"open"``, ``"ending"`` or ``"ended"``.
        records: whether anything is recorded.
        remote: whether a sidecar on another machine keeps the run.
        child: whether this process is a forked child of the one that started the run.
        window: where `Run.log` appends. In a forked child, its parent's until `ensure_attached`.
        lock: held to change and publish something in one step; replaced in a forked child.
        changed: called when `state` or `window` has changed; at the end of the run, with the window's lock held.
        attach: returns the run at an `address`; called where a `Run` is unpickled. Set by what starts the run.
    """

    records: bool

    def __init__(self, settings: Settings, run_id: str, name: str, directory: Path) -> None:
        self.settings = settings
        self.id = run_id
        self.name = name
        self.directory = directory
        self.losses = Losses()
        self.start_time = time.time()
        self.state = "running"
        self.phase = "open"
        self.remote = False
        self.child = False
        self.window: Window | None = None
        self.lock = threading.RLock()  # reentrant, since a signal handler may set a config key too
        self.changed: Callable[[], None] = lambda: None
        self.attach: Callable[[Mapping[str, Any]], Any] = _refuse_attach

    def address(self) -> dict[str, Any]:
        """Return the arguments of `init` with which another process attaches to the run."""
        given = {name: value for name, value in self.settings.given.items() if name not in _STORED}
        resume = "must" if self.settings.sidecar else None
        return {
            **given,
            "run_id": self.id,
            "dir": self.settings.root,
            "resume": resume,
            "reinit": "create_new",
            "silent": True,
        }

    def finished_error(self) -> RunFinishedError:
        return RunFinishedError(f"run {self.id!r} is {self.state}; nothing can be logged to it after finish()")

    @abstractmethod
    def ensure_attached(self) -> None:
        """Check that the run is open, and in a forked child attach to the sidecar if that was not done before.

        Raises:
            RunFinishedError: after the run's end.
        """

    @abstractmethod
    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Append a record.

        Raises:
            RunFinishedError: after the run's end.
        """

    @abstractmethod
    def stored_state(self) -> dict[str, Any] | None:
        """Return the run's state as the sidecar has it, after all that was published before; None without answer."""

    @abstractmethod
    def save(self, files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        """Keep files, pairs of a source and a name; see `Run.save`."""

    @abstractmethod
    def flush(self, timeout: float | None) -> bool:
        """Wait until everything published is durable in the log; return whether it is."""

    @abstractmethod
    def end(self, how: Exit, *, explicit: bool = False) -> None:
        """End the run. Never hangs; does nothing if it has ended, or where a signal handler interrupts this.

        Args:
            how: how it ends.
            explicit: whether the program ends it, rather than its process's end.
        """

    @abstractmethod
    def append_end_in_signal_handler(self, how: Exit) -> Interface | None:
        """From a signal handler that never returns: append how the run ends.

        Returns:
            what must still be sent from here, to a sidecar on another machine; else None.
        """

    @abstractmethod
    def report_signal(self, how: Exit) -> None:
        """From the same signal handler: print how the run ends."""

    @abstractmethod
    def in_child(self) -> None:
        """In a forked child: release what belongs to the parent."""

    def location(self) -> str:
        """Return where the run is kept, for people: ``"in .tracker/runs/7f3k2m9q"``."""
        return f"in {short_path(self.directory)}"


class AttachedLifecycle(Lifecycle):
    """A run that a sidecar keeps.

    Args:
        process: this process's.
        settings, run_id, name, directory: see `Lifecycle`.
    """

    records = True

    def __init__(self, process: Process, settings: Settings, run_id: str, name: str, directory: Path) -> None:
        super().__init__(settings, run_id, name, directory)
        self._process = process
        self._windows_in = directory
        self._interface: Interface | None = None
        self._parent_client: str | None = None
        self._ending = threading.RLock()
        self._last_state: dict[str, Any] | None = None
        self._session = os.getsid(0)
        self._final = False  # whether this forked child, a daemon for example, ends the run for its parent

    # -- the beginning ------------------------------------------------------------------------------------------

    def open(self, resume: str | None, deadline: Deadline) -> Attached:
        """Attach to the sidecar. What a failure has made is removed.

        Raises:
            LaunchError, ResumeError: see `Interface.attach`.
        """
        try:
            interface = self._new_interface()
        except OSError as error:
            raise LaunchError(
                f"run {self.id!r} cannot be kept in {self.directory}: {error.strerror or error}"
            ) from error
        try:
            attached = interface.attach(resume, deadline)
        except BaseException:
            interface.close(Deadline(1.0))
            _remove_empty(self.directory)
            raise
        if self.settings.sidecar:
            self.directory = attached.directory or self.directory
            self.remote = attached.directory is None
        self._adopt(interface)
        return attached

    def ensure_attached(self) -> None:
        self._attachment()

    def _attachment(self) -> Interface:
        if self.state != "running":
            raise self.finished_error()
        return self._interface or self._attach_child()

    def _attach_child(self) -> Interface:
        """In a forked child that logs to its parent's run: attach without waiting for the sidecar."""
        with self._process.lock:
            if self._interface is not None:
                return self._interface
            interface = self._new_interface()
            interface.publish("run", {"parent": self._parent_client, "label": self.settings.label, "pid": os.getpid()})
            self._adopt(interface)
            interface.attach_later()
            if self.remote:  # a sidecar on this machine recovers what remains in the window
                self._process.end_with_multiprocessing()
            return interface

    def _new_interface(self) -> Interface:
        """Return a new attachment, its window made, nothing sent."""
        from tracker.transport.interface import Interface

        settings = self.settings
        return Interface(
            self._process.backend(settings),
            self.id,
            self._windows_in,
            self.losses,
            label=settings.label,
            parent=self._parent_client,
            window_bytes=settings.window_bytes,
            pump_interval=settings.pump_interval,
            sinks=settings.sinks,
            offline=settings.mode == "offline",
        )

    def _adopt(self, interface: Interface) -> None:
        self._interface = interface
        self.window = interface.window
        self.changed()

    # -- while it is open ---------------------------------------------------------------------------------------

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        self._attachment().publish(kind, _readable(body) if kind == "run" else body)

    def stored_state(self) -> dict[str, Any] | None:
        if self.state != "running" or self._interface is None:
            return self._last_state
        answer = self._interface.ask("state", Deadline(_STATE_SECONDS))
        return (answer.get("state") or None) if answer is not None else None

    def save(self, files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        from tracker.sdk.files import copy_into, send

        deadline = Deadline(timeout)
        for source, name in files:
            interface = self._attachment()
            if self.remote:
                send(interface, source, name, deadline)
            else:
                sync = self.settings.durability == "disk"
                self.publish("file", copy_into(self.directory, source, name, sync=sync))

    def flush(self, timeout: float | None) -> bool:
        interface = self._interface
        if interface is None:
            return False
        deadline = Deadline(timeout)
        last = interface.window.seq
        while interface.open and interface.window.acked < last and not deadline.over():
            interface.ask("flush", Deadline(deadline.left(1.0)))
        return interface.window.acked >= last

    # -- the end ------------------------------------------------------------------------------------------------

    def end(self, how: Exit, *, explicit: bool = False) -> None:
        with self._ending:
            if self.phase != "open":
                return
            self.phase = "ending"
            interface = self._interface
            if interface is None:  # a forked child that never logged
                self._end_as(how)
                self.phase = "ended"
                return
            self._final = self.child and (explicit or os.getsid(0) != self._session)
            with interface.window.lock:
                self._append_end(how, interface, interface.window.append_final)
                self._end_as(how)
            deadline = Deadline(self.settings.finish_timeout)
            try:
                self._last_state = drain(self._ended_run(), interface, deadline)
            except KeyboardInterrupt:  # Ctrl-C again, while it waits
                deadline = Deadline(0.0)
                show(f"tracker: run {clean(self.name)}: interrupted; the sidecar sends the rest in the background\n")
            finally:
                interface.close(Deadline(max(0.5, deadline.left() or 0.0)))
                self.phase = "ended"

    def _end_as(self, how: Exit) -> None:
        self.state = how.state
        self.changed()

    def _append_end(self, how: Exit, interface: Interface, append: Callable[[str, dict[str, Any]], None]) -> None:
        """Append the final records: what was lost, and how the run ended."""
        losses = self.losses.counts()
        if losses:
            append("losses", {"source": interface.client, "counts": losses})
        body = how.to_body()
        append("exit", {**body, "final": True} if self._final else body)

    def _ended_run(self) -> EndedRun:
        return EndedRun(
            id=self.id,
            name=self.name,
            state=self.state,
            directory=None if self.remote else self.directory,
            location=self.location(),
            start_time=self.start_time,
            settings=self.settings,
            losses=self.losses,
        )

    def append_end_in_signal_handler(self, how: Exit) -> Interface | None:
        interface = self._interface
        if interface is None or self.state != "running":
            return None
        self._append_end(how, interface, interface.window.append_final_in_signal_handler)
        return interface if self.remote else None

    def report_signal(self, how: Exit) -> None:
        if self._interface is not None and self.state == "running" and not self.settings.silent:
            show(f"tracker: run {clean(self.name)} {how.state}, kept {self.location()}\n")

    def location(self) -> str:
        if self.remote:
            return f"by the sidecar at {self.settings.sidecar}"
        return f"in {short_path(self.directory)}"

    # -- forks --------------------------------------------------------------------------------------------------

    def in_child(self) -> None:
        self.lock = threading.RLock()
        self._ending = threading.RLock()
        if self.phase == "ending":
            self.phase = "open" if self.state == "running" else "ended"
        interface, self._interface = self._interface, None
        self.child = True
        self.losses = Losses()  # the parent reports its own
        if interface is not None:
            self._parent_client = interface.client
            interface.abandon()
        self.changed()


def _refuse_attach(address: Mapping[str, Any]) -> Any:
    raise TypeError(f"run {address['run_id']!r} cannot be unpickled: tracker.init() did not make it")


def short_path(path: Path) -> str:
    """Return a path for people: relative where it is below the working directory."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:  # the working directory was removed
        return str(path)


def _readable(body: dict[str, Any]) -> dict[str, Any]:
    """Return what describes a run with the bytes of file names that are not UTF-8 replaced."""

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        return value.encode(errors="replace").decode() if isinstance(value, str) else value

    return {key: text(value) for key, value in body.items()}


def _remove_empty(directory: Path) -> None:
    """Remove what a failed start has made, if nothing else is in it."""
    for path in (directory / "windows", directory):
        try:
            path.rmdir()
        except OSError:
            return
