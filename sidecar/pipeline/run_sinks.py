"""The servers that a client wants its run sent to: which it may name, and what the run's directory notes of them.

Used on the HandlerThread. Knows nothing of what is sent.
"""

from __future__ import annotations

import logging

from sidecar.pipeline.held_run import HeldRun
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.sink_address import SinkAddress, parse_sink, parse_sinks
from sidecar.protocol.sink_progress import all_progress, read_progress, write_progress

_log = logging.getLogger("sidecar")


def parse_client_sinks(addresses: list[str], *, local: bool) -> tuple[SinkAddress, ...]:
    """Return the servers that a client names in its ``attach``.

    Args:
        addresses: as in the request.
        local: whether only this machine reaches the sidecar; otherwise a client may name none.

    Raises:
        RefusedError: it may not name servers, or an address is not valid.
    """
    if addresses and not local:
        raise RefusedError("sinks", "clients of this sidecar must not choose sinks: it has its own")
    try:
        return parse_sinks(addresses)
    except ValueError as error:
        raise RefusedError("sinks", str(error)) from error


def note_sinks(run: HeldRun, sinks: tuple[SinkAddress, ...], *, offline: bool) -> None:
    """Note in the run's directory which servers it is sent to now, and which only by ``tracker sync`` (`offline`)."""
    for address in sinks:
        progress = read_progress(run.directory, address)
        if progress.offline == offline:
            continue
        progress.offline = offline
        try:
            write_progress(run.directory, progress)
        except OSError as error:
            _log.error("run %s: its sink %s cannot be noted: %s", run.id, address.text, error)


def noted_sinks(run: HeldRun) -> tuple[SinkAddress, ...]:
    """Return the servers that the run's directory says it is sent to."""
    return tuple(parse_sink(progress.address) for progress in all_progress(run.directory) if not progress.offline)
