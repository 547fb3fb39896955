"""Files that appear whole: written beside their final name, then renamed to it. Used on any thread.

A reader finds the old file or the new one, never a part of either. With ``sync=True`` the content reaches the disk
before the rename, and the rename before the call returns. The name of a temporary file begins with `PART_PREFIX`;
its process is still writing it, or was killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from sidecar.protocol.limits import PART_PREFIX, new_id

_T = TypeVar("_T")


def replace(path: Path, write: Callable[[IO[bytes]], _T], *, mode: int = 0o666, sync: bool = False) -> _T:
    """Make the file at `path` hold what `write` writes, and return what `write` returns.

    After an error the old file, if any, is unchanged, and no temporary file remains.

    Args:
        path: the final name, in a directory that exists.
        write: called once with a new binary file.
        mode: permissions of the new file, before the umask. `write` may set others with `os.fchmod`.
        sync: return only when content and name are on the disk.

    Raises:
        OSError: the file cannot be written or renamed. Also whatever `write` raises.
    """
    part = path.with_name(PART_PREFIX + new_id(16))
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "w+b") as file:
            result = write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        publish(part, path, sync=sync)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return result


def replace_bytes(path: Path, data: bytes, *, mode: int = 0o666, sync: bool = False) -> None:
    """Make the file at `path` hold `data`. See `replace`."""
    replace(path, lambda file: file.write(data), mode=mode, sync=sync)


def publish(part: Path, path: Path, *, sync: bool = False) -> None:
    """Rename a complete file to its final name in the same directory.

    Args:
        part: the file; its content is already on the disk if that matters.
        path: the final name; a file of that name is replaced.
        sync: return only when the name is on the disk.

    Raises:
        OSError: the file cannot be renamed.
    """
    os.replace(part, path)
    if sync:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Return when the names in `directory` are on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_part(name: str) -> bool:
    """Whether `name` is that of a temporary file."""
    return name.startswith(PART_PREFIX)
