"""Recovers runs whose sidecar died: takes orphaned windows, writes crash records, brings the store up to the log.

Runs in a process of its own (``sidecar recover``), or on a sidecar's RecoveryThread. Knows nothing of sockets.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sidecar.pipeline.held_run import HeldRun
from sidecar.projections.replay import replay
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError, SidecarError
from sidecar.protocol.layout import RUNS_NAME, needs_recovery

_log = logging.getLogger("sidecar")


def orphaned_runs(root: Path) -> list[str]:
    """Return the ids of the runs below `root` that need a recovery, sorted."""
    try:
        entries = sorted(path for path in (root / RUNS_NAME).iterdir() if path.is_dir())
    except OSError:
        return []
    return [path.name for path in entries if needs_recovery(path)]


def recover(root: Path, run_ids: list[str] | None, deadline: Deadline) -> list[str]:
    """Recover runs; return the ids of those that were recovered.

    Args:
        root: the directory that holds ``runs/``.
        run_ids: the runs; None: those that need it. A run that a sidecar holds is left as it is.
        deadline: no run is started after it.
    """
    recovered = []
    for run_id in orphaned_runs(root) if run_ids is None else run_ids:
        if deadline.over():
            break
        try:
            _recover(root, run_id)
            recovered.append(run_id)
        except RefusedError as error:
            _log.info("run %s: %s", run_id, error)
        except (SidecarError, OSError) as error:
            _log.error("run %s: %s", run_id, error)
    return recovered


def _recover(root: Path, run_id: str) -> None:
    run = HeldRun.open(root, run_id, "")
    if not run.existed:  # nothing was logged, or its owner has removed the window meanwhile
        run.give_back()
        return
    clean = False
    try:
        sink = StoreSink(run.directory)
        replay(run.log.path, sink.checkpoint, sink)
        sink.make_pieces()
        sink.close()
        clean = not run.open_clients
    finally:
        run.release(clean=clean)
    _log.info("run %s: recovered", run_id)
