"""Run: what a training loop holds. Any thread may call it; nothing here waits but `flush`, `finish` and the summary.

What a run does with metrics, config and summary is here; how it is attached and how it ends is its lifecycle's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import MAX_KEYS
from sidecar.protocol.records import GOALS
from sidecar.protocol.rows import CODES, RowError, Schema
from tracker.sdk import values
from tracker.sdk.arguments import aggregates, checked_exit_code
from tracker.sdk.config import Config
from tracker.sdk.exits import exit_of, exit_of_code
from tracker.sdk.files import store_media
from tracker.sdk.refusals import Refusals
from tracker.sdk.step_sync import StepSync
from tracker.sdk.summary import Summary
from tracker.transport.losses import Losses

if TYPE_CHECKING:
    from tracker.sdk.choices import Aggregates, Goal
    from tracker.sdk.lifecycle import Lifecycle


class Run:
    """A run that this process writes to. Made by `tracker.init`.

    Attributes:
        project, group, job_type: strings; the last two may be None.
        config, summary: dicts, see `Config` and `Summary`.
        label: this writer's name, or None.
        resumed: whether the run existed before.
        start_time: Unix seconds.
    """

    __slots__ = (  # so that a misspelled attribute is an error
        *("project", "group", "job_type", "label", "resumed", "start_time", "config", "summary"),
        *("_tags", "_notes", "_lifecycle", "_step", "_sync", "_logged", "_refuse"),
        *("_open", "_schemas", "_all_schemas", "_window", "__weakref__"),
    )

    def __init__(self, lifecycle: Lifecycle, state: Mapping[str, Any], *, resumed: bool) -> None:
        settings = lifecycle.settings
        self.project = settings.project
        if state.get("project") and settings.project == "uncategorized":
            self.project = state["project"]
        self.group = settings.group or state.get("group")
        self.job_type = settings.job_type or state.get("job_type")
        self.label = settings.label
        self.resumed = resumed
        self.start_time = lifecycle.start_time
        self._tags = tuple(settings.tags or state.get("tags") or ())
        self._notes = settings.notes if settings.notes is not None else state.get("notes")
        self._lifecycle = lifecycle
        self._step = 0
        if state.get("step") is not None and settings.resume is not None:
            self._step = state["step"] + 1
        self._sync = StepSync()
        self._logged: set[str] = set()
        self._refuse = Refusals(lifecycle).refuse
        # The state of the hot path, in attributes of its own; `_follow` keeps them up to date.
        self._open = True
        self._schemas: dict[tuple[str, ...], Schema] = {}  # keys -> the schema they were logged with last
        self._all_schemas: dict[tuple[Any, ...], Schema] = {}  # keys and types -> schema
        self._window: Any = None
        lifecycle.changed = self._follow
        self._follow()
        self.config = Config(lifecycle.publish, lambda: lifecycle.lock, state.get("config") or {})
        self.summary = Summary(
            lifecycle.publish,
            lambda: lifecycle.lock,
            self._fetch_summary,
            self._logged.__contains__,
            state.get("summary") or {},
        )

    def _follow(self) -> None:
        """Take over from the lifecycle what `log` needs; its next call takes the slow path."""
        self._window = self._lifecycle.window
        self._open = self._lifecycle.state == "running"
        self._forget_schemas()

    def _forget_schemas(self) -> None:
        self._all_schemas = {}  # before the other: see `_prepare`
        self._schemas = {}

    # -- logging ------------------------------------------------------------------------------------------------

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Log metrics of one step. Returns in microseconds; they survive the death of this process from then on.

        Args:
            data: keys to numbers (NaN and infinities too), strings, media, or None for no value; nested dicts' keys
                join with dots. A key or value that cannot be logged is left out, warned of once, and counted in
                `losses`.
            step: any integer, in any order; None: the run's own, which counts up by itself. It also replaces a step
                that is not an integer.
            commit: whether the run's own step advances after this call; None: True where `step` is None.

        Raises:
            RunFinishedError: after `finish`.
            TypeError, ValueError: only with ``strict=True``: a key, value or step that cannot be logged, by name;
            nothing of the call is recorded.
        """
        schema = None
        if type(data) is dict:
            data = data.copy()  # as one step: another thread may change it meanwhile
            schema = self._schemas.get(tuple(data))
        if schema is None or schema.kinds != [*map(type, data.values())]:
            if not self._lifecycle.records:
                return
            data, schema = self._prepare(data)
        if step is not None and (type(step) is not int or not -0x8000000000000000 <= step <= 0x7FFFFFFFFFFFFFFF):
            step = self._usable_step(step)
        window = self._window
        try:
            with window.lock:
                if not self._open:
                    raise self._lifecycle.finished_error()
                if step is None:
                    at = self._step
                    following = at if commit is False else at + 1
                else:
                    at = step
                    following = at + 1 if commit else at
                if schema is not None:
                    window.append_row(schema, at, data.values())
                elif len(data) <= MAX_KEYS:
                    window.append("log", {"step": at, "data": data})
                else:
                    raise OverflowError
                if following > self._step:
                    self._step = following
                return
        except (OverflowError, ValueError, RowError):
            pass
        if schema is not None:  # an integer is too large for a row
            data = values.row(data, self._refuse).data
        self._log_in_parts(data, step, commit)

    def _usable_step(self, step: Any) -> int | None:
        """Return a step as an integer; None, the run's own, if it is not a step."""
        try:
            return values.step_number(step)
        except (TypeError, ValueError) as error:
            self._refuse("step", "", error)
            return None

    def _log_in_parts(self, data: dict[str, Any], step: int | None, commit: bool | None) -> None:
        """Log metrics that do not fit into one record in several of one step; a strict run raises instead."""
        strict = self._refuse is values.raise_error
        refused: list[tuple[str, Exception]] = []
        window = self._window
        with window.lock:
            if not self._open:
                raise self._lifecycle.finished_error()
            at = self._step if step is None else step
            parts = [list(data.items())]
            while parts:
                part = parts.pop()
                try:
                    if len(part) > MAX_KEYS:
                        raise ValueError(f"a record must have at most {MAX_KEYS} metrics, not {len(part)}")
                    window.append("log", {"step": at, "data": dict(part)})
                except (OverflowError, ValueError) as error:
                    if strict:
                        raise
                    middle = len(part) // 2
                    if middle:
                        parts += part[middle:], part[:middle]
                    elif part:
                        refused.append((part[0][0], error))
            advances = commit is not False if step is None else commit
            self._step = max(self._step, at + 1 if advances else at)
        for key, why in refused:  # without the lock: a warning may wait for the terminal
            self._refuse("value", key, why)

    def _prepare(self, data: Any) -> tuple[dict[str, Any], Schema | None]:
        """The slow path of `log`: new keys, a nested dict, other types, a new lifecycle state.

        Returns:
            the metrics, and the schema to log them with, if it can be a row.
        """
        if type(data) is dict:
            schemas = self._schemas
            known = self._all_schemas.get((*data, *map(type, data.values())))
            if known is not None:
                schemas[known.keys] = known
                return data, known
        self._lifecycle.ensure_attached()
        # Read before the definitions: if these change meanwhile, what is found here is forgotten with the old dicts.
        schemas = self._schemas
        all_schemas = self._all_schemas
        row, files = values.row(data, self._refuse)
        if files:
            store_media(self._lifecycle.save, row, files, self.losses)
        self._logged.update(row)
        plain = (
            type(data) is dict
            and row.keys() == data.keys()
            and CODES.keys() >= set(map(type, data.values()))
            and not any(map(self._sync.concerns, row))
        )
        self._sync.fill(row)
        types = "".join([CODES.get(type(value), "") for value in row.values()])
        if not row or len(types) != len(row) or len(row) > MAX_KEYS:
            return row, None
        window = self._window
        with window.lock:
            schema: Schema | None = window.schema(tuple(row), types)
            if schema is not None and plain:
                schemas[schema.keys] = schema
                signature = (*data, *map(type, data.values()))
                all_schemas[signature] = schema
        return row, schema

    @property
    def step(self) -> int:
        """The step that the next automatic `log` will have."""
        return self._step

    # -- what the run is ----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The name of the run in its root directory."""
        return self._lifecycle.id

    @property
    def name(self) -> str:
        """The name of the run for people; may be set."""
        return self._lifecycle.name

    @name.setter
    def name(self, name: str) -> None:
        if not name or not isinstance(name, str):
            raise TypeError(f"name must be a non-empty string, not {name!r}")
        self._lifecycle.publish("run", {"name": name})
        self._lifecycle.name = name

    @property
    def dir(self) -> Path:
        """The directory of the run."""
        return self._lifecycle.directory

    @property
    def url(self) -> str | None:
        """Its address in a dashboard that runs on this machine and shows its root directory; None without one."""
        if not self._lifecycle.records or self._lifecycle.remote:
            return None
        from tracker.reading.dashboards import run_url

        return run_url(self.dir.parent.parent, self.id)

    @property
    def state(self) -> str:
        """``"running"``, or how it ended here: ``"finished"``, ``"failed"``, ``"killed"``, ``"preempted"``."""
        return self._lifecycle.state

    @property
    def losses(self) -> Losses:
        """What could not be recorded, counted by reason."""
        return self._lifecycle.losses

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the run; may be set."""
        return self._tags

    @tags.setter
    def tags(self, tags: Any) -> None:
        if isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
            raise TypeError(f"tags must be a sequence of non-empty strings, not {tags!r}")
        self._tags = tuple(dict.fromkeys(tags))
        self._lifecycle.publish("run", {"tags": list(self._tags)})

    @property
    def notes(self) -> str | None:
        """Notes on the run, or None; may be set."""
        return self._notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        if notes is not None and not isinstance(notes, str):
            raise TypeError(f"notes must be a string or None, not {values.described(notes)}")
        self._notes = notes
        self._lifecycle.publish("run", {"notes": notes})

    @property
    def files_dir(self) -> Path:
        """A directory for files of the run's own; made when it is first asked for."""
        if not self._lifecycle.records:
            raise RuntimeError("a run of mode 'disabled' has no files")
        path = self.dir / FILES_NAME
        path.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, path: str | os.PathLike[str], name: str | None = None, timeout: float | None = None) -> list[str]:
        """Save a file with the run, as it is now, or all files of a directory. Returns when it is on its way.

        Takes as long as copying takes. For a sidecar on another machine the content goes the way of everything else
        that is logged: it stays in the window until it is acked.

        Args:
            path: the file or directory.
            name: its name among the run's files; ``/`` makes directories. None: the name that `path` has.
            timeout: seconds to wait for room in the window, where the content is sent; None waits without limit.

        Returns:
            the names, as `Api.run(...).files()` has them.

        Raises:
            FileNotFoundError, OSError: it cannot be read or copied. ValueError: a name that is not valid.
            TrackerError: not sent within `timeout`. RunFinishedError: after `finish`.
        """
        from tracker.sdk.files import files_below

        if not self._lifecycle.records:
            return []
        files = files_below(path, name)
        self._lifecycle.save(files, timeout)
        return [file_name for _, file_name in files]

    def define_metric(
        self,
        name: str,
        *,
        step_metric: str | None = None,
        summary: Aggregates | None = None,
        goal: Goal | None = None,
        step_sync: bool | None = None,
    ) -> None:
        """Define how a metric is summarized and drawn.

        Args:
            name: a key, or a pattern with ``*``.
            step_metric: the metric that is its x axis.
            summary: one of ``last, min, max, mean, best, first, none``, or several in a list, kept as ``key.min``, ….
            goal: ``"minimize"`` or ``"maximize"``, for ``best``.
            step_sync: whether rows that lack `step_metric` repeat its last value; default: where one is given.

        Raises:
            TypeError, ValueError: an argument that is not valid, by name.
        """
        for argument, value in (("name", name), ("step_metric", step_metric)):
            if value is not None and (not value or not isinstance(value, str)):
                raise TypeError(f"define_metric: {argument} must be a non-empty string, not {value!r}")
        options = aggregates(summary)
        if goal is not None and goal not in GOALS:
            raise ValueError(f"define_metric: goal must be 'minimize' or 'maximize', not {goal!r}")
        if step_sync and step_metric is None:
            raise ValueError("define_metric: step_sync=True needs a step_metric")
        if step_sync is None and step_metric is not None:
            step_sync = True
        body: dict[str, Any] = {"metric": name, "step_metric": step_metric, "summary": options, "goal": goal}
        if step_sync is not None:
            body["step_sync"] = bool(step_sync)
        self._lifecycle.publish("define", body)
        self._sync.define(name, step_metric, step_sync)
        self._forget_schemas()

    def mark_preempting(self) -> None:
        """Note that the machine is about to be taken away: if the process then dies, the run was preempted."""
        self._lifecycle.publish("preempting", {})

    def _fetch_summary(self) -> dict[str, Any] | None:
        state = self._lifecycle.stored_state()
        return state["summary"] if state else None

    # -- the end ------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was logged is durable in the log.

        Args:
            timeout: seconds; None waits without limit.

        Returns:
            whether it is.
        """
        return self._lifecycle.flush(timeout)

    def finish(self, exit_code: int | None = None) -> None:
        """End the run: wait until everything is durable, and readable in the store. Never hangs; may be called twice.

        Args:
            exit_code: 0 or None: ``finished``; 1 to 255: ``failed``.

        Raises:
            TypeError, ValueError: `exit_code` is not such an integer.
        """
        how = exit_of_code(0 if exit_code is None else checked_exit_code(exit_code))
        self._lifecycle.end(how, explicit=True)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lifecycle.end(exit_of(kind, error, trace), explicit=True)

    # -- copies: there is one object for a run in a process ------------------------------------------------------

    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, memo: Any) -> Run:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the address of the run: another process that unpickles it attaches to the run, as a further writer."""
        return self._lifecycle.attach, (self._lifecycle.address(),), {"step": self._step}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._step = max(self._step, state["step"])

    # -- how it is shown ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return (
            f"<tracker.Run {self.id} ({self.name}) in {self.project}: {self.state}, kept {self._lifecycle.location()}>"
        )

    def _repr_html_(self) -> str:
        """Return a small table, for notebooks."""
        rows = {"run": f"{self.name} ({self.id})", "project": self.project, "state": self.state, "directory": self.dir}
        from html import escape

        cells = "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
        url = self.url
        link = f'<a href="{escape(url)}" target="_blank" rel="noreferrer">open in the dashboard</a>' if url else ""
        return f"<table>{cells}</table>{link}"
