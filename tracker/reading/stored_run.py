"""StoredRun: a run in its directory: its state, history and files, and edits by users.

Used on any thread and in any process, also while the run is being written. Does not know about sidecars.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from sidecar.protocol.layout import FILES_NAME, LOG_NAME, STORE_NAME
from sidecar.protocol.limits import PART_PREFIX
from sidecar.protocol.plain import flatten
from sidecar.protocol.sink_progress import all_progress
from tracker.errors import EditError, UnknownMetricError
from tracker.reading.editing import UNDO, RunEditor, edit_run, editor_of
from tracker.reading.reader import DEFAULT_COUNT, RunReader, SamplingReader
from tracker.reading.stores import open_store, read_state
from tracker.reading.views import ReadOnlyDict, ReadOnlyList
from tracker.terminal.text import some

if TYPE_CHECKING:
    import pandas

    from sidecar.projections.store.buckets import Buckets


_NOT_GIVEN: Any = type("NotGiven", (), {"__repr__": lambda self: "<unchanged>"})()


class StoredFile(NamedTuple):
    """A file of a run.

    Attributes:
        name: its path below the run's ``files`` directory, with ``/``.
        path: where it is.
        size: in bytes.
    """

    name: str
    path: Path
    size: int


class StoredRun:
    """A run of `tracker.Api`. Its state is read at first use and cached; `refresh()` discards the cache.

    Attributes:
        id: its id, which is also the name of its directory.
        dir: its directory.
    """

    def __init__(self, directory: Path, stalled_after: float) -> None:
        self._stalled_after = stalled_after
        self.id = directory.name
        self.dir = directory
        self._state: dict[str, Any] | None = None

    @property
    def place(self) -> str:
        """Its directory or the server's address, for people."""
        return str(self.dir)

    @property
    def name(self) -> str:
        """The run's name; its id if it has none."""
        return self._get("name") or self.id

    @property
    def project(self) -> str | None:
        """The project it belongs to."""
        return self._text("project")

    @property
    def group(self) -> str | None:
        """The group it belongs to."""
        return self._text("group")

    @property
    def job_type(self) -> str | None:
        """The kind of job, such as ``"train"``."""
        return self._text("job_type")

    @property
    def tags(self) -> list[str]:
        """Its tags, read-only."""
        return ReadOnlyList.of(self._get("tags") or [], self.id, "tags")

    @property
    def notes(self) -> str | None:
        """Free text about it."""
        return self._text("notes")

    @property
    def color(self) -> str | None:
        """The color that a user gave it, ``"#rrggbb"`` or a name; None if it has no color."""
        return self._text("color")

    @property
    def deleted(self) -> bool:
        """Whether a user deleted it: it is left out of listings, and can be brought back with `undo`."""
        return bool(self._get("deleted"))

    @property
    def edits(self) -> dict[str, Any]:
        """What users edited: ``fields``, such as ``["name", "config.lr"]``; ``undo``, how many edits can be undone;
        ``time`` and ``by`` of the last of these."""
        return self._map("edits") or {"fields": [], "undo": 0, "time": None, "by": None}

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, read-only."""
        return ReadOnlyDict.of(self._get("config") or {}, self.id, "config")

    @property
    def summary(self) -> dict[str, Any]:
        """One value per metric, the last or what `define_metric` asks for; read-only."""
        return ReadOnlyDict.of(self._get("summary") or {}, self.id, "summary")

    @property
    def metrics(self) -> dict[str, Any]:
        """Definitions made with `define_metric`: pattern -> options."""
        return self._map("metrics")

    @property
    def state(self) -> str:
        """``"running"``, ``"finished"``, ``"failed"``, ``"killed"``, ``"preempted"`` or ``"crashed"``.

        ``"stalled"``: a running run without a record for longer than `stalled_after`. ``"unreadable"``: neither its
        store nor its log can be read; `reason` says why.
        """
        state = str(self._get("state"))
        if state == "running" and time.time() - (self.last_time or time.time()) > self._stalled_after:
            return "stalled"
        return state

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process that ended it, if known."""
        return self._whole("exit_code")

    @property
    def signal(self) -> int | None:
        """Number of the signal that ended it, if one did."""
        return self._whole("signal")

    @property
    def traceback(self) -> str | None:
        """Traceback of the exception that ended it, if one did."""
        return self._text("traceback")

    @property
    def reason(self) -> str | None:
        """Why it ended, in words, if known."""
        return self._text("reason")

    @property
    def losses(self) -> dict[str, int]:
        """Number of lost records by reason; empty if none was lost."""
        return self._map("losses")

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """The servers it is sent to: address -> ``behind_bytes`` (still to be sent), ``error``, ``offline``."""
        return {
            progress.address: {
                "behind_bytes": progress.behind_bytes(self.dir),
                "error": progress.error,
                "offline": progress.offline,
            }
            for progress in all_progress(self.dir)
        }

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of its log and its store, in bytes; 0 for one that is not there."""
        return _size(self.dir / LOG_NAME), _size(self.dir / STORE_NAME)

    @property
    def writers(self) -> dict[str, dict[str, Any]]:
        """The processes that wrote to it: client id -> ``label``, ``host``, ``pid``, ``state``, ``step`` and more."""
        return self._map("writers")

    @property
    def start_time(self) -> float | None:
        """Start, in Unix seconds."""
        return self._moment("start_time")

    @property
    def end_time(self) -> float | None:
        """End, in Unix seconds; None while it is running."""
        return self._moment("end_time")

    @property
    def last_time(self) -> float | None:
        """Time of its last record, in Unix seconds."""
        return self._moment("last_time")

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end, its last record if it has no end, or to now while it is running."""
        start = self.start_time
        if start is None:
            return None
        end = time.time() if self.state == "running" else self.end_time or self.last_time or start
        return end - start

    @property
    def step(self) -> int | None:
        """Largest step logged; None if nothing was."""
        return self._whole("step")

    @property
    def records(self) -> int:
        """Number of `log` calls."""
        return int(self._get("records") or 0)

    @property
    def points(self) -> int:
        """Number of values logged."""
        return int(self._get("points") or 0)

    def keys(self) -> list[str]:
        """Return the names of all metrics that were logged."""
        return self.store().keys()

    @overload
    def history(
        self, keys: Sequence[str] | None = None, samples: int | None = None, x: str = "step", *, pandas: Literal[True]
    ) -> pandas.DataFrame: ...

    @overload
    def history(
        self, keys: Sequence[str] | None, samples: int | None, x: str, pandas: Literal[True]
    ) -> pandas.DataFrame: ...

    @overload
    def history(
        self,
        keys: Sequence[str] | None = None,
        samples: int | None = None,
        x: str = "step",
        pandas: Literal[False] | None = None,
    ) -> dict[str, list[Any]]: ...

    def history(
        self,
        keys: Sequence[str] | None = None,
        samples: int | None = None,
        x: str = "step",
        pandas: bool | None = None,
    ) -> dict[str, list[Any]] | pandas.DataFrame:
        """Return what was logged as columns, in the order of steps.

        Args:
            keys: only these metrics, and only rows that have one of them; None for all.
            samples: at most this many rows: `x` is divided into intervals of equal width, and of each the rows with
                the smallest and the largest value of each metric are returned. None for every row.
            x: what `samples` is spread over: ``"step"``, ``"time"``, or a metric.
            pandas: True for a `pandas.DataFrame`; else plain lists.

        Returns:
            ``_step`` (integers), ``_timestamp`` (Unix seconds), where there are several writers ``_label``, and a
            column for each metric, with None where a row does not have it. All columns have the same length.

        Raises:
            UnknownMetricError: a metric that was never logged. TypeError, ValueError: an argument that is not valid.
            ImportError: pandas is asked for and not installed.
        """
        keys = _checked_keys(keys)
        samples = _integer(samples, "samples must be a number of rows or None")
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be at least 1, or None for every row, not {samples}")
        if not isinstance(x, str):
            raise TypeError(f"x must be 'step', 'time' or a metric's name, not {x!r}")
        store = self.store()
        self._check_logged(store, [*(keys or ()), *(() if x in ("step", "time") else (x,))])
        columns = None
        if samples is not None and isinstance(store, SamplingReader):
            columns = store.sampled(store.keys() if keys is None else keys, samples, x)
        if columns is None:
            from sidecar.projections.store.rows import columns_for, history

            columns = history(store.columns(columns_for(keys, x)), keys, samples, x)
        if not _has_labels(store):
            del columns["_label"]
        if not pandas:
            return columns
        from tracker.reading.frames import frame

        return frame(columns)

    def scan_history(
        self, keys: Sequence[str] | None = None, min_step: int | None = None, max_step: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator over every row in the order of steps.

        A row has ``_step``, ``_timestamp``, where there are several writers ``_label``, and the metrics of that step.

        Args:
            keys: only these metrics, and only rows that have one of them; None for all.
            min_step: from this step on.
            max_step: up to this step, itself included.

        Raises:
            UnknownMetricError: a metric that was never logged. TypeError: an argument that is not valid.
        """
        from sidecar.projections.store.rows import rows

        keys = _checked_keys(keys)
        min_step = _integer(min_step, "min_step must be a step, an integer")
        max_step = _integer(max_step, "max_step must be a step, an integer")
        store = self.store()
        self._check_logged(store, keys or ())
        every_row = rows(store.columns(keys, min_step, max_step), keys, min_step, max_step)
        return every_row if _has_labels(store) else map(_without_label, every_row)

    def buckets(
        self,
        keys: Sequence[str],
        x: str = "step",
        low: float | None = None,
        high: float | None = None,
        count: int = DEFAULT_COUNT,
        log_x: bool = False,
    ) -> Iterator[Buckets]:
        """Return an iterator over the numbers of each metric and writer in buckets, as charts need them.

        The range of `x` is cut into `count` intervals; each has the smallest and the largest value, the mean, the last
        value and the number of values in it. Where the range has no more than `count` points, they are returned as they
        are. Of several values with the same step and writer the last one counts.

        Args:
            keys: the metrics; one that never had a number has no buckets.
            x: ``"step"``, ``"relative"`` (seconds since the run's start), ``"time"`` (Unix seconds), or a metric.
            low, high: the range of `x`, both ends included; None for the smallest and the largest x of each series.
            count: maximum number of buckets.
            log_x: cut the range into equal ratios instead of equal widths; points with x <= 0 are left out.

        Raises:
            UnknownMetricError: a metric that was never logged. TypeError, ValueError: an argument that is not valid.
        """
        wanted = _checked_keys(keys) or []
        whole = _integer(count, "count must be a number of buckets")
        if whole is None:
            raise TypeError("count must be a number of buckets, not None")
        if not isinstance(x, str):
            raise TypeError(f"x must be 'step', 'relative', 'time' or a metric's name, not {x!r}")
        store = self.store()
        self._check_logged(store, [*wanted, *(() if x in ("step", "relative", "time") else (x,))])
        return store.buckets(wanted, x, low, high, whole, log_x=log_x)

    def _check_logged(self, store: RunReader, keys: Sequence[str]) -> None:
        if keys:
            logged = store.keys()
            unknown = [key for key in keys if key not in set(logged)]
            if unknown:
                raise UnknownMetricError(
                    f"run {self.id!r} never logged {', '.join(unknown)}; it logged {some(logged, 10)}"
                )

    def files(self) -> list[StoredFile]:
        """Return the files that were saved with the run, by name."""
        top = self.dir / FILES_NAME
        paths = [path for path in sorted(top.rglob("*")) if path.is_file() and not path.name.startswith(PART_PREFIX)]
        return [StoredFile(path.relative_to(top).as_posix(), path, path.stat().st_size) for path in paths]

    def update(
        self,
        *,
        name: str = _NOT_GIVEN,
        tags: Iterable[str] = _NOT_GIVEN,
        notes: str | None = _NOT_GIVEN,
        group: str | None = _NOT_GIVEN,
        job_type: str | None = _NOT_GIVEN,
        color: str | None = _NOT_GIVEN,
        config: Mapping[str, Any] = _NOT_GIVEN,
        summary: Mapping[str, Any] = _NOT_GIVEN,
    ) -> StoredRun:
        """Edit the run; return it with its new state. Only what is given is changed.

        An edit is a record in the run's log. It is made by the sidecar that holds the run, or by one that is launched.
        It takes precedence over what the run's own program says, also over what it says later, until it is undone. It
        does not resume the run, and leaves its state and its times as they are.

        Args:
            name: its name.
            tags: all of its tags.
            notes: free text about it; None for none.
            group: the group it belongs to; None for none.
            job_type: the kind of job; None for none.
            color: the color of its curves: ``"#rrggbb"``, or blue, orange, green, red, purple, brown, pink, gray, olive
                or cyan; None for the usual one.
            config: new values of keys of its configuration.
            summary: new values of keys of its summary.

        Raises:
            EditError: it could not be edited; the message says why. RunNotFoundError: it does not exist any more.
            TypeError, ValueError: a value that is not valid.
        """
        given = {
            "name": name,
            "tags": tags,
            "notes": notes,
            "group": group,
            "job_type": job_type,
            "color": color,
            "config": config,
            "summary": summary,
        }
        edit_run(self, {key: value for key, value in given.items() if value is not _NOT_GIVEN})
        return self

    def delete(self) -> StoredRun:
        """Hide the run from listings: `undo` brings it back, and ``tracker rm`` removes it for good.

        Raises:
            EditError: as `update`.
        """
        edit_run(self, {"deleted": True})
        return self

    def undo(self) -> StoredRun:
        """Take back the last edit that was not taken back; return the run with its new state.

        The last 20 edits can be undone. To undo an undo, edit the run again.

        Raises:
            EditError: there is none, or as `update`.
        """
        if not self.refresh().edits["undo"]:
            raise EditError(f"run {self.id!r} has no edit that can be undone")
        edit_run(self, {UNDO: True})
        return self

    def to_row(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the fields `names`, then ``config.<key>`` and ``summary.<key>``, nested keys joined with dots."""
        row = {name: getattr(self, name) for name in names}
        for part in ("config", "summary"):
            row |= {".".join((part, *path)): value for path, value in flatten(self._map(part))}
        return row

    def editor(self) -> RunEditor:
        """Return what edits the run; for `tracker.reading.editing`.

        Raises:
            TrackerError: it cannot be edited from here.
        """
        return editor_of(self.dir.parent.parent)

    def refresh(self) -> StoredRun:
        """Discard the cached state, so that it is read again; return the run itself."""
        self._state = None
        return self

    def to_map(self) -> dict[str, Any]:
        """Return the run's state as plain data, without its history."""
        self._load()
        names = (
            "id name project group job_type tags notes color deleted edits state exit_code signal traceback reason "
            "start_time end_time last_time step records points config summary metrics losses writers sinks"
        )
        plain = {"tags": list(self._get("tags") or ()), "config": self._map("config"), "summary": self._map("summary")}
        return {name: getattr(self, name) for name in names.split()} | plain | {"dir": self.place}

    def snapshot(self) -> dict[str, Any]:
        """Return the run's state as it is stored, as `RunState.to_map` does."""
        return self._load()

    def store(self) -> RunReader:
        """Return a reader of the run's store; a missing or damaged store is first rebuilt from the log.

        Raises:
            StoreError: it cannot be rebuilt, for example on a read-only medium; the message says why.
        """
        return open_store(self.dir)

    def _load(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._read_state()
        return self._state

    def _read_state(self) -> dict[str, Any]:
        return read_state(self.dir)

    def _get(self, key: str) -> Any:
        return self._load().get(key)

    def _text(self, key: str) -> str | None:
        text: str | None = self._get(key)
        return text

    def _whole(self, key: str) -> int | None:
        number: int | None = self._get(key)
        return number

    def _moment(self, key: str) -> float | None:
        moment: float | None = self._get(key)
        return moment

    def _map(self, key: str) -> dict[str, Any]:
        return dict(self._get(key) or {})

    def _repr_html_(self) -> str:
        from tracker.reading.display import run_html

        return run_html(self)

    def __repr__(self) -> str:
        return f"<StoredRun {self.id!r} in {str(self.dir.parent.parent)!r}>"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _integer(value: Any, must_be: str) -> int | None:
    """Return an integer of any library as an int; None for None."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return None if value is None else operator.index(value)
    except TypeError:
        raise TypeError(f"{must_be}, not {value!r}") from None


def _has_labels(store: RunReader) -> bool:
    """Whether the rows of a run have ``_label``, because it has several writers."""
    return len(store.state().get("writers") or ()) > 1


def _without_label(row: dict[str, Any]) -> dict[str, Any]:
    row.pop("_label", None)
    return row


def _checked_keys(keys: Sequence[str] | None) -> list[str] | None:
    if keys is None:
        return None
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise TypeError(f"keys must be a list of metric names such as ['loss'], not {keys!r}")
    return list(dict.fromkeys(keys))
