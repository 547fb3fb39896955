"""Sends a run's log through a sink by hand, as a delivery does, but with no thread, no file and no pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.contract import OpenSink, SinkTarget, SinkUnavailableError


def feed(
    open_sink: OpenSink, address: str, directory: Path, memory: dict[str, Any] | None = None, tries: int = 1
) -> dict[str, Any]:
    """Send all of the log in `directory` to the server at `address`; return what the sink remembers.

    Args:
        open_sink: the sink's class.
        memory: what it remembered the last time.
        tries: how often a batch is sent, each time by a new sink, before an error of the server's is raised.
    """
    kept: dict[str, Any] = dict(memory or {})
    target = SinkTarget(parse_sink(address), directory.name, directory, kept)
    state = RunState()
    sink = open_sink(target)
    ready = False
    try:
        with LogReader(directory / LOG_NAME) as reader:
            for batch in reader.batches(sink.batch_bytes):
                for record in batch.records:
                    state.apply(record)
                for attempt in range(tries):
                    try:
                        if not ready:
                            sink.open()
                            ready = True
                        assert sink.send(batch, state) == batch.end
                        break
                    except SinkUnavailableError:
                        if attempt + 1 == tries:
                            raise
                        sink.close(Deadline(5.0))
                        sink, ready = open_sink(target), False
    finally:
        sink.close(Deadline(5.0))
    return kept
