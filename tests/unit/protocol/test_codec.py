"""The codec: records are encoded and decoded, and other bytes are refused."""

from __future__ import annotations

import math
import re
import zlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.protocol import limits
from sidecar.protocol.checks import check_envelope
from sidecar.protocol.codec import (
    Damage,
    Stretch,
    decode,
    decode_envelope,
    decode_frames,
    encode,
    new_packer,
    read_message,
    unpack,
)
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD, HEAD_BYTES, MARK_BITS, frame
from sidecar.protocol.records import KINDS, Record
from sidecar.protocol.rows import records_of
from tests.parts import Part, parts_of
from tests.support import exact

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = texts.filter(lambda key: key and key not in limits.RESERVED_KEYS)
numbers = st.floats() | st.integers(-(2**63), 2**64 - 1)
media = st.fixed_dictionaries({"_type": texts, "counts": st.lists(st.floats(), max_size=3)})
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
BODIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "log": st.fixed_dictionaries(
        {
            "step": st.integers(limits.MIN_STEP, limits.MAX_STEP),
            "data": st.dictionaries(keys, numbers | st.booleans() | texts | media, max_size=5),
        }
    ),
    "config": st.fixed_dictionaries({"set": st.dictionaries(texts, plain, max_size=4)}),
    "a kind of tomorrow": st.dictionaries(texts, plain, max_size=4),
    "exit": st.fixed_dictionaries(
        {"state": st.sampled_from(["finished", "failed", "crashed"]), "exit_code": st.none() | st.integers(0, 255)}
    ),
}


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(sorted(BODIES)))
    body = draw(BODIES[kind])
    seq = draw(st.integers(0, limits.MAX_SEQ))
    return Record(kind, draw(texts), draw(texts), seq, draw(st.floats(-1e14, 1e14)), body)


def checked_parts(message: bytes, most: int = 1 << 16) -> list[Part]:
    """Return the parts of a message; for a framed one, check that they cover every byte."""
    parts = list(parts_of(message, most))
    if message[:1] == b"\xc1":
        ends = [part.end for part in parts]
        assert [part.start for part in parts] == [0, *ends[:-1]] and ends[-1] == len(message)
    return parts


def read(message: bytes) -> tuple[list[Record], list[str]]:
    """Return the records of a message, and the codes of its errors."""
    parts = checked_parts(message)
    assert all((part.record is None) == (part.error is not None) == (part.frame == b"") for part in parts)
    return [p.record for p in parts if p.record is not None], [p.error.code for p in parts if p.error is not None]


@given(records())
def test_a_record_is_decoded_as_it_was(record: Record) -> None:
    for decoded in (decode(encode(record)), decode_envelope(encode(record))):
        assert exact(list(decoded)) == exact(list(record))


@given(st.lists(records(), max_size=5), st.booleans())
def test_a_message_holds_records_one_after_another(originals: list[Record], framed: bool) -> None:
    payloads = [encode(record) for record in originals]
    message = b"".join(map(frame, payloads) if framed else payloads)
    parts = checked_parts(message)
    assert exact([list(part.record or ()) for part in parts]) == exact([list(record) for record in originals])
    assert [part.frame for part in parts] == [frame(payload) for payload in payloads]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_record_error(data: bytes) -> None:
    for function in (decode, decode_envelope, unpack):
        try:
            function(data)
        except RecordError as error:
            assert error.code and str(error)


@given(plain)
def test_any_value_is_a_record_or_a_record_error(value: Any) -> None:
    try:
        decode(msgpack.packb(value))
    except RecordError as error:
        assert error.code in ("form", "encoding")


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xc1", b"\x96"]))
def test_any_bytes_are_a_message(data: bytes, first: bytes) -> None:
    read(first + data)


