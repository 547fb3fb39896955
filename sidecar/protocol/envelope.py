"""Record: the six elements of every record and every result. Knows nothing of kinds, bytes, files or sockets."""

from __future__ import annotations

from typing import Any, NamedTuple

Body = dict[str, Any]


class Record(NamedTuple):
    """One record, or one result.

    Attributes:
        kind: a name from `sidecar.protocol.records.KINDS`, or one that this version does not know.
        run: the run's id.
        client: id of the attachment that sent the record, or that a result is sent to; empty for fire-and-forget.
        seq: counts from 1 per client without gaps; 0 if not numbered (requests, fire-and-forget, results).
        time: Unix seconds by the writer's clock.
        body: the kind's keys.
    """

    kind: str
    run: str
    client: str
    seq: int
    time: float
    body: Body
