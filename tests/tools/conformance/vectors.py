"""Makes ``vectors.json`` from the codec: bytes, and what a reader must find in them. Pure, but for reading the file.

JSON has one type of number and no bytes, so values stand in it as `tagged` says; `untagged` is the way back.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.log.reader import header as log_header
from sidecar.protocol import PROTOCOL_VERSION, limits
from sidecar.protocol.codec import decode, encode, pack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import HEAD_BYTES, frame
from sidecar.protocol.records import KINDS, Record
from sidecar.protocol.rows import ROW, Schema
from sidecar.protocol.segments import header as segment_header
from tests.parts import parts_of

VECTORS = Path(__file__).with_name("vectors.json")

ABOUT = """\
Golden vectors of the sidecar's protocol (sidecar/PROTOCOL.md): with this file alone a codec can be tested.

messages: 'hex' is one ZeroMQ message, 'form' says framed or bare, 'records' is what a reader must find in it. A writer
that uses msgpack's shortest forms, float 64, and the order of keys shown here makes the same bytes of these records;
not so where 'loose' is true: there another writer used longer forms, and a reader must take them all the same.
rows: messages of frames with rows under a schema that the message declares. 'records' has for a row the 'log' record
that it stands for, and 'rows' lists which of the records came as rows, counted from 0. A writer of rows makes the same
bytes of them. 'damaged' has messages with rows, too.
damaged: 'parts' is what a reader must find, in order: records, and stretches [first byte, byte after the last] that are
damaged or hold a row or a schema that is not valid.
refused: bytes that are no record that may be used; 'code' is the one of the table of errors.
files: how the files begin that a client may write or read.

A record is a list of six: kind, run, client, seq, time, body. In it null, true, false, texts and lists are themselves,
and everything else is an object whose first key says its type:
{"int": "-5"}: an integer of up to 64 bits, in decimal digits;
{"float": "3fb999999999999a", "is": "0.1"}: the 8 bytes of IEEE 754, big-endian, in hex (for a NaN any NaN will do);
{"bin": "00c1ff"}: bytes in hex;
{"map": [["lr", ...], ...]}: keys and values, in their order."""

_RUN, _CLIENT, _TIME = "r1", "q4k9", 1700000000.25  # no whole number: some languages write those as integers

_CONTENT = b"<svg/>"

_EXAMPLES: dict[str, Any] = {
    "tags": ["a", "größe ✓"],
    "summary": ["min", "max"],
    "goal": "maximize",
    "resume": "allow",
    "ask": "state",
    "start_time": 1700000000.25,
    "data": {"loss": 0.5, "epoch": 3, "done": False, "note": "step 0"},
    "counts": {"memory full": 12},
    "delete": ["lr"],
    "code": "key",
    "offset": 0,
}
_BY_KIND: dict[str, dict[str, Any]] = {
    "config": {"set": {"lr": 0.1, "optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "nothing": None}},
    "summary": {"set": {"best": 0.97}},
    "schema": {"id": 2**56 - 2, "keys": ["loss", "epoch", "done"], "types": "dq?", "client": _CLIENT},
    "edit": {"color": "#00aaff", "config": {"lr": 0.1}, "summary": {"best": 0.97}, "undo": False},
    "change": {"edit": {"id": "k3v8", "name": "baseline", "by": "ann"}},
    "read": {"what": "buckets", "args": {"keys": ["loss"], "count": 400}, "close": False},
    "page": {"data": b"\x00\x00\x00\x01\x90"},
    "exit": {"state": "finished", "exit_code": 0},
    "answer": {
        "state": {"id": _RUN, "state": "finished", "summary": {"best": 0.97}},
        "sinks": {"store": {"behind_bytes": 0, "error": None}},
    },
    "attached": {
        "protocol": PROTOCOL_VERSION,
        "state": {},
        "records": "tcp://*:5758",
        "results": "tcp://*:5759",
    },
    "attach": {"protocol": PROTOCOL_VERSION, "sinks": ["mlflow+http://localhost:5000"]},
    "file": {"name": "plots/loss.svg", "size": 6, "sha256": hashlib.sha256(_CONTENT).hexdigest(), "data": _CONTENT},
}
_PLAIN: dict[type, Any] = {str: "x", int: 1, float: 0.5, dict: {}, list: ["a"], bool: True, bytes: b"\x00\xc1"}

_BORDERS = {sign * 2**bits + more for bits in (7, 8, 15, 16, 31, 32, 53, 63) for sign in (1, -1) for more in (-1, 0, 1)}
INTEGERS = sorted(n for n in _BORDERS | {0, 1, -1, -31, -32, -33, 2**64 - 1} if -(2**63) <= n < 2**64)
"""Where msgpack changes its form, where a float 64 ends to be exact, and where 64 bits end."""

FLOATS = (0.0, -0.0, 1.0, 0.1, -0.5, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308)
TEXTS = {
    "plain": "loss",
    "two, three and four bytes": "größe ✓ 🜁",
    "combining": "e\u0301",
    "with a zero": "a\0b",
    "31 bytes": "k" * 31,
    "32 bytes": "k" * 32,
    "255 bytes": "k" * 255,
    "256 bytes": "k" * 256,
}


class Message(NamedTuple):
    """A vector: a message, and what is in it.

    Attributes:
        loose: whether another writer would write the same records with other bytes.
    """

    name: str
    form: str
    data: bytes
    loose: bool = False


def tagged(value: Any) -> Any:
    """Return plain data as it stands in the file."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": struct.pack(">d", value).hex(), "is": repr(value)}
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, dict):
        return {"map": [[key, tagged(item)] for key, item in value.items()]}
    return [tagged(item) for item in value]


