"""Checks of bodies beyond the types of their keys; the table of kinds names them. Pure functions, no I/O.

Each check is given a body whose keys already have the types that the table asks for, holding plain data only.
"""

from __future__ import annotations

import re

from sidecar.protocol import limits
from sidecar.protocol.envelope import Body
from sidecar.protocol.errors import RecordError

SCALARS = frozenset({float, int, bool, str})
NUMBERS = frozenset({float, int})
COLORS = ("blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "olive", "cyan")
"""Names of the colors that a run may have, besides ``#rrggbb``."""

MAX_SCHEMA_ID = 2**56 - 1
"""Maximum id of a schema."""

ROW_TYPES = "dq?"
"""Types of the values of a row: float64, int64, boolean."""

EDITABLE = ("name", "group", "job_type", "tags", "notes", "color", "deleted", "config", "summary")
"""Keys of an ``edit`` that change something."""

_COLOR = re.compile("#[0-9a-f]{6}")
_SHA256 = re.compile("[0-9a-f]{64}")


def check_run(body: Body) -> None:
    """Check the body of a ``run`` record.

    Raises:
        RecordError: the start time is out of range.
    """
    if not abs(body.get("start_time", 0)) < limits.MAX_TIME:  # also true for NaN
        raise RecordError(
            "value", f"'start_time' must be Unix seconds below {limits.MAX_TIME:g}, not {body['start_time']!r}"
        )


def check_edit(body: Body) -> None:
    """Check the body of an ``edit`` record.

    Raises:
        RecordError: naming the invalid value.
    """
    if body.get("name") == "":
        raise RecordError("value", "'name' must not be empty")
    color = body.get("color")
    if color is not None and color not in COLORS and _COLOR.fullmatch(color) is None:
        raise RecordError("value", f"'color' must be '#rrggbb' or one of {', '.join(COLORS)}, not {color[:80]!r}")
    if len(body.get("id", "")) > limits.MAX_EDIT_ID_CHARS:
        raise RecordError("size", f"'id' must have at most {limits.MAX_EDIT_ID_CHARS} characters")


def check_effect(body: Body) -> None:
    """Check that the body of an ``edit`` record has an effect, and one only.

    Raises:
        RecordError: it changes nothing, or both undoes an edit and makes one.
    """
    changes = [key for key in EDITABLE if key in body]
    if changes and body.get("undo"):
        raise RecordError("value", f"an edit with 'undo' must have no changes, not {', '.join(changes)}")
    if not changes and not body.get("undo"):
        raise RecordError("value", f"an edit must have 'undo' or one of {', '.join(EDITABLE)}")


def check_metrics(body: Body) -> None:
    """Check the step and the metrics of a ``log`` record.

    Raises:
        RecordError: naming the key.
    """
    step, data = body["step"], body["data"]
    if not limits.MIN_STEP <= step <= limits.MAX_STEP:
        raise RecordError("value", f"step must be a signed 64-bit integer, not {step}")
    if len(data) > limits.MAX_KEYS:
        raise RecordError("size", f"a record can have at most {limits.MAX_KEYS} metrics, not {len(data)}")
    for key, value in data.items():
        check_key(key)
        if type(value) is str:
            if len(value) * 4 > limits.MAX_TEXT_BYTES and len(value.encode()) > limits.MAX_TEXT_BYTES:
                raise RecordError("size", f"the text of metric {key!r} is longer than {limits.MAX_TEXT_BYTES} bytes")
        elif type(value) is dict:
            if type(value.get("_type")) is not str:
                raise RecordError("value", f"the map of metric {key!r} must have a string '_type'")
        elif type(value) not in SCALARS:
            raise RecordError(
                "value", f"metric {key!r} must be a number, boolean, string or map, not a {type(value).__name__}"
            )


def check_schema(body: Body) -> None:
    """Check the body of a ``schema`` record.

    Raises:
        RecordError: naming the invalid value.
    """
    keys, types = body["keys"], body["types"]
    if not 0 <= body["id"] <= MAX_SCHEMA_ID:
        raise RecordError("value", f"'id' must be 0 to 2^56 - 1, not {body['id']}")
    if not 0 < len(keys) <= limits.MAX_KEYS:
        raise RecordError("size", f"a schema must have 1 to {limits.MAX_KEYS} keys, not {len(keys)}")
    if len(types) != len(keys) or not set(types) <= set(ROW_TYPES):
        raise RecordError(
            "value", f"'types' must have 'd', 'q' or '?' for each of the {len(keys)} keys, not {types[:80]!r}"
        )
    for key in keys:
        check_key(key)
    if len(set(keys)) < len(keys):
        raise RecordError("key", "a schema must not name a key twice")


def check_file(body: Body) -> None:
    """Check the body of a ``file`` record.

    Raises:
        RecordError: naming the file and the invalid value.
    """
    name, size, offset, data = body["name"], body["size"], body.get("offset", 0), body.get("data", b"")
    if not limits.valid_file_name(name):
        raise RecordError("value", f"invalid file name {name[:80]!r}: {limits.FILE_NAME_RULE}")
    if len(data) > limits.MAX_CHUNK_BYTES:
        raise RecordError(
            "size", f"file {name!r}: a record can hold at most {limits.MAX_CHUNK_BYTES} bytes, not {len(data)}"
        )
    if not 0 <= offset <= offset + len(data) <= size <= limits.MAX_STEP:
        raise RecordError("value", f"file {name!r}: {len(data)} bytes at {offset} are not within its {size} bytes")
    if _SHA256.fullmatch(body["sha256"]) is None:
        raise RecordError("value", f"file {name!r}: sha256 must be 64 digits, 0-9 and a-f, not {body['sha256'][:80]!r}")


def check_key(key: str) -> None:
    """Check one metric key.

    Raises:
        RecordError: it is empty, too long, or reserved.
    """
    if not key:
        raise RecordError("key", "a metric's key is empty")
    if len(key) > limits.MAX_KEY_CHARS:
        raise RecordError(
            "key",
            f"metric key {key[:40] + '…'!r} has {len(key)} characters, at most {limits.MAX_KEY_CHARS} allowed",
        )
    if key in limits.RESERVED_KEYS:
        raise RecordError("key", f"metric key {key!r} is reserved: every row has it by itself")
