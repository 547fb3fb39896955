"""Sends a run's log through a sink as a delivery does, but without threads, progress files and pauses."""

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
    """Send the whole log in `directory` to the server at `address`; return the sink's memory.

    Args:
        open_sink: the class of the sink.
        memory: its memory from the previous call.
        tries: maximum number of attempts for a batch, each with a new sink.
    """
    content: dict[str, Any] = dict(memory or {})
    target = SinkTarget(parse_sink(address), directory.name, directory, content)
    state = RunState()
    sink = open_sink(target)
    ready = False
    try:
        with LogReader(directory / LOG_NAME) as reader:
            for batch in reader.batches(sink.batch_bytes):
                state.take(batch.items)
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
    return content