def untagged(value: Any) -> Any:
    """Return what `tagged` was given."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "int" in value:
        return int(value["int"])
    if "float" in value:
        return struct.unpack(">d", bytes.fromhex(value["float"]))[0]
    if "bin" in value:
        return bytes.fromhex(value["bin"])
    return {key: untagged(item) for key, item in value["map"]}


def read(message: bytes) -> list[Record | tuple[int, int]]:
    """Return what is in a message: records, and the damaged stretches between them."""
    return [part.record if part.record is not None else (part.start, part.end) for part in parts_of(message)]


def record(kind: str, body: dict[str, Any], seq: int = 1) -> Record:
    return Record(kind, _RUN, _CLIENT, seq, _TIME, body)


def _log(data: dict[str, Any], step: int = 0, seq: int = 1) -> Record:
    return record("log", {"step": step, "data": data}, seq)


def body_of(kind: str, *, whole: bool) -> dict[str, Any]:
    """Return an example of a kind's body: with all its keys, or with those that must be there."""
    found = {}
    for name, field in KINDS[kind].fields.items():
        if whole or field.required:
            own = _BY_KIND.get(kind, {})
            example = field.choices[0] if field.choices else _PLAIN[field.types[0]]
            found[name] = own.get(name, _EXAMPLES.get(name, example))
    return found


# -- messages ---------------------------------------------------------------------------------------------------------


def messages() -> Iterator[Message]:
    """Yield the messages whose every record is good."""
    for kind in KINDS:
        way = KINDS[kind].way
        for whole in (False, True):
            seq = 7 if way == "record" else 0
            packed = encode(record(kind, body_of(kind, whole=whole), seq))
            name = f"{kind}, {'all its keys' if whole else 'the keys that must be there'}"
            yield Message(name, "bare", packed)
            if way in ("record", "request"):
                yield Message(name, "framed", frame(packed))
    yield from (Message(name, "framed", frame(encode(found))) for name, found in _special())
    yield from _loose()
    yield from _several()


