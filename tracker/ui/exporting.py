"""Exports of every point of a run as CSV and JSON lines, streamed while they are made."""

from __future__ import annotations

from collections.abc import Iterator

from tracker.reading.exporting import HistoryRows, csv_parts, json_parts
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route, Stream
from tracker.ui.state import Dashboard


def _rows(dashboard: Dashboard, call: Call) -> HistoryRows:
    run = dashboard.run(call.path["ref"])
    logged = run.keys()
    keys = call.names("keys") or logged
    unknown = [key for key in keys if key not in set(logged)]
    if unknown:
        raise ApiError(400, "key", f"run {run.id} never logged {', '.join(unknown[:10])}; POST keys lists its metrics")
    return HistoryRows(run, keys)


def _begun(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Return `parts` with the first already made, so that an error in it becomes an error response."""
    first = next(parts, b"")

    def all_parts() -> Iterator[bytes]:
        yield first
        yield from parts

    return all_parts()


def csv(dashboard: Dashboard, call: Call) -> Stream:
    """Return the history of a run as CSV."""
    rows = _rows(dashboard, call)
    return Stream(_begun(csv_parts(rows)), "text/csv; charset=utf-8", f"{_id(call)}.csv")


def json_lines(dashboard: Dashboard, call: Call) -> Stream:
    """Return the history of a run as one JSON object per line."""
    rows = _rows(dashboard, call)
    return Stream(_begun(json_parts(rows)), "application/x-ndjson", f"{_id(call)}.jsonl")


def _id(call: Call) -> str:
    return call.path["ref"].rpartition("~")[2]


ROUTES = (
    Route("GET", "runs/{ref}/export.csv", csv, heavy=True),
    Route("GET", "runs/{ref}/export.jsonl", json_lines, heavy=True),
)
