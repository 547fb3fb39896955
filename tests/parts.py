"""A message taken apart record by record, with envelopes checked. Pure functions on bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sidecar.protocol.checks import check, check_envelope
from sidecar.protocol.codec import Damage, read_message
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import Record
from sidecar.protocol.rows import SCHEMA, Schema, record_ends, records_of


class Part(NamedTuple):
    """One record of a message, or bytes that are not a record.

    Attributes:
        frame: the record with its frame, as it is appended to a log; empty where there is an error.
        record: the record, its body unchecked, or the ``log`` record that a row stands for; None where there is an
            error.
        error: what is wrong with the bytes, or None.
        start, end: where it is, in the message, or in `frame` for a record that came without one.
    """

    frame: bytes
    record: Record | None
    error: RecordError | None
    start: int
    end: int


def parts_of(message: bytes, most: int = 1 << 16, schemas: dict[int, Schema] | None = None) -> Iterator[Part]:
    """Yield the parts of a message, in order.

    Args:
        message: the bytes.
        most: about how many of them to decode at a time.
        schemas: the schemas that are known, by word; those that the message declares are added.
    """
    known: dict[int, Schema] = {} if schemas is None else schemas
    for part in read_message(message, most, known):
        if isinstance(part, Damage):
            yield Part(b"", None, part.error, part.start, part.end)
            continue
        start = part.start
        for record, end in zip(records_of(part.items), record_ends(part.items, part.ends), strict=True):
            try:
                check_envelope(record)
                if record.kind == SCHEMA:
                    _declare(record, known)
            except RecordError as error:
                yield Part(b"", None, error, start, end)
            else:
                yield Part(part.data[start:end], record, None, start, end)
            start = end


def _declare(record: Record, known: dict[int, Schema]) -> None:
    check(record)
    schema = Schema.of(record)
    if not known.setdefault(schema.word, schema).same(schema):
        raise RecordError("value", f"schema {schema.id} was declared before, with other keys, types or client")