def _special() -> Iterator[tuple[str, Record]]:
    yield "not a number", _log({"loss": math.nan})
    yield "infinities", _log({"up": math.inf, "down": -math.inf})
    for value in FLOATS:
        yield f"the float {value!r}", _log({"loss": value})
    for number in INTEGERS:
        yield f"the integer {number}", _log({"count": number})
    for step in (limits.MIN_STEP, -1, limits.MAX_STEP):
        yield f"the step {step}", _log({"loss": 0.5}, step)
    yield "the highest number", _log({"loss": 0.5}, seq=limits.MAX_SEQ)
    yield "a time that is an integer", _log({"loss": 0.5})._replace(time=1700000000)
    yield "booleans", _log({"yes": True, "no": False})
    for name, text in TEXTS.items():
        yield f"a key and a text: {name}", _log({text: text})
    yield "a row without metrics", _log({})
    yield "16 metrics", _log({f"m{number}": float(number) for number in range(16)})
    histogram = {"_type": "histogram", "counts": [1, 0, 2], "edges": [0.0, 0.5, 1.0, 1.5]}
    yield "a histogram", _log({"weights": histogram})
    nested: Any = "the deepest"
    for level in range(limits.MAX_DEPTH - 1):
        nested = [nested] if level % 2 else {"k": nested}
    yield "a config of 16 levels", record("config", {"set": nested})
    betas = {"optimizer": {"name": "adam", "betas": [0.9, 0.999], "more": {"amsgrad": False, "list": [[], {}, None]}}}
    yield "a nested config", record("config", {"set": {"größe ✓": betas, "nothing": None}})
    yield "bytes in a config", record("config", {"set": {"short": b"\x00\xc1\xff", "none": b""}})
    yield "a kind of tomorrow", record("forecast", {"sky": ["blue", {"how": 0.5}]})
    yield "a key of tomorrow", record("log", {"step": 0, "data": {"loss": 0.5}, "mood": "good"})
    yield "fire-and-forget", Record("log", _RUN, "", 0, _TIME, {"step": 0, "data": {"loss": 0.5}})
    yield "a frame's first byte inside of a record", record("config", {"set": {"raw": frame(encode(_log({})))}})


def _loose() -> Iterator[Message]:
    """Yield what other writers may write: longer forms of numbers, texts, lists and maps."""
    head = encode(_log({}))
    start = head[: head.index(b"\x82\xa4step")]
    forms = {
        "a float 32": b"\xca\x3f\x00\x00\x00",
        "an unsigned integer of 8 bytes": b"\xcf" + (5).to_bytes(8, "big"),
        "a signed integer of 8 bytes": b"\xd3" + (5).to_bytes(8, "big"),
        "a signed integer of 1 byte": b"\xd0\x05",
        "a text with a length of 4 bytes": b"\xdb\x00\x00\x00\x02ok",
    }
    for name, packed in forms.items():
        yield Message(name, "bare", start + b"\x82\xa4step\x00\xa4data\x81\xa1x" + packed, loose=True)
    body = b"\xdf\x00\x00\x00\x02\xd9\x04step\xd3" + bytes(8) + b"\xa4data\xde\x00\x01\xa1x\xcb" + bytes(8)
    yield Message("long forms of maps and keys", "framed", frame(start + body), loose=True)
    listed = start.replace(b"\x96\xa3log", b"\xdc\x00\x06\xa3log", 1) + b"\x82\xa4step\x00\xa4data\x80"
    yield Message("a long form of the list of six", "bare", listed, loose=True)


def _several() -> Iterator[Message]:
    three = [record("run", {"project": "digits"}), _log({"loss": 0.5}, 0, 2), _log({"loss": 0.25}, 1, 3)]
    yield Message("three records", "framed", b"".join(frame(encode(each)) for each in three))
    yield Message("three records", "bare", b"".join(map(encode, three)))


# -- rows -------------------------------------------------------------------------------------------------------------

