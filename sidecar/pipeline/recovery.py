"""Finishes runs whose sidecar died: takes what is left in windows, says who is gone, brings the store up to the log.

Runs in a process of its own (``sidecar recover``), or before a reader looks. Knows nothing of sockets.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sidecar.pipeline.held_run import Run
from sidecar.projections.replay import replay
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError, SidecarError
from sidecar.protocol.layout import RUNS_NAME, needs_recovery

_log = logging.getLogger("sidecar")


def left_behind(root: Path) -> list[str]:
    """Return the ids of the runs below `root` that a dead sidecar has left."""
    try:
        entries = sorted(path for path in (root / RUNS_NAME).iterdir() if path.is_dir())
    except OSError:
        return []
    return [path.name for path in entries if needs_recovery(path)]


def recover(root: Path, run_ids: list[str] | None, deadline: Deadline) -> list[str]:
    """Finish the runs that were left behind; return those that were finished. A run held by a sidecar is left alone."""
    done = []
    for run_id in left_behind(root) if run_ids is None else run_ids:
        if deadline.over():
            break
        try:
            _recover(root, run_id)
            done.append(run_id)
        except RefusedError as error:
            _log.info("run %s: %s", run_id, error)
        except (SidecarError, OSError) as error:
            _log.error("run %s: %s", run_id, error)
    return done


def _recover(root: Path, run_id: str) -> None:
    run = Run.open(root, run_id, "")
    if not run.existed and not run.open_writers:  # nothing was logged, or its owner has taken it back meanwhile
        run.give_back()
        return
    clean = False
    try:
        sink = StoreSink(run.directory)
        replay(run.log.path, sink.checkpoint, sink)
        sink.close()
        clean = not run.open_writers
    finally:
        run.release(clean=clean)
    _log.info("run %s: recovered", run_id)
