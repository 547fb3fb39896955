"""Runs: a lazy sequence of stored runs, filtered and in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from sidecar.protocol.errors import SidecarError
from tracker.errors import TrackerError
from tracker.reading.filters import Filter, Order
from tracker.reading.sources import Source
from tracker.reading.stored_run import StoredRun
from tracker.terminal.text import counted

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("id", "name", "project", "group", "job_type", "tags", "state", "start_time", "end_time", "step")


class Runs(Sequence[StoredRun]):
    """The runs that were asked for, in order. Nothing is read before the first use; what was read is kept.

    Raises:
        FilterError: a filter or an order that cannot be answered, when made or at the first use.
    """

    def __init__(
        self,
        source: Source,
        project: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
        *,
        deleted: bool = False,
    ) -> None:
        self._source = source
        self._project = project
        self._filter = Filter(filters)
        self._order = Order("-start_time" if order is None else order)
        self._deleted = deleted
        self._runs: list[StoredRun] | None = None

    def _read(self) -> list[StoredRun]:
        if self._runs is None:
            runs = [run for run in self._source.runs(self._project) if run.deleted == self._deleted]
            self._runs = self._order.sort(self._filter.select(runs))
        return self._runs

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._read())

    @overload
    def __getitem__(self, index: int) -> StoredRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[StoredRun]: ...

    def __getitem__(self, index: int | slice) -> StoredRun | list[StoredRun]:
        return self._read()[index]

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per run: what it is, ``config.<key>`` (nested keys with dots) and ``summary.<key>``.

        ``start_time`` and ``end_time`` are UTC timestamps.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        rows = [run.to_row(_COLUMNS) for run in self]
        keys = dict.fromkeys(key for row in rows for key in row)
        frame = pd.DataFrame(rows, columns=list(keys) or list(_COLUMNS))
        for name in ("start_time", "end_time"):
            frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
        return frame

    def __repr__(self) -> str:
        try:
            return f"<{counted(len(self), 'run')} in {self._source.place!r}>"
        except (TrackerError, SidecarError, OSError) as error:
            return f"<runs in {self._source.place!r}: {error}>"

    def _repr_html_(self) -> str:
        from tracker.reading.display import runs_html

        return runs_html(self._read())
