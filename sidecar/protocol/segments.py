"""The files of a window: what a client has logged and its sidecar has not yet acked. Both sides read them.

A window is a directory ``windows/<client>/`` with a file ``owner`` and segment files ``*.seg``. The owner holds a lock
(``flock``) on ``owner`` while it lives; the process that gets the lock after it may take the records and remove the
directory. A segment is a header of 32 bytes and frames, whose records have the numbers `first`, `first` + 1, …
Segments are reused, so a frame with another number is from an earlier use of the segment, and marks its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.checks import check, check_envelope
from sidecar.protocol.codec import decode_frames
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import Record
from sidecar.protocol.rows import SCHEMA, Item, Rows, Schema, records_of, word_at

OWNER_NAME = "owner"
SEGMENT_SUFFIX = ".seg"
WINDOWS_NAME = "windows"
MAGIC = b"\x89TRKWIN\n"
VERSION = 2
_READABLE = (1, 2)
_HEADER = struct.Struct(">8sIQI8x")
HEADER_BYTES = _HEADER.size

_DECODED_BYTES = 1 << 18
"""Bytes of a segment that are decoded at a time."""

_PROBE_SECONDS = 0.001
"""Longest time a liveness probe (`is_owned`) holds the lock, in seconds."""


def header(first: int, version: int = VERSION) -> bytes:
    """Return the header of a segment: magic, version, number of the first record, CRC-32 of these."""
    start = MAGIC + version.to_bytes(4, "big") + first.to_bytes(8, "big")
    return _HEADER.pack(MAGIC, version, first, zlib.crc32(start))


def read_header(data: bytes) -> int | None:
    """Return the number of a segment's first record; None if `data` does not begin with a valid header."""
    if len(data) < HEADER_BYTES:
        return None
    first = int.from_bytes(data[12:20], "big")
    return first if any(data[:HEADER_BYTES] == header(first, version) for version in _READABLE) else None


class Framed(NamedTuple):
    """A record in a window, or rows, and the bytes of their frames.

    Attributes:
        schema: the schema of the row or rows; None for a record.
    """

    frames: bytes
    item: Item
    schema: Schema | None

    @property
    def first(self) -> int:
        """The number of the first record."""
        return self.item.first if isinstance(self.item, Rows) else self.item.seq

    @property
    def records(self) -> Sequence[Record]:
        """The records one by one."""
        return records_of([self.item])

    @property
    def last(self) -> int:
        """The number of the last record."""
        return self.item.last if isinstance(self.item, Rows) else self.item.seq


def read_window(directory: Path, after: int = 0) -> Iterator[Framed]:
    """Yield the records of the window in `directory` with numbers above `after`, in order, up to the first gap.

    Each segment begins by declaring the schemas of its rows, before the first row of each.
    """
    segments = []
    for path in directory.glob("*" + SEGMENT_SUFFIX):
        with open(path, "rb") as file:
            first = read_header(file.read(HEADER_BYTES))
        if first is not None:
            segments.append((first, path))
    segments.sort()
    expected = None
    for position, (first, path) in enumerate(segments):
        if position + 1 < len(segments) and segments[position + 1][0] <= after + 1:
            continue  # none of its numbers is above `after`
        if expected is not None and first != expected:
            if first > expected:
                return
            continue
        expected = yield from _read_segment(path.read_bytes(), first, after)


def _read_segment(data: bytes, first: int, after: int) -> Any:
    """Yield a segment's records with numbers above `after`; return the number that follows."""
    expected, start = first, HEADER_BYTES
    schemas: dict[int, Schema] = {}
    while True:
        items, ends = decode_frames(data, start, _DECODED_BYTES, schemas)
        if not items:
            return expected
        for item, end in zip(items, ends, strict=True):
            framed = Framed(data[start:end], item, _schema_of(data, start, schemas))
            if not isinstance(item, Rows):
                try:
                    check_envelope(item)
                    if item.kind == SCHEMA:
                        check(item)
                        schema = Schema.of(item)
                        schemas[schema.word] = schema
                except RecordError:
                    return expected
            if framed.first != expected:
                return expected
            expected, start = framed.last + 1, end
            if framed.last <= after:
                continue
            if isinstance(item, Rows) and framed.first <= after:
                rows = item.part(after + 1 - item.first, item.count)
                framed = Framed(framed.frames[-rows.count * rows.schema.frame_bytes :], rows, rows.schema)
            yield framed


def _schema_of(data: bytes, start: int, schemas: Mapping[int, Schema]) -> Schema | None:
    """Return the schema of the row whose frame begins at `start`; None if it is a record."""
    word = word_at(data, start)
    return None if word is None else schemas[word]


class OwnerLock:
    """The lock on a window's ``owner`` file.

    Attributes:
        info: the content of the file: ``run``, ``client``, ``label``, ``parent``, ``pid``, ``host`` and others.
    """

    def __init__(self, fd: int, info: dict[str, Any]) -> None:
        self._fd = fd
        self.info = info

    @classmethod
    def make(cls, directory: Path, info: dict[str, Any]) -> OwnerLock:
        """Make the file, lock it, and write `info` into it, in a directory that no other process knows yet."""
        fd = os.open(directory / OWNER_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, json.dumps(info).encode())
        except OSError:
            os.close(fd)
            raise
        return cls(fd, info)

    @classmethod
    def take(cls, directory: Path) -> OwnerLock | None:
        """Return the lock of an orphaned window; None if its owner lives, or another process has taken it."""
        try:
            fd = os.open(directory / OWNER_NAME, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it was taken, or belongs to another user, who alone can tell
            return None
        if not _locked(fd):
            os.close(fd)
            return None
        return cls(fd, read_owner(directory))

    def release(self) -> None:
        """Release the lock. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_owned(directory: Path) -> bool:
    """Whether the owner of the window in `directory` lives; False if there is no such window.

    Another user's window counts as owned: only that user can tell.
    """
    try:
        fd = os.open(directory / OWNER_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        # Shared, so that a process that wants to take the window can tell this lock from an owner's.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return (directory / OWNER_NAME).exists()
    finally:
        os.close(fd)
    return False


def _locked(fd: int) -> bool:
    """Lock an owner file; return False if another process holds it. A probe of `is_owned` is waited for."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(_PROBE_SECONDS)


def read_owner(directory: Path) -> dict[str, Any]:
    """Return the content of the ``owner`` file of the window in `directory`; empty if it cannot be read."""
    try:
        info = json.loads((directory / OWNER_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def window_directories(run_directory: Path) -> list[Path]:
    """Return the windows in a run's directory, owned and orphaned."""
    try:
        paths = sorted((run_directory / WINDOWS_NAME).iterdir())
    except OSError:
        return []
    return [path for path in paths if path.is_dir() and not path.name.startswith(".")]


def remove_window(directory: Path) -> None:
    """Remove a window whose records are durable elsewhere; the ``owner`` file goes last. `directory` may be a link."""
    for path in directory.glob("*" + SEGMENT_SUFFIX):
        path.unlink(missing_ok=True)
    target = directory.resolve()
    (directory / OWNER_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a client named this path: other files in it stay
        target.rmdir()
    if target.parent.name != WINDOWS_NAME:
        with contextlib.suppress(OSError):
            target.parent.rmdir()
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
