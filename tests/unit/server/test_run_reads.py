"""What a sidecar reads of a run's log for those who follow it."""

from __future__ import annotations

import pytest
from hypothesis import given

from sidecar.log.reader import LogReader
from sidecar.projections.replay import records
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME
from sidecar.server.run_reads import RunReads
from tests.support import exact
from tests.unit.sinks.row_logs import RUN, mixed_logs


@given(mixed_logs())
def test_rows_in_columns_have_arrived_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, log: bytes) -> None:
    root = tmp_path_factory.mktemp("root")
    path = root / RUNS_NAME / RUN / LOG_NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(log)
    with LogReader(path) as reader:
        ends = [end for batch in reader.batches() for end in batch.ends]
    for keys in (None, ["a"], ["a", "ü", "never"], ["never"]):
        for after, until in ((0, ends[-1]), (ends[len(ends) // 2], ends[-1]), (0, ends[len(ends) // 2])):
            found = list(RunReads(root).values("arrived", RUN, {"after": after, "until": until, "keys": keys}))
            wanted = []
            for record, end in zip(records(path), ends, strict=True):
                if record.kind == "log" and after < end <= until:
                    data = {key: value for key, value in record.body["data"].items() if keys is None or key in keys}
                    if data or keys is None:
                        wanted.append([end, record.client, record.body["step"], record.time, data])
            assert exact(found) == exact(wanted)
