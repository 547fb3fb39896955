"""Where the window of a run belongs: on a local disk, since a mapped file on a network file system stalls and lies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "orangefs", "virtiofs")
)
"""File systems of /proc/self/mountinfo (proc(5)) that are not on this machine; so is every ``fuse.*``."""


def on_local_disk(path: Path, mounts: str | None = None) -> bool:
    """Whether `path` (which need not be there yet) is on a disk of this machine; True where that cannot be seen.

    Args:
        path: an absolute path.
        mounts: what /proc/self/mountinfo says; default: read it.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return True
    best, kind = -1, ""
    resolved = os.path.realpath(path)
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 5 or not rest:
            continue
        mount = words[4].replace("\\040", " ")
        inside = resolved == mount or resolved.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= best:
            best, kind = len(mount), rest.split()[0]
    return not (kind in _NETWORK or kind.startswith("fuse."))


def local_directory(run: str) -> Path:
    """Return this user's private directory for windows of `run` whose own directory is not on a local disk; made.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    top = Path(tempfile.gettempdir()) / f"tracker-windows-{os.getuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    if top.stat().st_uid != os.getuid() or top.is_symlink():
        raise OSError(f"{top} belongs to somebody else")
    directory = top / run
    directory.mkdir(exist_ok=True)
    return directory
