"""RunState: the state of a run, folded from its records: config, summary, writers, losses, and how it ended.

Owns no file and no thread; its owner applies every record of one log, once and in order. The same records give the same
state, also if it was converted to a map and back in between. Knows nothing of logs, stores or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sidecar.projections.edits import Edits, Target
from sidecar.projections.losses import Losses
from sidecar.projections.registry import state_parts
from sidecar.projections.summary import SummaryAggregates
from sidecar.protocol.patterns import resolve
from sidecar.protocol.records import END_STATES, RELAY, Record, kinds_of
from sidecar.protocol.rows import Item, Rows

_ABOUT = ("project", "name", "group", "job_type", "tags", "notes")
_WRITER = ("label", "parent", "host", "pid", "program", "python")
_END = ("exit_code", "signal", "traceback", "reason")
_DEFINITION = ("step_metric", "step_sync", "summary", "goal")


class WriterState:
    """The state of one writer, an attached process.

    Attributes:
        about: label, parent, host, pid, program, python.
        name: value of ``_label`` in its rows.
        state: ``"running"``, or how it ended; `end` has exit_code, signal, traceback and reason.
        preempting: whether it announced that the machine is about to be preempted.
        final: whether it is a forked child that ended the run itself: a daemon.
        session: number of times that the run had been resumed when the writer last started.
        seq: number of its last record.
        step: its largest step.
        last_time: time of its last record.
    """

    __slots__ = ("about", "end", "final", "last_time", "name", "preempting", "seq", "session", "state", "step")

    def __init__(self) -> None:
        self.about: dict[str, Any] = dict.fromkeys(_WRITER)
        self.name: str | None = None
        self.state = "running"
        self.end: dict[str, Any] = dict.fromkeys(_END)
        self.preempting = self.final = False
        self.session = 0
        self.seq = 0
        self.step: int | None = None
        self.last_time: float | None = None

    @property
    def primary(self) -> bool:
        """Whether it affects how the run ends; a forked child does not."""
        return self.about["parent"] is None

    def to_map(self) -> dict[str, Any]:
        return {
            **self.about,
            "name": self.name,
            "state": self.state,
            **self.end,
            "preempting": self.preempting,
            "final": self.final,
            "session": self.session,
            "seq": self.seq,
            "step": self.step,
            "last_time": self.last_time,
        }

    @classmethod
    def from_map(cls, stored: Mapping[str, Any]) -> WriterState:
        writer = cls()
        writer.about = {key: stored.get(key) for key in _WRITER}
        writer.end = {key: stored.get(key) for key in _END}
        writer.name = stored.get("name")
        writer.state = stored.get("state", "running")
        writer.preempting = stored.get("preempting", False)
        writer.final = stored.get("final", False)
        writer.session = stored.get("session", 0)
        writer.seq = stored.get("seq", 0)
        writer.step = stored.get("step")
        writer.last_time = stored.get("last_time")
        return writer


class RunState:
    """The state of a run.

    Attributes:
        id: the run's id.
        about: project, name, group, job_type, tags, notes.
        config: the current configuration.
        summary: the summary and its aggregates; ``summary.values`` is what users see.
        metrics: pattern -> the definition of its metrics.
        state: ``"running"``, or how it ended: one of `END_STATES`.
        end: exit_code, signal, traceback and reason of the writer whose end determines `state`.
        start_time, end_time, last_time: Unix seconds; end_time is None while it runs.
        step: the largest step.
        records, points: counts of ``log`` records, and of the values in them.
        writers: client id -> `WriterState`. Fire-and-forget records (without a client id) have none.
        parts: name -> a part of the state that has a module of its own; see `sidecar.projections.registry`.
        losses: the part that counts lost records.
        edits: the part that holds what users changed. `about`, `config` and ``summary.values`` show these values; what
            the writers said of the same keys is kept beside them, and shows again when an edit is undone.
    """

    def __init__(self) -> None:
        self.id = ""
        self.about: dict[str, Any] = {**dict.fromkeys(_ABOUT), "tags": []}
        self.config: dict[str, Any] = {}
        self.metrics: dict[str, dict[str, Any]] = {}
        self.summary = SummaryAggregates(self.metrics)
        self.state = "running"
        self.end: dict[str, Any] = dict.fromkeys(_END)
        self.start_time: float | None = None
        self.end_time: float | None = None
        self.last_time: float | None = None
        self.step: int | None = None
        self.records = 0
        self.points = 0
        self.writers: dict[str, WriterState] = {}
        self._start_given = False
        self._session = 0
        self._active: dict[str, WriterState] = {}
        self.parts = state_parts()
        losses = self.parts["losses"]
        edits = self.parts["edits"]
        assert isinstance(losses, Losses) and isinstance(edits, Edits)
        self.losses = losses
        self.edits = edits
        self._covered: dict[Target, list[Any]] = {}  # target -> the writers' value in a list, if any
        self._routes: dict[str, list[Callable[[Record], None]]] = {
            "run": [self._uncover, self._on_run, self._cover],
            "config": [self._uncover, self._on_config, self._cover],
            "summary": [self._uncover, self._on_summary, self._cover],
            "define": [self._on_define],
            "preempting": [self._on_preempting],
            "exit": [self._on_exit],
            "edit": [self._uncover],
        }
        for name, part in self.parts.items():
            for kind in kinds_of(name):
                self._routes.setdefault(kind, []).append(part.apply)
        self._routes["edit"].append(self._cover)

    def take(self, items: Iterable[Item]) -> None:
        """Take the next records of the log."""
        for item in items:
            if isinstance(item, Rows):
                self._apply_rows(item)
            else:
                self.apply(item)

    def apply(self, record: Record) -> None:
        """Take one record that was checked; its kind may be unknown."""
        kind, _, client, seq, time, body = record
        if kind != "log":
            if kind == "edit":
                self._on_edit(record)
                return
            if kind == "schema" and not client:
                return  # the sidecar declares a client's schema again
            if kind == "run" and self.last_time is not None and body.get("parent") == RELAY:
                time = self.last_time  # a relay begins when it has something to relay: the run itself does not move
        if self.last_time is None:
            self.id = record.run
            if self.start_time is None:
                self.start_time = time
        self.last_time = time
        writer = self._active.get(client)
        if writer is None and client:
            if not _from_sidecar(record):
                writer = self._begin(client, body.get("parent") if kind == "run" else None)
            elif client in self.writers:
                self.writers[client].seq = seq  # the record is about another client, but it uses a number
        if writer is not None:
            writer.last_time = time
            writer.seq = seq
        if kind != "log":
            for route in self._routes.get(kind, ()):
                route(record)
            return
        data = body["data"]
        self._count(writer, 1, len(data), body["step"])
        covered = self._covered
        if covered:
            self._uncover()
        self.summary.log(data)
        if covered:
            self._cover()
        for route in self._routes.get("log", ()):
            route(record)

    def _apply_rows(self, rows: Rows) -> None:
        """Take rows: the same as `apply` for each of the records that they stand for."""
        if "log" in self._routes:
            for record in rows.records():
                self.apply(record)
            return
        schema, time = rows.schema, rows.times[-1]
        if self.last_time is None:
            self.id = schema.run
            if self.start_time is None:
                self.start_time = rows.times[0]
        self.last_time = time
        writer = self._active.get(schema.client) or self._begin(schema.client, None)
        writer.last_time = time
        writer.seq = rows.last
        self._count(writer, rows.count, len(schema.keys), max(rows.steps))
        covered = self._covered
        if covered:
            self._uncover()
        self.summary.log_columns(schema.keys, rows.columns)
        if covered:
            self._cover()

    def _count(self, writer: WriterState | None, rows: int, keys: int, step: int) -> None:
        """Count ``log`` records, whose largest step is `step`."""
        self.records += rows
        self.points += rows * keys
        if self.step is None or step > self.step:
            self.step = step
        if writer is not None and (writer.step is None or step > writer.step):
            writer.step = step

    def definition(self, key: str) -> dict[str, Any]:
        """Return the definition of a metric: those of step_metric, step_sync, summary and goal that are defined."""
        return resolve(self.metrics, key)

    def _begin(self, client: str, parent: str | None) -> WriterState:
        """Start a writer that is new, or that has sent a record after its end. If all had ended, the run is resumed."""
        writer = self.writers.get(client)
        if writer is None:
            writer = self.writers[client] = WriterState()
            writer.about["parent"] = parent
            self._rename(client, writer)
        if writer.primary and self.state != "running":
            self._session += 1
            self.state, self.end, self.end_time = "running", dict.fromkeys(_END), None
        writer.state, writer.end, writer.preempting, writer.final = "running", dict.fromkeys(_END), False, False
        writer.session = self._session
        self._active[client] = writer
        return writer

    def _rename(self, client: str, writer: WriterState) -> None:
        """Set the value of ``_label``: the label, or the client id if there is none and another writer has no name."""
        label = writer.about["label"]
        unnamed = any(
            other is not writer and other.name is None and other.state == "running" for other in self.writers.values()
        )
        writer.name = label if label is not None else client if unnamed or not writer.primary else None

    def _on_run(self, record: Record) -> None:
        body = record.body
        for key in _ABOUT:
            if key in body:
                self.about[key] = body[key]
        if "start_time" in body and not self._start_given:
            self.start_time, self._start_given = body["start_time"], True
        writer = self.writers.get(record.client)
        if writer is None:
            return
        for key in _WRITER:
            if key in body:
                writer.about[key] = body[key]
        self._rename(record.client, writer)
        if not writer.primary and self.state == "running":
            self._decide_end(record.time)

    def _on_edit(self, record: Record) -> None:
        """Apply an edit. It is nothing that the run itself does: its times, its state and its writers stay the same."""
        self.id = self.id or record.run
        writer = self.writers.get(record.client)
        if writer is not None:
            writer.seq = record.seq
        elif record.client:
            self._begin(record.client, None).seq = record.seq
        for route in self._routes["edit"]:
            route(record)

    def _shown(self, part: str) -> dict[str, Any] | None:
        """Return the values of a part that edits are laid over."""
        return self.config if part == "config" else self.summary.values if part == "summary" else None

    def _uncover(self, _: Record | None = None) -> None:
        """Show the writers' own values, for them to be changed."""
        for (part, key), value in self._covered.items():
            shown = self._shown(part)
            if shown is None:
                self.about[part] = value[0]
            elif value:
                shown[key] = value[0]
            else:
                shown.pop(key, None)
        self._covered = {}

    def _cover(self, _: Record | None = None) -> None:
        """Lay the edited values over those of the writers, which are kept."""
        for (part, key), value in self.edits.values.items():
            shown = self._shown(part)
            if shown is not None:
                self._covered[part, key] = [shown[key]] if key in shown else []
                shown[key] = value
            elif part in self.about:
                self._covered[part, key] = [self.about[part]]
                self.about[part] = value

    def _on_config(self, record: Record) -> None:
        _change(self.config, record.body)

    def _on_summary(self, record: Record) -> None:
        _change(self.summary.values, record.body)

    def _on_define(self, record: Record) -> None:
        body = record.body
        known = self.metrics.pop(body["metric"], {})
        changes = {key: body[key] for key in _DEFINITION if key in body}
        self.metrics[body["metric"]] = {**known, **changes}
        self.summary.redefined()

    def _on_preempting(self, record: Record) -> None:
        writer = self.writers.get(record.client)
        if writer is not None:
            writer.preempting = True

    def _on_exit(self, record: Record) -> None:
        body = record.body
        client = body.get("writer", record.client)
        if not client:
            return
        writer = self.writers.get(client)
        if writer is None:
            writer = self._begin(client, None)
        elif writer.state != "running":
            return  # it reported its own end
        self._active.pop(client, None)
        state = body["state"]
        if writer.preempting and state in ("killed", "crashed"):
            state = "preempted"
        writer.state = state if state in END_STATES else "crashed"
        writer.end = {key: body.get(key) for key in _END}
        writer.final = bool(body.get("final"))
        if writer.final or writer.state == "crashed":
            self._let_daemons_end()
        if writer.primary or writer.final:
            self._decide_end(record.time)

    def _let_daemons_end(self) -> None:
        """Let the end of a daemon be that of its parents, whose processes ended without one."""
        daemons = [] if self._active else [writer for writer in self.writers.values() if writer.final]
        for daemon in daemons:
            parent = self.writers.get(daemon.about["parent"])
            while parent is not None and parent.state == "crashed":
                parent.state, parent.end = daemon.state, dict(daemon.end)
                parent = self.writers.get(parent.about["parent"])

    def _decide_end(self, time: float) -> None:
        """Set how the run ended, once every primary writer has; those from before a resume do not count."""
        primary = [writer for writer in self.writers.values() if writer.primary]
        if not primary or any(writer.state == "running" for writer in primary):
            return
        last = [writer for writer in primary if writer.session == self._session] or primary
        worst = max(last, key=lambda writer: END_STATES.index(writer.state))
        self.state, self.end, self.end_time = worst.state, dict(worst.end), time

    def to_map(self) -> dict[str, Any]:
        """Return the state as plain data: what users see, and under "aggregates" what `from_map` needs in addition."""
        return {
            "id": self.id,
            **self.about,
            "config": dict(self.config),
            "summary": dict(self.summary.values),
            "metrics": {pattern: dict(definition) for pattern, definition in self.metrics.items()},
            "state": self.state,
            **self.end,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "last_time": self.last_time,
            "step": self.step,
            "records": self.records,
            "points": self.points,
            "color": self.edits.get("color"),
            "deleted": bool(self.edits.get("deleted")),
            **{name: part.shown() for name, part in self.parts.items()},
            "writers": {
                client: {**writer.to_map(), "losses": self.losses.by(client, client)}
                for client, writer in self.writers.items()
            },
            "aggregates": {
                "metrics": {key: dict(aggregates) for key, aggregates in self.summary.aggregates.items()},
                **{name: part.dump() for name, part in self.parts.items()},
                "session": self._session,
                "start_given": self._start_given,
                "covered": [[*target, value] for target, value in self._covered.items()],
            },
        }

    @classmethod
    def from_map(cls, stored: Mapping[str, Any]) -> RunState:
        """Return the state that `to_map` returned as `stored`; for an empty map, a new state."""
        state = cls()
        if not stored:
            return state
        inner = stored["aggregates"]
        state.id = stored["id"]
        state.about = {key: stored[key] for key in _ABOUT}
        state.config = dict(stored["config"])
        state.metrics.update({pattern: dict(definition) for pattern, definition in stored["metrics"].items()})
        state.summary.values.update(stored["summary"])
        state.summary.aggregates.update({key: dict(aggregates) for key, aggregates in inner["metrics"].items()})
        state.summary.redefined()
        state.state = stored["state"]
        state.end = {key: stored[key] for key in _END}
        state.start_time, state.end_time = stored["start_time"], stored["end_time"]
        state.last_time, state.step = stored["last_time"], stored["step"]
        state.records, state.points = stored["records"], stored["points"]
        state.writers = {client: WriterState.from_map(writer) for client, writer in stored["writers"].items()}
        state._active = {client: writer for client, writer in state.writers.items() if writer.state == "running"}
        for name, part in state.parts.items():
            if name in inner:  # else the state was stored before the part existed
                part.restore(inner[name])
        state._session = inner["session"]
        state._start_given = inner["start_given"]
        state._covered = {(part, key): value for part, key, value in inner.get("covered", ())}
        return state


def _from_sidecar(record: Record) -> bool:
    """Return whether the sidecar wrote the record about another client; its client id is not a writer of the run."""
    if record.kind == "exit":
        return "writer" in record.body and record.body["writer"] != record.client
    return record.kind == "losses" and record.body.get("source") == "sidecar"


def _change(values: dict[str, Any], body: Mapping[str, Any]) -> None:
    values.update(body.get("set", {}))
    for key in body.get("delete", ()):
        if type(key) is str:
            values.pop(key, None)
