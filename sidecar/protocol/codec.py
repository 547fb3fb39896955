"""Records as bytes, and bytes as records. The only file of the package that imports msgpack; no I/O.

msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md. Strings are UTF-8; extension types are rejected.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgpack

from sidecar.protocol.checks import check, check_envelope
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK, frame, scan
from sidecar.protocol.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_SEQ, MAX_TIME
from sidecar.protocol.records import Record
from sidecar.protocol.rows import ROW, SCHEMA, Item, Schema, read_rows, records_of, word_of

_unpackb = msgpack.unpackb
_MARK_BYTE = bytes([MARK])


def _refuse_extension(code: int, data: bytes) -> Any:
    raise RecordError("form", f"a record must not contain extension types; it has type {code}")


def new_packer() -> Callable[[Any], bytes]:
    """Return a function like `pack` that is faster, for one thread at a time."""
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
        RecordError: `data` is not valid msgpack, not exactly one value, or contains an extension type.
    """
    try:
        return _unpackb(data, strict_map_key=True, ext_hook=_refuse_extension)
    except RecordError:
        raise
    except Exception as error:  # msgpack raises many types: ValueError, UnicodeDecodeError, OutOfData, StackError, …
        raise RecordError("encoding", f"not valid msgpack: {type(error).__name__}: {error}") from error


def encode(record: Record) -> bytes:
    """Return `record` as msgpack, without a frame."""
    return pack(list(record))


def decode_envelope(payload: bytes | memoryview) -> Record:
    """Return the record in `payload`. Its envelope is checked; of its body, only that it is a map.

    Raises:
        RecordError: it is not valid msgpack, not a record, or over a limit.
    """
    try:
        if len(payload) > MAX_RECORD_BYTES:
            raise RecordError("size", f"a record must have at most {MAX_RECORD_BYTES} bytes, not {len(payload)}")
        value = unpack(payload)
        if type(value) is not list or len(value) != 6:
            raise RecordError("form", "a record must be an array of six elements: [kind, run, client, seq, time, body]")
        record = Record._make(value)
        check_envelope(record)
    except RecordError as error:
        error.record = _readable_envelope(payload)
        raise
    return record


def _readable_envelope(payload: bytes | memoryview) -> Record | None:
    """Return the envelope of an invalid record, so that its client can be told; None if it cannot be read."""
    try:
        kind, run, client, seq, time, _ = _unpackb(payload, strict_map_key=False)
        record = Record(kind if type(kind) is str else "", run, client, seq, time, {})
        check_envelope(record._replace(kind="unknown", time=0.0))
    except Exception:  # as in unpack(), or not six elements
        return None
    return record._replace(time=time if type(time) is float and abs(time) < MAX_TIME else 0.0)


def decode(payload: bytes | memoryview) -> Record:
    """Return the record in `payload`, with envelope and body checked.

    Raises:
        RecordError: the first violation.
    """
    record = decode_envelope(payload)
    check(record)
    return record


NO_SCHEMAS: Mapping[int, Schema] = {}


def decode_frames(
    data: bytes, start: int = 0, most: int = MAX_MESSAGE_BYTES, schemas: Mapping[int, Schema] = NO_SCHEMAS
) -> tuple[list[Item], list[int]]:
    """Decode frames of `data` from `start` on, as fast as Python can; stop at the first that is not valid.

    The records have six elements; their envelopes and bodies are unchecked, rows are valid. Decoded records take
    several times the memory of their bytes, so a caller may stop after about `most` bytes and continue.

    Stops also after a ``schema`` record, so that the caller can add the schema to `schemas`.

    Args:
        schemas: word -> schema, of the rows that may be in `data`; a row of another schema counts as invalid.

    Returns:
        the records and rows, and the offset in `data` where each ends.
    """
    items: list[Item] = []
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
            if payload[0] == ROW:
                schema = schemas.get(word_of(payload))
                rows = read_rows(data, start, stop, schema) if schema is not None and head == schema.head else None
                if rows is None:
                    break
                item, start = rows
                items.append(item)
                ends.append(start)
                continue
            if end > size or head >> 24 != MARK or crc32(payload) != checksum or len(payload) > MAX_RECORD_BYTES:
                break
            value = _unpackb(payload)
            if type(value) is not list or len(value) != 6:
                break
            items.append(make(Record, value))
            ends.append(end)
            start = end
            if value[0] == SCHEMA:
                break
    except Exception:  # msgpack raises many types; the frame that raised was not appended, so it counts as invalid
        pass
    return items, ends


def expand_rows(
    data: bytes, schemas: Mapping[int, Schema], last: int, most: int = MAX_MESSAGE_BYTES // 32
) -> Iterator[tuple[bytes, int]]:
    """Yield frames with each row as the ``log`` record that it stands for, in messages.

    Args:
        data: the frames, whose records are numbered.
        schemas: word -> schema, of the rows.
        last: the number of the last record.
        most: size from which on a message takes no further record, in bytes. A record may be much larger than its row.

    Returns:
        the messages, each with the number of its last record.
    """
    frames: list[bytes] = []
    size = start = 0
    while start < len(data):
        items, ends = decode_frames(data, start, schemas=schemas)
        if not items:
            frames.append(data[start:])  # for the sidecar to refuse
            break
        for item, end in zip(items, ends, strict=True):
            is_row = data[start + HEAD_BYTES] == ROW
            for record in records_of([item]):
                frames.append(frame(encode(record)) if is_row else data[start:end])
                size += len(frames[-1])
                if size >= most:
                    yield b"".join(frames), record.seq
                    frames, size = [], 0
            start = end
    if frames:
        yield b"".join(frames), last


