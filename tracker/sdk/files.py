"""Files that a run keeps: copied into its directory on this machine, or sent to a sidecar on another in parts.

Runs on the caller's thread, and takes as long as copying takes; `log` of other threads does not wait for it.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sidecar.protocol import atomic
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.digests import digest_file
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import FILE_NAME_RULE, MAX_CHUNK_BYTES, valid_file_name
from tracker.errors import TrackerError

if TYPE_CHECKING:
    from tracker.transport.interface import Interface

_LOOK_SECONDS = 0.02


def files_below(path: str | os.PathLike[str], name: str | None) -> list[tuple[Path, str]]:
    """Return the files to be saved for a path, and what they are to be called.

    Args:
        path: a file, or a directory with files.
        name: what it is to be called; None: as it is.

    Raises:
        FileNotFoundError: there is nothing. ValueError: a name that cannot be.
    """
    source = Path(path)
    top = Path(os.path.abspath(source)).name if name is None else name  # of a link its own name
    if source.is_dir():
        paths = [below for below in sorted(source.rglob("*")) if below.is_file()]
        found = [(below, f"{top}/{below.relative_to(source).as_posix()}") for below in paths]
    elif source.is_file():
        found = [(source, top)]
    else:
        raise FileNotFoundError(f"save: there is no file {str(source)!r}")
    for _, called in found:
        if not valid_file_name(called):
            raise ValueError(f"save: {called!r} cannot be a file's name: {FILE_NAME_RULE}")
    return found


def copy_into(directory: Path, source: Path, name: str, *, sync: bool = False) -> dict[str, Any]:
    """Copy a file into the run's directory, where it appears whole; return the body of its record.

    Args:
        sync: return only when the file and its name are on the disk, so that the record may be written.
    """

    def write(out: IO[bytes]) -> dict[str, Any]:
        body = _copy(source, out)
        os.fchmod(out.fileno(), stat.S_IMODE(source.stat().st_mode))
        return body

    target = directory / FILES_NAME / name
    target.parent.mkdir(parents=True, exist_ok=True)
    body = atomic.replace(target, write, sync=sync)
    if sync:
        for parent in target.parents[1:]:  # directories that were made for it
            atomic.sync_directory(parent)
            if parent == directory:
                break
    return {"name": name, **body}


def send(interface: Interface, source: Path, name: str, deadline: Deadline) -> None:
    """Send a file's content through the window, part by part; wait where that is half full.

    Raises:
        TrackerError: the deadline is over; the file does not appear.
    """
    with tempfile.TemporaryFile() as copy:  # what is sent must be what was summed up
        about = {"name": name, **_copy(source, copy)}
        for offset, data in _parts(copy):
            while not interface.publish_if_room("file", {**about, "offset": offset, "data": data}):
                if not interface.open:
                    raise TrackerError(
                        f"save: {name!r} was not sent, {offset} of {about['size']} bytes were: the run ended"
                    )
                if deadline.over():
                    raise TrackerError(f"save: {name!r} was not sent in time, {offset} of {about['size']} bytes were")
                time.sleep(_LOOK_SECONDS)


def _copy(source: Path, out: IO[bytes]) -> dict[str, Any]:
    with open(source, "rb") as file:
        return digest_file(file, out)._asdict()


def _parts(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each part; one that is empty for an empty file."""
    file.seek(0)
    offset = 0
    while (data := file.read(MAX_CHUNK_BYTES)) or offset == 0:
        yield offset, data
        offset += len(data)
        if not data:
            return
