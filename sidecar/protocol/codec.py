"""Records as bytes, and bytes as records. The only file of the package that imports msgpack; no I/O.

msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md. Strings are UTF-8, extension types are refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack

from sidecar.protocol.checks import check, check_envelope
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK, frame, scan
from sidecar.protocol.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_TIME
from sidecar.protocol.records import Record

_unpackb = msgpack.unpackb


def _refuse_extension(code: int, data: bytes) -> Any:
    raise RecordError("form", f"extension type {code} in a record; extension types are not used")


def new_packer() -> Callable[[Any], bytes]:
    """Return a function that packs plain data: faster than `pack`, for one thread at a time."""
    pack_into_own_buffer: Callable[[Any], bytes] = msgpack.Packer().pack
    return pack_into_own_buffer


def pack(value: Any) -> bytes:
    """Pack plain data (None, bool, int of 64 bits, float, str, bytes, list, dict).

    Raises:
        TypeError: another type. OverflowError: an integer over 64 bits. ValueError: too deep.
    """
    packed: bytes = msgpack.packb(value)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Unpack what `pack` packed.

    Raises:
        RecordError: it is no msgpack, not exactly one value, or holds an extension type.
    """
    try:
        return _unpackb(data, strict_map_key=True, ext_hook=_refuse_extension)
    except RecordError:
        raise
    except Exception as error:  # msgpack raises many types: ValueError, UnicodeDecodeError, OutOfData, StackError, …
        raise RecordError("encoding", f"no msgpack: {type(error).__name__}: {error}") from error


def encode(record: Record) -> bytes:
    """Return `record` as msgpack, without a frame."""
    return pack(list(record))


def decode_envelope(payload: bytes | memoryview) -> Record:
    """Return the record in `payload` with its envelope checked, its body only known to be a map.

    Raises:
        RecordError: it is no msgpack, not of a record's form, or over a limit.
    """
    try:
        if len(payload) > MAX_RECORD_BYTES:
            raise RecordError("size", f"a record of {len(payload)} bytes, at most {MAX_RECORD_BYTES}")
        value = unpack(payload)
        if type(value) is not list or len(value) != 6:
            raise RecordError("form", "a record is an array of six: [kind, run, client, seq, time, body]")
        record = Record._make(value)
        check_envelope(record)
    except RecordError as error:
        error.record = _what_can_be_read(payload)
        raise
    return record


def _what_can_be_read(payload: bytes | memoryview) -> Record | None:
    """Return whose record a bad one is, so that its client can be told; None where that cannot be said."""
    try:
        kind, run, client, seq, time, _ = _unpackb(payload, strict_map_key=False)
        record = Record(kind if type(kind) is str else "", run, client, seq, time, {})
        check_envelope(record._replace(kind="unknown", time=0.0))
    except Exception:  # as in unpack(), or not six elements
        return None
    return record._replace(time=time if type(time) is float and abs(time) < MAX_TIME else 0.0)


def decode(payload: bytes | memoryview) -> Record:
    """Return the record in `payload`, checked through and through.

    Raises:
        RecordError: with the first thing that is wrong.
    """
    record = decode_envelope(payload)
    check(record)
    return record


def decode_frames(data: bytes, start: int = 0, most: int = MAX_MESSAGE_BYTES) -> tuple[list[Record], list[int]]:
    """Decode the good frames of `data` from `start` on, as fast as Python can; stop at the first that is not good.

    The records' form is right (six elements), their envelopes and bodies are unchecked. Decoded records take several
    times the memory of their bytes, so a caller may stop behind about `most` bytes and go on later.

    Returns:
        the records, and for each where its frame ends.
    """
    records: list[Record] = []
    ends: list[int] = []
    size = len(data)
    stop = min(size - HEAD_BYTES, start + most)
    unpack_head = HEAD.unpack_from
    crc32 = zlib.crc32
    make = tuple.__new__
    try:
        while start < stop:
            head, checksum = unpack_head(data, start)
            end = start + HEAD_BYTES + (head & LENGTH_BITS)
            payload = data[start + HEAD_BYTES : end]
            if end > size or head >> 24 != MARK or crc32(payload) != checksum or len(payload) > MAX_RECORD_BYTES:
                break
            value = _unpackb(payload)
            if type(value) is not list or len(value) != 6:
                break
            records.append(make(Record, value))
            ends.append(end)
            start = end
    except Exception:  # no msgpack, by any of its errors: the frame that was not appended is not good
        pass
    return records, ends


class Part(NamedTuple):
    """One record of a message.

    Attributes:
        frame: the bytes to append to a log: head and payload; empty where there is an error.
        record: the record, its body not yet checked; None where there is an error.
        error: what is wrong with these bytes, or None.
        end: where it ends in the message.
    """

    frame: bytes
    record: Record | None
    error: RecordError | None
    end: int


def read_framed(message: bytes, start: int) -> Part:
    """Read the frame at `start`, checking its envelope; where it is not good, skip to the next that is."""
    head = HEAD.unpack_from(message, start)[0] if start + HEAD_BYTES <= len(message) else 0
    end = start + HEAD_BYTES + (head & LENGTH_BITS)
    if head >> 24 == MARK and head & LENGTH_BITS > MAX_RECORD_BYTES and end <= len(message):
        payload = message[start + HEAD_BYTES : end]
        large = RecordError("size", f"a record of {len(payload)} bytes, at most {MAX_RECORD_BYTES}")
        large.record = _what_can_be_read(payload)
        return Part(b"", None, large, end)
    for found in scan(message, start, most=4 * MAX_MESSAGE_BYTES):
        if found.payload is None:
            error = RecordError("checksum", f"{found.end - start} damaged bytes in a message")
            return Part(b"", None, error, found.end)
        try:
            return Part(message[start : found.end], decode_envelope(found.payload), None, found.end)
        except RecordError as error:
            return Part(b"", None, error, found.end)
    torn = RecordError("checksum", f"{len(message) - start} damaged bytes end a message")
    return Part(b"", None, torn, len(message))


def read_bare(message: bytes) -> Iterator[Part]:
    """Yield the records of a message without frames; after a bad one the rest of the message cannot be read."""
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE_BYTES)
    unpacker.feed(message)
    start = 0
    while start < len(message):
        try:
            unpacker.skip()
        except Exception as error:  # as in unpack()
            refused = RecordError("encoding", f"no msgpack: {type(error).__name__}: {error}")
            yield Part(b"", None, refused, len(message))
            return
        payload = message[start : unpacker.tell()]
        start += len(payload)
        try:
            yield Part(frame(payload), decode_envelope(payload), None, start)
        except RecordError as error:
            yield Part(b"", None, error, start)


__all__ = [
    "Part",
    "decode",
    "decode_envelope",
    "decode_frames",
    "encode",
    "new_packer",
    "pack",
    "read_bare",
    "read_framed",
    "unpack",
]
