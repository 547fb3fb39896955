"""Frames: framed payloads are read back, and damage costs only the frames that it touches."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol.frames import HEAD_BYTES, Frame, find_frame, frame, scan

payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


def spans(payloads: list[bytes]) -> list[tuple[int, int]]:
    """Return the start and end of each payload's frame, when they are framed one after another."""
    ranges, start = [], 0
    for payload in payloads:
        ranges.append((start, start + HEAD_BYTES + len(payload)))
        start = ranges[-1][1]
    return ranges


def good(frames: list[Frame]) -> list[bytes]:
    return [bytes(one.payload) for one in frames if one.payload is not None]


def test_the_documented_format_of_a_frame() -> None:
    assert frame(b"abc") == b"\xc1\x00\x00\x03" + zlib.crc32(b"abc").to_bytes(4, "big") + b"abc"


@given(payloads, st.booleans())
def test_framed_payloads_are_read_back(payloads: list[bytes], final: bool) -> None:
    data = b"".join(map(frame, payloads))
    frames = list(scan(data, final=final))
    assert good(frames) == payloads
    assert [(one.start, one.end) for one in frames] == spans(payloads)


@given(payloads, st.integers(0, 20))
def test_a_scan_may_begin_at_any_frame(payloads: list[bytes], skip: int) -> None:
    expected = spans(payloads)
    skip = min(skip, len(payloads))
    data = b"".join(map(frame, payloads))
    start = expected[skip][0] if skip < len(expected) else len(data)
    assert good(list(scan(data, start))) == payloads[skip:]


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_truncated_at_any_length_complete_frames_are_read_and_the_rest_is_not_damage(payloads: list[bytes]) -> None:
    data = b"".join(map(frame, payloads))
    for length in range(len(data)):
        whole = [end for _, end in spans(payloads) if end <= length]
        frames = list(scan(data[:length], final=False))
        assert [one.end for one in frames] == whole
        assert None not in [one.payload for one in frames]


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6), st.data())
def test_a_flipped_bit_costs_one_frame(payloads: list[bytes], data: st.DataObject) -> None:
    framed = bytearray(b"".join(map(frame, payloads)))
    bit = data.draw(st.integers(0, len(framed) * 8 - 1))
    framed[bit // 8] ^= 1 << bit % 8
    hit = next(index for index, (_, end) in enumerate(spans(payloads)) if bit // 8 < end)
    assert good(list(scan(bytes(framed)))) == payloads[:hit] + payloads[hit + 1 :]


@given(payloads, st.binary(max_size=30).filter(lambda junk: b"\xc1" not in junk), payloads)
def test_junk_between_frames_is_one_range_of_damage(before: list[bytes], junk: bytes, after: list[bytes]) -> None:
    head = b"".join(map(frame, before))
    frames = list(scan(head + junk + b"".join(map(frame, after))))
    assert good(frames) == before + after
    damage = [(one.start, one.end) for one in frames if one.payload is None]
    assert damage == ([(len(head), len(head) + len(junk))] if junk and after else [])


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_can_be_scanned(data: bytes, final: bool) -> None:
    end = 0
    for one in scan(data, final=final):
        assert one.start == end and one.start < one.end <= len(data)
        end = one.end


def test_an_incomplete_frame_is_waited_for_or_finally_skipped() -> None:
    torn, whole = frame(b"x" * 100)[:50], frame(b"whole")
    assert list(scan(torn + whole, final=False)) == []
    assert good(list(scan(torn + whole, final=True))) == [b"whole"]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xc1\0\0\1", b"\xc1\0\0\0\0\0\0\0", b"\0" * 64])
def test_data_without_frames(data: bytes) -> None:
    assert good(list(scan(data))) == []
    assert find_frame(data, 0) == -1
