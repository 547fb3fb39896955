"""Exact points of a run: those of a metric around an x, and pages of a text series.

Pure functions over stored runs; each opens the run's store for the time of the call. Blocking, on any thread. Does not
know about HTTP.
"""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.projections.store.pyramid import last_of_each, numbers_of
from sidecar.protocol.limits import MAX_STEP, MIN_STEP
from sidecar.protocol.plain import json_value
from tracker.reading.reader import RunReader
from tracker.reading.stored_run import StoredRun

MAX_POINTS = 1000
"""Maximum number of exact points in one answer."""

MAX_TEXTS = 500
"""Maximum number of rows of a text series in one answer."""

MAX_TEXT_CHARACTERS = 20_000
"""Default for the maximum number of characters of a text; the rest of a longer one is left out."""

MAX_ANSWER_CHARACTERS = 4_000_000
"""Number of characters after which an answer with texts ends early."""

_SAMPLED_BLOCKS = 32
"""Blocks read in each round of the search for a time."""

_ROUNDS = 12
_WIDENING = 8
"""Growth factor of the range of steps that is searched for points."""


class Point(NamedTuple):
    """One value of a metric as it was logged."""

    step: int
    time: float
    label: str | None
    value: Any


class _Window:
    """The points of one metric in a range of steps, which a search narrows or widens."""

    def __init__(self, reader: RunReader, key: str) -> None:
        self._reader = reader
        self._key = key

    def points(self, low: int, high: int) -> Iterator[Point]:
        """Yield the points with steps from `low` to `high`, in no order."""
        for block in self._reader.columns([self._key], low, high):
            if self._key not in block.columns:
                continue
            rows, values = block.columns[self._key]
            indexes: Sequence[int] = range(len(values)) if rows is None else rows
            for index, value in zip(indexes, values, strict=True):
                step = block.steps[index]
                if low <= step <= high:
                    yield Point(step, block.times[index], block.label, value)

    def steps_at(self, when: float) -> tuple[int, int]:
        """Return a range of steps around a time, Unix seconds, from a few blocks of the run.

        Exact while times do not decrease from one block to the next; else it holds some points near that time.
        """
        low, high = MIN_STEP, MAX_STEP
        for _ in range(_ROUNDS):
            spans = [
                (min(block.steps), max(block.steps), min(block.times), max(block.times))
                for block in self._reader.columns([self._key], low, high, most=_SAMPLED_BLOCKS)
            ]
            after = next((index for index, span in enumerate(spans) if span[3] >= when), len(spans) - 1)
            if after < 0:
                break
            before = max(0, after - 1)
            new_low = max(low, spans[before][0])
            new_high = min(high, max(spans[after][1], spans[min(len(spans) - 1, after + 1)][0]))
            if len(spans) < _SAMPLED_BLOCKS or (new_low, new_high) == (low, high):
                return new_low, new_high
            low, high = new_low, new_high
        return low, high


def points(run: StoredRun, key: str, x: str = "step", around: float | None = None, limit: int = 100) -> dict[str, Any]:
    """Return the points of a metric that are nearest to an x, by step; reads a few blocks, whatever the run's length.

    Args:
        run: the run.
        key: the metric; if it was never logged, there are no points.
        x: what `around` is: ``"step"``, ``"relative"`` (seconds since the run's start), ``"time"`` (Unix seconds) or
            ``"metric:KEY"``, the value of another metric at the same step of the same writer; all of its points are
            read.
        around: the x; None for the end of the run, or for the largest x if it is a metric.
        limit: maximum number of points.

    Returns:
        ``steps``, ``times``, ``labels``, ``values``: lists of one length.

    Raises:
        ValueError: `x` is something else, or `around` is NaN. sidecar.protocol.errors.StoreError: the store cannot be
            read.
    """
    if x not in ("step", "relative", "time") and not x.startswith("metric:"):
        raise ValueError(f"x must be 'step', 'relative', 'time' or 'metric:KEY', not {x!r}")
    if around is not None and math.isnan(around):
        raise ValueError("around must be a number, not NaN")
    limit = max(1, min(limit, MAX_POINTS))
    if x.startswith("metric:"):
        return _columns(_nearest_by_metric(run.store(), key, x.removeprefix("metric:"), around, limit))
    window = _Window(run.store(), key)
    if around is None or x == "step":
        center = min(max(run.step or 0 if around is None else around, MIN_STEP), MAX_STEP)
        return _columns(_nearest_steps(window, center, limit))
    when = around + (run.start_time or 0.0) if x == "relative" else around
    low, high = window.steps_at(when)
    nearest = heapq.nsmallest(limit, window.points(low, high), key=lambda point: abs(point.time - when))
    return _columns(nearest)


