"""vectors.json agrees with the codec, and with another reader of msgpack."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from msgpack.fallback import Unpacker

from sidecar.protocol.codec import decode, encode
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD_BYTES, frame
from sidecar.protocol.records import KINDS, Record
from tests.support import exact
from tests.tools.conformance.vectors import VECTORS, code_of, read, tagged, untagged, written

FILE = json.loads(VECTORS.read_text())


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(each, id=f"{each['name']} {each.get('form', '')}".strip()) for each in vectors]


def test_the_file_is_up_to_date() -> None:
    assert VECTORS.read_text() == written(), "update the file: python -m tests.tools.conformance --write-vectors"


def test_the_file_has_every_kind() -> None:
    kinds = {record[0] for vector in FILE["messages"] for record in vector["records"]}
    assert set(KINDS) <= kinds


def test_tagged_values_are_read_back() -> None:
    value: Any = {"a": [None, True, -1, 2**64 - 1, -0.0, float("nan"), "✓", b"\x00", {}, []]}
    assert exact(untagged(json.loads(json.dumps(tagged(value))))) == exact(value)


@pytest.mark.parametrize("vector", named(FILE["messages"]))
def test_a_message_has_the_given_records(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    records = [Record(*untagged(each)) for each in vector["records"]]
    assert [exact(list(each)) for each in read(data)] == [exact(list(each)) for each in records]
    assert exact(independently(data, vector["form"])) == exact([list(each) for each in records])
    if not vector.get("loose"):
        packed = [encode(each) for each in records]
        assert b"".join(packed if vector["form"] == "bare" else map(frame, packed)) == data
    for each in records:
        decode(encode(each))


@pytest.mark.parametrize("vector", named(FILE["rows"]))
def test_a_message_with_rows_has_the_given_records(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    records = [untagged(each) for each in vector["records"]]
    assert [exact(list(each)) for each in read(data)] == [exact(each) for each in records]
    frames = list(split(data))
    assert [place for place, payload in enumerate(frames) if payload[0] == 1] == vector["rows"]
    schemas = {}
    for payload, each in zip(frames, records, strict=True):
        if payload[0] != 1:
            assert exact(independently(payload, "bare")) == exact([each])
            if each[0] == "schema":
                schemas[each[5]["id"]] = each
            continue
        _, run, client, _, _, body = schemas[int.from_bytes(payload[1:8], "little")]
        types = body["types"]
        seq, time, step, *values = struct.unpack_from("<Qdq" + types.replace("?", "q"), payload, 8)
        values = [bool(value) if type_ == "?" else value for value, type_ in zip(values, types, strict=True)]
        data_of_row = dict(zip(body["keys"], values, strict=True))
        assert exact(each) == exact(["log", run, client, seq, time, {"step": step, "data": data_of_row}])


def split(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of frames."""
    while data:
        assert data[0] == 0xC1
        end = HEAD_BYTES + int.from_bytes(data[1:4], "big")
        assert zlib.crc32(data[HEAD_BYTES:end]) == int.from_bytes(data[4:HEAD_BYTES], "big")
        yield data[HEAD_BYTES:end]
        data = data[end:]


def independently(data: bytes, form: str) -> list[Any]:
    """Read a message without the codec: by the documented format, and with msgpack's fallback reader."""
    if form == "framed":
        return [record for payload in split(data) for record in independently(payload, "bare")]
    unpacker = Unpacker()
    unpacker.feed(data)
    return list(unpacker)


@pytest.mark.parametrize("vector", named(FILE["damaged"]))
def test_the_rest_of_a_damaged_message_is_read(vector: dict[str, Any]) -> None:
    expected = [part.get("damage") or untagged(part["record"]) for part in vector["parts"]]
    assert [list(part) for part in read(bytes.fromhex(vector["hex"]))] == expected
    assert any("damage" in part for part in vector["parts"])


@pytest.mark.parametrize("vector", named(FILE["refused"]))
def test_an_invalid_record_is_refused_with_the_given_code(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert code_of(data) == vector["code"]
    with pytest.raises(RecordError):
        decode(data)
