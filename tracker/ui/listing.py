"""The answers about all runs: meta, changes, runs, columns, keys."""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sidecar import __version__
from sidecar.protocol.errors import SidecarError, reason
from tracker.errors import QueryError, TrackerError
from tracker.reading.api import StoredRun
from tracker.reading.catalog_row import PLAIN, field_reader
from tracker.reading.conditions import MISSING
from tracker.reading.filters import lookup
from tracker.reading.metrics import direction
from tracker.reading.query import select
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard, Row

FIELDS = (
    *("id", "name", "project", "group", "job_type", "tags", "notes", "state", "step", "start_time", "end_time"),
    *("duration", "points", "color", "reason", "place"),
)
"""Columns that every run has."""

MAX_COLUMNS = 500
"""Maximum number of columns in an answer."""

_NOT_CACHED = PLAIN | {"id", "duration"}
"""Columns that are read as fast as a cache, or change without an edit."""

_NUMERIC = frozenset({"step", "start_time", "end_time", "duration", "points"})
_GOALS = {1: "maximize", -1: "minimize", 0: None}


def meta(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return what the dashboard shows, without waiting for the first scan of the runs."""
    return {
        "version": __version__,
        "token": dashboard.token,
        "places": [
            {
                "place": place.api.place,
                "kind": place.kind,
                "writable": place.writable,
                "runs": len(place.rows),
                "error": place.error or None,
            }
            for place in dashboard.places
        ],
        "now": time.time(),
        "indexing": dashboard.indexing,
    }


def changes(dashboard: Dashboard, call: Call) -> dict[str, Any] | None:
    """Return what changed since a cursor; None if nothing did."""
    changes = dashboard.changes(call.query.get("since", ""))
    indexing = dashboard.indexing
    errors = [place.error or None for place in dashboard.places]
    # Errors are told again each time: the page may have got its cursor after its answer of `meta`, which had none yet.
    if not (changes.all or indexing or any(errors)) and changes.cursor == call.query.get("since"):
        return None
    return changes._asdict() | {"now": time.time(), "indexing": indexing, "errors": errors}


_state, _start, _end = map(field_reader, ("state", "start_time", "end_time"))


def _duration(run: StoredRun) -> float | None:
    start = _start(run)
    if start is None:
        return None
    end = time.time() if _state(run) in ("running", "stalled") else _end(run) or run.last_time or start
    return float(end - start)


def reader_of(name: str) -> Callable[[StoredRun], Any]:
    """Return a function that returns a run's value in the column `name`.

    Raises:
        ApiError: there is no such column.
    """
    if name == "tags":
        return lambda run: list(run.tags)
    if name == "duration":
        return _duration
    if name in PLAIN:
        return field_reader(name)
    if name in FIELDS:
        return operator.attrgetter(name)
    part, dot, key = name.partition(".")
    if dot and part in ("config", "summary"):
        return lambda run: None if (value := lookup(getattr(run, part), key)) is MISSING else value
    raise ApiError(400, "column", f"no column {name!r}; columns are {', '.join(FIELDS)}, config.<key>, summary.<key>")


def encode_column(values: list[Any]) -> dict[str, Any]:
    """Return a column as it is sent: its values, or its distinct values and an index for each run."""
    if len(values) > 8:
        dictionary: dict[Any, int] = {}
        limit = len(values) // 2
        try:
            index = []
            for value in values:
                key = (type(value), value)
                at = dictionary.get(key)
                if at is None:
                    at = dictionary[key] = len(dictionary)
                    if at > limit:
                        return {"values": values}
                index.append(at)
        except TypeError:  # a list or a map
            return {"values": values}
        if not all(kind in (int, float, bool) for kind, _ in dictionary):
            return {"dictionary": [value for _, value in dictionary], "index": index}
    return {"values": values}


def runs(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return columns of the runs, newest first."""
    dashboard.refresh()
    cursor, indexing = dashboard.cursor, dashboard.indexing
    names = call.names("columns") if "columns" in call.query else ["name", "state"]
    if len(names) > MAX_COLUMNS:
        raise ApiError(400, "column", f"at most {MAX_COLUMNS} columns can be requested, not {len(names)}")
    readers = {name: reader_of(name) for name in names if name != "place"}
    rows = list(dashboard.rows(deleted=call.query.get("deleted") == "1"))
    total = len(rows)
    if "refs" in call.query:
        wanted = set(call.names("refs"))
        rows = [row for row in rows if row.ref in wanted]
    rows = matching(rows, call.query.get("query", "").strip())
    rows.sort(key=lambda row: (_start(row.run) or 0.0, row.ref), reverse=True)
    columns = {
        name: [read(row.run) if name in _NOT_CACHED else row.cell(name, read) for row in rows]
        for name, read in readers.items()
    }
    if "place" in names:
        columns["place"] = [dashboard.label_of(row.ref) for row in rows]
    return {
        "cursor": cursor,
        "indexing": indexing,
        "total": total,
        "matched": len(rows),
        "refs": [row.ref for row in rows],
        "columns": {name: encode_column(values) for name, values in columns.items()},
    }


def matching(rows: list[Row], query: str) -> list[Row]:
    if not query:
        return rows
    try:
        chosen = {id(run) for run in select(query, [row.run for row in rows])}
    except QueryError as error:
        raise ApiError(422, "query", str(error), position=error.position) from error
    return [row for row in rows if id(row.run) in chosen]


def columns(dashboard: Dashboard, call: Call) -> list[dict[str, Any]]:
    """Return every column that the runs have, the most frequent first."""
    dashboard.refresh()
    rows = list(dashboard.rows())
    counts: Counter[str] = Counter()
    not_numeric: set[str] = set()
    for shape, count in Counter(row.shape(dashboard.shapes) for row in rows).items():
        for name, is_number in shape:
            counts[name] += count
            if not is_number:
                not_numeric.add(name)
    definitions = _definitions(rows)
    found = [
        {"name": name, "kind": "field", "runs": len(rows), "numeric": name in _NUMERIC, "goal": None}
        for name in FIELDS
        if name != "place" or len(dashboard.places) > 1
    ]
    for name, count in counts.most_common():
        kind, _, key = name.partition(".")
        goal = _GOALS[direction(definitions, key)] if kind == "summary" and definitions else None
        found.append({"name": name, "kind": kind, "runs": count, "numeric": name not in not_numeric, "goal": goal})
    return found


def _definitions(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the definitions of metrics in all runs, one for each pattern."""
    found: dict[str, Any] = {}
    for row in rows:
        found.update(row.run.metrics)
    return found


def chosen_rows(dashboard: Dashboard, call: Call, most: int = 1_000) -> list[Row]:
    """Return the rows that the body names under ``runs``; runs that do not exist are left out.

    Raises:
        ApiError: the body is not valid.
    """
    refs = call.map().get("runs")
    if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
        raise ApiError(400, "body", "runs must be a list of refs")
    if len(refs) > most:
        raise ApiError(400, "body", f"runs must be at most {most} refs, not {len(refs)}")
    dashboard.expect(refs)
    rows = []
    for ref in dict.fromkeys(refs):
        try:
            rows.append(dashboard.row(ref))
        except ApiError:
            continue
    return rows


def keys(dashboard: Dashboard, call: Call) -> list[dict[str, Any]]:
    """Return the metrics that the runs logged, in the order of their first appearance."""
    found: dict[str, dict[str, Any]] = {}
    for row in chosen_rows(dashboard, call):
        call.check_cancelled()
        definitions = row.run.metrics
        for key in _logged(row.run):
            one = found.get(key)
            if one is None:
                options = _defined(definitions, key)
                one = found[key] = {
                    "key": key,
                    "runs": 0,
                    "kind": _kind(row, key),
                    "step_metric": options.get("step_metric"),
                    "goal": _GOALS[direction(definitions, key)],
                    "summary": list(options.get("summary") or ()),
                }
            one["runs"] += 1
    return list(found.values())


def _logged(run: StoredRun) -> Iterable[str]:
    try:
        return run.keys()
    except (TrackerError, SidecarError, OSError):
        return [key for key in run.summary if "." not in key]


def _defined(definitions: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    from sidecar.protocol.patterns import resolve

    return resolve(definitions, key)


def _kind(row: Row, key: str) -> str:
    """Return the kind of a metric's values, by its last one."""
    value = lookup(row.run.summary, key)
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict) and "_type" in value:
        return "histogram" if value["_type"] == "histogram" else "media"
    return "number"


def unavailable(error: Exception) -> ApiError:
    """Return the answer to an error of a store or a server."""
    return ApiError(503, "unavailable", reason(error))


ROUTES = (
    Route("GET", "meta", meta),
    Route("GET", "changes", changes),
    Route("GET", "runs", runs),
    Route("GET", "columns", columns),
    Route("POST", "keys", keys),
)
