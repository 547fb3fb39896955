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
def test_valid_names(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-option", "a/b", "../a", "a\\b", "a b", "a\n", "a\0", "ä", "A" * 129, None, 1, b"a"],
)
def test_invalid_names(name: object) -> None:
    assert not valid_name(name)


@given(st.text(max_size=200))
def test_a_valid_name_is_one_component_of_a_path(name: str) -> None:
    if valid_name(name):
        assert os.path.basename(name) == name
        assert name not in (os.curdir, os.pardir)
        assert os.path.normpath(os.path.join("/root", name)) == f"/root/{name}"


def test_new_ids_are_valid_names_and_unique() -> None:
    ids = [new_id() for _ in range(500)] + [new_id(12) for _ in range(500)]
    assert len(set(ids)) == 1000
    assert all(map(valid_name, ids))
    assert {len(id) for id in ids} == {8, 12}


def test_a_record_of_the_largest_size_fits_in_a_frame_and_a_frame_in_a_message() -> None:
    assert limits.MAX_RECORD_BYTES <= LENGTH_BITS
    assert limits.MAX_RECORD_BYTES + 8 <= limits.MAX_MESSAGE_BYTES
