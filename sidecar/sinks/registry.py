"""Makes the sink for an address. To add a sink, add a row to `sidecar.protocol.sink_kinds`; nothing changes here."""

from __future__ import annotations

import importlib
from typing import cast

from sidecar.protocol.sink_kinds import SINK_KINDS
from sidecar.sinks.contract import OpenSink, Sink, SinkTarget


def open_sink(target: SinkTarget) -> Sink:
    """Return a new sink for the target's address; `Sink.open` has not been called. Its module is imported here, when a
    run is first sent there."""
    module, _, name = SINK_KINDS[target.address.kind].factory.partition(":")
    factory = cast(OpenSink, getattr(importlib.import_module(module), name))
    return factory(target)
