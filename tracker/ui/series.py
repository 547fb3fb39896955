"""The answer to ``POST series``: buckets of all panels in one body of little-endian numbers behind a JSON head."""

from __future__ import annotations

import json
import math
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sidecar.projections.store.buckets import Buckets
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.errors import SidecarError, reason
from sidecar.protocol.plain import json_value
from tracker.errors import TrackerError
from tracker.reading.api import StoredRun
from tracker.ui.errors import ApiError
from tracker.ui.joining import joined
from tracker.ui.routes import Binary, Call, Route
from tracker.ui.state import Dashboard

MAX_PANELS = 200
MAX_SERIES = 20_000
"""Maximum number of pairs of a panel and a run in one request."""

MAX_COUNT = 4_000
"""Maximum number of buckets in a series, without its margins."""

_FLOAT32_MAX = 3.0e38
_FLOAT32_ERROR = 6.0e-8
_VISIBLE = 1.0e-4
"""Share of a series' spread below which a difference cannot be seen."""


class Panel(NamedTuple):
    """A panel of a request: a metric, the refs of runs, the number of buckets per series."""

    key: str
    runs: list[str]
    buckets: int


class Axis(NamedTuple):
    """The x axis of a request.

    Attributes:
        x: ``"step"``, ``"relative"``, ``"time"`` or a metric.
        low, high: its range, margins included; None: that of the data.
        log: whether buckets are equally wide in log space.
        widening: number of buckets per bucket that was asked for, more than 1 with margins.
    """

    x: str
    low: float | None
    high: float | None
    log: bool
    widening: float


