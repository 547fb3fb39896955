"""Frames: bytes with a length and a checksum, the same in the window, on the wire and in the transaction log.

A frame is 8 bytes of head and a payload (one encoded record)::

    0xC1 | length, 3 bytes, big-endian | CRC-32 of the payload, 4 bytes, big-endian | payload

0xC1 is the one byte that msgpack never uses (https://github.com/msgpack/msgpack/blob/master/spec.md, "never used"), so
the first byte tells a frame from a bare record, and after damage the next good frame is found by looking for it. The
checksum is the CRC-32 of zlib, gzip and PNG. A length of 0 is never written. Pure functions on bytes, no I/O.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from sidecar.protocol.limits import MAX_RECORD_BYTES

HEAD = struct.Struct(">II")
HEAD_BYTES = HEAD.size
MARK = 0xC1
MARK_BITS = MARK << 24
LENGTH_BITS = 0x00FFFFFF


class Frame(NamedTuple):
    """A stretch of a buffer: a good frame, or damage (`payload` is None)."""

    start: int
    end: int
    payload: memoryview | None


def frame(payload: bytes) -> bytes:
    """Return `payload` with its head before it."""
    return HEAD.pack(MARK_BITS | len(payload), zlib.crc32(payload)) + payload


def _good_at(view: memoryview, start: int) -> int:
    """Return where the good frame at `start` ends; 0 if it would end past the buffer; -1 if there is none."""
    size = len(view)
    if start + HEAD_BYTES > size:
        return 0 if view[start] == MARK else -1
    head, checksum = HEAD.unpack_from(view, start)
    length = head & LENGTH_BITS
    if head >> 24 != MARK or not 0 < length <= MAX_RECORD_BYTES:
        return -1
    end = start + HEAD_BYTES + length
    if end > size:
        return 0
    return end if zlib.crc32(view[start + HEAD_BYTES : end]) == checksum else -1


def find_frame(data: bytes, start: int, most: int | None = None) -> int:
    """Return where the first good and whole frame at or after `start` begins, or -1.

    Args:
        most: so many bytes are summed up for it; without a bound it takes time quadratic in what was made to mislead.
    """
    view = memoryview(data)
    while (start := data.find(MARK, start)) >= 0:
        if most is not None and start + HEAD_BYTES <= len(view):
            most -= HEAD.unpack_from(view, start)[0] & LENGTH_BITS
            if most < 0:
                return -1
        if _good_at(view, start) > 0:
            return start
        start += 1
    return -1


def scan(data: bytes, start: int = 0, *, final: bool = True, most: int | None = None) -> Iterator[Frame]:
    """Yield the frames of `data` from `start` on, and the damaged stretches between them.

    What follows the last good frame is never yielded: it may be a torn tail, or the beginning of what is still being
    written; it starts at the last `Frame.end`.

    Args:
        data: the bytes.
        start: where the first frame should begin.
        final: False where more bytes may follow, so that a frame which would end past the buffer is waited for
            (the scan stops there) and not searched behind.
    """
    view = memoryview(data)
    size = len(data)
    unpack = HEAD.unpack_from
    crc32 = zlib.crc32
    while start + HEAD_BYTES < size:
        head, checksum = unpack(view, start)
        end = start + HEAD_BYTES + (head & LENGTH_BITS)
        if head >> 24 == MARK and start + HEAD_BYTES < end <= size:
            payload = view[start + HEAD_BYTES : end]
            if crc32(payload) == checksum:
                yield Frame(start, end, payload)
                start = end
                continue
        elif not final and _good_at(view, start) == 0:
            return
        found = find_frame(data, start + 1, most)
        if found < 0:
            return
        yield Frame(start, found, None)
        start = found
