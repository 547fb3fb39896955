"""The answers about all runs: meta, changes, runs, columns, keys."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sidecar import __version__
from sidecar.protocol.errors import SidecarError, reason
from tracker.errors import TrackerError
from tracker.reading.api import StoredRun
from tracker.reading.metrics import direction
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard, Row

FIELDS = (
    *("id", "name", "project", "group", "job_type", "tags", "notes", "state", "step", "start_time", "end_time"),
    *("duration", "points", "color", "reason"),
)
"""Columns that every run has."""

MAX_COLUMNS = 500
"""Maximum number of columns in an answer."""

_GOALS = {1: "maximize", -1: "minimize", 0: None}


def meta(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return what the dashboard shows."""
    dashboard.refresh()
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
        "indexing": None,
    }


def changes(dashboard: Dashboard, call: Call) -> dict[str, Any] | None:
    """Return what changed since a cursor; None if nothing did."""
    changes = dashboard.changes(call.query.get("since", ""))
    if not (changes.all or changes.changed or changes.removed):
        return None
    return changes._asdict() | {"now": time.time(), "indexing": None}


def _duration(run: StoredRun) -> float | None:
    if run.start_time is None:
        return None
    running = run.state in ("running", "stalled")
    end = time.time() if running else run.end_time or run.last_time or run.start_time
    return end - run.start_time


def _own(name: str) -> Callable[[Row], Any]:
    special: Mapping[str, Callable[[Row], Any]] = {
        "duration": lambda row: _duration(row.run),
        "color": lambda row: getattr(row.run, "color", None),
        "tags": lambda row: list(row.run.tags),
    }
    return special.get(name) or (lambda row: getattr(row.run, name))


def cell_of(name: str) -> Callable[[Row], Any]:
    """Return a function that returns a row's value in the column `name`.

    Raises:
        ApiError: there is no such column.
    """
    if name in FIELDS:
        return _own(name)
    if name.startswith(("config.", "summary.")):
        return lambda row: row.cells.get(name)
    raise ApiError(400, "column", f"no column {name!r}; columns are {', '.join(FIELDS)}, config.<key>, summary.<key>")


def encode_column(values: list[Any]) -> dict[str, Any]:
    """Return a column as it is sent: its values, or its different ones and the index of each."""
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
    cursor = dashboard.cursor
    names = call.names("columns") or ["name", "state"]
    if len(names) > MAX_COLUMNS:
        raise ApiError(400, "column", f"at most {MAX_COLUMNS} columns may be asked for, not {len(names)}")
    cells = {name: cell_of(name) for name in names}
    rows = list(dashboard.rows())
    total = len(rows)
    if "refs" in call.query:
        wanted = set(call.names("refs"))
        rows = [row for row in rows if row.ref in wanted]
    rows = _matching(rows, call.query.get("query", "").strip())
    rows.sort(key=lambda row: (row.run.start_time or 0.0, row.ref), reverse=True)
    return {
        "cursor": cursor,
        "total": total,
        "matched": len(rows),
        "refs": [row.ref for row in rows],
        "columns": {name: encode_column([cell(row) for row in rows]) for name, cell in cells.items()},
    }


def _matching(rows: list[Row], query: str) -> list[Row]:
    if not query:
        return rows
    wanted = query.lower()
    return [row for row in rows if wanted in row.run.name.lower() or wanted in row.run.id]


def columns(dashboard: Dashboard, call: Call) -> list[dict[str, Any]]:
    """Return every column that the runs have, the most frequent first."""
    dashboard.refresh()
    counts: Counter[str] = Counter()
    not_numeric: set[str] = set()
    definitions: dict[str, Any] = {}
    total = 0
    for row in dashboard.rows():
        total += 1
        counts.update(row.cells.keys())
        not_numeric.update(name for name, value in row.cells.items() if type(value) not in (int, float))
        definitions.update(row.run.metrics)
    numeric = {"step", "start_time", "end_time", "duration", "points"}
    found = [
        {"name": name, "kind": "field", "runs": total, "numeric": name in numeric, "goal": None} for name in FIELDS
    ]
    for name, count in counts.most_common():
        kind, _, key = name.partition(".")
        goal = _GOALS[direction(definitions, key)] if kind == "summary" else None
        found.append({"name": name, "kind": kind, "runs": count, "numeric": name not in not_numeric, "goal": goal})
    return found


def chosen_rows(dashboard: Dashboard, call: Call, most: int = 1_000) -> list[Row]:
    """Return the rows that the body names under ``runs``; those that do not exist are left out.

    Raises:
        ApiError: the body is not valid.
    """
    refs = call.map().get("runs")
    if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
        raise ApiError(400, "body", "runs must be a list of refs")
    if len(refs) > most:
        raise ApiError(400, "body", f"runs must be at most {most} refs, not {len(refs)}")
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
                    "kind": _kind(row.cells, key),
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


def _kind(cells: Mapping[str, Any], key: str) -> str:
    """Return the kind of a metric's values, by its last one."""
    value = cells.get(f"summary.{key}")
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
