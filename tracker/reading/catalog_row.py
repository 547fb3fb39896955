"""CatalogRow: what the catalog keeps of a run; CatalogRun: a stored run that answers from it and opens no file.

Used on any thread. What is in a row may come from an untrusted directory: every part is checked before it is used, and
where one is not valid the run itself is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.errors import RecordError
from tracker.reading.run_files import SINKS, Look, sizes
from tracker.reading.stored_run import StoredRun
from tracker.reading.views import ReadOnlyDict

MAX_PART_BYTES = 64 * 1024
"""Maximum size of a packed part of a row, in bytes; a run whose config or summary is larger is read where it is."""

TEXTS = ("name", "project", "group", "job_type", "state")
NUMBERS = ("step", "start_time", "end_time", "last_time", "records", "points", "deleted")
PARTS = ("about", "config", "summary", "rest")
COLUMNS = ("id", "directory", "content", "flags", "changed", *TEXTS, *NUMBERS, *PARTS)
"""Columns of the catalog: the id, `run_files.Look`, fields of the state, and its other parts, packed."""

_AT = {name: index for index, name in enumerate(COLUMNS)}
_FIELDS = {name: _AT[name] for name in (*TEXTS, *NUMBERS)}
_REST = frozenset({"writers", "traceback"})
"""Parts of the state that are large, and rarely asked for."""

_LEFT_OUT = frozenset({"id", "config", "summary", "aggregates", *TEXTS, *NUMBERS, *_REST})

_TYPES: Mapping[str, Mapping[str, type]] = {
    "about": {
        "tags": list,
        "notes": str,
        "exit_code": int,
        "signal": int,
        "reason": str,
        "metrics": dict,
        "losses": dict,
        "color": str,
        "edits": dict,
    },
    "rest": {"traceback": str, "writers": dict},
}
"""Types of values in the packed parts, besides None."""


class NotInCatalogError(Exception):
    """The row does not have this part of the state, or not a valid one."""


class CatalogRow:
    """A row. Its packed parts are unpacked when they are first asked for.

    Attributes:
        values: the values of `COLUMNS`.
    """

    __slots__ = ("_parts", "values")

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values
        self._parts: dict[str, dict[str, Any]] | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        id: str = self.values[0]
        return id

    @property
    def state(self) -> str:
        """The run's state as stored: a running run may be stalled."""
        state: str = self.values[_AT["state"]]
        return state

    def is_same_state(self, other: CatalogRow | None) -> bool:
        """Whether two rows of one run hold the same state, whatever its files looked like."""
        start = _AT["name"]
        return other is not None and self.values[start:] == other.values[start:]

    def get(self, key: str) -> Any:
        """Return a value of the state.

        Raises:
            NotInCatalogError: the row does not have it.
        """
        index = _FIELDS.get(key)
        if index is not None:
            return self.values[index]
        if key in ("config", "summary"):
            return self._part(key)
        return self._part("rest" if key in _REST else "about").get(key)

    def view(self, name: str) -> ReadOnlyDict:
        """Return the config or the summary, read-only.

        Raises:
            NotInCatalogError: the row does not have it.
        """
        part = self._part(name)
        if not isinstance(part, ReadOnlyDict):
            part = ReadOnlyDict.of(part, self.values[0], name)
            assert self._parts is not None
            self._parts[name] = part
        return part

    def to_map(self) -> dict[str, Any]:
        """Return the state without its aggregates.

        Raises:
            NotInCatalogError: the row does not have all of it.
        """
        fields = {name: self.values[index] for name, index in _FIELDS.items()}
        parts = {"config": self._part("config"), "summary": self._part("summary")}
        return {"id": self.values[0], **self._part("about"), **self._part("rest"), **fields, **parts}

    def _part(self, name: str) -> dict[str, Any]:
        parts = self._parts
        if parts is None:
            parts = self._parts = {}
        part = parts.get(name)
        if part is None:
            part = parts[name] = _unpacked(name, self.values[_AT[name]])
        return part


