"""Records as bytes, and bytes as records. The only file of the package that imports msgpack; no I/O.

msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md. Strings are UTF-8, extension types are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack

from sidecar.protocol import limits
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import frame, scan
from sidecar.protocol.records import Record, check

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


def decode_trusted(payload: bytes | memoryview) -> Record:
    """Return the record in `payload`, which was checked when it was written (a log's, whose checksum is right)."""
    return Record._make(_unpackb(payload, strict_map_key=True, ext_hook=_refuse_extension))


def decode_envelope(payload: bytes | memoryview) -> Record:
    """Return the record in `payload` with its envelope checked, its body only known to be a map.

    Raises:
        RecordError: it is no msgpack, not of a record's form, or over a limit.
    """
    if len(payload) > limits.MAX_RECORD_BYTES:
        raise RecordError("size", f"a record of {len(payload)} bytes, at most {limits.MAX_RECORD_BYTES}")
    value = unpack(payload)
    if type(value) is not list or len(value) != 6:
        raise RecordError("form", "a record is an array of six: [kind, run, client, seq, time, body]")
    kind, run, client, seq, time, body = value
    if not (
        type(kind) is str
        and type(run) is str
        and type(client) is str
        and type(seq) is int
        and type(time) in (float, int)
        and type(body) is dict
    ):
        raise RecordError("form", "a record is [kind: str, run: str, client: str, seq: int, time: float, body: map]")
    if not kind or len(kind) > 64:
        raise RecordError("kind", f"kind {kind[:64]!r}; 1 to 64 characters")
    if not 0 <= seq <= limits.MAX_SEQ:
        raise RecordError("form", f"seq {seq}; it counts from 1, and 0 means not numbered")
    if not abs(time) < 1e15:  # also false for NaN: no clock says so
        raise RecordError("form", f"time {time}; Unix seconds")
    return Record(kind, run, client, seq, time, body)


def decode(payload: bytes | memoryview) -> Record:
    """Return the record in `payload`, checked through and through.

    Raises:
        RecordError: with the first thing that is wrong.
    """
    record = decode_envelope(payload)
    check(record)
    return record


class Part(NamedTuple):
    """One record of a message.

    Attributes:
        frame: the bytes to append to a log: head and payload, or None where there is an error.
        record: the record, its body not yet checked; None where there is an error.
        error: what is wrong with these bytes, or None.
    """

    frame: bytes | memoryview | None
    record: Record | None
    error: RecordError | None


def read_message(message: bytes) -> Iterator[Part]:
    """Yield the records of one message: all framed if its first byte is 0xC1, else all bare msgpack.

    A bad framed record costs itself; after a bad bare record the rest of the message cannot be read.
    """
    if len(message) > limits.MAX_MESSAGE_BYTES:
        error = RecordError("size", f"a message of {len(message)} bytes, at most {limits.MAX_MESSAGE_BYTES}")
        yield Part(None, None, error)
    elif message[:1] == b"\xc1":
        yield from _read_framed(message)
    else:
        yield from _read_bare(message)


def _read_framed(message: bytes) -> Iterator[Part]:
    view = memoryview(message)
    read = 0
    for start, end, payload in scan(message):
        read = end
        if payload is None:
            yield Part(None, None, RecordError("checksum", f"{end - start} damaged bytes in a message"))
            continue
        try:
            yield Part(view[start:end], decode_envelope(payload), None)
        except RecordError as error:
            yield Part(None, None, error)
    if read < len(message):
        yield Part(None, None, RecordError("checksum", f"{len(message) - read} damaged bytes end a message"))


def _read_bare(message: bytes) -> Iterator[Part]:
    unpacker = msgpack.Unpacker(max_buffer_size=limits.MAX_MESSAGE_BYTES)
    unpacker.feed(message)
    start = 0
    while start < len(message):
        try:
            unpacker.skip()
        except Exception as error:  # as in unpack()
            yield Part(None, None, RecordError("encoding", f"no msgpack: {type(error).__name__}: {error}"))
            return
        payload = message[start : unpacker.tell()]
        start += len(payload)
        try:
            yield Part(frame(payload), decode_envelope(payload), None)
        except RecordError as error:
            yield Part(None, None, error)


__all__ = [
    "Part",
    "decode",
    "decode_envelope",
    "decode_trusted",
    "encode",
    "new_packer",
    "pack",
    "read_message",
    "unpack",
]
