"""The bounds of the protocol, and the rules for names that become paths. Pure functions, no I/O."""

from __future__ import annotations

import os
import re

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Maximum size of an encoded record. Must stay below 2**24, since a frame has three bytes for its length."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Maximum size of a ZeroMQ frame, which holds one or more records."""

MAX_DEPTH = 16
"""Maximum number of levels of maps and arrays in a record's body; the body itself is level 1."""

MAX_ANSWER_DEPTH = 20
"""Maximum number of levels in the body of a result or of a message on the control socket, which hold whole states."""

MAX_KEY_CHARS = 512
"""Maximum length of a metric's key, after nested keys are joined with dots."""

MAX_KEYS = 10_000
"""Maximum number of keys in one ``log`` record."""

MAX_SCHEMAS = 256
"""Maximum number of schemas of one client; what has another key set is logged without a schema."""

MAX_SCHEMA_KEYS = 50_000
"""Maximum number of keys in all schemas of one client."""

MAX_RUN_KEYS = 1_000_000
"""Maximum number of different metric keys in one run; it bounds the sidecar's memory."""

MAX_TEXT_BYTES = 1024 * 1024
"""Maximum size of one string value of a text series, in UTF-8."""

MAX_CHUNK_BYTES = 1024 * 1024
"""Maximum number of bytes of a file in one ``file`` record."""

MAX_FILE_NAME_BYTES = 1024
"""Maximum length of a file's name, which is its path below the run's files, in UTF-8."""

MAX_EDIT_ID_CHARS = 64
"""Maximum length of an edit's id, in characters."""

MAX_TIME = 1e15
"""Exclusive bound on the absolute value of a time, in seconds since 1970; NaN is rejected."""

MAX_SEQ = 2**63 - 1
MIN_STEP, MAX_STEP = -(2**63), 2**63 - 1
"""A step is a signed 64-bit integer."""

RESERVED_KEYS = frozenset({"_step", "_timestamp", "_label"})
"""Names that every row has by itself; a metric must not have them."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")

_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"

NAME_RULE = "1 to 128 letters, digits, '_', '-' or '.', not starting with '.' or '-'"


def valid_name(name: object) -> bool:
    """Whether `name` is a valid run id or client id. It becomes a directory's name, so it is always checked."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


PART_PREFIX = ".part-"
"""Prefix of the names of temporary files; no file of a run may have it."""

FILE_NAME_RULE = "parts separated by '/', none empty, '.', '..' or starting with '.part-', no control characters"


def valid_file_name(name: object) -> bool:
    """Whether `name` is valid for a file of a run. It becomes a path, so it is always checked."""
    if not isinstance(name, str) or not name.isprintable() or "\\" in name:
        return False
    parts = name.split("/")
    try:
        short = len(name.encode()) <= MAX_FILE_NAME_BYTES and all(len(part.encode()) <= 255 for part in parts)
    except UnicodeEncodeError:
        return False
    return short and not any(part in ("", ".", "..") or part.startswith(PART_PREFIX) for part in parts)


def new_id(length: int = 8) -> str:
    """Return a random id of `length` lower-case letters and digits. A run's has 8, a client's 12."""
    number = int.from_bytes(os.urandom(2 * length), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)
