"""A message taken apart record by record, with envelopes checked. Pure functions on bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sidecar.protocol.checks import check_envelope
from sidecar.protocol.codec import Damage, read_message
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import Record


class Part(NamedTuple):
    """One record of a message, or bytes that are not a record.

    Attributes:
        frame: the record with its frame, as it is appended to a log; empty where there is an error.
        record: the record, its body unchecked; None where there is an error.
        error: what is wrong with the bytes, or None.
        start, end: where it is, in the message, or in `frame` for a record that came without one.
    """

    frame: bytes
    record: Record | None
    error: RecordError | None
    start: int
    end: int


def parts_of(message: bytes, most: int = 1 << 16) -> Iterator[Part]:
    """Yield the parts of a message, in order."""
    for part in read_message(message, most):
        if isinstance(part, Damage):
            yield Part(b"", None, part.error, part.start, part.end)
            continue
        start = part.start
        for record, end in zip(part.items, part.ends, strict=True):
            assert isinstance(record, Record), "without a schema there are no rows"
            try:
                check_envelope(record)
            except RecordError as error:
                yield Part(b"", None, error, start, end)
            else:
                yield Part(part.data[start:end], record, None, start, end)
            start = end
