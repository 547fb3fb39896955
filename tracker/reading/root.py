"""The root directory that readers use: the nearest ``.tracker``, in this directory or one above it.

Looks at directories and settings only, on the caller's thread. `tracker.init` does not search: it writes to
``./.tracker``.
"""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.protocol.layout import REMOTE_NAME
from tracker.settings import resolve, root_dir

ROOT_NAME = ".tracker"


def find_root(dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the root directory, absolute: `dir`, else ``TRACKER_DIR``, else the nearest ``.tracker``.

    The search goes up from the working directory to the home directory or the border of the file system, whichever
    comes first. Above the working directory only a ``.tracker`` that belongs to this user, or to the owner of the
    directory that holds it, is used: so neither a directory nor a link that a stranger left in ``/tmp``. Without any it
    is ``./.tracker``.
    """
    if dir or os.environ.get("TRACKER_DIR"):
        return root_dir(dir)
    here = Path.cwd()
    return nearest_root(here, Path.home()) or here / ROOT_NAME


def nearest_root(start: Path, top: Path) -> Path | None:
    """Return the nearest ``.tracker`` in `start` or a directory above it, at most up to `top` or the file system's."""
    if (start / ROOT_NAME).is_dir():
        return start / ROOT_NAME
    try:
        device = start.stat().st_dev
        for directory in (start, *start.parents):
            status = directory.stat()
            if status.st_dev != device:
                return None
            root = directory / ROOT_NAME
            if root.is_dir() and root.lstat().st_uid in (os.getuid(), status.st_uid):
                return root
            if directory == top:
                return None
    except OSError:
        return None
    return None


def kept_elsewhere(place: str) -> str:
    """Return a clause on where the runs of this machine are, if a sidecar elsewhere keeps them; else an empty string.

    Args:
        place: the root directory or the server that was searched in vain.
    """
    if "://" in place:
        return ""
    address = resolve({"dir": place}).sidecar
    if address is None and not (Path(place) / REMOTE_NAME).is_dir():
        return ""
    return f"; runs logged through {address or 'a sidecar elsewhere'} are kept by that sidecar, look on its machine"
