"""The files of a window: what a client has logged and its sidecar has not yet acked. Both sides read them.

A window is a directory ``windows/<client>/`` with a file ``owner`` and segment files ``*.seg``. The owner holds a lock
(``flock``) on ``owner`` as long as it lives; whoever gets that lock may take what is left and remove the directory.
A segment is a header of 32 bytes and frames, whose records have the numbers `first`, `first` + 1, … Segments are used
again, so a frame with another number is a leftover of the segment's earlier use, and the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.codec import decode_envelope
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import scan
from sidecar.protocol.records import Record

OWNER_NAME = "owner"
SEGMENT_SUFFIX = ".seg"
WINDOWS_NAME = "windows"
MAGIC = b"\x89TRKWIN\n"
VERSION = 1
_HEADER = struct.Struct(">8sIQI8x")
HEADER_BYTES = _HEADER.size

_LOOK_SECONDS = 0.001
"""For so long, at most, one looks whether a window's owner lives."""


def header(first: int) -> bytes:
    """Return the 32 bytes a segment begins with: magic, version, first number, CRC-32 of these."""
    start = MAGIC + VERSION.to_bytes(4, "big") + first.to_bytes(8, "big")
    return _HEADER.pack(MAGIC, VERSION, first, zlib.crc32(start))


def read_header(data: bytes) -> int | None:
    """Return the first number of a segment, or None where `data` does not begin with a good header."""
    if len(data) < HEADER_BYTES:
        return None
    first = int.from_bytes(data[12:20], "big")
    return first if data[:HEADER_BYTES] == header(first) else None


class Kept(NamedTuple):
    """A record found in a window: its frame's bytes, and itself."""

    frame: bytes
    record: Record


def read_window(directory: Path, after: int = 0) -> Iterator[Kept]:
    """Yield what the window in `directory` holds with a number over `after`, in order, up to the first gap or tear."""
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
            continue  # all of it is older than `after`
        if expected is not None and first != expected:
            if first > expected:
                return
            continue
        expected = yield from _read_segment(path.read_bytes(), first, after)


def _read_segment(data: bytes, first: int, after: int) -> Any:
    """Yield a segment's records over `after`; return the number that should come next."""
    expected = first
    for start, end, payload in scan(data, HEADER_BYTES):
        if payload is None:
            return expected
        if expected > after:
            try:
                record = decode_envelope(payload)
            except RecordError:
                return expected
            if record.seq != expected:
                return expected
            yield Kept(data[start:end], record)
        expected += 1
    return expected


class OwnerLock:
    """The lock on a window's ``owner`` file, which says what the window belongs to.

    Attributes:
        info: what stands in the file: ``run``, ``client``, ``label``, ``parent``, ``pid``, ``host``.
    """

    def __init__(self, fd: int, info: dict[str, Any]) -> None:
        self._fd = fd
        self.info = info

    @classmethod
    def make(cls, directory: Path, info: dict[str, Any]) -> OwnerLock:
        """Make the file in a directory that nobody else knows yet, hold its lock, and write `info` into it."""
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
        """Return the lock of a window whose owner is gone, or None while it lives (or somebody else has taken it)."""
        try:
            fd = os.open(directory / OWNER_NAME, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if not _locked(fd):
            os.close(fd)
            return None
        return cls(fd, read_owner(directory))

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_owned(directory: Path) -> bool:
    """Whether the owner of the window in `directory` lives; False also where there is no such window any more.

    Another user's window is taken for one whose owner lives: only that user can tell.
    """
    try:
        fd = os.open(directory / OWNER_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        # Shared: who wants to take the window can tell it from an owner's.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return (directory / OWNER_NAME).exists()
    finally:
        os.close(fd)
    return False


def _locked(fd: int) -> bool:
    """Take the lock of an owner file; return False where somebody has it who does not only look, as `is_owned` does."""
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
            time.sleep(_LOOK_SECONDS)


def read_owner(directory: Path) -> dict[str, Any]:
    """Return what the ``owner`` file of the window in `directory` says; nothing where it cannot be read."""
    try:
        info = json.loads((directory / OWNER_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def window_directories(run_directory: Path) -> list[Path]:
    """Return the windows in a run's directory, whoever owns them."""
    try:
        found = sorted((run_directory / WINDOWS_NAME).iterdir())
    except OSError:
        return []
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]


def remove_window(directory: Path) -> None:
    """Remove a window whose records are durable elsewhere, the ``owner`` file last; also where it is a link to one."""
    for path in directory.glob("*" + SEGMENT_SUFFIX):
        path.unlink(missing_ok=True)
    target = directory.resolve()
    (directory / OWNER_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a client named this path: what else is in it is none of ours
        target.rmdir()
    if target.parent.name != WINDOWS_NAME:
        with contextlib.suppress(OSError):
            target.parent.rmdir()
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
