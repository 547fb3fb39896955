"""Digests of files: size and SHA-256, with and without a copy."""

from __future__ import annotations

import hashlib
import io

import pytest

from sidecar.protocol.digests import digest_file


@pytest.mark.parametrize("content", [b"", b"x", b"abc" * 1_000_000])
def test_size_and_digest_of_the_content(content: bytes) -> None:
    copy = io.BytesIO()
    expected = (len(content), hashlib.sha256(content).hexdigest())
    assert digest_file(io.BytesIO(content)) == expected
    assert digest_file(io.BytesIO(content), copy) == expected
    assert copy.getvalue() == content


def test_reading_starts_at_the_position_of_the_file() -> None:
    file = io.BytesIO(b"headbody")
    file.seek(4)
    assert digest_file(file) == (4, hashlib.sha256(b"body").hexdigest())