def _unpacked(name: str, packed: Any) -> dict[str, Any]:
    if packed is None:
        raise NotInCatalogError
    try:
        part = unpack(packed)
    except RecordError as error:
        raise NotInCatalogError from error
    if type(part) is not dict:
        raise NotInCatalogError
    for key, kind in _TYPES.get(name, {}).items():
        value = part.get(key)
        if value is not None and type(value) is not kind:
            raise NotInCatalogError
    return part


def make_row(id: str, files: Look, state: Mapping[str, Any]) -> CatalogRow | None:
    """Return the row of a run; None if its state is not as a sidecar writes it, so that no row can hold it.

    Args:
        id: the run's id.
        files: what its files looked like before it was read.
        state: its state, as `RunState.to_map` returns it.
    """
    texts = [state.get(name) for name in TEXTS]
    numbers = [int(value) if type(value) is bool else value for value in map(state.get, NUMBERS)]
    if not all(text is None or type(text) is str for text in texts) or type(state.get("state")) is not str:
        return None
    if not all(number is None or _is_kept(number) for number in numbers):
        return None
    about = {key: value for key, value in state.items() if key not in _LEFT_OUT}
    parts = [about, state.get("config"), state.get("summary"), {key: state.get(key) for key in _REST}]
    if not all(type(part) is dict for part in parts):
        return None
    try:
        packed = [pack(part) for part in parts]
    except Exception:  # whatever a state from elsewhere holds that cannot be packed again
        return None
    kept = [part if len(part) <= MAX_PART_BYTES else None for part in packed]
    return CatalogRow((id, *files, *texts, *numbers, *kept))


def _is_kept(number: Any) -> bool:
    """Whether SQLite returns a number as it was given."""
    return (type(number) is int and -(2**63) <= number < 2**63) or (type(number) is float and number == number)


PLAIN = frozenset({"name", "project", "group", "job_type", "state", "step", "start_time", "end_time", "points"})
"""Fields that `field_reader` reads."""


def field_reader(field: str) -> Callable[[StoredRun], Any]:
    """Return a function that returns one of the fields `PLAIN` of a run, as its attribute does, but faster."""
    index, attribute = _FIELDS[field], attrgetter(field)
    # Values in a row for which the attribute has another: the id for no name, "stalled" for some running runs.
    replaced = {"name": (None, ""), "points": (None,), "state": ("running",)}.get(field, ())

    def read(run: StoredRun) -> Any:
        if type(run) is CatalogRun and run._row is not None and run._state is None:
            value = run._row.values[index]
            if value not in replaced:
                return value
        return attribute(run)

    return read


class CatalogRun(StoredRun):
    """A stored run whose state is in the catalog. What the catalog does not have is read from the run.

    Args:
        runs: the directory that holds the runs.
        stalled_after: see `StoredRun`.
        row: its row.
    """

    def __init__(self, runs: Path, stalled_after: float, row: CatalogRow) -> None:
        self._stalled_after = stalled_after
        self._runs = runs
        self._row: CatalogRow | None = row
        self._state = None
        self.id = row.values[0]

    @property
    def dir(self) -> Path:  # type: ignore[override]
        """Its directory."""
        return self._runs / self.id

    @property
    def config(self) -> dict[str, Any]:
        view = self._view("config")
        return super().config if view is None else view

    @property
    def summary(self) -> dict[str, Any]:
        view = self._view("summary")
        return super().summary if view is None else view

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        row = self._row
        if row is not None and not row.values[_AT["flags"]] & SINKS:
            return {}
        return super().sinks

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of its log and its store, in bytes."""
        return super().sizes if self._row is None else sizes(self._row.values[_AT["content"]])

    def refresh(self) -> StoredRun:
        self._row = None
        return super().refresh()

    def _view(self, name: str) -> ReadOnlyDict | None:
        if self._row is not None and self._state is None:
            try:
                return self._row.view(name)
            except NotInCatalogError:
                self._row = None
        return None

    def _get(self, key: str) -> Any:
        if self._row is not None and self._state is None:
            try:
                return self._row.get(key)
            except NotInCatalogError:
                self._row = None
        return super()._get(key)

    def _load(self) -> dict[str, Any]:
        if self._row is not None and self._state is None:
            try:
                self._state = self._row.to_map()
            except NotInCatalogError:
                self._row = None
        return super()._load()
