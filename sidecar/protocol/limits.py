"""The bounds of the protocol, and the checks of names that become paths. Pure functions, no I/O."""

from __future__ import annotations

import os
import re

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""One encoded record. Must stay below 2**24, since a frame keeps its length in three bytes."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""One ZeroMQ frame, which holds one or more records."""

MAX_DEPTH = 16
"""Levels of maps and arrays in a record's body; the body itself is level 1."""

MAX_KEY_CHARS = 512
"""A metric's key, after nested keys are joined with dots."""

MAX_KEYS = 10_000
"""Keys in one ``log`` record."""

MAX_RUN_KEYS = 1_000_000
"""Different metric keys in one run: it bounds the sidecar's memory."""

MAX_TEXT_BYTES = 1024 * 1024
"""One string value of a text series."""

MAX_CHUNK_BYTES = 1024 * 1024
"""The content of a file that one ``file`` record carries."""

MAX_FILE_NAME_BYTES = 1024
"""A file's name: its path below the run's files."""

MAX_TIME = 1e15
"""Seconds since 1970, before or after, that no clock says any more; a time is smaller than that, and no NaN."""

MAX_SEQ = 2**63 - 1
MIN_STEP, MAX_STEP = -(2**63), 2**63 - 1
"""A step is a signed 64-bit integer."""

RESERVED_KEYS = frozenset({"_step", "_timestamp", "_label"})
"""What every row has by itself, so no metric may be called so."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")

_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"

NAME_RULE = "1 to 128 letters, digits, '_', '-' or '.', not starting with '.' or '-'"


def valid_name(name: object) -> bool:
    """Whether `name` may be a run id or a client id: it becomes a directory's name, so it is never trusted."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


PART_PREFIX = ".part-"
"""How the name of a temporary file begins; no file of a run may be named so."""

FILE_NAME_RULE = "parts with '/' between, none empty, '.', '..' or beginning with '.part-', no control character"


def valid_file_name(name: object) -> bool:
    """Whether `name` may be a file's below a run's directory of files: it becomes a path, so it is never trusted."""
    if not isinstance(name, str) or not name.isprintable() or "\\" in name:
        return False
    parts = name.split("/")
    try:
        short = len(name.encode()) <= MAX_FILE_NAME_BYTES and all(len(part.encode()) <= 255 for part in parts)
    except UnicodeEncodeError:
        return False
    return short and not any(part in ("", ".", "..") or part.startswith(PART_PREFIX) for part in parts)


def new_id(length: int = 8) -> str:
    """Return a random id of `length` lower-case letters and digits (a run: 8, a client: 12)."""
    number = int.from_bytes(os.urandom(2 * length), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)