_SCHEMA_ID = 0x0123456789ABCD


def schema(types: str, id: int = _SCHEMA_ID) -> Schema:
    """Return a schema with the keys ``a``, ``b``, … for `types`."""
    return Schema(id, _RUN, _CLIENT, tuple("abcdefgh"[: len(types)]), types)


def declaration(one: Schema, seq: int = 1) -> bytes:
    return frame(encode(record("schema", one.body(), seq)))


def row(one: Schema, seq: int, *values: Any, step: int = 0, time: float = _TIME) -> bytes:
    return frame(one.pack(one.word, seq, time, step, *values))


def with_rows() -> Iterator[tuple[str, bytes]]:
    """Yield framed messages with rows, all valid."""
    floats, integers, booleans = schema("d"), schema("q"), schema("?")
    all_types = schema("dq?", 0)
    yield "a row", declaration(floats) + row(floats, 2, 0.5)
    yield "a row of all types", declaration(all_types) + row(all_types, 2, 0.1, -5, True, step=7)
    yield "booleans", declaration(booleans) + row(booleans, 2, False) + row(booleans, 3, True)
    for value in (math.nan, math.inf, -math.inf, *FLOATS):
        yield f"a row with the float {value!r}", declaration(floats) + row(floats, 2, value)
    for number in (-(2**63), -(2**53) - 1, -1, 0, 2**53 + 1, 2**63 - 1):
        yield f"a row with the integer {number}", declaration(integers) + row(integers, 2, number)
    for step in (limits.MIN_STEP, -1, limits.MAX_STEP):
        yield f"a row with the step {step}", declaration(floats) + row(floats, 2, 0.5, step=step)
    yield "a row with the highest number", declaration(floats, 0) + row(floats, limits.MAX_SEQ, 0.5)
    yield "a row with a time before 1970", declaration(floats) + row(floats, 2, 0.5, time=-1.5)
    highest = schema("d", 2**56 - 1)
    yield "the highest id of a schema", declaration(highest) + row(highest, 2, 0.5)
    yield "a schema that is declared with number 0", declaration(floats, 0) + row(floats, 1, 0.5)
    yield (
        "20 rows",
        declaration(all_types)
        + b"".join(row(all_types, i + 2, i / 4, i - 10, i % 3 == 0, step=i, time=_TIME + i) for i in range(20)),
    )
    other = schema("qd", _SCHEMA_ID + 1)
    yield (
        "rows of two schemas, and records between them",
        frame(encode(record("run", {"project": "digits"}, 1)))
        + declaration(floats, 2)
        + row(floats, 3, 0.5)
        + frame(encode(_log({"note": "a text"}, 1, 4)))
        + declaration(other, 5)
        + row(other, 6, 3, 0.25, step=2)
        + row(floats, 7, 0.125, step=3)
        + frame(encode(record("exit", {"state": "finished"}, 8))),
    )
    yield (
        "a schema that is declared again",
        declaration(floats) + row(floats, 2, 0.5) + declaration(floats, 0) + row(floats, 3, 0.25, step=1),
    )


