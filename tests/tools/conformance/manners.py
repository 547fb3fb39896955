"""Judges what a tap recorded: whether a client behaves as PROTOCOL.md requires, beyond what is on disk. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.records import KINDS
from sidecar.protocol.rows import SCHEMA
from tests.tools.conformance.tap import Event, is_row

_UNHEARD_SECONDS = 1.0
"""Time by which a client must have read what was sent to it, in seconds."""

_QUIET_SECONDS = 2.5
"""Longest silence of a client that has nothing to send, in seconds: one beat a second, with some tolerance."""

_FLIGHT_BYTES = 8 * 1024 * 1024


def judge(events: Sequence[Event]) -> list[str]:
    """Return the faults of one client, in sentences."""
    found: list[str] = []
    client = next((event.record.client for event in events if event.way == "ask"), "")
    foreign = [event for event in events if event.way == "result" and event.record.client != client]
    found += _foreign(events, foreign)
    events = [event for event in events if event not in foreign]
    for check in (_attaching, _numbers, _forms, _acks, _flight, _quiet, _detaching):
        found += check(events)
    return found


def judge_rows(events: Sequence[Event], *, texts: bool) -> Iterator[str]:
    """Yield what is wrong with the choice between rows and ``log`` records; `texts`: whether some steps have a text."""
    logs = [event for event in events if event.way == "send" and event.record.kind == "log"]
    rows = [event for event in logs if is_row(event.payload)]
    if not logs:
        return  # other checks say so
    if not rows:
        yield "It wrote no rows. A client that writes none is checked with --without-rows."
    elif not texts and len(rows) < len(logs):
        yield f"It sent {len(logs) - len(rows)} of {len(logs)} steps as 'log' records, though all can be rows."
    elif texts and len(rows) == len(logs):
        yield "It sent no 'log' records, though some steps have a text."


def _forms(events: Sequence[Event]) -> Iterator[str]:
    """Rows and schemas go only to a sidecar that takes them."""
    takes, late = False, None  # when no row can be on its way any more that was sent before it attached
    for event in events:
        if event.way == "reply" and event.record.kind == "attached":
            late = event.moment + _UNHEARD_SECONDS if takes else late
            takes = event.record.body.get("rows") is True
        elif event.way == "send" and not takes and (late is None or event.moment > late):
            if is_row(event.payload):
                yield "It sent a row to a sidecar whose 'attached' does not say that it takes rows."
                return
            if event.record.kind == SCHEMA and event.record.seq == 0:
                yield "It declared a schema to a sidecar whose 'attached' does not say that it takes rows."
                return


def _attaching(events: Sequence[Event]) -> Iterator[str]:
    asked = [event.record for event in events if event.way == "ask"]
    if not asked:
        yield "It never asked the control socket."
        return
    if len({record.client for record in asked}) > 1:
        names = ", ".join(dict.fromkeys(record.client for record in asked))
        yield f"It attached under several client ids ({names}): attaching again keeps the id."
    if any(record.seq != 0 for record in asked):
        yield "It gave 'attach' a number: messages to the control socket have number 0."
    attached = False
    for event in events:
        if event.way == "ask" and event.record.kind == "attach":
            body = event.record.body
            if body["protocol"] != PROTOCOL_VERSION:
                yield f"It attached with protocol {body['protocol']}, not {PROTOCOL_VERSION}."
            if attached and body.get("again") is not True:
                yield "It attached again without 'again' true."
                break
            if not attached and body.get("again"):
                yield "It sent 'again' true before it had been attached."
                break
        elif event.way == "reply" and event.record.kind == "attached":
            attached = True
        elif event.way == "send" and not attached:
            yield "It sent records before it was attached."
            break


def _numbers(events: Sequence[Event]) -> Iterator[str]:
    first: dict[int, str] = {}
    highest = 0
    for event in events:
        record = event.record
        if event.way != "send":
            continue
        unnumbered = record.kind in KINDS and KINDS[record.kind].way == "request"
        if record.kind in KINDS and record.kind != SCHEMA and unnumbered != (record.seq == 0):
            yield f"It gave a {record.kind!r} the number {record.seq}."
            return
        content = json.dumps(record, sort_keys=True, default=repr)  # a row may be sent again as a `log` record
        if record.seq and first.setdefault(record.seq, content) != content:
            yield f"It used the number {record.seq} for two different records."
            return
        if record.seq > highest + 1:
            yield f"Record {highest + 1} never came: {record.seq} followed {highest}. Numbers start at 1, without gaps."
            return
        highest = max(highest, record.seq)


def _foreign(events: Sequence[Event], foreign: Sequence[Event]) -> Iterator[str]:
    """After a result for another client it attaches again."""
    if foreign and not any(event.way == "ask" and event.moment > foreign[0].moment for event in events):
        yield "It read a result with another client's id, and did not attach again."


def unfinished(events: Sequence[Event]) -> list[str]:
    """Say what a client that did not end was waiting for: the last thing that was lost, and what it did after that."""
    lost = [event for event in events if not event.passed and event.record.kind != "ack"]
    lost = lost or [event for event in events if not event.passed]
    if not lost:
        return []
    began, last = events[0].moment, lost[-1]
    what = f"{_article(last.record.kind)} {last.record.kind!r}"
    if last.record.kind == "answer":
        what = f"the answer to request {last.record.body.get('id')}"
    elif last.record.kind == "attach":
        what = "the answer to its first 'attach'"
    later = [event.record.kind for event in events if event.way in ("ask", "send") and event.moment > last.moment]
    did = f"it sent {', '.join(repr(kind) for kind in dict.fromkeys(later))}" if later else "it sent nothing"
    return [f"At {last.moment - began:.1f} s {what} was lost on the way; after that {did}."]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _acks(events: Sequence[Event]) -> Iterator[str]:
    """A record that was acked, or durable when it attached, is not sent again."""
    told: list[tuple[float, int]] = []
    for event in events:
        record = event.record
        if event.way == "result" and event.passed and record.kind == "ack":
            told.append((event.moment, record.body["seq"]))
        elif event.way == "reply" and record.kind == "attached":
            told.append((event.moment, record.body["last"]))
        elif event.way == "send" and record.seq:
            known = max((seq for moment, seq in told if event.moment - moment > _UNHEARD_SECONDS), default=0)
            if record.seq <= known:
                yield f"It sent record {record.seq} again, long after records up to {known} had been acked."
                return


def _flight(events: Sequence[Event]) -> Iterator[str]:
    acked = 0
    flight: dict[int, int] = {}
    for event in events:
        record = event.record
        if event.way == "send" and record.seq > acked:
            flight[record.seq] = len(event.payload)
        elif event.way == "result" and record.kind == "ack":
            acked = max(acked, record.body["seq"])
            flight = {seq: size for seq, size in flight.items() if seq > acked}
        if sum(flight.values()) > _FLIGHT_BYTES:
            yield f"It had {sum(flight.values())} bytes sent without an ack; 4 MiB is a good bound."
            return


def _quiet(events: Sequence[Event]) -> Iterator[str]:
    """Between `attached` and `detach` it sends something every second."""
    last = None
    for event in events:
        if event.way == "reply" and event.record.kind == "attached":
            last = event.moment
        elif event.way in ("send", "ask") and last is not None:
            if event.moment - last > _QUIET_SECONDS:
                yield f"It sent nothing for {event.moment - last:.1f} s: a client sends a 'beat' once a second."
                return
            last = event.moment


def _detaching(events: Sequence[Event]) -> Iterator[str]:
    sent = [event for event in events if event.way == "send"]
    kinds = [event.record.kind for event in sent]
    asks = [(event.moment, event.record.body["ask"]) for event in sent if event.record.kind == "request"]
    if "detach" not in kinds:
        yield "It ended without 'detach'."
    elif kinds[-1] != "detach":
        yield f"It sent a {kinds[-1]!r} after 'detach'."
    left = next((event.moment for event in sent if event.record.kind == "detach"), None)
    ended = next((event for event in sent if event.record.kind == "exit"), None)
    if ended is None:
        yield "It never sent 'exit'."
        return
    asked_state = [moment for moment, ask in asks if ask == "state" and moment >= ended.moment]
    if not asked_state:
        yield "It did not ask for 'state' after 'exit'."
    if not any(moment < ended.moment for moment, _ in asks):
        yield "It did not wait until everything was durable ('flush') before it sent 'exit'."
    answers = [event.moment for event in events if event.way == "result" and event.record.kind == "answer"]
    if left is not None and asked_state and not any(asked_state[0] <= moment <= left for moment in answers):
        yield "It detached before the answer to 'state' had come."
