"""Limits: names that become directories are never trusted."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol import limits
from sidecar.protocol.frames import LENGTH_BITS
from sidecar.protocol.limits import new_id, valid_name


@pytest.mark.parametrize("name", ["a", "0", "run-1", "run_1.2", "_x", "A" * 128])
def test_names(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-option", "a/b", "../a", "a\\b", "a b", "a\n", "a\0", "ä", "A" * 129, None, 1, b"a"],
)
def test_what_is_no_name(name: object) -> None:
    assert not valid_name(name)


@given(st.text(max_size=200))
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    if valid_name(name):
        assert os.path.basename(name) == name
        assert name not in (os.curdir, os.pardir)
        assert os.path.normpath(os.path.join("/root", name)) == f"/root/{name}"


def test_new_ids_are_names_and_differ() -> None:
    made = [new_id() for _ in range(500)] + [new_id(12) for _ in range(500)]
    assert len(set(made)) == 1000
    assert all(map(valid_name, made))
    assert {len(one) for one in made} == {8, 12}


def test_a_record_of_the_largest_size_fits_in_a_frame_and_a_frame_in_a_message() -> None:
    assert limits.MAX_RECORD_BYTES <= LENGTH_BITS
    assert limits.MAX_RECORD_BYTES + 8 <= limits.MAX_MESSAGE_BYTES
