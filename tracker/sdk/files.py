"""Files of a run: copied into its directory on this machine, or sent in parts to a sidecar on another.

Runs on the caller's thread and takes as long as copying takes; `log` on other threads does not wait for it.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sidecar.protocol import atomic
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.digests import digest_file
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import FILE_NAME_RULE, MAX_CHUNK_BYTES, valid_file_name
from tracker.errors import RunFinishedError, TrackerError
from tracker.media.base import MediaFile
from tracker.transport.losses import Losses

if TYPE_CHECKING:
    from tracker.transport.interface import Interface

Source = Path | MediaFile
"""What a file of the run is made from: a file, or content whose SHA-256 is known."""

Save = Callable[[Sequence[tuple[Source, str]], float | None], None]
"""Stores files, pairs of a source and a name, within a timeout in seconds."""

MEDIA_LOST = "media not stored"
"""The reason under which lost media are counted."""

_log = logging.getLogger("tracker")

_POLL_SECONDS = 0.02
"""Interval between two looks for room in the window, in seconds."""


def files_below(path: str | os.PathLike[str], name: str | None) -> list[tuple[Path, str]]:
    """Return the files to save for a path, each with the name that it gets.

    Args:
        path: a file, or a directory with files.
        name: the name that it gets; None: its own.

    Raises:
        FileNotFoundError: there is no such file. ValueError: a name that is not valid.
    """
    source = Path(path)
    top = Path(os.path.abspath(source)).name if name is None else name  # the name of a link, not of its target
    if source.is_dir():
        paths = [below for below in sorted(source.rglob("*")) if below.is_file()]
        named = [(below, _readable(f"{top}/{below.relative_to(source).as_posix()}")) for below in paths]
        files = [(below, file_name) for below, file_name in named if valid_file_name(file_name)]
        left_out = [str(below) for below, file_name in named if not valid_file_name(file_name)]
        if left_out:
            _log.warning("save: %d files are left out, such as %r: %s", len(left_out), left_out[0], FILE_NAME_RULE)
    elif source.is_file():
        files = [(source, _readable(top))]
    else:
        raise FileNotFoundError(f"save: file {str(source)!r} does not exist")
    for _, file_name in files:
        if not valid_file_name(file_name):
            raise ValueError(f"save: {file_name!r} is not a valid file name: {FILE_NAME_RULE}")
    return files


def _readable(name: str) -> str:
    """Return the name of a file with its bytes that are not UTF-8 as ``%E9``: no two names become one."""
    if name.isascii():
        return name
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)


def store_media(
    save: Save, data: dict[str, Any], files: Mapping[str, Sequence[tuple[Source, str]]], losses: Losses
) -> None:
    """Store the files of media before the row that names them is appended.

    Never waits for room in the window and never fails training: metrics whose files cannot be stored are removed from
    the row, and counted.

    Args:
        save: stores the files of one metric.
        data: the row.
        files: key -> files of that metric.
        losses: where losses are counted.

    Raises:
        RunFinishedError: the run has ended.
    """
    for key, sources in files.items():
        try:
            save(sources, 0.0)
        except RunFinishedError:
            raise
        except (OSError, TrackerError) as error:
            del data[key]
            if MEDIA_LOST not in losses.counts():
                _log.warning("metric %r is left out, its file cannot be stored: %s; others are counted", key, error)
            losses.add(MEDIA_LOST)


def copy_into(directory: Path, source: Source, name: str, *, sync: bool = False) -> dict[str, Any]:
    """Copy a file into the run's directory, where it appears whole; return the body of its record.

    Args:
        sync: whether to return only when the file and its name are on the disk, as its record may then be written.
    """

    def write(out: IO[bytes]) -> dict[str, Any]:
        body = _copy(source, out)
        if isinstance(source, Path):
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


def send(interface: Interface, source: Source, name: str, deadline: Deadline) -> None:
    """Send a file's content through the window, part by part; wait while that is half full.

    Raises:
        TrackerError: the deadline has passed or the run has ended; the file does not appear.
    """
    with tempfile.TemporaryFile() as copy:  # the content that is sent must be the one that was hashed
        about = {"name": name, **_copy(source, copy)}
        for offset, data in _parts(copy):
            while not interface.publish_if_room("file", {**about, "offset": offset, "data": data}):
                if not interface.open:
                    raise TrackerError(
                        f"save: {name!r} was not sent, {offset} of {about['size']} bytes were: the run ended"
                    )
                if deadline.over():
                    raise TrackerError(f"save: {name!r} was not sent in time, {offset} of {about['size']} bytes were")
                time.sleep(_POLL_SECONDS)


def _copy(source: Source, out: IO[bytes]) -> dict[str, Any]:
    with source.open("rb") if isinstance(source, Path) else source.open() as file:
        digest = digest_file(file, out)
    if isinstance(source, MediaFile) and digest.sha256 != source.sha256:
        raise OSError("the file was changed while it was logged")
    return digest._asdict()


def _parts(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and content of each part; a single empty part for an empty file."""
    file.seek(0)
    offset = 0
    while (data := file.read(MAX_CHUNK_BYTES)) or offset == 0:
        yield offset, data
        offset += len(data)
        if not data:
            return