class Stretch(NamedTuple):
    """Valid frames that follow one another, decoded.

    Attributes:
        data: the bytes that hold the frames: of a message with frames, the whole message.
        start: offset in `data` of the first frame.
        items: records, which have six elements, but whose envelopes and bodies are unchecked, and rows.
        ends: for each item, the offset in `data` where its last frame ends.
    """

    data: bytes
    start: int
    items: list[Item]
    ends: list[int]


class Damage(NamedTuple):
    """Bytes of a message that are not a record.

    Attributes:
        start, end: their offsets in the message.
        error: what is wrong with them; its `record` is the record's envelope, if that can be read.
    """

    start: int
    end: int
    error: RecordError


def read_message(
    message: bytes, most: int = MAX_MESSAGE_BYTES, schemas: Mapping[int, Schema] = NO_SCHEMAS
) -> Iterator[Stretch | Damage]:
    """Yield what a message holds, in order: records and rows as stretches of frames, and the damage between them.

    A record without a frame is yielded as a stretch of its own, with a frame made for it. A stretch ends after a
    ``schema`` record, so that its schema can be added to `schemas` before the message is read on.

    Args:
        message: the bytes; the first byte tells whether it has frames.
        most: about how many bytes of frames to decode at a time.
        schemas: see `decode_frames`.
    """
    return _read_framed(message, most, schemas) if message[:1] == _MARK_BYTE else _read_bare(message)


def _read_framed(message: bytes, most: int, schemas: Mapping[int, Schema]) -> Iterator[Stretch | Damage]:
    start = 0
    while start < len(message):
        items, ends = decode_frames(message, start, most, schemas)
        if items:
            yield Stretch(message, start, items, ends)
            start = ends[-1]
        else:
            damage = _damage_at(message, start, schemas)
            yield damage
            start = damage.end


def _damage_at(message: bytes, start: int, schemas: Mapping[int, Schema]) -> Damage:
    """Return what is wrong at `start`, where `decode_frames` stopped; it ends where the next frame may begin."""
    head = HEAD.unpack_from(message, start)[0] if start + HEAD_BYTES <= len(message) else 0
    end = start + HEAD_BYTES + (head & LENGTH_BITS)
    if head >> 24 == MARK and head & LENGTH_BITS > MAX_RECORD_BYTES and end <= len(message):
        payload = message[start + HEAD_BYTES : end]
        error = RecordError("size", f"a record must have at most {MAX_RECORD_BYTES} bytes, not {len(payload)}")
        error.record = _readable_envelope(payload)
        return Damage(start, end, error)
    for stretch in scan(message, start, most=4 * MAX_MESSAGE_BYTES):
        if stretch.payload is None:
            error = RecordError("checksum", f"{stretch.end - start} damaged bytes in a message")
        elif stretch.payload[0] == ROW:
            error = _refusal_of_row(bytes(stretch.payload), schemas)
        else:
            error = _refusal_of(stretch.payload)
        return Damage(start, stretch.end, error)
    torn = RecordError("checksum", f"{len(message) - start} damaged bytes at the end of a message")
    return Damage(start, len(message), torn)


def _refusal_of(payload: memoryview) -> RecordError:
    """Return why the payload of a frame with a valid checksum could not be decoded."""
    try:
        decode_envelope(payload)
    except RecordError as error:
        return error
    return RecordError("encoding", "the record could not be decoded")


def _refusal_of_row(payload: bytes, schemas: Mapping[int, Schema]) -> RecordError:
    """Return why a row with a valid checksum could not be used; `record` is its envelope, if its schema is known."""
    word = word_of(payload)
    schema = schemas.get(word)
    if schema is None:
        return RecordError("schema", f"a row names schema {word >> 8}, which was not declared before it")
    form = f"its time below {MAX_TIME:g}, its number from 1 on, its booleans 0 or 1"
    error = RecordError(
        "form", f"a row of schema {schema.id} must have {schema.frame_bytes - HEAD_BYTES} bytes, {form}"
    )
    if len(payload) >= 16:
        seq = int.from_bytes(payload[8:16], "little")
        if 0 < seq <= MAX_SEQ:
            error.record = Record("log", schema.run, schema.client, seq, 0.0, {})
    return error


def _read_bare(message: bytes) -> Iterator[Stretch | Damage]:
    """Yield the records of a message without frames; after invalid msgpack the rest cannot be read."""
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE_BYTES)
    unpacker.feed(message)
    start = 0
    while start < len(message):
        try:
            unpacker.skip()
        except Exception as error:  # as in unpack()
            refused = RecordError("encoding", f"not valid msgpack: {type(error).__name__}: {error}")
            yield Damage(start, len(message), refused)
            return
        payload = message[start : unpacker.tell()]
        end = start + len(payload)
        try:
            record = decode_envelope(payload)
        except RecordError as error:
            yield Damage(start, end, error)
        else:
            data = frame(payload)
            yield Stretch(data, 0, [record], [len(data)])
        start = end


__all__ = [
    "NO_SCHEMAS",
    "Damage",
    "Stretch",
    "decode",
    "decode_envelope",
    "decode_frames",
    "encode",
    "expand_rows",
    "new_packer",
    "pack",
    "read_message",
    "unpack",
]
