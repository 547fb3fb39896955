"""Where things are below a root directory, and who holds a run. Both sides and every reader go by it.

``<root>/runs/<run id>/`` has ``transactions.log``, ``store.db``, ``windows/``, ``files/`` and, while a sidecar holds
the run, ``lock``: a file that is flocked, and says the path of that sidecar's connection file. A lock file that nobody
has flocked was left by a sidecar that died.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sidecar.protocol.segments import OWNER_NAME, window_directories

RUNS_NAME = "runs"
LOCK_NAME = "lock"
LOG_NAME = "transactions.log"
STORE_NAME = "store.db"
FILES_NAME = "files"


def is_held(run_directory: Path) -> str | None:
    """Return the connection file of the sidecar that holds a run now ("" if it left no word), or None."""
    try:
        fd = os.open(run_directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 4096).decode(errors="replace").strip()
    finally:
        os.close(fd)
    return None


def needs_recovery(run_directory: Path) -> bool:
    """Whether a dead sidecar has left the run: its lock file is there and nobody holds it, or windows are left."""
    if not (run_directory / LOCK_NAME).exists():
        return any((path / OWNER_NAME).exists() for path in window_directories(run_directory))
    return is_held(run_directory) is None
