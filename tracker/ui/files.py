"""The files of a run as the page lists and downloads them: by number, below the run's directory, no link followed.

A run's directory may come from anywhere: a name in it is text, and a link in it may lead out. Blocking, on any thread.
Knows nothing of HTTP except the ``Range`` header.
"""

from __future__ import annotations

import os
import re
import stat
from typing import BinaryIO, NamedTuple

from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import PART_PREFIX
from tracker.errors import TrackerError
from tracker.reading.sidecar_run import SidecarRun
from tracker.reading.stored_run import StoredRun

MAX_FILES = 10_000
"""Maximum number of files that are listed."""

_MAX_DEPTH = 32
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*")
_HEAD_BYTES = 16

_IMAGES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
"""First bytes of the images that a browser may show inside the page: none of these formats can hold a script."""

FRAME_TYPES = {"html": "text/html; charset=utf-8", "htm": "text/html; charset=utf-8", "svg": "image/svg+xml"}
"""End of a file's name -> media type, for files that may hold scripts: shown only in a sandboxed frame."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: do not wait for a named pipe


class ListedFile(NamedTuple):
    """A file of a run: its number in the list, its name below the run's files, its size in bytes, when it changed."""

    number: int
    name: str
    size: int
    modified: float


class Listing(NamedTuple):
    """The files of a run by name; `left_out` counts links, special files, and what is beyond `MAX_FILES`."""

    files: list[ListedFile]
    left_out: int


class FileNotListedError(TrackerError):
    """Raised if the run's list of files does not have the file."""


class RangeError(TrackerError):
    """Raised for a range of bytes outside the file."""


class OpenFile(NamedTuple):
    """A regular file of a run, open for reading; the caller closes `file`."""

    file: BinaryIO
    name: str
    size: int
    media_type: str


def listed(run: StoredRun) -> Listing:
    """Return the files of a run in the order of their names; empty for a run on a server other than a sidecar."""
    if isinstance(run, SidecarRun):
        there = run.listed()[:MAX_FILES]
        return Listing([ListedFile(number, *file) for number, file in enumerate(there)], 0)
    try:
        top = os.open(run.dir / FILES_NAME, _DIRECTORY)
    except (OSError, TrackerError):
        return Listing([], 0)
    found: list[tuple[str, int, float]] = []
    left_out = _walk(top, "", _MAX_DEPTH, found)
    found.sort()
    left_out += max(0, len(found) - MAX_FILES)
    return Listing([ListedFile(number, *file) for number, file in enumerate(found[:MAX_FILES])], left_out)


def _walk(directory: int, prefix: str, depth: int, found: list[tuple[str, int, float]]) -> int:
    """Add the regular files below an open directory to `found`; close it; return how many entries were left out."""
    left_out = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.name.startswith(PART_PREFIX):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False) and depth:
                        below = os.open(entry.name, _DIRECTORY, dir_fd=directory)
                        left_out += _walk(below, name + "/", depth - 1, found)
                    elif entry.is_file(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        found.append((name, about.st_size, about.st_mtime))
                    else:
                        left_out += 1
                except OSError:
                    left_out += 1
    finally:
        os.close(directory)
    return left_out


def open_file(run: StoredRun, number: int, name: str | None = None) -> OpenFile:
    """Return a file of the run's list, open.

    Args:
        run: the run.
        number: its number.
        name: its name, if the caller knows it: the file at that number may have become another one.

    Raises:
        FileNotListedError: no file has this number, or it has another name now. OSError: it cannot be read.
    """
    files = listed(run).files
    if not 0 <= number < len(files):
        raise FileNotListedError(f"run {run.id!r} has no file number {number}; it has {len(files)} files")
    chosen = files[number]
    if name is not None and chosen.name != name:
        same = next((file for file in files if file.name == name), None)
        if same is None:
            raise FileNotListedError(f"run {run.id!r} has no file {name!r} any more; load the list again")
        chosen = same
    if isinstance(run, SidecarRun):
        fetched = run.fetch(chosen.name)
        return OpenFile(fetched, chosen.name, os.fstat(fetched.fileno()).st_size, _media_type(fetched))
    *directories, last = chosen.name.split("/")
    at = os.open(run.dir / FILES_NAME, _DIRECTORY)
    try:
        for directory in directories:
            below = os.open(directory, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        file = os.fdopen(os.open(last, _FILE, dir_fd=at), "rb")
    finally:
        os.close(at)
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        file.close()
        raise FileNotListedError(f"{chosen.name!r} of run {run.id!r} is not a regular file any more")
    return OpenFile(file, chosen.name, about.st_size, _media_type(file))


def _media_type(file: BinaryIO) -> str:
    """Return the type of an image that a page may show, by its first bytes; else that of any bytes."""
    head = os.pread(file.fileno(), _HEAD_BYTES, 0)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _IMAGES if head.startswith(start)), "application/octet-stream")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the end of the one range that a ``Range`` header asks for; None for the whole file.

    A header that is not understood, or that asks for several ranges, is ignored, as RFC 9110 allows.

    Raises:
        RangeError: the range begins after the end of the file.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size:
        raise RangeError(f"the range {header!r} is beyond the end of the file, which has {size} bytes")
    return start, end


__all__ = [
    "FRAME_TYPES",
    "FileNotListedError",
    "ListedFile",
    "Listing",
    "OpenFile",
    "RangeError",
    "byte_range",
    "listed",
    "open_file",
]
