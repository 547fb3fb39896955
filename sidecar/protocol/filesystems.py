"""Which directories are on a local disk. Windows must be: a mapped file stalls and loses data on a network's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "orangefs", "virtiofs")
)
"""Types of network file systems in /proc/self/mountinfo (proc(5)), besides every ``fuse.*``."""


def on_local_disk(path: Path, mounts: str | None = None) -> bool:
    """Whether `path`, which need not exist yet, is on a disk of this machine; True if that cannot be determined.

    Args:
        path: an absolute path.
        mounts: the content of /proc/self/mountinfo; None: read it.
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
    """Make and return this user's private directory for windows of `run`, for a run that is not on a local disk.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    top = Path(tempfile.gettempdir()) / f"tracker-windows-{os.getuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    if top.stat().st_uid != os.getuid() or top.is_symlink():
        raise OSError(f"{top} belongs to another user; remove it")
    directory = top / run
    directory.mkdir(exist_ok=True)
    return directory
