"""The layout of a root directory, and the lock on a run. Used by both sides and by every reader.

``<root>/runs/<run id>/`` has ``transactions.log``, ``store.db``, ``windows/``, ``files/`` and, while a sidecar holds
the run, ``lock``: a file locked with ``flock``, whose content is the path of that sidecar's connection file. A lock
file that is not locked was left by a sidecar that died.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

from sidecar.protocol.errors import RunHeldError
from sidecar.protocol.segments import OWNER_NAME, is_owned, window_directories

RUNS_NAME = "runs"
LOCK_NAME = "lock"
LOG_NAME = "transactions.log"
STORE_NAME = "store.db"
FILES_NAME = "files"
SINKS_NAME = "sinks"
"""Below a run: its progress on the way to each server."""

REMOTE_NAME = "remote"
"""Below the root: the windows of runs whose sidecar was not launched here, but attached to."""

SIDECARS_NAME = "sidecars"
"""Below the root: the connection files and the log files of sidecars."""

SERVING_NAME = "serve.json"
"""The connection file of the sidecar that serves a root."""

SOCKETS_PREFIX = "tracker-"
"""Prefix of the private directories for sockets, in the system's directory for temporary files."""

_MAX_TMPDIR_BYTES = 60
"""Maximum length of a directory for sockets, in bytes. A socket's path has at most 107 (unix(7): sun_path), and the
TMPDIR of some clusters leaves no room for it."""

_LOCK_ATTEMPTS = 5
_LOCK_INTERVAL = 0.01
"""Interval between two attempts to lock a run, in seconds: `is_held` holds the lock for a moment."""

IGNORE_NAME = ".gitignore"


def make_root(root: Path) -> None:
    """Make a root directory, with a ``.gitignore`` that keeps git away from it; one that exists stays as it is.

    Raises:
        OSError: the directory cannot be made.
    """
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        return
    with contextlib.suppress(OSError), open(root / IGNORE_NAME, "x") as file:
        file.write("*\n")


def sockets_in() -> Path:
    """Return the parent of the private directories for sockets: the directory for temporary files, or ``/tmp``."""
    usual = tempfile.gettempdir()
    return Path(usual if len(os.fsencode(usual)) <= _MAX_TMPDIR_BYTES else "/tmp")


def is_held(run_directory: Path) -> str | None:
    """Return the connection file of the sidecar that holds a run; "" if it is not known, None if no one holds it."""
    try:
        fd = os.open(run_directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return ""  # another user's run: it may be held
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fsdecode(os.read(fd, 4096)).strip()
    finally:
        os.close(fd)
    return None


def needs_recovery(run_directory: Path) -> bool:
    """Whether a dead sidecar left the run: its lock file is not locked, or it has no lock file but orphaned windows.

    A window whose owner lives belongs to a run that is about to start.
    """
    if not (run_directory / LOCK_NAME).exists():
        return any((path / OWNER_NAME).exists() and not is_owned(path) for path in window_directories(run_directory))
    return is_held(run_directory) is None


class RunLock:
    """The lock on a run: its holder may write the run's log and store.

    Args:
        run_directory: the run's directory.
        holder: the path of the holder's connection file; empty if it has none.

    Attributes:
        left_behind: whether the lock file existed before: a sidecar died without releasing the run.

    Raises:
        RunHeldError: another process holds it. OSError: the directory cannot be written.
    """

    def __init__(self, run_directory: Path, holder: str = "") -> None:
        self._path = run_directory / LOCK_NAME
        self.left_behind = self._path.exists()
        tries = 0
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                where = os.fsdecode(os.read(self._fd, 4096)).strip()
                os.close(self._fd)
                tries += 1
                if tries < _LOCK_ATTEMPTS:
                    time.sleep(_LOCK_INTERVAL)
                    continue
                raise RunHeldError(run_directory.name, where) from error
            if self._is_named():
                break
            os.close(self._fd)  # its holder removed the file between the two calls
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, os.fsencode(holder), 0)
        except OSError:
            self.release(remove=False)
            raise

    def _is_named(self) -> bool:
        try:
            return os.stat(self._path).st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def release(self, *, remove: bool) -> None:
        """Release the lock. May be called twice.

        Args:
            remove: remove the lock file, since nothing is left to do for the run; a file that stays asks for recovery.
        """
        if self._fd >= 0:
            try:
                if remove and self._is_named():  # else the directory was moved away, and another run has its name
                    self._path.unlink(missing_ok=True)
            finally:
                os.close(self._fd)
                self._fd = -1
