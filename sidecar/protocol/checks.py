"""Checks that records conform to the table of kinds and to the limits. Pure functions, no I/O."""

from __future__ import annotations

from typing import Any

from sidecar.protocol import limits
from sidecar.protocol.bodies import NUMBERS, SCALARS
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import KINDS, Body, Field, Record


def check_envelope(record: Record) -> None:
    """Check all of a record except the content of its body.

    Raises:
        RecordError: naming the element that is invalid.
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
        raise RecordError("form", _wrong_element(record))
    if not kind or len(kind) > 64:
        raise RecordError("kind", f"kind must have 1 to 64 characters, not {len(kind)}: {kind[:64]!r}")
    if not 0 <= seq <= limits.MAX_SEQ:
        raise RecordError("form", f"seq must count from 1, or be 0 for a record that is not numbered, not {seq}")
    if not abs(time) < limits.MAX_TIME:  # also true for NaN
        raise RecordError("form", f"time must be Unix seconds below {limits.MAX_TIME:g}, not {time}")


_ELEMENTS: tuple[tuple[str, frozenset[type], str], ...] = (
    ("kind", frozenset({str}), "str"),
    ("run", frozenset({str}), "str"),
    ("client", frozenset({str}), "str"),
    ("seq", frozenset({int}), "int"),
    ("time", NUMBERS, "float"),
    ("body", frozenset({dict}), "map"),
)
"""Name, types and msgpack's name of the type of each element of a record."""


def _wrong_element(record: Record) -> str:
    """Say which element of a record has a wrong type; a library that writes text as bin is the usual cause."""
    form = ", ".join(f"{name}: {wanted}" for name, _, wanted in _ELEMENTS)
    for index, ((name, types, wanted), value) in enumerate(zip(_ELEMENTS, record, strict=True)):
        if type(value) not in types:
            actual = {"bytes": "bin", "dict": "map", "list": "array", "NoneType": "nil"}.get(type(value).__name__)
            return (
                f"element {index} of a record, its {name}, must be {wanted}, not {actual or type(value).__name__}; "
                f"a record is [{form}]"
            )
    return f"a record must be [{form}]"


def is_usual(body: Body, keys: set[str]) -> bool:
    """Return whether a ``log`` body holds only numbers under keys already checked: `check` without a Python loop."""
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

    A record of a kind that is not in `KINDS` passes if its body is plain data.

    Raises:
        RecordError: naming the key, its value and what it must be.
    """
    kind = KINDS.get(record.kind)
    body = record.body
    holds_others = kind is not None and kind.way in ("result", "control")
    check_plain(body, "body", limits.MAX_ANSWER_DEPTH if holds_others else limits.MAX_DEPTH)
    if kind is None:
        return
    for name, field in kind.fields.items():
        if name in body:
            _check_field(record.kind, name, field, body[name])
        elif field.required:
            raise RecordError("form", f"a {record.kind!r} record must have {name!r}: {field.meaning}")
    if kind.check is not None:
        kind.check(body)


def _check_field(kind: str, name: str, field: Field, value: Any) -> None:
    if not isinstance(value, field.types) or (isinstance(value, bool) and bool not in field.types):
        wanted = " or ".join("nil" if type_ is type(None) else type_.__name__ for type_ in field.types)
        raise RecordError("form", f"{name!r} of a {kind!r} record must be {wanted}, not {type(value).__name__}")
    for item in value if type(value) is list else (value,):
        if type(value) is list and type(item) is not str:
            raise RecordError("form", f"{name!r} of a {kind!r} record must hold strings, not {type(item).__name__}")
        if field.choices and item is not None and item not in field.choices:
            choices = ", ".join(repr(choice) for choice in field.choices)
            raise RecordError("value", f"{name!r} of a {kind!r} record must be one of {choices}, not {item!r}")


def check_plain(value: Any, name: str, levels: int = limits.MAX_DEPTH, depth: int = 1) -> None:
    """Check that msgpack can represent `value` without extension types, and that it is not nested too deeply.

    Args:
        name: what it is, for messages.
        levels: maximum number of levels.
        depth: the level of `value`.

    Raises:
        RecordError: a key of a map is not a string, a value has another type, or there are too many levels.
    """
    if type(value) is dict:
        if depth > levels:
            raise RecordError("depth", f"{name} is nested more than {levels} levels deep")
        for key, item in value.items():
            if type(key) is not str:
                raise RecordError("form", f"keys of maps in {name} must be strings, not {type(key).__name__}")
            check_plain(item, name, levels, depth + 1)
    elif type(value) is list:
        if depth > levels:
            raise RecordError("depth", f"{name} is nested more than {levels} levels deep")
        for item in value:
            check_plain(item, name, levels, depth + 1)
    elif value is not None and type(value) not in SCALARS and type(value) is not bytes:
        raise RecordError("form", f"{name} must be plain data without extension types, not {type(value).__name__}")