def _real(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:
        value = "an integer that is too large"
    raise ApiError(400, "body", f"{name} must be a finite number or null, not {value!r}")


def read_axis(body: dict[str, Any]) -> Axis:
    """Return the x axis that a body names."""
    x = body.get("x", "step")
    if not isinstance(x, str):
        raise ApiError(400, "body", f"x must be 'step', 'relative', 'time' or 'metric:KEY', not {x!r}")
    x = x.removeprefix("metric:")
    low, high = _real(body, "low"), _real(body, "high")
    margin = min(max(_real(body, "margin") or 0.0, 0.0), 4.0)
    log = bool(body.get("log_x"))
    if low is not None and high is not None and low > high:
        raise ApiError(400, "body", f"low must be at most high, not {low} and {high}")
    if log and high is not None and high <= 0:
        raise ApiError(400, "body", f"high must be positive on a logarithmic axis, not {high}")
    if low is None or high is None or not margin:
        return Axis(x, low, high, log, 1.0)
    if log and low > 0:
        factor = (high / low) ** margin
        wide_low, wide_high = low / factor, high * factor
    else:
        width = (high - low) * margin
        wide_low, wide_high = low - width, high + width
    if not (math.isfinite(wide_low) and math.isfinite(wide_high)):
        return Axis(x, low, high, log, 1.0)
    return Axis(x, wide_low, wide_high, log, 1 + 2 * margin)


def read_panels(body: dict[str, Any]) -> list[Panel]:
    """Return the panels that a body names."""
    found = body.get("panels")
    if not isinstance(found, list) or not found or len(found) > MAX_PANELS:
        raise ApiError(400, "body", f"panels must be a list of 1 to {MAX_PANELS} panels")
    panels = []
    for one in found:
        if not isinstance(one, dict):
            raise ApiError(400, "body", "a panel must be a JSON object with key, runs and count")
        key, refs, count = one.get("key"), one.get("runs"), one.get("count", 400)
        if not isinstance(key, str):
            raise ApiError(400, "body", f"a panel's key must be a string, not {key!r}")
        if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
            raise ApiError(400, "body", "a panel's runs must be a list of refs")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
            raise ApiError(400, "body", f"a panel's count must be an integer from 1 to {MAX_COUNT}, not {count!r}")
        panels.append(Panel(key, list(dict.fromkeys(refs)), count))
    if sum(len(panel.runs) for panel in panels) > MAX_SERIES:
        raise ApiError(400, "body", f"at most {MAX_SERIES:,} series can be requested at a time")
    return panels


class Body:
    """Arrays that are sent one after the other, each 8-byte aligned."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, form: str, numbers: Iterable[Any]) -> list[Any]:
        """Add numbers of a form (``"f8"``, ``"f4"`` or ``"u4"``); return offset and form."""
        code = {"f8": "d", "f4": "f", "u4": "I"}[form]
        given = numbers if isinstance(numbers, array) and numbers.typecode == code else array(code, numbers)
        if sys.byteorder == "big":
            given = given[:]
            given.byteswap()
        offset, data = self.size, given.tobytes()
        data += bytes(-len(data) % 8)
        self.parts.append(data)
        self.size += len(data)
        return [offset, form]


def float_form(low: array[float], high: array[float]) -> str:
    """Return ``"f4"`` if 32 bits show these values as well as 64 do, else ``"f8"``."""
    finite_low = [value for value in low if value == value]
    if not finite_low:
        return "f4"
    least, most = min(finite_low), max(value for value in high if value == value)
    largest = max(abs(least), abs(most))
    return "f4" if largest < _FLOAT32_MAX and largest * _FLOAT32_ERROR <= (most - least) * _VISIBLE else "f8"


def bad_code(value: float) -> int:
    """Return 0 for a finite number, 1 for NaN, 2 for infinity, 3 for negative infinity."""
    if math.isfinite(value):
        return 0
    return 1 if value != value else 2 if value > 0 else 3


def arrays_of(buckets: Buckets, body: Body) -> dict[str, list[Any]]:
    """Add the arrays of a series to `body`; return their offsets and forms by name."""
    if buckets.raw:
        arrays = {"x0": body.add("f8", buckets.x_first), "mean": body.add("f8", buckets.mean)}
        if any(buckets.bad):
            arrays["bad"] = body.add("u4", map(bad_code, buckets.last))
        return arrays
    form = float_form(buckets.low, buckets.high)
    arrays = {"x0": body.add("f8", buckets.x_first), "x1": body.add("f8", buckets.x_last)}
    for name in ("low", "high", "mean", "last"):
        arrays[name] = body.add(form, getattr(buckets, name))
    return arrays | {"n": body.add("u4", buckets.n), "bad": body.add("u4", buckets.bad)}


def _read(dashboard: Dashboard, run: StoredRun, keys: list[str], axis: Axis, count: int) -> Iterator[Buckets]:
    wanted = max(1, round(count * axis.widening))
    store = run.store()
    if isinstance(store, StoreReader):
        return store.buckets(keys, axis.x, axis.low, axis.high, wanted, log_x=axis.log, cache=dashboard.cache)
    return store.buckets(keys, axis.x, axis.low, axis.high, wanted, log_x=axis.log)


def _together(
    found: Iterator[Buckets], dashboard: Dashboard, run: StoredRun, axis: Axis, count: int
) -> Iterator[Buckets]:
    """Yield one series per key, that of all its writers."""
    wanted = max(1, round(count * axis.widening))
    for key, writers in groupby(found, key=attrgetter("key")):

        def read(low: float, high: float, key: str = key) -> list[Buckets]:
            return list(_read(dashboard, run, [key], axis._replace(low=low, high=high), count))

        yield joined(list(writers), read, axis.low, axis.high, wanted, axis.log)


def series(dashboard: Dashboard, call: Call) -> Binary:
    """Return the series of all panels; what cannot be read is in ``errors``, the others are answered."""
    given = call.map()
    axis, panels = read_axis(given), read_panels(given)
    together = given.get("writers", "apart") == "together"
    cursor = dashboard.cursor
    # One pass over a run reads all of its keys.
    wanted: dict[tuple[str, int], dict[str, list[int]]] = {}
    for index, panel in enumerate(panels):
        for ref in panel.runs:
            wanted.setdefault((ref, panel.buckets), {}).setdefault(panel.key, []).append(index)
    body = Body()
    found: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    dashboard.expect({ref for ref, _ in wanted})
    for (ref, count), by_key in wanted.items():
        call.check_cancelled()
        try:
            run = dashboard.run(ref)
            found_buckets = _read(dashboard, run, list(by_key), axis, count)
            for buckets in _together(found_buckets, dashboard, run, axis, count) if together else found_buckets:
                call.check_cancelled()
                arrays = arrays_of(buckets, body)
                one = {
                    "key": buckets.key,
                    "run": ref,
                    "writer": buckets.writer,
                    "label": buckets.label,
                    "count": len(buckets.x_first),
                    "total": buckets.total,
                    "raw": bool(buckets.raw),
                    "arrays": arrays,
                }
                found += [{"panel": panel} | one for panel in by_key[buckets.key]]
        except (ApiError, TrackerError, SidecarError, OSError) as error:
            errors += [{"run": ref, "key": key, "message": reason(error)} for key in by_key]
    head = {"series": found, "errors": errors, "cursor": cursor}
    return Binary(encode(head, body))


def encode(head: dict[str, Any], body: Body) -> bytes:
    """Return the answer: the length of the head, the head, the arrays."""
    text = json.dumps(json_value(head), separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *body.parts])


ROUTES = (Route("POST", "series", series, heavy=True),)
