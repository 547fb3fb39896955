"""Compares runs: what differs in their configuration and environment, their summaries, where their curves part.

Pure functions over stored runs. Blocking, on any thread. Does not know about HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.plain import flatten, json_value
from tracker.reading.metrics import aggregate, direction
from tracker.reading.stored_run import StoredRun
from tracker.ui.about import GOALS
from tracker.ui.parting import Parting, parting

MAX_RUNS = 200
MAX_KEYS = 2000
"""Maximum number of keys of the config, and of the summary, in one answer."""

CURVES_SECONDS = 4.0
"""Time in one call for comparing curves, in seconds; the rest is left to the next call."""

_FIELDS = ("state", "project", "group", "job_type", "tags", "notes", "start_time", "duration", "step", "records")
_ENVIRONMENT = ("host", "pid", "program", "python")

Side = Sequence[Any]
"""A value per run; `MISSING` where a run does not have the key."""


class _Missing:
    """Stands for the value of a key that a run does not have; None is a value."""


MISSING = _Missing()


def compare(runs: Mapping[str, StoredRun], baseline: str, *, everything: bool = False) -> dict[str, Any]:
    """Return what differs between runs.

    Args:
        runs: reference -> run, in the order in which they are shown.
        baseline: the reference of the run that the others are compared with.
        everything: whether to include what is the same in all runs.

    Returns:
        ``runs``: ``[{ref, id, name, state, reason, …}]``; ``config``, ``environment``: ``[{key, values, differs}]``
        with a value per run and, for keys that some runs lack, ``missing``: their indexes; ``summary``: the same, with
        ``goal``, ``aggregate`` and ``best`` (indexes); ``counts``: number of keys of each in all; ``shared``: metrics
        that the baseline and at least one other run have a number for; ``left_out``: keys beyond `MAX_KEYS`.

    Raises:
        ValueError: fewer than two runs, more than `MAX_RUNS`, or the baseline is not one of them.
    """
    _check(runs, baseline)
    some = list(runs.values())
    configs = side_by_side([_flat(run.config) for run in some])
    summaries = side_by_side([_flat(run.summary) for run in some])
    environments = side_by_side([_environment(run) for run in some])
    wanted = [key for key, values in configs.items() if everything or differs(values)]
    definitions = list({repr(run.metrics): run.metrics for run in some}.values())
    toward = {key: next(filter(None, (direction(one, key) for one in definitions)), 0) for key in summaries}
    # What most runs have comes first, so that it is what `MAX_KEYS` leaves; then what has a goal.
    shown = sorted(summaries, key=lambda key: (sum(value is MISSING for value in summaries[key]), not toward[key]))
    position = list(runs).index(baseline)
    answer = {
        "baseline": baseline,
        "now": time.time(),
        "runs": [{"ref": ref, **_about(run)} for ref, run in runs.items()],
        "config": [_row(key, configs[key]) for key in wanted[:MAX_KEYS]],
        "environment": [_row(key, values) for key, values in environments.items() if everything or differs(values)],
        "summary": [_summary_row(definitions, key, summaries[key], toward[key]) for key in shown[:MAX_KEYS]],
        "counts": {"config": len(configs), "environment": len(environments), "summary": len(summaries)},
        "shared": shared(summaries, position),
        "left_out": max(0, len(wanted) - MAX_KEYS) + max(0, len(shown) - MAX_KEYS),
    }
    converted: dict[str, Any] = json_value(answer)
    return converted


def _check(runs: Mapping[str, StoredRun], baseline: str) -> None:
    if len(runs) < 2:
        raise ValueError(f"runs must be at least two runs to compare, not {len(runs)}")
    if len(runs) > MAX_RUNS:
        raise ValueError(f"runs must be at most {MAX_RUNS} runs, not {len(runs)}; select fewer")
    if baseline not in runs:
        raise ValueError(f"baseline must be one of the compared runs, not {baseline!r}")


def side_by_side(maps: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return each key with its value in every map, `MISSING` where it has none."""
    keys = sorted({key for one in maps for key in one})
    return {key: [one.get(key, MISSING) for one in maps] for key in keys}


def differs(values: Side) -> bool:
    """Whether the values differ: 1 and 1.0 do not, 1 and True do, and so do 1 and "1"."""
    first = values[0]
    return any(not _same(first, value) for value in values[1:])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other)
    return type(one) is type(other) and repr(one) == repr(other)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {".".join(path): value for path, value in flatten(dict(values))}


def _about(run: StoredRun) -> dict[str, Any]:
    about = {name: getattr(run, name) for name in ("id", "name", "end_time", "last_time", "reason", "points")}
    return about | {name: _duration(run) if name == "duration" else getattr(run, name) for name in _FIELDS}


def _duration(run: StoredRun) -> float | None:
    end = run.end_time if run.end_time is not None else run.last_time
    return None if run.start_time is None or end is None else max(0.0, end - run.start_time)


