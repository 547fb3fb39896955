"""The store in a run's directory: opened, rebuilt if it is missing or damaged, or done without.

Used on any thread. Does not know what a run looks like to users.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.protocol.errors import LogFormatError, StoreError, reason
from sidecar.protocol.layout import LOG_NAME, STORE_NAME

if TYPE_CHECKING:
    from sidecar.projections.store.reader import StoreReader

_PATIENCE_SECONDS = 5.0
"""Maximum wait for a store that a live sidecar is about to create, in seconds."""

_POLL_SECONDS = 0.05
"""Interval between two attempts during that wait, in seconds."""


def open_store(directory: Path) -> StoreReader:
    """Return a reader of a run's store; a missing or damaged store is first rebuilt from the log.

    Raises:
        StoreError: it cannot be rebuilt, for example on a read-only medium; the message says why.
    """
    from sidecar.projections.store.reader import StoreReader

    reader = StoreReader(directory / STORE_NAME)
    try:
        reader.checkpoint()
    except StoreError as error:
        _rebuild(directory, reader, error)
    return reader


def _rebuild(directory: Path, reader: StoreReader, error: StoreError) -> None:
    from sidecar.projections.rebuild import RunHeldError, rebuild

    patient_until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            rebuild(directory)
            return
        except RunHeldError:  # its sidecar is about to create the store
            if time.monotonic() > patient_until:
                raise error from None
        except (OSError, LogFormatError) as cause:
            raise StoreError(f"{error}; it cannot be rebuilt here: {reason(cause)}") from cause
        time.sleep(_POLL_SECONDS)
        try:
            reader.checkpoint()
            return
        except StoreError as again:
            error = again


def read_state(directory: Path) -> dict[str, Any]:
    """Return a run's state, as `RunState.to_map` does: from its store, or from its log if the store is unusable.

    If the log cannot be read either, the state is ``"unreadable"``, and ``reason`` says why.
    """
    from sidecar.projections.store.reader import StoreReader  # a list of runs may do without

    try:
        return StoreReader(directory / STORE_NAME).state()
    except StoreError:
        return _state_in_log(directory)


def _state_in_log(directory: Path) -> dict[str, Any]:
    from sidecar.projections.replay import EachBatch, replay
    from sidecar.projections.run_state import RunState

    state = RunState()
    try:
        replay(directory / LOG_NAME, 0, EachBatch(state.take))
    except (OSError, LogFormatError) as error:
        return unreadable_state(error)
    return state.to_map()


def unreadable_state(error: Exception) -> dict[str, Any]:
    """Return the state of a run that cannot be read because of `error`."""
    from sidecar.projections.run_state import RunState

    return RunState().to_map() | {"state": "unreadable", "reason": reason(error)}
