"""Completion of the query line: what may stand at the cursor. Pure functions; see `query`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tracker.errors import QueryError
from tracker.reading.operands import STATES
from tracker.reading.query import read_value, write_field, write_value
from tracker.reading.query_text import (
    SYMBOL,
    connective_at,
    end_of_item,
    end_of_name,
    end_of_value,
    not_at,
    quoted_at,
    skip_space,
    word_operator_at,
)

MAX_SUGGESTIONS = 50
"""Maximum number of suggestions."""

_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "has", "in [", "=~", "exists")
_CONNECTIVES = ("and", "or")


_PLAIN = re.compile(r"\w[\w\-]*")


class Suggestion(NamedTuple):
    """A text that may replace a part of the query.

    Attributes:
        text: the text to insert.
        start, end: the part of the query that it replaces.
        kind: ``"field"``, ``"operator"``, ``"value"`` or ``"connective"``.
    """

    text: str
    start: int
    end: int
    kind: str


def complete(text: str, position: int, columns: Mapping[str, Sequence[Any]]) -> list[Suggestion]:
    """Return what may stand at the cursor, the most likely first.

    Args:
        text: the query line.
        position: where the cursor is: an index in `text`.
        columns: field -> some of its values, such as the most frequent; the fields in the order of their importance.
    """
    position = max(0, min(position, len(text)))
    try:
        kind, start, field = _context(text[:position])
    except QueryError:
        return []
    typed = text[start:position]
    if kind == "field":
        return _ranked(typed, [(name, write_field(name)) for name in columns], start, position, kind)
    if kind == "value":
        values = columns.get(field, ())
        values = [*values, *(state for state in STATES if state not in values)] if field == "state" else list(values)
        written = [(str(value), _written(value)) for value in values if isinstance(value, str | int | float)]
        return _ranked(typed.strip("\"'"), written, start, position, kind)
    words = _OPERATORS if kind == "operator" else _CONNECTIVES
    return _ranked(typed, [(word, word) for word in words], start, position, kind)


def _written(value: Any) -> str:
    """Return a value without quotes where it means the same without."""
    is_plain = (
        isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() and read_value(value) == value
    )
    return str(value) if is_plain else write_value(value)


def _ranked(typed: str, words: Sequence[tuple[str, str]], start: int, end: int, kind: str) -> list[Suggestion]:
    """Return the words that contain what was typed; those that begin with it, or whose last part does, first."""
    part = typed.casefold().strip("`")
    found: list[tuple[int, str]] = []
    for name, written in words:
        folded = name.casefold()
        if folded.startswith(part):
            found.append((0, written))
        elif folded.rpartition(".")[2].startswith(part) or f".{part}" in folded:
            found.append((1, written))
        elif part in folded:
            found.append((2, written))
    found.sort(key=lambda one: one[0])
    return [Suggestion(written, start, end, kind) for _, written in found[:MAX_SUGGESTIONS]]


def _context(text: str) -> tuple[str, int, str]:
    """Return what stands at the end of a text: its kind, where it begins, and the field that it belongs to."""
    at = groups = 0
    while True:
        at = skip_space(text, at)
        while (match := not_at(text, at)) or text.startswith("(", at):
            groups += match is None
            at = skip_space(text, match.end() if match else at + 1)
        start = at
        quoted = None if _is_open(text, at) else quoted_at(text, at)
        field, end = quoted if quoted else ("", end_of_name(text, at, grouped=groups > 0))
        field = field or text[start:end].strip()
        if end == len(text):
            return "field", start + len(text[start:].rpartition(" ")[0]) + (" " in text[start:]), ""
        at = skip_space(text, end)
        symbol = SYMBOL.match(text, at)
        word = word_operator_at(text, at)
        if symbol is None and word is None and at == len(text):
            return "operator", at, field
        if symbol is not None or word is not None:
            operator = symbol[0] if symbol is not None else word[2].lower() if word is not None else ""
            after = symbol.end() if symbol is not None else word.end() if word is not None else at
            at = _end_of_operand(text, skip_space(text, after), field, operator, grouped=groups > 0)
            if at < 0:
                return "value", -at - 1, field
        while text.startswith(")", skip_space(text, at)):
            groups = max(0, groups - 1)
            at = skip_space(text, at) + 1
        at = skip_space(text, at)
        connective = connective_at(text, at)
        if connective is not None and connective.end() < len(text):
            at = connective.end()
        elif at == len(text) or connective is not None or " " not in text[at:]:
            return "connective", at, ""


def _is_open(text: str, at: int) -> bool:
    """Whether a quote opens at an index and is not closed."""
    quote = text[at : at + 1]
    return quote in ("'", '"', "`") and quote != "" and quote not in text[at + 1 :]


def _end_of_operand(text: str, at: int, field: str, operator: str, *, grouped: bool) -> int:
    """Return the index behind an operand; -1 minus the index where it begins if the text ends within it."""
    if operator == "exists":
        return at
    if operator == "in":
        close = "]" if text.startswith("[", at) else ")"
        while True:
            at = skip_space(text, at + 1)
            if _is_open(text, at) or at >= len(text):
                return -at - 1
            quoted = quoted_at(text, at)
            end = quoted[1] if quoted else end_of_item(text, at, close)
            if end >= len(text):
                return -at - 1
            at = skip_space(text, end)
            if text.startswith(close, at) or not text.startswith(",", at):
                return at + 1
    if _is_open(text, at):
        return -at - 1
    quoted = quoted_at(text, at)
    if quoted is not None:
        return quoted[1]
    end = end_of_value(text, at, field, operator, grouped=grouped)
    return -at - 1 if end == len(text) else end