def _environment(run: StoredRun) -> dict[str, Any]:
    """Return where and how a run was executed; each distinct value of several writers once."""
    writers = [writer for writer in run.writers.values() if writer.get("parent") is None]
    values: dict[str, Any] = {"writers": len(writers)}
    for name in _ENVIRONMENT:
        found = list(dict.fromkeys(str(writer[name]) for writer in writers if writer.get(name) is not None))
        if found:
            values[name] = ", ".join(found)
    if run.losses:
        values["records lost"] = sum(run.losses.values())
    return values


def _row(key: str, values: Side) -> dict[str, Any]:
    row: dict[str, Any] = {"key": key, "values": [None if value is MISSING else value for value in values]}
    missing = [index for index, value in enumerate(values) if value is MISSING]
    return row | {"differs": differs(values)} | ({"missing": missing} if missing else {})


def _summary_row(definitions: Sequence[Mapping[str, Any]], key: str, values: Side, toward: int) -> dict[str, Any]:
    kinds = {aggregate(one, key) for one in definitions} - {""}
    row = _row(key, [_media_name(value) for value in values])
    return row | {
        "goal": GOALS[toward],
        "aggregate": kinds.pop() if len(kinds) == 1 else None,
        "best": best(values, toward),
    }


def _media_name(value: Any) -> Any:
    """Return text for a media object, whose map may be large."""
    return f"({value['_type']})" if isinstance(value, dict) and "_type" in value else value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def best(values: Side, toward: int) -> list[int]:
    """Return the indexes of the best values; empty if the goal is unknown or all are equal."""
    numbers = {index: value for index, value in enumerate(values) if _is_number(value) and value == value}
    if not toward or len(set(numbers.values())) < 2:
        return []
    extreme = max(numbers.values()) if toward > 0 else min(numbers.values())
    return [index for index, value in numbers.items() if value == extreme]


def shared(summaries: Mapping[str, Side], baseline: int) -> list[str]:
    """Return the keys for which the baseline and at least one other run have a number."""
    return [
        key
        for key, values in summaries.items()
        if _is_number(values[baseline])
        and any(_is_number(value) for index, value in enumerate(values) if index != baseline)
    ]


# -- curves ---------------------------------------------------------------------------------------------------------


def curves(
    runs: Mapping[str, StoredRun],
    baseline: str,
    keys: Iterable[str] | None = None,
    skip: int = 0,
    seconds: float = CURVES_SECONDS,
) -> dict[str, Any]:
    """Return where the curves of each run part from those of the baseline.

    Args:
        runs: reference -> run.
        baseline: the reference of the run that the others are compared with.
        keys: only these metrics; None for all that both have.
        skip: `next` of the previous answer: the number of comparisons already done.
        seconds: end after the comparison during which this time has passed.

    Returns:
        ``curves``: ``[{key, run, common, exact, clear, range}]``, where ``exact`` and ``clear`` are ``{step, value,
        baseline}`` or None; ``errors``: ``[{run, key, message}]``; ``done`` and ``total``: numbers of comparisons;
        ``next``: for `skip`, None at the end.

    Raises:
        ValueError: as `compare`.
    """
    _check(runs, baseline)
    deadline = time.monotonic() + seconds
    errors: list[dict[str, Any]] = []
    pairs = _pairs(runs, baseline, None if keys is None else set(keys), errors)
    found: list[dict[str, Any]] = []
    done = min(max(0, skip), len(pairs))
    for ref, key in pairs[done:]:
        done += 1
        try:
            where = parting(runs[ref].store(), runs[baseline].store(), key)
        except (SidecarError, OSError) as error:
            errors.append({"run": ref, "key": key, "message": str(error)})
            continue
        if where.low is not None or where.common:
            found.append(_curve(ref, key, where))
        if time.monotonic() >= deadline:
            break
    answer = {
        "curves": found,
        "errors": errors,
        "done": done,
        "total": len(pairs),
        "next": done if done < len(pairs) else None,
    }
    converted: dict[str, Any] = json_value(answer)
    return converted


def _pairs(
    runs: Mapping[str, StoredRun], baseline: str, wanted: set[str] | None, errors: list[dict[str, Any]]
) -> list[tuple[str, str]]:
    """Return the runs and metrics to compare with the baseline, metric by metric."""
    logged: dict[str, set[str]] = {}
    order: list[str] = []
    for ref, run in runs.items():
        try:
            keys = run.store().keys()
        except (SidecarError, OSError) as error:
            errors.append({"run": ref, "key": None, "message": str(error)})
            continue
        logged[ref] = set(keys)
        if ref == baseline:
            order = [key for key in keys if wanted is None or key in wanted]
    return [(ref, key) for key in order for ref in logged if ref != baseline and key in logged[ref]]


def _curve(ref: str, key: str, where: Parting) -> dict[str, Any]:
    return {
        "key": key,
        "run": ref,
        "common": where.common,
        "exact": None if where.exact is None else where.exact._asdict(),
        "clear": None if where.clear is None else where.clear._asdict(),
        "range": None if where.low is None else [where.low, where.high],
    }
