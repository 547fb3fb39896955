"""The query line: ``config.lr > 0.01 and state == "running" or not (tags has baseline)``, read as a filter of runs.

    condition   FIELD (= == != < <= > >= ~ =~ !~) VALUE, FIELD [not] in [VALUE, ...], FIELD [not] has VALUE,
                FIELD [not] contains VALUE, FIELD [not] matches PATTERN, FIELD [not] exists
    word        looked for in id, name, tags, notes and group; several words: each of them
    joined by   and, or, not, && || !, and parentheses; "and" binds stronger, and may be left out between words

A field or a value with odd characters is quoted: ``config.`my key` = "a and b"``. Fields and values mean what they
mean in `filters`. Pure functions on text, on any thread; only `QueryError` is raised. The same line is read
everywhere: on the command line, in the dashboard, in the terminal view.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracker.errors import FilterError, QueryError
from tracker.reading.filters import FIELDS, Filter, is_known, is_text_field
from tracker.reading.query_text import (
    SYMBOL,
    SYMBOLS,
    WORDS,
    connective_at,
    end_of_item,
    end_of_name,
    end_of_value,
    not_at,
    quoted_at,
    skip_space,
    word_operator_at,
)

MAX_LENGTH = 10_000
"""Maximum length of a query, in characters."""

MAX_DEPTH = 30
"""Maximum depth of parentheses and "not" inside one another."""

_WORD_OPERATORS = {"has": "$contains", "contains": "$contains", "matches": "$regex", "in": "$in", "exists": "$exists"}


class Query(dict[str, Any]):
    """A filter of runs, as `filters.Filter` takes it, with the positions of its fields in the text.

    Attributes:
        positions: field -> index of its first occurrence.
    """

    def __init__(self, filters: Mapping[str, Any], positions: Mapping[str, int]) -> None:
        super().__init__(filters)
        self.positions = dict(positions)


def parse_query(text: str, columns: Iterable[str] | None = None) -> Query:
    """Return the filter that a query line describes. An empty line gives an empty filter, which matches every run.

    Args:
        text: the line.
        columns: the names of fields that the runs have, such as ``"config.lr"``, if known: then a name that is not
            among them is an error.

    Raises:
        QueryError: the line cannot be read, or a value that its field never has.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a query must have at most {MAX_LENGTH:,} characters, not {len(text):,}", MAX_LENGTH)
    parser = _Parser(text)
    filters = parser.query()
    query = Query(filters, parser.positions)
    try:
        Filter(filters)
    except FilterError as error:
        raise _placed(error, query, text) from error
    if columns is not None:
        _check_fields(query, list(columns))
    return query


def select(text: str, runs: Sequence[Any]) -> list[Any]:
    """Return the runs that a query line describes.

    Raises:
        QueryError: the line cannot be read, or cannot be answered for these runs.
    """
    query = parse_query(text)
    try:
        return Filter(query).select(runs)
    except FilterError as error:
        raise _placed(error, query, text) from error


def _placed(error: FilterError, query: Query, text: str) -> QueryError:
    field = error.field
    message = str(error)
    if field is not None and " " in field and message.startswith("no field"):
        *words, last = field.split()
        message += f". To search for {' '.join(words)!r} as well, write: {' '.join(words)} and {last} ..."
    return QueryError(message, min(query.positions.get(field or "", 0), len(text)))


