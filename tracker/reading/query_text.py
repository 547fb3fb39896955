"""The characters of a query line: where names, operators and values begin and end. Pure functions; see `query`.

A value without quotes may have spaces, parentheses and words such as "and" in it, as on a command line: it ends where
something follows that can only be another condition.
"""

from __future__ import annotations

import re

from tracker.errors import QueryError
from tracker.reading.filters import TEXT_FIELDS, TIME_FIELDS, is_known
from tracker.reading.operands import STATES, as_number

SYMBOLS = {
    "<=": "$lte",
    ">=": "$gte",
    "!=": "$ne",
    "!~": "$regex",
    "==": "$eq",
    "=~": "$regex",
    "=": "$eq",
    "~": "$regex",
    "<": "$lt",
    ">": "$gt",
}
"""Operators that are symbols, the longest first, and those of `filters` that they stand for."""

WORDS = ("has", "contains", "matches", "in", "exists")
"""Operators that are words; each may have "not" before it."""

SYMBOL = re.compile("|".join(map(re.escape, SYMBOLS)))
SPACE = re.compile(r"\s*")
_WORD_OPERATOR = re.compile(r"(not\s+)?(has|contains|matches|in(?=\s*[\[(])|exists)(?=[\s\[(\"'`]|\)|$)", re.IGNORECASE)
_CONNECTIVE = re.compile(r"(and|or|&&|\|\|)(?=\s|\(|$)", re.IGNORECASE)
_NOT = re.compile(r"(not(?=[\s(]|$)|!(?![=~]))\s*", re.IGNORECASE)
_QUOTED = re.compile(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`)", re.DOTALL)
_FIELD_FIRST = re.compile(r"[\w.\-/]+\s*(?:<=|>=|!=|!~|==|=~|=|~|<|>)")
_KNOWN_FIRST = re.compile(r"([\w.\-/]+)\s+")

_WORD = re.compile(r"[^\s()]+")
_SPACED = TEXT_FIELDS | TIME_FIELDS | {"duration"}
"""Fields whose values may have spaces in them, even if they begin with a number."""

_ORDERINGS = frozenset({"$lt", "$lte", "$gt", "$gte"})


def skip_space(text: str, at: int) -> int:
    """Return the index of the next character that is not white space."""
    match = SPACE.match(text, at)
    return match.end() if match else at


def connective_at(text: str, at: int) -> re.Match[str] | None:
    """Return "and" or "or", in words or symbols, where one stands at an index."""
    return _CONNECTIVE.match(text, at)


def not_at(text: str, at: int) -> re.Match[str] | None:
    """Return "not" or "!" where one stands at an index."""
    return _NOT.match(text, at)


def word_operator_at(text: str, at: int) -> re.Match[str] | None:
    """Return an operator that is a word, with "not" before it, where one stands at an index."""
    return _WORD_OPERATOR.match(text, at)


def quoted_at(text: str, at: int) -> tuple[str, int] | None:
    """Return what is quoted at an index, and the index after it; None if no quote opens there.

    Raises:
        QueryError: the quote is not closed.
    """
    if not text.startswith(('"', "'", "`"), at):
        return None
    match = _QUOTED.match(text, at)
    if match is None:
        raise QueryError(f"the quote {text[at]} is not closed", at)
    inner = match[0][1:-1]
    if text[at] != "`":
        inner = re.sub(r"\\([\\\"'])", r"\1", inner)
    return inner, match.end()


def starts_condition(text: str, at: int) -> bool:
    """Whether what stands at an index, after a connective, can only be another condition."""
    while (match := _NOT.match(text, at)) or text.startswith("(", at):
        at = skip_space(text, match.end() if match else at + 1)
    if _FIELD_FIRST.match(text, at) is not None:
        return True
    if text.startswith(('"', "'", "`"), at):
        return _QUOTED.match(text, at) is not None
    known = _KNOWN_FIRST.match(text, at)
    return known is not None and is_known(known[1]) and word_operator_at(text, known.end()) is not None


def end_of_name(text: str, at: int, *, grouped: bool) -> int:
    """Return the index after the words that may be a field or words to search for: at an operator, a connective, a
    quote, the end of the group, or the end.
    """
    depth = 0
    while at < len(text):
        character = text[at]
        if character in "<>=~" or SYMBOL.match(text, at):
            break
        if character == "(":
            depth += 1
        elif character == ")":
            if grouped and depth == 0:
                break
            depth = max(0, depth - 1)
        elif character.isspace():
            next_at = skip_space(text, at)
            if connective_at(text, next_at) or not_at(text, next_at) or word_operator_at(text, next_at):
                break
            if next_at == len(text) or text.startswith(('"', "'", "`", "("), next_at):
                break
        at += 1
    return at


def end_of_value(text: str, at: int, field: str, operator: str, *, grouped: bool) -> int:
    """Return the index after a value without quotes.

    Args:
        text: the query.
        at: where the value begins.
        field, operator: what it is compared with, and how.
        grouped: whether a ")" without its "(" ends it.
    """
    match = _WORD.match(text, at)
    first = "" if match is None else match[0]
    is_number = as_number(first) is not None
    if is_number and operator in _ORDERINGS and field not in _SPACED:
        return at + len(first)
    is_whole = is_number or first in ("true", "false") if field not in TEXT_FIELDS else field == "state"
    is_whole = is_whole and (field != "state" or first in STATES)
    ends_at_any = is_whole or operator in (*_ORDERINGS, "has", "contains", "matches") or field in TIME_FIELDS
    if ends_at_any and connective_at(text, at):
        return at
    depth, end = 0, at
    while end < len(text):
        character = text[end]
        if character == "\\" and operator in ("$regex", "matches"):
            end += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            if grouped and depth == 0:
                break
            depth = max(0, depth - 1)
        elif character.isspace() and depth == 0:
            next_at = skip_space(text, end)
            connective = connective_at(text, next_at)
            if connective is not None:
                after = skip_space(text, connective.end())
                if ends_at_any or starts_condition(text, after):
                    break
        end += 1
    end = min(end, len(text))
    while end > at and text[end - 1].isspace():
        end -= 1
    return end


def end_of_item(text: str, at: int, close: str) -> int:
    """Return the index after an item of a list without quotes."""
    while at < len(text) and text[at] not in "," + close:
        at += 1
    return at
