"""Losses: counts of a run's lost records, by reason. A part of the run's state; pure data, no I/O."""

from __future__ import annotations

from typing import Any

from sidecar.projections.registry import StatePart
from sidecar.protocol.limits import MAX_SEQ
from sidecar.protocol.records import Record

_REJECTED = "rejected"


class Losses(StatePart):
    """Counts of lost records per client and source, since each source reports its own totals."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[str, int]] = {}

    def apply(self, record: Record) -> None:
        body = record.body
        if record.kind == "rejected":
            counts = self._counts.setdefault((record.client, _REJECTED), {})
            reason = f"refused: {body['code']}"
            counts[reason] = counts.get(reason, 0) + 1
        else:  # totals since the source started, so they replace those reported before
            self._counts[record.client, body["source"]] = {
                reason: count for reason, count in body["counts"].items() if type(count) is int and count >= 0
            }

    def shown(self) -> dict[str, int]:
        """Return reason -> number of records, over all sources."""
        totals: dict[str, int] = {}
        for counts in self._counts.values():
            for reason, count in counts.items():
                totals[reason] = min(totals.get(reason, 0) + count, MAX_SEQ)  # clients may report any number
        return totals

    def by(self, client: str, source: str) -> dict[str, int]:
        """Return reason -> number of records, as `source` counted them among the records of `client`."""
        return dict(self._counts.get((client, source), {}))

    def dump(self) -> list[Any]:
        return [[client, source, counts] for (client, source), counts in self._counts.items()]

    def restore(self, dumped: Any) -> None:
        self._counts = {(client, source): dict(counts) for client, source, counts in dumped}


PROJECTION = Losses
