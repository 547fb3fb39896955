"""Logs in which rows and records are mixed: a strategy of hypothesis, and how a test reads them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from sidecar.log.reader import Batch, LogReader, header
from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import SCHEMA, Schema

RUN = "run1"
CLIENTS = ("client1", "client2")

SCHEMAS = [
    Schema(number, RUN, client, tuple(keys), types)
    for number, (client, keys, types) in enumerate(
        [
            (CLIENTS[0], ["a"], "d"),
            (CLIENTS[0], ["a"], "q"),
            (CLIENTS[0], ["b", "a", "ü"], "dq?"),
            (CLIENTS[0], ["b", "a", "ü"], "d?q"),
            (CLIENTS[1], ["b", "a", "ü"], "d?q"),
            (CLIENTS[1], ["a", "top@5"], "dd"),
        ],
        1,
    )
]

VALUES = {"d": st.floats(), "q": st.integers(-(2**63), 2**63 - 1), "?": st.booleans()}

_MORE: st.SearchStrategy[Any] = st.one_of(
    st.floats(), st.integers(-(2**63), 2**64 - 1), st.booleans(), st.text(max_size=3), st.just({"_type": "odd"})
)
_STEPS = st.integers(-(2**63), 2**63 - 1)
_TIMES = st.floats(-1e10, 1e12)


def record(kind: str, client: str, seq: int, body: dict[str, Any], time: float = 1.0) -> bytes:
    """Return the frame of a record."""
    return frame(encode(Record(kind, RUN, client, seq, time, body)))


@st.composite
def mixed_logs(draw: Any) -> bytes:
    """Draw the content of a log: rows in columns, single rows, and records of several kinds, of several clients."""
    frames = [header()]
    last = dict.fromkeys(CLIENTS, 0)

    def numbered(client: str) -> int:
        last[client] += 1
        return last[client]

    frames += [record("run", client, numbered(client), {"label": client}) for client in CLIENTS]
    frames += [record(SCHEMA, each.client, numbered(each.client), each.body()) for each in SCHEMAS]
    for _ in range(draw(st.integers(1, 6))):
        what = draw(st.sampled_from(["rows", "rows", "rows", "log", "own", "config", "schema"]))
        client = draw(st.sampled_from(CLIENTS))
        if what == "rows":
            schema = draw(st.sampled_from(SCHEMAS))
            for _ in range(draw(st.sampled_from([1, 2, 16, 17, 40]))):
                values = [draw(VALUES[type_]) for type_ in schema.types]
                row = schema.pack(schema.word, numbered(schema.client), draw(_TIMES), draw(_STEPS), *values)
                frames.append(frame(row))
        elif what == "config":
            frames.append(record("config", client, numbered(client), {"set": {"lr": 1}}))
        elif what == "schema":  # as a sidecar repeats it
            schema = draw(st.sampled_from(SCHEMAS))
            frames.append(record(SCHEMA, "", 0, {**schema.body(), "client": schema.client}))
        else:
            data = draw(st.dictionaries(st.sampled_from(["a", "b", "ü"]), _MORE))
            client, seq = (client, numbered(client)) if what == "log" else ("", 0)
            frames.append(record("log", client, seq, {"step": draw(_STEPS), "data": data}, draw(_TIMES)))
    return b"".join(frames)


def batch_of(log: bytes) -> Batch:
    """Return the whole content of a log as a batch."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        path.write_bytes(log)
        with LogReader(path) as reader:
            [batch] = reader.batches(max(1, len(log)))
    return batch


def one_by_one(batch: Batch) -> Batch:
    """Return the same batch without columns: a record for each row."""
    return Batch(batch.records, batch.ends)
