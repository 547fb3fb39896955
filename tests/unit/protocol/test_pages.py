"""Pages: values in, pages out, and back."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.protocol.errors import RecordError
from sidecar.protocol.pages import PAGE_BYTES, PageReader, pages

VALUES: list[Any] = [1, "two", {"three": [3.0, None, b"\x00"]}, "x" * (3 * PAGE_BYTES), [], "end"]


def read(parts: list[bytes]) -> list[Any]:
    reader = PageReader()
    values = [value for part in parts for value in reader.feed(part)]
    reader.close()
    return values


@pytest.mark.parametrize("size", [1, 7, 1000, PAGE_BYTES])
def test_values_come_back_whatever_the_size_of_a_page(size: int) -> None:
    values = VALUES if size > 7 else [value for value in VALUES if len(str(value)) < 1000]
    made = list(pages(values, size))
    assert all(len(data) <= size for data, _ in made)
    assert [more for _, more in made] == [True] * (len(made) - 1) + [False]
    assert read([data for data, _ in made]) == values


def test_no_values_are_one_empty_page() -> None:
    assert list(pages([])) == [(b"", False)]
    assert read([b""]) == []


@pytest.mark.parametrize(
    "bad", [b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x01\x01", b"\x00\x00\x00\x09\x01", b"\x00"]
)
def test_what_is_not_a_page_is_an_error(bad: bytes) -> None:
    with pytest.raises(RecordError):
        read([bad])