def damaged_rows() -> Iterator[tuple[str, bytes]]:
    """Yield framed messages with rows of which some cannot be used."""
    one = schema("d?")
    start = declaration(one)
    rows = [row(one, i + 2, i / 4, i % 2 == 1, step=i) for i in range(20)]
    flipped = bytearray(rows[9])
    flipped[-3] ^= 0x10
    yield "a bit of a row in the middle has changed", start + b"".join(rows[:9]) + bytes(flipped) + b"".join(rows[10:])
    unknown = row(schema("d?", _SCHEMA_ID + 1), 3, 0.5, True)
    yield "a row of a schema that was not declared", start + rows[0] + unknown + rows[2]
    yield "rows before their schema", b"".join(rows[:2]) + start + b"".join(rows[:2])
    longer = frame(one.pack(one.word, 3, _TIME, 1, 0.5, True) + bytes(8))
    yield "a row with 8 bytes too many", start + rows[0] + longer + rows[2]
    shorter = frame(one.pack(one.word, 3, _TIME, 1, 0.5, True)[:-8])
    yield "a row with 8 bytes too few", start + rows[0] + shorter + rows[2]
    yield "a row that ends within its head", start + rows[0] + frame(rows[1][HEAD_BYTES:][:5]) + rows[2]
    yield "the boolean 2", start + rows[0] + row(one, 3, 0.5, 2, step=1) + rows[2]
    yield "the boolean 2 in the middle", start + b"".join(rows[:9]) + row(one, 11, 0.5, 2) + b"".join(rows[10:])
    yield "a row with the number 0", start + row(one, 0, 0.5, True) + rows[0]
    yield "a row with a number over 63 bits", start + row(one, 2**63, 0.5, True) + rows[0]
    yield "a row whose time is not a number", start + row(one, 2, 0.5, True, time=math.nan) + rows[1]
    yield "a row whose time is too large", start + row(one, 2, 0.5, True, time=limits.MAX_TIME) + rows[1]
    yield "the last row is torn", start + b"".join(rows)[:-5]
    bad = frame(encode(record("schema", {"id": 5, "keys": ["a", "b"], "types": "d"})))
    yield "a schema with a type too few, and its row", bad + row(schema("dd", 5), 2, 0.5, 0.25)
    twice = frame(encode(record("schema", {"id": 5, "keys": ["a", "a"], "types": "dd"})))
    yield "a schema with a key twice, and its row", twice + row(schema("dd", 5), 2, 0.5, 0.25)
    again = declaration(schema("dq", one.id), 3)
    yield "a schema that is declared again with other types", start + rows[0] + again + rows[2]


# -- what is not good -------------------------------------------------------------------------------------------------


def damaged() -> Iterator[tuple[str, bytes]]:
    """Yield framed messages of which some bytes are not as they were written."""
    one, two, three = (frame(encode(_log({"loss": 1 / number}, number, number))) for number in (1, 2, 3))
    flipped = bytearray(two)
    flipped[-3] ^= 0x10
    yield "a bit of the second of three has changed", one + bytes(flipped) + three
    wrong_sum = bytearray(two)
    wrong_sum[5] ^= 0xFF
    yield "the second's checksum has changed", one + bytes(wrong_sum) + three
    too_long = bytearray(two)
    too_long[1:4] = b"\x7f\xff\xff"
    yield "the second's length has changed", one + bytes(too_long) + three
    yield "the second begins with another byte", one + b"\x00" + two[1:] + three
    yield "the last is torn", one + two[:-5]
    yield "the last is torn in its head", one + two[: HEAD_BYTES - 3]
    yield "zeros follow", one + bytes(24)
    yield "a frame of length 0 is between", one + b"\xc1" + bytes(7) + two
    yield "bytes are missing in the first", one[:12] + one[20:] + two
    yield "0xC1 stands alone between", one + b"\xc1\xc1\xc1" + two


