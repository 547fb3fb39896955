"""The answer to ``POST compare``: what differs between runs and, on request, where their curves part."""

from __future__ import annotations

from typing import Any

from tracker.reading.stored_run import StoredRun
from tracker.ui.details import present_run
from tracker.ui.differences import MAX_RUNS, compare, curves
from tracker.ui.errors import ApiError
from tracker.ui.routes import Call, Route
from tracker.ui.state import Dashboard


def comparison(dashboard: Dashboard, call: Call) -> dict[str, Any]:
    """Return what differs between runs; with ``curves`` in the body, where their curves part."""
    body = call.map()
    runs, gone = _runs(dashboard, body)
    baseline = body.get("baseline") or next(iter(runs), "")
    if not isinstance(baseline, str):
        raise ApiError(400, "body", f"baseline must be a run, such as 'a1b2c3d4', not {baseline!r}")
    if baseline in {one["ref"] for one in gone}:
        baseline = next(iter(runs), "")
    try:
        if body.get("curves"):
            return curves(runs, baseline, _keys(body), _skip(body)) | {"baseline": baseline, "gone": gone}
        return compare(runs, baseline, everything=bool(body.get("all"))) | {"gone": gone}
    except ValueError as error:
        raise ApiError(422, "compare", str(error)) from None


def _runs(dashboard: Dashboard, body: dict[str, Any]) -> tuple[dict[str, StoredRun], list[dict[str, str]]]:
    """Return the runs by their refs, and the runs that no longer exist with the reason."""
    refs = body.get("runs")
    if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
        raise ApiError(400, "body", "runs must be a list of runs, such as {'runs': ['a1b2c3d4', 'e5f6g7h8']}")
    if len(refs) > MAX_RUNS:
        raise ApiError(422, "compare", f"runs must be at most {MAX_RUNS} runs, not {len(refs)}; select fewer")
    runs: dict[str, StoredRun] = {}
    gone = []
    for ref in dict.fromkeys(refs):
        try:
            runs[ref] = present_run(dashboard, ref)
        except ApiError as error:
            gone.append({"ref": ref, "message": str(error)})
    return runs, gone


def _keys(body: dict[str, Any]) -> list[str] | None:
    keys = body.get("keys")
    if keys is not None and (not isinstance(keys, list) or not all(isinstance(key, str) for key in keys)):
        raise ApiError(400, "body", "keys must be a list of metrics, or left out for all")
    return keys


def _skip(body: dict[str, Any]) -> int:
    skip = body.get("skip", 0)
    if type(skip) is not int or skip < 0:
        raise ApiError(400, "body", f"skip must be the 'next' of an earlier answer, not {skip!r}")
    return skip


ROUTES: tuple[Route, ...] = (Route("POST", "compare", comparison, heavy=True),)
