"""Runs: a lazy sequence of stored runs, filtered and in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from tracker.reading.filters import Order, compile_filter
from tracker.reading.sources import Source
from tracker.reading.stored_run import StoredRun


class Runs(Sequence[StoredRun]):
    """The runs that were asked for, in order. Nothing is read before the first use; what was read is kept."""

    def __init__(
        self,
        source: Source,
        project: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
    ) -> None:
        self._source = source
        self._project = project
        self._passes = compile_filter(filters)
        self._order = Order("-start_time" if order is None else order)
        self._found: list[StoredRun] | None = None

    def _runs(self) -> list[StoredRun]:
        if self._found is None:
            self._found = self._order.sort([run for run in self._source.runs(self._project) if self._passes(run)])
        return self._found

    def __len__(self) -> int:
        return len(self._runs())

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._runs())

    @overload
    def __getitem__(self, index: int) -> StoredRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[StoredRun]: ...

    def __getitem__(self, index: int | slice) -> StoredRun | list[StoredRun]:
        return self._runs()[index]

    def __repr__(self) -> str:
        return f"<Runs in {self._source.place!r}>"
