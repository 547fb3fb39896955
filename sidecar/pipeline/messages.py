"""What the stages hand to one another, and the events that they report to the server: plain frozen data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sidecar.pipeline.held_run import HeldRun, Session
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Schema
from sidecar.protocol.sink_address import SinkAddress


class Append(NamedTuple):
    """Handler to Writer: whole frames for a run's log.

    Attributes:
        run: the run.
        frames: the frames.
        marks: the number that each client in them has reached.
        rows_of: the schemas of the rows in them.
        declares: the schema that they declare, if they do.
    """

    run: HeldRun
    frames: bytes | memoryview
    marks: tuple[tuple[Session, int], ...]
    rows_of: tuple[Schema, ...] = ()
    declares: Schema | None = None


class Question(NamedTuple):
    """Handler to Writer, which answers ``flush`` and passes ``state`` and ``progress`` on to the Sender.

    Attributes:
        run: the run.
        session: the client that asks; None for an editor.
        ask: what it asks.
        answer: called, on any thread, with the keys of the answer's body besides its id.
    """

    run: HeldRun
    session: Session | None
    ask: str
    answer: Callable[[dict[str, object]], None]


class Opened(NamedTuple):
    """Handler to Writer to Sender: a run is held from now on."""

    run: HeldRun


class Done(NamedTuple):
    """Handler to Writer: call `then` when everything handed over before is in the run's log."""

    run: HeldRun
    then: Callable[[], None]


class Closing(NamedTuple):
    """Handler to Writer to Sender: nothing more comes for a run; call `then` when everything is projected.

    `then` gets whether that succeeded.
    """

    run: HeldRun
    then: Callable[[bool], None]


class Appended(NamedTuple):
    """Writer to Sender: a run's log has grown to the offset `end`."""

    run: HeldRun
    end: int


WriterItem = Append | Question | Opened | Done | Closing
SenderItem = Appended | Question | Opened | Closing


class Attached(NamedTuple):
    """A client is attached."""

    session: Session


class Detached(NamedTuple):
    """A client is no longer attached."""

    session: Session


class SinksChosen(NamedTuple):
    """A run is to be sent to these servers, besides those that every run is sent to."""

    run: HeldRun
    sinks: tuple[SinkAddress, ...]


class Released(NamedTuple):
    """A run was closed, and is no longer held here."""

    run: HeldRun


class Edited(NamedTuple):
    """Edits of a run that is not held here are done, also if they were refused.

    Attributes:
        edits: how many there were.
        sinks: the servers that the run is sent to.
    """

    run: str
    directory: Path
    edits: int
    sinks: tuple[SinkAddress, ...]


Event = Attached | Detached | SinksChosen | Released | Edited

Emit = Callable[[Event], None]
"""Takes an event, from any thread."""

Post = Callable[[str, Record], None]
"""Hands a result to a client's result socket, from any thread."""
