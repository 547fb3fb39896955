"""Whether records are what the table of their kinds says, and within the limits. Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sidecar.protocol import limits
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import KINDS, Body, Record

SCALARS = frozenset({float, int, bool, str})
NUMBERS = frozenset({float, int})
_SHA256 = re.compile("[0-9a-f]{64}")


def check_envelope(record: Record) -> None:
    """Check all of a record but what its body holds.

    Raises:
        RecordError: with what a record's envelope is.
    """
    kind, run, client, seq, time, body = record
    if not (
        type(kind) is str
        and type(run) is str
        and type(client) is str
        and type(seq) is int
        and type(time) in NUMBERS
        and type(body) is dict
    ):
        raise RecordError("form", "a record is [kind: str, run: str, client: str, seq: int, time: float, body: map]")
    if not kind or len(kind) > 64:
        raise RecordError("kind", f"kind {kind[:64]!r}; 1 to 64 characters")
    if not 0 <= seq <= limits.MAX_SEQ:
        raise RecordError("form", f"seq {seq}; it counts from 1, and 0 means not numbered")
    if not abs(time) < limits.MAX_TIME:  # also where it is NaN: no clock says so
        raise RecordError("form", f"time {time}; Unix seconds")


def is_usual(body: Body, keys: set[str]) -> bool:
    """Whether a ``log`` body has numbers only, under keys found good before: `check` without a Python loop."""
    data = body.get("data")
    step = body.get("step")
    return (
        type(data) is dict
        and type(step) is int
        and data.keys() <= keys
        and NUMBERS.issuperset(map(type, data.values()))
        and limits.MIN_STEP <= step <= limits.MAX_STEP
        and len(body) == 2
        and len(data) <= limits.MAX_KEYS
    )


def check(record: Record) -> None:
    """Check a record's body against its kind.

    A kind that is not in `KINDS` passes if its body is plain data.

    Raises:
        RecordError: naming the key, what was found and what would be right.
    """
    kind = KINDS.get(record.kind)
    body = record.body
    check_plain(body, "body")
    if kind is None:
        return
    for name, field in kind.fields.items():
        if name not in body:
            if field.required:
                raise RecordError("form", f"a {record.kind!r} record needs {name!r}: {field.meaning}")
            continue
        value = body[name]
        if not isinstance(value, field.types) or (isinstance(value, bool) and bool not in field.types):
            wanted = " or ".join("nil" if t is type(None) else t.__name__ for t in field.types)
            raise RecordError("form", f"{name!r} of a {record.kind!r} record is a {type(value).__name__}, not {wanted}")
        for item in value if type(value) is list else (value,):
            if type(value) is list and type(item) is not str:
                raise RecordError("form", f"{name!r} of a {record.kind!r} record has a {type(item).__name__} in it")
            if field.choices and item is not None and item not in field.choices:
                choices = ", ".join(repr(choice) for choice in field.choices)
                raise RecordError("value", f"{name!r} of a {record.kind!r} record is {item!r}; one of {choices}")
    if record.kind == "log":
        check_metrics(body["step"], body["data"])
    elif record.kind == "file":
        check_file(body)
    elif record.kind == "run" and not abs(body.get("start_time", 0)) < limits.MAX_TIME:
        raise RecordError("value", f"'start_time' is {body['start_time']!r}; Unix seconds")


def check_metrics(step: int, data: Mapping[str, Any]) -> None:
    """Check the step and the metrics of one ``log`` record (plain data already).

    Raises:
        RecordError: naming the key.
    """
    if not limits.MIN_STEP <= step <= limits.MAX_STEP:
        raise RecordError("value", f"step {step} is no signed 64-bit integer")
    if len(data) > limits.MAX_KEYS:
        raise RecordError("size", f"{len(data)} keys in one record, at most {limits.MAX_KEYS}")
    for key, value in data.items():
        check_key(key)
        if type(value) is str:
            if len(value) * 4 > limits.MAX_TEXT_BYTES and len(value.encode()) > limits.MAX_TEXT_BYTES:
                raise RecordError("size", f"metric {key!r} is a text over {limits.MAX_TEXT_BYTES} bytes")
        elif type(value) is dict:
            if type(value.get("_type")) is not str:
                raise RecordError("value", f"metric {key!r} is a map without '_type'")
        elif type(value) not in SCALARS:
            raise RecordError("value", f"metric {key!r} is a {type(value).__name__}")


def check_file(body: Body) -> None:
    """Check what a ``file`` record says.

    Raises:
        RecordError: naming what cannot be.
    """
    name, size, offset, data = body["name"], body["size"], body.get("offset", 0), body.get("data", b"")
    if not limits.valid_file_name(name):
        raise RecordError("value", f"a file's name is {name[:80]!r}; {limits.FILE_NAME_RULE}")
    if len(data) > limits.MAX_CHUNK_BYTES:
        raise RecordError("size", f"{len(data)} bytes of file {name!r} in one record, at most {limits.MAX_CHUNK_BYTES}")
    if not 0 <= offset <= offset + len(data) <= size <= limits.MAX_STEP:
        raise RecordError("value", f"file {name!r}: {len(data)} bytes at {offset} are not in a file of {size} bytes")
    if _SHA256.fullmatch(body["sha256"]) is None:
        raise RecordError("value", f"file {name!r}: its sha256 is {body['sha256'][:80]!r}; 64 digits, 0-9 and a-f")


def check_key(key: str) -> None:
    """Check one metric key.

    Raises:
        RecordError: it is empty, too long, or reserved.
    """
    if not key:
        raise RecordError("key", "a metric's key is empty")
    if len(key) > limits.MAX_KEY_CHARS:
        raise RecordError(
            "key", f"metric key {key[:40] + '…'!r} has {len(key)} characters, at most {limits.MAX_KEY_CHARS}"
        )
    if key in limits.RESERVED_KEYS:
        raise RecordError("key", f"metric key {key!r} is reserved: every row has it by itself")


def check_plain(value: Any, name: str, depth: int = 1) -> None:
    """Check that `value` is what msgpack can say without extension types, and not too deep.

    Raises:
        RecordError: a map's key that is no string, another type, or too many levels.
    """
    if type(value) is dict:
        if depth > limits.MAX_DEPTH:
            raise RecordError("depth", f"{name} has more than {limits.MAX_DEPTH} levels")
        for key, item in value.items():
            if type(key) is not str:
                raise RecordError("form", f"a map in {name} has a key that is a {type(key).__name__}, not a string")
            check_plain(item, name, depth + 1)
    elif type(value) is list:
        if depth > limits.MAX_DEPTH:
            raise RecordError("depth", f"{name} has more than {limits.MAX_DEPTH} levels")
        for item in value:
            check_plain(item, name, depth + 1)
    elif value is not None and type(value) not in SCALARS and type(value) is not bytes:
        raise RecordError("form", f"{name} holds a {type(value).__name__}; extension types are not used")
