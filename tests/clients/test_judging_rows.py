"""The conformance kit's judgement of rows, on what a tap would have recorded."""

from __future__ import annotations

import math
from typing import Any

from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema
from tests.tools.conformance.manners import judge, judge_rows
from tests.tools.conformance.tap import Event

SCHEMA = Schema(7, "run", "a", ("x", "y"), "dd")


def sent(record: Record, moment: float, payload: bytes = b"") -> Event:
    return Event(moment, "send", record, payload or frame(encode(record)))


def log(seq: int, moment: float = 0.0, y: float = math.nan) -> Event:
    return sent(Record("log", "run", "a", seq, 1.0, {"data": {"x": 0.5, "y": y}, "step": seq}), moment)


def row(seq: int, moment: float = 0.0, y: float = math.nan) -> Event:
    payload = frame(SCHEMA.pack(SCHEMA.word, seq, 1.0, seq, 0.5, y))
    record = Record("log", "run", "a", seq, 1.0, {"step": seq, "data": {"x": 0.5, "y": y}})
    return sent(record, moment, payload)


def declared(moment: float = 0.0) -> Event:
    return sent(Record("schema", "run", "a", 0, 1.0, SCHEMA.body()), moment)


def attached(moment: float = 0.0, **body: Any) -> list[Event]:
    question = Record("attach", "run", "a", 0, 1.0, {"protocol": 1, **({"again": True} if moment else {})})
    return [
        Event(moment, "ask", question),
        Event(moment, "reply", Record("attached", "run", "a", 0, 1.0, {"last": 0, **body})),
    ]


def faults(*events: Event) -> str:
    """Return the faults that have to do with rows and numbers."""
    words = ("row", "schema", "two different", "gave")
    return " ".join(line for line in judge(events) if any(word in line for word in words))


def test_rows_are_for_a_sidecar_that_takes_them() -> None:
    assert not faults(*attached(rows=True), declared(2.0), row(1, 2.0))
    assert "sent a row to a sidecar" in faults(*attached(), row(1))
    assert "declared a schema to a sidecar" in faults(*attached(rows=False), declared())


def test_rows_may_be_on_their_way_while_the_client_attaches_to_a_sidecar_that_does_not_take_them() -> None:
    before = [*attached(rows=True), declared(1.0), row(1, 1.0), *attached(2.0)]
    assert not faults(*before, row(2, 2.1), log(1, 3.5), log(2, 3.5))
    assert "sent a row to a sidecar" in faults(*before, row(1, 3.5))


def test_a_row_may_be_sent_again_as_a_log_record_but_not_with_another_content() -> None:
    start = [*attached(rows=True), declared(), row(1)]
    assert not faults(*start, log(1))
    assert not faults(*start, row(1))
    assert "two different records" in faults(*start, log(1, y=0.5))


def test_the_choice_between_rows_and_log_records() -> None:
    assert list(judge_rows([row(1), row(2)], texts=False)) == []
    assert list(judge_rows([row(1), log(2)], texts=True)) == []
    assert "wrote no rows" in next(judge_rows([log(1)], texts=False))
    assert "1 of 2 steps as 'log' records" in next(judge_rows([row(1), log(2)], texts=False))
    assert "no 'log' records" in next(judge_rows([row(1)], texts=True))
    assert list(judge_rows([], texts=False)) == []
