"""What the stages hand to one another: plain frozen data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sidecar.pipeline.held_run import Run, Session
from sidecar.protocol.records import Record


class Append(NamedTuple):
    """Handler to Writer: whole frames for a run's log, and up to which number each client is in them."""

    run: Run
    frames: bytes | memoryview
    marks: tuple[tuple[Session, int], ...]


class Question(NamedTuple):
    """Handler to Writer, which answers ``flush``, or hands it on to the Sender: ``state``, ``progress``.

    Attributes:
        run: which run.
        session: who asks.
        ask: what is asked.
        answer: called with what the answer's body shall hold besides the id.
    """

    run: Run
    session: Session
    ask: str
    answer: Callable[[dict[str, object]], None]


class Opened(NamedTuple):
    """Handler to Writer to Sender: a run is held from now on."""

    run: Run


class Done(NamedTuple):
    """Handler to Writer: call this when all that was handed over before it is in the log."""

    then: Callable[[], None]


class Closing(NamedTuple):
    """Handler to Writer to Sender: nothing more will come for a run; call `then` when all is projected."""

    run: Run
    then: Callable[[bool], None]


class Appended(NamedTuple):
    """Writer to Sender: a run's log has grown to `end`."""

    run: Run
    end: int


WriterItem = Append | Question | Opened | Done | Closing
SenderItem = Appended | Question | Opened | Closing

Post = Callable[[str, Record], None]
"""Hands a result to a client's channel, from any thread."""