def _check_fields(query: Query, columns: list[str]) -> None:
    names = {*FIELDS, *columns, *(name.partition(".")[2] for name in columns)}
    for field, position in query.positions.items():
        head, _, path = field.partition(".")
        if field in names or (is_known(field) and not path):
            continue
        full = f"summary.{path}" if head == "summary_metrics" else field
        if full in names or any(name.startswith(f"{full}.") or full.startswith(f"{name}.") for name in names if name):
            continue
        near = difflib.get_close_matches(field, sorted(names - {""}), n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; fields are {', '.join(FIELDS)} and those of runs"
        raise QueryError(f"no run has {field!r}{hint}", position)


class _Parser:
    """Reads one line, from left to right.

    Attributes:
        positions: field -> index of its first occurrence.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = skip_space(text, 0)
        self._depth = 0
        self._groups = 0
        self.positions: dict[str, int] = {}

    def query(self) -> dict[str, Any]:
        if self._at == len(self._text):
            return {}
        filters = self._any()
        if self._at < len(self._text):
            raise self._error(f"unexpected {self._text[self._at]!r}")
        return filters

    def _any(self) -> dict[str, Any]:
        parts = [self._all()]
        while self._takes("or", "||"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else {"$or": parts}

    def _all(self) -> dict[str, Any]:
        parts = [self._one()]
        while self._takes("and", "&&") or self._begins_another():
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def _takes(self, *connectives: str) -> bool:
        match = connective_at(self._text, self._at)
        if match is None or match[1].lower() not in connectives:
            return False
        self._at = skip_space(self._text, match.end())
        if self._at == len(self._text):
            raise self._error(f"a condition is missing after {match[1]!r}")
        return True

    def _begins_another(self) -> bool:
        rest = self._text[self._at : self._at + 1]
        return rest not in ("", ")") and connective_at(self._text, self._at) is None

    def _one(self) -> dict[str, Any]:
        text, start = self._text, self._at
        if self._depth > MAX_DEPTH:
            raise self._error(f"at most {MAX_DEPTH} parentheses and 'not' may be inside one another")
        match = not_at(text, start)
        if match is not None:
            self._at = match.end()
            if self._at == len(text):
                raise self._error("a condition is missing after 'not'")
            self._depth += 1
            negated = self._one()
            self._depth -= 1
            return {"$not": negated}
        if text.startswith("(", start):
            return self._group()
        connective = connective_at(text, start)
        if connective is not None:
            raise self._error(f"a condition is missing before {connective[1]!r}")
        return self._condition()

    def _group(self) -> dict[str, Any]:
        start = self._at
        self._at = skip_space(self._text, start + 1)
        if self._text.startswith(")", self._at):
            raise self._error("a condition is missing between the parentheses")
        if self._at == len(self._text):
            raise self._error("a condition is missing after '('")
        self._depth += 1
        self._groups += 1
        filters = self._any()
        self._groups -= 1
        self._depth -= 1
        if not self._text.startswith(")", self._at):
            raise self._error("the '(' is not closed", start)
        self._at = skip_space(self._text, self._at + 1)
        return filters

    # -- one condition -------------------------------------------------------------------------------------------------

    def _condition(self) -> dict[str, Any]:
        text, start = self._text, self._at
        name, end, is_quoted = self._name()
        at = skip_space(text, end)
        symbol = SYMBOL.match(text, at)
        word = word_operator_at(text, at) if at > end or is_quoted else None
        if symbol is None and word is None:
            return self._search(name, start, end, is_quoted=is_quoted)
        if not name:
            operator = (symbol or word or [""])[0]
            raise self._error(
                f"{text.strip()!r} is not a condition: a field is missing before {operator!r}; try state=finished or "
                "'summary.loss<0.1'"
            )
        self.positions.setdefault(name, start)
        if symbol is not None:
            self._at = skip_space(text, symbol.end())
            return self._compared(name, symbol[0])
        assert word is not None
        self._at = skip_space(text, word.end())
        filters = self._by_word(name, word[2].lower())
        return {"$not": filters} if word[1] else filters

    def _name(self) -> tuple[str, int, bool]:
        """Return the name or the words at this place, the index after them, and whether they are quoted."""
        text, start = self._text, self._at
        quoted = quoted_at(text, start)
        if quoted is not None:
            return *quoted, True
        head = re.compile(r"[\w\-]+\.(?=[`\"'])").match(text, start)
        if head is not None:
            quoted = quoted_at(text, head.end())
            assert quoted is not None
            return head[0] + quoted[0], quoted[1], True
        end = end_of_name(text, start, grouped=self._groups > 0)
        return text[start:end].strip(), end, False

    def _search(self, name: str, start: int, end: int, *, is_quoted: bool) -> dict[str, Any]:
        if not is_quoted and (end == start or not name):
            raise self._error(f"unexpected {self._text[start : start + 1]!r}")
        if not is_quoted and is_known(name):
            raise self._error(
                f"{self._text.strip()!r} is not a condition: what is {name!r} to be? Try state=finished or "
                f"'summary.loss<0.1'; to search for the word, write \"{name}\"",
                start,
            )
        self._at = skip_space(self._text, end)
        words = [name] if is_quoted else name.split()
        found = [{"$search": word} for word in words]
        return found[0] if len(found) == 1 else {"$and": found}

    def _compared(self, field: str, symbol: str) -> dict[str, Any]:
        operator = SYMBOLS[symbol]
        value = self._value(field, operator, symbol)
        filters = {field: {operator: value}}
        return {"$not": filters} if symbol == "!~" else filters

    def _by_word(self, field: str, word: str) -> dict[str, Any]:
        operator = _WORD_OPERATORS[word]
        if word == "exists":
            return {field: {operator: True}}
        if word == "in":
            return {field: {operator: self._list(field)}}
        return {field: {operator: self._value(field, word, word)}}

    def _value(self, field: str, operator: str, shown: str) -> Any:
        """Read the value after an operator, which messages show as `shown`."""
        text, start = self._text, self._at
        as_text = operator in ("$regex", "matches") or is_text_field(field)
        quoted = quoted_at(text, start)
        if quoted is not None:
            value, end = quoted
            self._at = skip_space(text, end)
            return value
        end = end_of_value(text, start, field, operator, grouped=self._groups > 0)
        if end == start and operator not in ("$eq", "$ne"):
            raise self._error(f"a value is missing after {shown!r}")
        self._at = skip_space(text, end)
        raw = text[start:end]
        return raw if as_text else read_value(raw)

    def _list(self, field: str) -> list[Any]:
        text, start = self._text, self._at
        close = "]" if text.startswith("[", start) else ")"
        self._at = skip_space(text, start + 1)
        values: list[Any] = []
        while not text.startswith(close, self._at):
            if self._at >= len(text):
                raise self._error(f"the {text[start]!r} is not closed", start)
            quoted = quoted_at(text, self._at)
            if quoted is not None:
                values.append(quoted[0])
                self._at = quoted[1]
            else:
                end = end_of_item(text, self._at, close)
                raw = text[self._at : end].strip()
                if not raw:
                    raise self._error("a value is missing in the list")
                values.append(raw if is_text_field(field) else read_value(raw))
                self._at = end
            self._at = skip_space(text, self._at)
            if text.startswith(",", self._at):
                self._at = skip_space(text, self._at + 1)
            elif not text.startswith(close, self._at) and self._at < len(text):
                raise self._error("a comma is missing in the list")
        if not values:
            raise self._error("a value is missing in the list")
        self._at = skip_space(text, self._at + 1)
        return values

    def _error(self, message: str, position: int | None = None) -> QueryError:
        return QueryError(message, min(self._at if position is None else position, len(self._text)))


def read_value(text: str) -> Any:
    """Read a number, true or false, else the text itself; ``"…"`` makes it a text."""
    if text in ("true", "false"):
        return text == "true"
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


# -- writing ---------------------------------------------------------------------------------------------------------

_WRITTEN = {"$eq": "==", "$ne": "!=", "$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">=", "$regex": "=~"}
_PLAIN = re.compile(r"[A-Za-z_][\w\-/]*(\.[\w\-/]+)*")


def write_query(filters: Mapping[str, Any]) -> str:
    """Return the query line that `parse_query` reads as `filters`, or as one that matches the same runs.

    Raises:
        QueryError: the filters cannot be written as a query line, such as a comparison with a map.
    """
    return _written(filters, inside=False)


def _written(filters: Mapping[str, Any], *, inside: bool) -> str:
    parts = []
    for field, wanted in filters.items():
        if field in ("$and", "$or"):
            joined = f" {field[1:]} ".join(_written(one, inside=True) for one in wanted)
            parts.append(f"({joined})" if len(wanted) > 1 and (inside or len(filters) > 1) else joined)
        elif field == "$not":
            parts.append(f"not ({_written(wanted, inside=False)})")
        elif field == "$search":
            parts.append(quote(wanted))
        else:
            operations = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
            parts += [_operation(field, operator, value) for operator, value in operations.items()]
    line = " and ".join(parts)
    return f"({line})" if inside and len(parts) > 1 else line


def _operation(field: str, operator: str, value: Any) -> str:
    name = write_field(field)
    if operator == "$exists":
        return f"{name} exists" if value else f"{name} not exists"
    if operator in ("$in", "$nin"):
        return f"{name} {'not ' if operator == '$nin' else ''}in [{', '.join(map(write_value, value))}]"
    if operator == "$contains":
        return f"{name} has {write_value(value)}"
    if operator not in _WRITTEN:
        raise QueryError(f"a query line has no {operator!r}", 0)
    return f"{name} {_WRITTEN[operator]} {write_value(value)}"


def write_field(field: str) -> str:
    """Return a field as a query names it, quoted if it has to be."""
    if _PLAIN.fullmatch(field) and field.lower() not in ("and", "or", "not", *WORDS):
        return field
    return f"`{field}`" if "`" not in field else quote(field)


def write_value(value: Any) -> str:
    """Return a value as a query has it."""
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return quote(value)
    raise QueryError(f"a query line cannot compare with {value!r}", 0)


def quote(text: str) -> str:
    """Return a text in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