@given(st.lists(records(), min_size=1, max_size=5), st.data())
def test_a_flipped_bit_costs_the_frame_it_touches(originals: list[Record], data: st.DataObject) -> None:
    frames = [frame(encode(record)) for record in originals]
    message = bytearray(b"".join(frames))
    bit = data.draw(st.integers(8, len(message) * 8 - 1))  # the first byte tells whether the message is framed
    message[bit // 8] ^= 1 << bit % 8
    hit = next(index for index in range(len(frames)) if bit // 8 < sum(map(len, frames[: index + 1])))
    good, errors = read(bytes(message))
    assert exact([list(record) for record in good]) == exact([list(r) for r in originals[:hit] + originals[hit + 1 :]])
    assert errors == ["checksum"]


@given(records(), records(), st.data())
def test_flipped_bits_in_a_bare_message_never_raise(one: Record, other: Record, data: st.DataObject) -> None:
    message = bytearray(encode(one) + encode(other))
    for bit in data.draw(st.lists(st.integers(0, len(message) * 8 - 1), max_size=4)):
        message[bit // 8] ^= 1 << bit % 8
    read(bytes(message))


@given(st.lists(records(), max_size=5), st.binary(max_size=20), st.integers(0, 400))
def test_frames_are_decoded_up_to_the_first_invalid_one(originals: list[Record], junk: bytes, most: int) -> None:
    frames = [frame(encode(record)) for record in originals]
    data = b"".join(frames) + junk
    decoded, ends = decode_frames(data)
    assert exact([list(record) for record in records_of(decoded)]) == exact([list(record) for record in originals])
    assert ends == [len(b"".join(frames[: index + 1])) for index in range(len(frames))]
    some, some_ends = decode_frames(data, 0, most)
    assert some_ends == ends[: len(some)]
    assert len(some) == len(originals) or most == 0 or some_ends[-1] >= most


@given(st.lists(records(), min_size=1, max_size=8), st.sets(st.integers(0, 7)), st.integers(1, 400))
def test_a_message_is_ranges_of_valid_frames_with_damage_between(
    written: list[Record], broken: set[int], most: int
) -> None:
    frames = [frame(encode(record)) for record in written]
    message = b"".join(
        data[:-1] + bytes([data[-1] ^ 1]) if index in broken else data for index, data in enumerate(frames)
    )
    good: list[Record] = []
    taken = []
    for part in read_message(message, most):
        if isinstance(part, Stretch):
            good += records_of(part.items)
            assert part.data is message and len(part.items) == len(part.ends)
            assert part.ends[-1] - part.start < most + max(map(len, frames)), "no more is decoded than was asked for"
            taken.append((part.start, part.ends[-1]))
        else:
            assert part.error.code == "checksum" and part.error.record is None
            taken.append((part.start, part.end))
    assert exact([list(r) for r in good]) == exact([list(r) for i, r in enumerate(written) if i not in broken])
    assert [start for start, _ in taken] == [0, *(end for _, end in taken[:-1])] and taken[-1][1] == len(message)


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize(
    ("body", "code"), [({"set": {1: 2}}, "encoding"), ({"x": b"\0" * limits.MAX_RECORD_BYTES}, "size")]
)
def test_the_error_of_an_invalid_record_names_its_client(framed: bool, body: dict[Any, Any], code: str) -> None:
    payload = msgpack.packb(["config", "run", "a", 7, 1.5, body])
    data = HEAD.pack(MARK_BITS | len(payload), zlib.crc32(payload)) + payload if framed else payload
    (damage,) = read_message(data)
    assert isinstance(damage, Damage) and (damage.start, damage.end, damage.error.code) == (0, len(data), code)
    assert damage.error.record == Record("config", "run", "a", 7, 1.5, {})


def test_a_framed_payload_that_is_not_a_record_is_not_decoded() -> None:
    good = frame(encode(Record("beat", "r", "c", 0, 1.0, {})))
    for payload in (msgpack.packb([1, 2, 3]), msgpack.packb(1), b"\xc1", b"\x96", b"\x91" * 2000):
        records, ends = decode_frames(good + frame(payload) + good)
        assert (len(records), ends) == (1, [len(good)])


def test_after_an_invalid_bare_record_the_rest_is_an_error() -> None:
    one = encode(Record("beat", "r", "c", 0, 1.0, {}))
    good, errors = read(one + b"\xc1" + one)
    assert ([record.kind for record in good], errors) == (["beat"], ["encoding"])


def test_a_torn_end_of_a_framed_message_is_an_error() -> None:
    whole = frame(encode(Record("beat", "r", "c", 0, 1.0, {})))
    good, errors = read(whole + whole[:-1])
    assert (len(good), errors) == (1, ["checksum"])


def test_a_framed_payload_that_is_not_a_record_costs_only_itself() -> None:
    whole = frame(encode(Record("beat", "r", "c", 0, 1.0, {})))
    good, errors = read(whole + frame(msgpack.packb([1, 2, 3])) + whole)
    assert (len(good), errors) == (2, ["form"])


GOOD = ["log", "run", "client", 1, 1.5, {"step": 1, "data": {"loss": 0.5}}]


@pytest.mark.parametrize(
    ("position", "value", "code"),
    [
        (0, 1, "form"),
        (0, "", "kind"),
        (0, "k" * 65, "kind"),
        (1, None, "form"),
        (2, b"client", "form"),
        (3, "1", "form"),
        (3, True, "form"),
        (3, -1, "form"),
        (3, 2**63, "form"),
        (4, None, "form"),
        (4, math.nan, "form"),
        (4, math.inf, "form"),
        (4, -1e15, "form"),
        (5, [], "form"),
        (5, None, "form"),
        (5, {b"step": 1, "data": {}}, "form"),
        (5, {"step": 1}, "form"),
        (5, {"data": {}}, "form"),
        (5, {"step": 1.0, "data": {}}, "form"),
        (5, {"step": True, "data": {}}, "form"),
        (5, {"step": 2**63, "data": {}}, "value"),
        (5, {"step": 1, "data": []}, "form"),
        (5, {"step": 1, "data": {"": 1}}, "key"),
        (5, {"step": 1, "data": {"k" * 513: 1}}, "key"),
        (5, {"step": 1, "data": {"_step": 1}}, "key"),
        (5, {"step": 1, "data": {"loss": None}}, "value"),
        (5, {"step": 1, "data": {"loss": [1.0]}}, "value"),
        (5, {"step": 1, "data": {"loss": b"1"}}, "value"),
        (5, {"step": 1, "data": {"loss": {"no": "type"}}}, "value"),
        (5, {"step": 1, "data": {"loss": {"_type": 1}}}, "value"),
        (5, {"step": 1, "data": {"loss": "x" * (limits.MAX_TEXT_BYTES + 1)}}, "size"),
        (5, {"step": 1, "data": {"loss": "ä" * (limits.MAX_TEXT_BYTES // 2 + 1)}}, "size"),
        (5, {"step": 1, "data": {str(key): 1 for key in range(limits.MAX_KEYS + 1)}}, "size"),
    ],
)
def test_an_invalid_field_of_a_record_is_an_error(position: int, value: Any, code: str) -> None:
    decode(msgpack.packb(GOOD))
    bad = [*GOOD[:position], value, *GOOD[position + 1 :]]
    with pytest.raises(RecordError) as caught:
        decode(msgpack.packb(bad))
    assert caught.value.code == code
    assert str(caught.value)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_error_names_a_key_that_is_missing_or_of_a_wrong_type(kind: str) -> None:
    body: dict[str, Any] = {}
    for name, field in KINDS[kind].fields.items():
        example = {str: "x", int: 1, float: 1.0, dict: {}, list: [], bool: True, bytes: b"", type(None): None}
        wrong = 1.5 if bytes in field.types else b"bytes"
        if field.required:
            with pytest.raises(RecordError, match=repr(name)):
                decode(encode(Record(kind, "r", "c", 1, 1.0, body)))
        with pytest.raises(RecordError, match=repr(name)):
            decode(encode(Record(kind, "r", "c", 1, 1.0, {**body, name: wrong})))
        special = {"sha256": "0" * 64, "color": "red", "keys": ["x"], "types": "d"}
        body[name] = special.get(name, example[field.types[0]])
        if field.choices:
            body[name] = list(field.choices) if list in field.types else field.choices[0]
    decode(encode(Record(kind, "r", "c", 1, 1.0, body | {"a future key": [1]})))


@pytest.mark.parametrize(
    "bad",
    [msgpack.packb([*GOOD, 1]), msgpack.packb(GOOD[:5]), msgpack.packb({}), b"", b"\xc1", b"\x96", b"\xa3\xff\xff\xff"],
)
def test_bytes_that_are_not_a_record_are_an_error(bad: bytes) -> None:
    with pytest.raises(RecordError):
        decode(bad)


@pytest.mark.parametrize("value", [msgpack.ExtType(5, b"code"), msgpack.Timestamp(1)])
def test_extension_types_are_refused(value: Any) -> None:
    with pytest.raises(RecordError, match="extension"):
        decode(msgpack.packb([*GOOD[:5], {"set": value}]))


def test_a_map_with_a_key_other_than_a_string_is_refused() -> None:
    for key in (1, b"bytes", None, True):
        with pytest.raises(RecordError):
            decode(msgpack.packb(["config", "r", "c", 1, 1.0, {"set": {"deep": {key: 1}}}]))


def test_messages_are_short_even_for_large_records() -> None:
    huge = 4 * 1024 * 1024
    bad = [
        ["config", "r", "c", 1, 1.0, {"set": {b"\0" * huge: 1}}],
        ["log", "r", "c", 1, 1.0, {"step": 1, "data": {"k" * huge: 1}}],
        ["k" * huge, "r", "c", 1, 1.0, {}],
        ["config", "r", "c", 2**64 - 1, 1.0, {}],
    ]
    for value in bad:
        with pytest.raises(RecordError) as caught:
            decode(msgpack.packb(value))
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("kind", "most"),
    [("config", limits.MAX_DEPTH), ("status", limits.MAX_ANSWER_DEPTH), ("of a later version", limits.MAX_DEPTH)],
)
def test_the_maximum_depth_of_a_record(kind: str, most: int) -> None:
    for depth, fits in ((most, True), (most + 1, False)):
        body: Any = 1
        for _ in range(depth):
            body = {"k": body}
        packed = encode(Record(kind, "r", "c", 1, 1.0, body))
        if fits:
            decode(packed)
        else:
            with pytest.raises(RecordError) as caught:
                decode(packed)
            assert caught.value.code == "depth"
    with pytest.raises(RecordError):
        decode(msgpack.packb(GOOD[:5])[:1] + b"\x96" + b"\x91" * 100_000 + b"\xc0")


def test_the_maximum_size_of_a_record() -> None:
    record = Record("config", "r", "c", 1, 1.0, {"set": {"blob": b""}})
    room = limits.MAX_RECORD_BYTES - len(encode(record)) - 3  # the head of a long blob has five bytes, not two
    fits = encode(record._replace(body={"set": {"blob": b"x" * room}}))
    assert len(fits) == limits.MAX_RECORD_BYTES
    decode(fits)
    for message in (over := encode(record._replace(body={"set": {"blob": b"x" * (room + 1)}})), frame(over)):
        assert read(message)[1] == ["size"]


def test_a_packer_can_be_used_after_an_error() -> None:
    packer = new_packer()
    for bad in ({"x": 2**64}, {"x": object()}, {"x": "\ud800"}, [[1, 2, object()]]):
        with pytest.raises((OverflowError, TypeError, ValueError)):
            packer(bad)
        assert packer({"x": 1}) == msgpack.packb({"x": 1})


def test_a_part_has_the_bytes_that_were_received() -> None:
    record = Record("log", "r", "c", 1, 1.0, {"step": 1, "data": {}})
    loose = msgpack.packb(list(record), use_single_float=True)  # another valid encoding of the same record
    for message in (loose, frame(loose)):
        (part,) = parts_of(message)
        assert part.frame[HEAD_BYTES:] == loose


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        (0, b"log", "element 0 of a record, its kind, must be str, not bin"),
        (3, "1", "element 3 of a record, its seq, must be int, not str"),
        (3, True, "its seq, must be int, not bool"),
        (4, None, "its time, must be float, not nil"),
        (5, [], "its body, must be map, not array"),
    ],
)
def test_a_wrong_element_of_a_record_is_named(index: int, value: object, words: str) -> None:
    elements: list[Any] = ["log", "run", "client", 1, 1.0, {}]
    elements[index] = value
    with pytest.raises(RecordError, match=re.escape(words)):
        check_envelope(Record(*elements))