def _nearest_steps(window: _Window, center: float, limit: int) -> list[Point]:
    """Return the `limit` points whose steps are nearest to `center`.

    The range of steps that is read grows until it holds enough of them, so that most of the run is not read.
    """
    reach = limit
    while True:
        low, high = max(MIN_STEP, math.ceil(center - reach)), min(MAX_STEP, math.floor(center + reach))
        nearest = heapq.nsmallest(limit, window.points(low, high), key=lambda point: abs(point.step - center))
        if len(nearest) == limit or (low == MIN_STEP and high == MAX_STEP):
            return nearest
        reach *= _WIDENING


def _nearest_by_metric(reader: RunReader, key: str, x: str, around: float | None, limit: int) -> list[Point]:
    """Return the `limit` points at which another metric of the same writer and step is nearest to `around`."""
    places = _Places(reader, x)
    center = places.most if around is None else around

    def found() -> Iterator[tuple[float, Point]]:
        for block in reader.columns([key]):
            rows, values = block.columns.get(key, ((), ()))
            indexes: Sequence[int] = range(len(values)) if rows is None else rows
            for index, value in zip(indexes, values, strict=True):
                place = places.at(block.writer, block.steps[index])
                if place is not None:
                    yield abs(place - center), Point(block.steps[index], block.times[index], block.label, value)

    return [point for _, point in heapq.nsmallest(limit, found(), key=lambda one: one[0])]


class _Places:
    """The finite values of a metric by writer and step; of several at one step, the last. 16 bytes a value.

    Attributes:
        most: the largest one; 0 if there is none.
    """

    def __init__(self, reader: RunReader, key: str) -> None:
        found: dict[str, tuple[array[int], array[float]]] = {}
        for block in reader.columns([key]):
            steps, values = found.setdefault(block.writer, (array("q"), array("d")))
            rows, numbers = numbers_of(*block.columns.get(key, ((), ())))
            for index, value in zip(range(len(numbers)) if rows is None else rows, numbers, strict=True):
                if math.isfinite(value):
                    steps.append(block.steps[index])
                    values.append(value)
        self._found = {}
        for writer, (steps, values) in found.items():
            order = last_of_each(steps)
            if order is not None:
                steps, values = array("q", [steps[i] for i in order]), array("d", [values[i] for i in order])
            self._found[writer] = steps, values
        self.most = max((max(values) for _, values in self._found.values() if values), default=0.0)

    def at(self, writer: str, step: int) -> float | None:
        """Return the value at a step; None if the step has no value."""
        steps, values = self._found.get(writer, ((), ()))
        index = bisect_left(steps, step)
        return values[index] if index < len(steps) and steps[index] == step else None


def _columns(found: list[Point]) -> dict[str, Any]:
    found.sort(key=lambda point: (point.step, point.time))
    return {
        "steps": [point.step for point in found],
        "times": [point.time for point in found],
        "labels": [point.label for point in found],
        "values": [json_value(point.value) for point in found],
    }


# -- text -----------------------------------------------------------------------------------------------------------


def text(
    run: StoredRun,
    key: str,
    after: str | None = None,
    limit: int = 100,
    start: int | None = None,
    characters: int = MAX_TEXT_CHARACTERS,
) -> dict[str, Any]:
    """Return rows of a text series in the order of steps.

    Args:
        run: the run.
        key: the metric; values that are not text are left out.
        after: `next` of the previous answer; None for the beginning.
        limit: maximum number of rows.
        start: begin at this step instead.
        characters: maximum number of characters of a text; a longer one is cut, and its row has its ``length``.

    Returns:
        ``rows``: ``[{step, time, label, text, length?}]``; ``next``: for `after`, None at the end.

    Raises:
        ValueError: `after` is not valid. sidecar.protocol.errors.StoreError: the store cannot be read.
        tracker.errors.UnknownMetricError: the metric was never logged.
    """
    limit = max(1, min(limit, MAX_TEXTS))
    min_step, skip = _cursor(after) if after else (start, 0)
    rows: list[dict[str, Any]] = []
    at, count, used = min_step, 0, 0
    for row in run.scan_history([key], min_step=min_step):
        step = row["_step"]
        count = count + 1 if step == at else 1
        at = step
        if step == min_step and count <= skip:
            continue
        if len(rows) == limit or used > MAX_ANSWER_CHARACTERS:
            return {"rows": rows, "next": f"{step}:{count - 1}"}
        value = row.get(key)
        if isinstance(value, str):
            rows.append(_text_row(row, value, characters))
            used += min(len(value), characters)
    return {"rows": rows, "next": None}


def _cursor(after: str) -> tuple[int, int]:
    step, separator, skip = after.partition(":")
    try:
        if not separator:
            raise ValueError
        return int(step), int(skip)
    except ValueError:
        raise ValueError(f"after must be the 'next' of an earlier answer, such as '120:1', not {after!r}") from None


def _text_row(row: Mapping[str, Any], value: str, characters: int) -> dict[str, Any]:
    entry = {"step": row["_step"], "time": row["_timestamp"], "label": row.get("_label"), "text": value[:characters]}
    return entry | {"length": len(value)} if len(value) > characters else entry