def refused() -> Iterator[tuple[str, bytes]]:
    """Yield single bare records that may not be used."""
    good = list(_log({"loss": 0.5}))

    def changed(position: int, value: Any) -> bytes:
        return pack([*good[:position], value, *good[position + 1 :]])

    deep: Any = 1
    for _ in range(limits.MAX_DEPTH):
        deep = [deep]
    yield "no bytes of msgpack", b"\xc1"
    yield "cut off", pack(good)[:-4]
    yield "no UTF-8", pack(good).replace(b"\xa4loss", b"\xa4lo\xff\xfe")
    yield "five elements", pack(good[:5])
    yield "a map instead", pack({"kind": "log"})
    yield "a run that is a number", changed(1, 7)
    yield "a number below 0", changed(3, -1)
    yield "a number over 63 bits", changed(3, 2**63)
    yield "a number that is a boolean", changed(3, True)
    yield "a time that is not a number", changed(4, math.nan)
    yield "a body that is a list", changed(5, [])
    yield "a kind without a name", changed(0, "")
    yield "a name of 65 characters", changed(0, "k" * 65)
    yield "no step", changed(5, {"data": {}})
    yield "a step that is a float", changed(5, {"step": 1.0, "data": {}})
    yield "a step over 64 bits", changed(5, {"step": 2**63, "data": {}})
    yield "an empty key", changed(5, {"step": 0, "data": {"": 1.0}})
    yield "a reserved key", changed(5, {"step": 0, "data": {"_step": 1}})
    yield "a key of 513 characters", changed(5, {"step": 0, "data": {"k" * 513: 1}})
    yield "a metric that is nil", changed(5, {"step": 0, "data": {"loss": None}})
    yield "a metric that is a list", changed(5, {"step": 0, "data": {"loss": [1.0]}})
    yield "a metric that is bytes", changed(5, {"step": 0, "data": {"loss": b"1"}})
    yield "a map without '_type'", changed(5, {"step": 0, "data": {"loss": {"a": 1}}})
    yield "a map key that is a number", encode(record("config", {"set": {}}))[:-1] + b"\x81\x01\x02"
    yield "17 levels", encode(record("config", {"set": {"deep": deep}}))
    yield "an extension type", encode(record("config", {"set": {"when": 0}}))[:-1] + b"\xd6\xff\x65\x53\xf1\x00"
    yield "a key of a wrong type", encode(record("summary", {"set": 1}))
    yield "a goal that is none of the two", encode(record("define", {"metric": "loss", "goal": "up"}))


def code_of(data: bytes) -> str:
    """Return the code with which the codec refuses a bare record."""
    try:
        decode(data)
    except RecordError as error:
        return error.code
    raise AssertionError(f"nothing is wrong with {data.hex()}")


# -- the file ---------------------------------------------------------------------------------------------------------


def written() -> str:
    """Return the text of ``vectors.json``: one vector a line, so that differences can be read."""
    lines: dict[str, list[dict[str, Any]]] = {
        "messages": [
            {
                "name": found.name,
                "form": found.form,
                **({"loose": True} if found.loose else {}),
                "records": [tagged(list(part)) for part in read(found.data)],
                "hex": found.data.hex(),
            }
            for found in messages()
        ],
        "rows": [
            {
                "name": name,
                "rows": [place for place, part in enumerate(parts_of(data)) if part.frame[HEAD_BYTES] == ROW],
                "records": [tagged(list(part)) for part in read(data)],
                "hex": data.hex(),
            }
            for name, data in with_rows()
        ],
        "damaged": [
            {"name": name, "parts": [_part(part) for part in read(data)], "hex": data.hex()}
            for name, data in (*damaged(), *damaged_rows())
        ],
        "refused": [{"name": name, "code": code_of(data), "hex": data.hex()} for name, data in refused()],
        "files": [
            {"name": "the head of a transaction log", "hex": log_header().hex()},
            {"name": "the head of a window's segment that begins with record 1", "hex": segment_header(1).hex()},
            {"name": "the same, record 4294967296", "hex": segment_header(2**32).hex()},
        ],
    }
    text = (
        f'{{\n"about": {json.dumps(ABOUT.splitlines(), ensure_ascii=False, indent=1)},\n"protocol": {PROTOCOL_VERSION}'
    )
    for name, found in lines.items():
        rows = ",\n".join(json.dumps(line, ensure_ascii=True) for line in found)
        text += f',\n"{name}": [\n{rows}\n]'
    return text + "\n}\n"


def _part(part: Record | tuple[int, int]) -> dict[str, Any]:
    return {"record": tagged(list(part))} if isinstance(part, Record) else {"damage": list(part)}
