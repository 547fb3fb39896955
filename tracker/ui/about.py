"""Everything about a run except its history: its state, the goals of its metrics, the health of its log.

Pure functions over stored runs. Blocking, on any thread. Does not know about HTTP.
"""

from __future__ import annotations

import contextlib
import copy
import time
from typing import Any

from sidecar.protocol.errors import SidecarError
from sidecar.protocol.layout import LOG_NAME, STORE_NAME, is_held
from sidecar.protocol.plain import json_value
from tracker.errors import TrackerError
from tracker.reading.metrics import aggregate, direction
from tracker.reading.stored_run import StoredRun
from tracker.ui.files import listed

GOALS = {1: "maximize", -1: "minimize", 0: None}


def about(run: StoredRun) -> dict[str, Any]:
    """Return everything about a run except its history: state, goals, health of the log, number of files."""
    run = copy.copy(run).refresh()  # other threads may be reading the given run
    answer = run.to_map()
    answer["now"] = time.time()
    answer["goals"] = goals(run)
    answer["aggregates"] = {key: kind for key in run.summary if (kind := aggregate(run.metrics, key))}
    answer["health"] = health(run)
    answer["files"] = len(listed(run).files)
    answer["provenance"] = None
    converted: dict[str, Any] = json_value(answer)
    return converted


def goals(run: StoredRun) -> dict[str, str]:
    """Return ``"maximize"`` or ``"minimize"`` for each key of the summary whose goal is known."""
    named = {key: GOALS[direction(run.metrics, key)] for key in run.summary}
    return {key: goal for key, goal in named.items() if goal is not None}


def health(run: StoredRun) -> dict[str, Any] | None:
    """Return what is known about a run's log and store without reading them; None for a run on a server.

    ``log_bytes``, ``store_bytes``: sizes; None if there is no such file. ``behind_bytes``: what the store does not have
    yet; None if unknown. ``held``: whether a sidecar writes to the run now. ``error``: why the store cannot be read.
    """
    try:
        directory = run.dir
    except TrackerError:
        return None
    sizes: dict[str, int | None] = {}
    for name in (LOG_NAME, STORE_NAME, f"{STORE_NAME}-wal"):
        sizes[name] = None
        with contextlib.suppress(OSError):
            sizes[name] = (directory / name).stat().st_size
    behind, error = None, None
    if sizes[STORE_NAME] is not None:
        try:
            checkpoint = run.store().checkpoint()
        except (SidecarError, OSError) as problem:
            error = str(problem)
        else:
            log = sizes[LOG_NAME]
            behind = None if log is None else max(0, log - checkpoint)
    held = False
    with contextlib.suppress(OSError):
        held = is_held(directory) is not None
    store = sizes[STORE_NAME]
    return {
        "log_bytes": sizes[LOG_NAME],
        "store_bytes": None if store is None else store + (sizes[f"{STORE_NAME}-wal"] or 0),
        "behind_bytes": behind,
        "held": held,
        "error": error,
    }
