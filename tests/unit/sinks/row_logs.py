"""Batches in which rows and records are mixed, as a log may hold them: a strategy of hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sidecar.log.reader import Batch
from sidecar.protocol.codec import decode_frames, encode
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema

CLIENTS = ("client1", "client2")

SCHEMAS = [
    Schema(number, "run", client, tuple(keys), types)
    for number, (client, keys, types) in enumerate(
        [
            (CLIENTS[0], ["a"], "d"),
            (CLIENTS[0], ["a"], "q"),
            (CLIENTS[0], ["b", "a", "ü"], "dq?"),
            (CLIENTS[0], ["b", "a", "ü"], "d?q"),
            (CLIENTS[1], ["b", "a", "ü"], "d?q"),
            (CLIENTS[1], ["a", "b"], "dd"),
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


@st.composite
def mixed_batches(draw: Any) -> Batch:
    """Draw a batch of rows in columns, single rows, and records of several kinds, of several clients."""
    frames: list[bytes] = []
    last = dict.fromkeys(CLIENTS, 0)

    def numbered(client: str) -> int:
        last[client] += 1
        return last[client]

    for _ in range(draw(st.integers(1, 6))):
        what = draw(st.sampled_from(["rows", "rows", "rows", "log", "own", "config"]))
        client = draw(st.sampled_from(CLIENTS))
        if what == "rows":
            schema = draw(st.sampled_from(SCHEMAS))
            for _ in range(draw(st.sampled_from([1, 2, 16, 17, 40]))):
                values = [draw(VALUES[type_]) for type_ in schema.types]
                row = schema.pack(schema.word, numbered(schema.client), draw(_TIMES), draw(_STEPS), *values)
                frames.append(frame(row))
        elif what == "config":
            frames.append(frame(encode(Record("config", "run", client, numbered(client), 1.0, {"set": {"lr": 1}}))))
        else:
            data = draw(st.dictionaries(st.sampled_from(["a", "b", "ü"]), _MORE))
            client, seq = (client, numbered(client)) if what == "log" else ("", 0)
            body = {"step": draw(_STEPS), "data": data}
            frames.append(frame(encode(Record("log", "run", client, seq, draw(_TIMES), body))))
    items, ends = decode_frames(b"".join(frames), schemas={schema.word: schema for schema in SCHEMAS})
    return Batch(items, ends)


def one_by_one(batch: Batch) -> Batch:
    """Return the same batch without columns: a record for each row."""
    return Batch(batch.records, batch.ends)
