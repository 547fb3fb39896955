"""Pages: a sequence of values, cut into pieces that a message can hold. Pure functions, no I/O.

Each value is packed, with its length before it (four bytes, big-endian); a value may begin in one page and end in
another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.errors import RecordError

PAGE_BYTES = 1024 * 1024
"""Maximum size of a page, in bytes."""

_LENGTH_BYTES = 4


def pages(values: Iterable[Any], size: int = PAGE_BYTES) -> Iterator[tuple[bytes, bool]]:
    """Yield the pages of values, and whether there are more; the last page may be empty."""
    buffer = bytearray()
    for value in values:
        packed = pack(value)
        buffer += len(packed).to_bytes(_LENGTH_BYTES, "big")
        buffer += packed
        while len(buffer) > size:
            yield bytes(buffer[:size]), True
            del buffer[:size]
    yield bytes(buffer), False


class PageReader:
    """Puts pages together again. What it is given may come from anywhere: it is checked."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, page: bytes) -> Iterator[Any]:
        """Take the next page, and yield the values that end in it.

        Raises:
            RecordError: a value is not valid.
        """
        self._buffer += page
        start = 0
        while len(self._buffer) - start >= _LENGTH_BYTES:
            begin = start + _LENGTH_BYTES
            end = begin + int.from_bytes(self._buffer[start:begin], "big")
            if end > len(self._buffer):
                break
            yield unpack(bytes(self._buffer[begin:end]))
            start = end
        del self._buffer[:start]

    def close(self) -> None:
        """Check that nothing is left.

        Raises:
            RecordError: the last value is incomplete.
        """
        if self._buffer:
            raise RecordError("encoding", f"the last page ends within a value, after {len(self._buffer)} bytes of it")
