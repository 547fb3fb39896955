"""Looks at a run's files: what changes when the run does, and what asks for a closer look. Opens none of them.

Used on any thread. Knows the layout of a run's directory, and nothing of its content.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import NamedTuple

from sidecar.protocol.layout import LOCK_NAME, LOG_NAME, SINKS_NAME, STORE_NAME
from sidecar.protocol.segments import WINDOWS_NAME

LOCKED = 1
"""A sidecar holds the run, or left its lock file when it died."""

WINDOWS = 2
"""The run has a directory of windows, which a dead process may have left."""

SINKS = 4
"""The run is sent to servers."""

JOURNAL = 8
"""The store has a write-ahead log beside it."""

_JOURNAL_NAME = STORE_NAME + "-wal"
_FLAGS = {LOCK_NAME: LOCKED, WINDOWS_NAME: WINDOWS, SINKS_NAME: SINKS, _JOURNAL_NAME: JOURNAL}
_MISSING = (-1, 0, 0, 0)
_UNKNOWN = (-2, 0, 0, 0)
_FOUR = struct.Struct("<3qQ")
_EIGHT = struct.Struct("<3qQ3qQ")

_NANOSECONDS = 1e9


SETTLED_SECONDS = 2.0
"""Age from which the time of a file tells whether it changed, in seconds: within one tick of a file system's clock,
some milliseconds, two changes get the same time."""


def is_settled(changed: float) -> bool:
    """Whether a file that changes now will get another time than `changed`; also if a clock was set back since."""
    return abs(time.time() - changed) > SETTLED_SECONDS


class Look(NamedTuple):
    """What the files of a run looked like.

    Attributes:
        directory: changes whenever a file is created or removed in the run's directory; empty while it may change
            and look the same.
        content: changes whenever the log or the store does: size, time of change and inode of each.
        flags: of `LOCKED`, `WINDOWS`, `SINKS`, `JOURNAL`.
        changed: when the log or the store was last written to, Unix seconds; infinity if that cannot be found out.
    """

    directory: bytes
    content: bytes
    flags: int
    changed: float


def sizes(content: bytes) -> tuple[int, int]:
    """Return the sizes of the log and the store in a `Look.content`, in bytes; 0 if there is no such file."""
    if len(content) < _EIGHT.size:
        return 0, 0
    values = _EIGHT.unpack_from(content)
    return max(values[0], 0), max(values[4], 0)


def look(runs: int, id: str, directory: bytes = b"", flags: int = 0) -> Look | None:
    """Return what a run's files look like; None if there is no run of this name.

    A log or a store makes a directory a run, and so does one that this user may not look into.

    Args:
        runs: a descriptor of the directory that holds the runs.
        id: the run's id.
        directory, flags: of an earlier look. Where no file was created or removed since then, some are not looked for
            again.
    """
    try:
        status = os.stat(id, dir_fd=runs)
    except PermissionError:
        return Look(b"", b"", 0, float("inf"))
    except OSError:
        return None
    now = b""
    if is_settled(status.st_mtime):
        now = _FOUR.pack(0, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    log, store = _file(runs, f"{id}/{LOG_NAME}"), _file(runs, f"{id}/{STORE_NAME}")
    if log is _MISSING and store is _MISSING:
        return None
    if now != directory or not now:
        flags = _flags(runs, id)
    content = _EIGHT.pack(*log, *store)
    changed = max(log[1], store[1])
    if flags & JOURNAL:
        journal = _file(runs, f"{id}/{_JOURNAL_NAME}")
        content += _FOUR.pack(*journal)
        changed = max(changed, journal[1])
    if log is _UNKNOWN or store is _UNKNOWN:
        return Look(now, content, flags, float("inf"))
    return Look(now, content, flags, changed / _NANOSECONDS)


def _file(runs: int, path: str) -> tuple[int, int, int, int]:
    """Return size, times and inode of a regular file."""
    try:
        status = os.stat(path, dir_fd=runs)
    except PermissionError:
        return _UNKNOWN
    except OSError:
        return _MISSING
    if not stat.S_ISREG(status.st_mode):
        return _MISSING
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _flags(runs: int, id: str) -> int:
    flags = 0
    for name, flag in _FLAGS.items():
        try:
            os.stat(f"{id}/{name}", dir_fd=runs)
        except OSError:
            continue
        flags |= flag
    return flags
