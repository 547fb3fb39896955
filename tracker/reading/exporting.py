"""The history of a run as CSV or JSON lines, made in parts while it is read, so that memory does not grow with the run.

On the caller's thread. Knows nothing of where the parts go.
"""

from __future__ import annotations

import csv
import io
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sidecar.protocol.plain import json_value
from tracker.reading.stored_run import StoredRun

_OWN = ("_step", "_timestamp", "_label")
_PART_ROWS = 256

Row = dict[str, Any]
Show = Callable[[int, int], None]
"""Progress callback: (done, total) rows."""


class HistoryRows:
    """The rows of a run.

    Args:
        run: the run.
        keys: its metrics to export; None for all.
        min_step, max_step: the first and the last step; None for no bound.
        show: called while rows are read.

    Attributes:
        keys: the metrics, in the order of the columns.
        own: what every row has besides; ``_label`` only where there are several writers.
        count: number of rows that were read so far.
    """

    def __init__(
        self,
        run: StoredRun,
        keys: Sequence[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        show: Show | None = None,
    ) -> None:
        self._run = run
        self._bounds: dict[str, int | None] = {"min_step": min_step, "max_step": max_step}
        self._show = show
        self.keys = run.keys() if keys is None else list(keys)
        self.own = _OWN if len(run.writers) > 1 else _OWN[:2]
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        total = self._run.records
        scan: Iterable[Row] = self._run.scan_history(self.keys, **self._bounds)
        for self.count, row in enumerate(scan, 1):
            if self._show is not None and not self.count & 1023:
                self._show(self.count, total)
            yield row

    def types(self) -> dict[str, set[type]]:
        """Return the types of each metric's values, with `Unsigned` and `Negative` where integers are."""
        types: dict[str, set[type]] = {key: set() for key in self.keys}
        for block in self._run.store().columns(self.keys, **self._bounds):
            for key, (_, values) in block.columns.items():
                if isinstance(values, array):
                    types[key].add(float if values.typecode == "d" else int)
                    integers: Sequence[int] = () if values.typecode == "d" else values
                else:
                    types[key].update(map(type, values))
                    integers = [value for value in values if type(value) is int]
                if integers:
                    types[key] |= {Negative} if min(integers) < 0 else set()
                    types[key] |= {Unsigned} if max(integers) >= 2**63 else set()
        return types


class Negative(int):
    """Among `HistoryRows.types`: an integer below zero."""


class Unsigned(int):
    """Among `HistoryRows.types`: an integer that takes 64 bits without a sign."""


class _LineFeeds(io.StringIO):
    """Text buffer that replaces the CR LF at the end of each row by LF.

    The `csv` module of Python 3.11 quotes a carriage return only if it is part of the line terminator.
    """

    def write(self, row: str) -> int:
        return super().write(row[:-2] + "\n")

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        content = self.getvalue().encode()
        self.seek(0)
        self.truncate()
        return content


def csv_parts(rows: HistoryRows) -> Iterator[bytes]:
    """Yield CSV (RFC 4180, but lines end with LF)."""
    keys = rows.keys
    text = _LineFeeds(newline="")
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow([*rows.own, *keys])
    source = iter(rows)
    while batch := list(islice(source, _PART_ROWS)):
        for row in batch:
            cells = map(row.get, keys)
            lines.writerow([*map(row.get, rows.own), *map(_cell, cells)])
        yield text.taken()
    yield text.taken()


def _cell(value: Any) -> Any:
    if value is None or type(value) in (float, int, str):
        return value  # csv writes a float's repr, which reads back as the same float
    return json.dumps(json_value(value), ensure_ascii=False, default=str)


def json_parts(rows: HistoryRows, *, ascii_only: bool = False) -> Iterator[bytes]:
    """Yield one JSON object per line."""
    source = iter(rows)
    while batch := list(islice(source, _PART_ROWS)):
        yield "".join([json_line(row, ascii_only=ascii_only) + "\n" for row in batch]).encode()


def json_line(value: Any, *, ascii_only: bool = False) -> str:
    """Return `value` as one line of JSON; NaN and infinities become strings."""
    try:
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(json_value(value), ensure_ascii=ascii_only, allow_nan=False, default=str)
