"""Run: what a training loop holds. Any thread may call it; nothing here waits but `flush`, `finish` and the summary."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import MAX_KEYS
from sidecar.protocol.records import GOALS, SUMMARIES
from tracker.errors import RunFinishedError
from tracker.sdk import values
from tracker.sdk.config import Config
from tracker.sdk.exits import Exit, exit_of
from tracker.sdk.summary import Summary
from tracker.settings import Settings
from tracker.terminal.messages import show
from tracker.transport.losses import Losses

if TYPE_CHECKING:
    from tracker.sdk.setup import Setup
    from tracker.transport.interface import Interface

_SUMMARY_SECONDS = 5.0


class Run:
    """A run that this process writes to. Made by `tracker.init`.

    Attributes:
        id: names the run in its root directory.
        name, project, group, job_type: strings, the last two may be None.
        config, summary: dicts, see `Config` and `Summary`.
        dir: the run's directory, a `pathlib.Path`.
        url: where to look at it; None, since nothing serves it.
        start_time: Unix seconds.
        label: this writer's name, or None.
        resumed: whether the run was there before.
    """

    def __init__(self, setup: Setup, settings: Settings, run_id: str, name: str, directory: Path) -> None:
        self.id = run_id
        self.name = name
        self.project = settings.project
        self.group = settings.group
        self.job_type = settings.job_type
        self.dir = directory
        self._windows_in = directory
        self.label = settings.label
        self.url: str | None = None
        self.start_time = time.time()
        self.resumed = False
        self.losses = Losses()
        self._tags: tuple[str, ...] = tuple(settings.tags)
        self._notes = settings.notes
        self._setup = setup
        self._settings = settings
        self._interface: Interface | None = None
        self._window: Any = None
        self._keys: set[str] = set()
        self._step = 0
        self._synced: dict[str, str] = {}
        self._synced_values: dict[str, Any] = {}
        self._plain = False  # whether log() may skip everything but the check of its values
        self._state = "running"
        self._finishing = threading.RLock()
        self._ending = False
        self._child = False
        self._far = False  # whether another machine keeps it
        self.config = Config(self._publish)
        self.summary = Summary(self._publish, self._fetch_summary, self._keys.__contains__)

    # -- logging ------------------------------------------------------------------------------------------------

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Log metrics of one step. Returns in microseconds; they survive the death of this process from then on.

        Args:
            data: keys to numbers (NaN and infinities too), strings or media; nested dicts' keys join with dots.
            step: any integer, in any order; None: the run's own, which counts up by itself.
            commit: whether the run's own step goes on after it; None: True where `step` is None.

        Raises:
            TypeError, ValueError: a key or value that cannot be logged, by name; nothing of the call is recorded.
            RunFinishedError: after `finish`.
        """
        if self._plain and type(data) is dict and len(data) <= MAX_KEYS:
            # A loop, and no clever set operations: in a training step what is called here is cold, and each other
            # function in C costs more by its cache misses than the loop by its turns.
            keys = self._keys
            for key, value in data.items():
                kind = type(value)
                if (kind is not float and kind is not int) or key not in keys:
                    data = self._prepare(data)
                    break
        else:
            data = self._prepare(data)
        if step is not None and (type(step) is not int or not -0x8000000000000000 <= step <= 0x7FFFFFFFFFFFFFFF):
            step = values.step_number(step)
        window = self._window
        with window.lock:
            if self._state != "running":
                raise self._finished()
            if step is None:
                at = self._step
                following = at if commit is False else at + 1
            else:
                at = step
                following = at + 1 if commit else at
            try:
                window.append("log", {"step": at, "data": data})
            except (OverflowError, ValueError):
                window.append("log", {"step": at, "data": values.metrics(data)})  # names the key that is too large
            if following > self._step:
                self._step = following

    def _prepare(self, data: Any) -> dict[str, Any]:
        """The long way of `log`: a new key, a nested dict, another type than float or int, or not the usual state."""
        if self._state != "running":
            raise self._finished()
        if self._child and self._interface is None:
            self._setup.attach_child(self)
        flat = values.metrics(data)
        if self._synced:
            self._sync_steps(flat)
        else:
            self._plain = True
        self._keys.update(flat)
        return flat

    def _sync_steps(self, flat: dict[str, Any]) -> None:
        """Repeat the last value of a step metric in a row that has metrics drawn over it, but not it."""
        from fnmatch import fnmatchcase

        for step_metric in set(self._synced.values()):
            if step_metric in flat:
                self._synced_values[step_metric] = flat[step_metric]
        for pattern, step_metric in self._synced.items():
            lacks = step_metric not in flat and step_metric in self._synced_values
            if lacks and any(fnmatchcase(key, pattern) for key in flat):
                flat[step_metric] = self._synced_values[step_metric]

    def _finished(self) -> RunFinishedError:
        return RunFinishedError(f"run {self.id!r} is {self._state}; nothing can be logged to it after finish()")

    def _publish(self, kind: str, body: dict[str, Any]) -> None:
        if self._state != "running":
            raise self._finished()
        if self._child and self._interface is None:
            self._setup.attach_child(self)
        with self._window.lock:
            self._window.append(kind, body)

    @property
    def step(self) -> int:
        """The step that the next automatic `log` will have."""
        return self._step

    @property
    def state(self) -> str:
        """``"running"``, or how it ended here: ``"finished"``, ``"failed"``, ``"killed"``, ``"preempted"``."""
        return self._state

    # -- what the run is ----------------------------------------------------------------------------------------

    @property
    def tags(self) -> tuple[str, ...]:
        return self._tags

    @tags.setter
    def tags(self, tags: Any) -> None:
        if isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
            raise TypeError(f"tags are {tags!r}; a sequence of strings that are not empty")
        self._tags = tuple(dict.fromkeys(tags))
        self._publish("run", {"tags": list(self._tags)})

    @property
    def notes(self) -> str | None:
        return self._notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        if notes is not None and not isinstance(notes, str):
            raise TypeError(f"notes are a {type(notes).__name__}; a string")
        self._notes = notes
        self._publish("run", {"notes": notes})

    @property
    def files_dir(self) -> Path:
        """A directory for files of the run's own; made when it is first asked for."""
        path = self.dir / FILES_NAME
        path.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, path: str | os.PathLike[str], name: str | None = None, timeout: float | None = None) -> list[str]:
        """Keep a file with the run, as it is now, or all files of a directory. Returns when it is on its way.

        Takes as long as copying takes. To a sidecar on another machine its content goes like everything else that is
        logged: it is kept until it is acked.

        Args:
            path: the file or directory.
            name: what it is called among the run's files; ``/`` makes directories. None: as `path` is called.
            timeout: seconds to wait for room in the window, where the content is sent; None: as long as it takes.

        Returns:
            the names, as `Api.run(...).files()` has them.

        Raises:
            FileNotFoundError, OSError: it cannot be read or copied. ValueError: a name that cannot be.
            TrackerError: not within `timeout`. RunFinishedError: after `finish`.
        """
        from tracker.sdk import files as saving

        found = saving.files_below(path, name)
        deadline = Deadline(timeout)
        for source, called in found:
            if self._state != "running":
                raise self._finished()
            if self._child and self._interface is None:
                self._setup.attach_child(self)
            if self._far:
                assert self._interface is not None
                saving.send(self._interface, source, called, deadline)
            else:
                sync = self._settings.durability == "disk"
                self._publish("file", saving.copy_into(self.dir, source, called, sync=sync))
        return [called for _, called in found]

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        summary: str | None = None,
        goal: str | None = None,
        step_sync: bool | None = None,
    ) -> None:
        """Say how a metric is summed up and drawn.

        Args:
            name: a key, or a pattern with ``*``.
            step_metric: the metric that is its x axis.
            summary: one of ``last, min, max, mean, best, first, none``; or several with commas, kept as ``key.min``, ….
            goal: ``"minimize"`` or ``"maximize"``, for ``best``.
            step_sync: whether rows that lack `step_metric` repeat its last value; default False.

        Raises:
            TypeError, ValueError: an argument that cannot be, by name.
        """
        for what, value in (("name", name), ("step_metric", step_metric)):
            if value is not None and (not value or not isinstance(value, str)):
                raise TypeError(f"define_metric: {what} is {value!r}; a string that is not empty")
        options = [option.strip() for option in summary.split(",")] if summary else []
        for option in options:
            if option not in SUMMARIES:
                raise ValueError(f"define_metric: summary={option!r}; one of {', '.join(SUMMARIES)}")
        if goal is not None and goal not in GOALS:
            raise ValueError(f"define_metric: goal={goal!r}; 'minimize' or 'maximize'")
        if step_sync and step_metric is None:
            raise ValueError("define_metric: step_sync=True needs a step_metric")
        self._publish(
            "define",
            {
                "metric": name,
                "step_metric": step_metric,
                "summary": options,
                "goal": goal,
                "step_sync": bool(step_sync),
            },
        )
        if step_sync and step_metric is not None:
            self._synced[name] = step_metric
            self._plain = False

    def mark_preempting(self) -> None:
        """Say that the machine is about to be taken away: if the run then ends without a word, it was preempted."""
        self._publish("preempting", {})

    def _fetch_summary(self) -> dict[str, Any] | None:
        if self._state != "running" or self._interface is None:
            return None
        answer = self._interface.ask("state", Deadline(_SUMMARY_SECONDS))
        state = answer.get("state") if answer else None
        return state["summary"] if state else None

    # -- the end ------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was logged is durable in the log.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            whether it is.
        """
        interface = self._interface
        if interface is None:
            return False
        deadline = Deadline(timeout)
        last = interface.window.seq
        while interface.open and interface.window.acked < last and not deadline.over():
            interface.ask("flush", Deadline(deadline.left(1.0)))
        return interface.window.acked >= last

    def finish(self, exit_code: int | None = None) -> None:
        """End the run: wait until everything is durable, and readable in the store. Never hangs; may be called twice.

        Args:
            exit_code: 0 or None: ``finished``; another: ``failed``.

        Raises:
            TypeError: `exit_code` is no integer.
        """
        if exit_code is not None and (isinstance(exit_code, bool) or not isinstance(exit_code, int)):
            raise TypeError(f"finish: exit_code is {exit_code!r}; an integer")
        code = exit_code or 0
        self._end(Exit("failed" if code else "finished", exit_code=code))

    def _end(self, how: Exit) -> None:
        with self._finishing:
            if self._state != "running" or self._ending:  # the latter where a signal handler interrupts this
                return
            self._ending = True
            interface = self._interface
            if interface is None:  # a forked child that never logged
                self._state = how.state
                return
            with interface.window.lock:
                self._append_end(how, interface.window.append_final)
                self._state = how.state
                self._plain = False
            from tracker.sdk.finish import drain

            self._setup.forget(self)
            deadline = Deadline(self._settings.finish_timeout)
            try:
                drain(self, interface, deadline)
            except KeyboardInterrupt:  # Ctrl-C again, while it waits: the sidecar does the rest
                deadline = Deadline(0.0)
                show(f"tracker: run {self.name}: not waited for; its sidecar does the rest\n")
            finally:
                interface.close(Deadline(max(0.5, deadline.left() or 0.0)))

    def _append_end(self, how: Exit, append: Callable[[str, dict[str, Any]], None]) -> None:
        """Append what is said of the run at its end: what was lost, and how it ended."""
        losses = self.losses.counts()
        if losses and self._interface is not None:
            append("losses", {"source": self._interface.client, "counts": losses})
        append("exit", how.to_body())

    def _kept(self) -> str:
        """Say where, for people."""
        if self._far:
            return f"by the sidecar at {self._settings.sidecar}"
        try:
            return f"in {os.path.relpath(self.dir) if self.dir.is_relative_to(Path.cwd()) else self.dir}"
        except OSError:
            return f"in {self.dir}"

    def _forked(self) -> None:
        """In a forked child: what is the parent's is let go of; the first `log` attaches this process on its own."""
        interface, self._interface = self._interface, None
        self._child = True
        self._plain = False
        self._parent_client = interface.client if interface is not None else getattr(self, "_parent_client", None)
        self._finishing = threading.RLock()
        self._ending = False
        self.losses = Losses()  # the parent says its own
        if interface is not None:
            interface.abandon()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(exit_of(kind, error, trace))

    def __repr__(self) -> str:
        return f"<tracker run {self.id} ({self.name}), {self._state}, in {self.dir}>"
