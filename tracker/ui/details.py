"""The answers about one run: its state, exact points, texts, histograms, files, and the check of its log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tracker.errors import TrackerError, UnknownMetricError
from tracker.reading.remote_run import RemoteRun
from tracker.reading.stored_run import StoredRun
from tracker.ui import points
from tracker.ui.about import about
from tracker.ui.checking import BusyError, Checks
from tracker.ui.errors import ApiError
from tracker.ui.files import FRAME_TYPES, FileNotListedError, OpenFile, RangeError, byte_range, listed, open_file
from tracker.ui.histograms import MAX_COLUMNS, histograms
from tracker.ui.routes import Call, Download, Route
from tracker.ui.state import Dashboard

_PART_BYTES = 1 << 18
_checks = Checks()


def present_run(dashboard: Dashboard, ref: str) -> StoredRun:
    """Return a run after checking that it still exists: the list of runs is refreshed less often.

    Raises:
        ApiError: there is no such run, or it was deleted.
    """
    run = dashboard.run(ref)
    if not isinstance(run, RemoteRun) and not run.dir.is_dir():
        raise ApiError(410, "deleted", f"run {ref} was deleted")
    return run


def details(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return everything about a run except its history."""
    ref = call.path["ref"]
    return {"ref": ref} | about(present_run(dashboard, ref))


def exact_points(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return the points of a metric nearest to an x."""
    run = present_run(dashboard, call.path["ref"])
    limit = call.whole("limit", 100, 1, points.MAX_POINTS)
    try:
        return points.points(run, _key(call), call.query.get("x", "step"), call.number("around"), limit)
    except ValueError as error:
        raise ApiError(400, "parameter", str(error)) from None


def texts(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return a page of a text series."""
    run = present_run(dashboard, call.path["ref"])
    start = call.number("start")
    if start is not None and not math.isfinite(start):
        raise ApiError(400, "parameter", f"start must be a step, not {start}")
    try:
        return points.text(
            run,
            _key(call),
            call.query.get("after"),
            call.whole("limit", 100, 1, points.MAX_TEXTS),
            None if start is None else int(start),
            call.whole("characters", points.MAX_TEXT_CHARACTERS, 1),
        )
    except UnknownMetricError as error:
        raise ApiError(404, "key", str(error)) from None
    except ValueError as error:
        raise ApiError(400, "parameter", str(error)) from None


def histograms_over_steps(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return a series of histograms."""
    run = present_run(dashboard, call.path["ref"])
    return histograms(run.store(), _key(call), call.whole("count", 400, 1, MAX_COLUMNS))


def _key(call: Call) -> str:
    key = call.query.get("key")
    if not key:
        raise ApiError(400, "parameter", "key must name a metric, such as ?key=loss")
    return key


# -- files ----------------------------------------------------------------------------------------------------------


def files(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return the list of a run's files."""
    listing = listed(present_run(dashboard, call.path["ref"]))
    return {"files": [file._asdict() for file in listing.files], "left_out": listing.left_out}


def file(dashboard: Dashboard, call: Call) -> Download:
    """Return a file of a run, to be downloaded."""
    opened = _opened(dashboard, call)
    try:
        part = byte_range(call.headers.get("range"), opened.size)
    except RangeError as error:
        opened.file.close()
        raise ApiError(416, "range", str(error)) from None
    start, end = part or (0, opened.size)
    name = opened.name.rpartition("/")[2]
    return Download(_content(opened, start, end), name, opened.media_type, opened.size, part)


def frame(dashboard: Dashboard, call: Call) -> Download:
    """Return a file of HTML or SVG, to be shown in a sandboxed frame of the page."""
    # Browsers tell over TLS and on loopback; the sandbox in the answer's policy holds where they do not.
    if call.headers.get("sec-fetch-dest", "iframe") != "iframe":
        raise ApiError(403, "frame", "this file is only shown inside the run's page; download it to open it elsewhere")
    opened = _opened(dashboard, call)
    name = opened.name.rpartition("/")[2]
    media_type = FRAME_TYPES.get(name.rpartition(".")[2].lower())
    if media_type is None:
        opened.file.close()
        raise ApiError(415, "type", f"only HTML and SVG are shown in a frame, not {name!r}")
    return Download(_content(opened, 0, opened.size), name, media_type, opened.size, None, framed=True)


def _opened(dashboard: Dashboard, call: Call) -> OpenFile:
    """Return the file that a request names, open."""
    number = call.path["number"]
    if not number.isdecimal():
        raise ApiError(400, "parameter", f"the number of a file must be one of the list of files, not {number!r}")
    try:
        return open_file(present_run(dashboard, call.path["ref"]), int(number), call.query.get("name"))
    except FileNotListedError as error:
        raise ApiError(404, "file", str(error)) from None


def _content(opened: OpenFile, start: int, end: int) -> Iterator[bytes]:
    """Yield a part of a file, of exactly the announced length, even if the file changes meanwhile."""
    with opened.file as source:
        source.seek(start)
        remaining = end - start
        while remaining > 0:
            data = source.read(min(_PART_BYTES, remaining))
            if not data:
                return
            remaining -= len(data)
            yield data


# -- the check of the log -------------------------------------------------------------------------------------------


def start_check(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Start to check the log and the store of a run; return the progress."""
    ref = call.path["ref"]
    try:
        directory = present_run(dashboard, ref).dir
    except TrackerError as error:
        raise ApiError(422, "server", f"{error}; only logs on this machine can be checked") from None
    try:
        return _checks.start(_check_name(dashboard, ref), directory)
    except BusyError as error:
        raise ApiError(503, "unavailable", str(error)) from None


def check_progress(dashboard: Dashboard, call: Call) -> dict[str, Any] | None:
    """Return the progress or the result of the last check; None if there was none."""
    ref = call.path["ref"]
    dashboard.run(ref)
    return _checks.progress(_check_name(dashboard, ref))


def _check_name(dashboard: Dashboard, ref: str) -> str:
    """Return a key for a run's check, unique across the dashboards of this process."""
    return f"{id(dashboard)}/{ref}"


ROUTES = (
    Route("GET", "runs/{ref}", details),
    Route("GET", "runs/{ref}/points", exact_points),
    Route("GET", "runs/{ref}/text", texts),
    Route("GET", "runs/{ref}/histograms", histograms_over_steps, heavy=True),
    Route("GET", "runs/{ref}/files", files),
    Route("GET", "runs/{ref}/files/{number}", file),
    Route("GET", "runs/{ref}/frames/{number}", frame),
    Route("GET", "runs/{ref}/check", check_progress),
    Route("POST", "runs/{ref}/check", start_check, writes=True),
)
