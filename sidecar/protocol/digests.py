"""SHA-256 of a file's content, which names that content in records and on disk. Reads files, opens none."""

from __future__ import annotations

import hashlib
from typing import IO, NamedTuple

_READ_BYTES = 1 << 20


class Digest(NamedTuple):
    """Size of some content in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


def digest_file(file: IO[bytes], copy_to: IO[bytes] | None = None) -> Digest:
    """Return size and SHA-256 of `file` from its position to its end.

    Args:
        file: a file opened for reading in binary mode.
        copy_to: if given, the same bytes are written to it, so that the digest is that of the copy.
    """
    digest = hashlib.sha256()
    size = 0
    while chunk := file.read(_READ_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return Digest(size, digest.hexdigest())
