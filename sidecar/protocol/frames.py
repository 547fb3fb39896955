"""Frames: bytes with a length and a checksum, the same in the window, on the wire and in the transaction log.

A frame is 8 bytes of head and a payload (one encoded record)::

    0xC1 | length, 3 bytes, big-endian | CRC-32 of the payload, 4 bytes, big-endian | payload

0xC1 is the only byte that msgpack never uses (https://github.com/msgpack/msgpack/blob/master/spec.md, "never used"), so
the first byte distinguishes a frame from a bare record, and after damage the next valid frame is found by searching for
it. The checksum is the CRC-32 of zlib, gzip and PNG. A length of 0 is never written. Pure functions on bytes, no I/O.
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
    """A part of a buffer: a valid frame, or damage (`payload` is None)."""

    start: int
    end: int
    payload: memoryview | None


def frame(payload: bytes) -> bytes:
    """Return `payload` as a frame."""
    return HEAD.pack(MARK_BITS | len(payload), zlib.crc32(payload)) + payload


def valid_at(view: bytes | memoryview, start: int) -> int:
    """Return the end of the valid frame at `start`; 0 if it would end past the buffer; -1 if it is not valid."""
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
    """Return the offset of the first valid frame at or after `start`, or -1.

    Args:
        most: maximum number of bytes to compute checksums of. Without it, data made to mislead takes quadratic time.
    """
    view = memoryview(data)
    while (start := data.find(MARK, start)) >= 0:
        if most is not None and start + HEAD_BYTES <= len(view):
            most -= HEAD.unpack_from(view, start)[0] & LENGTH_BITS
            if most < 0:
                return -1
        if valid_at(view, start) > 0:
            return start
        start += 1
    return -1


def scan(data: bytes, start: int = 0, *, final: bool = True, most: int | None = None) -> Iterator[Frame]:
    """Yield the frames of `data` from `start` on, and the damage between them.

    Bytes after the last valid frame are not yielded: they may be a torn tail, or a frame that is still being written.
    They start at the last `Frame.end`.

    Args:
        data: the bytes.
        start: where the first frame should begin.
        final: False if more bytes may follow: then the scan stops at a frame that would end past the buffer, instead
            of searching behind its head.
        most: see `find_frame`.
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
        elif not final and valid_at(view, start) == 0:
            return
        following = find_frame(data, start + 1, most)
        if following < 0:
            return
        yield Frame(start, following, None)
        start = following
