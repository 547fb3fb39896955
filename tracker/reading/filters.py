"""Filters and orders of runs: conditions as Weights & Biases and MongoDB write them.

Pure functions on plain data, on any thread. Knows nothing of files: a run is asked for its fields by name. A condition
that cannot be answered is an error, never an empty answer.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from tracker.errors import FilterError
from tracker.reading.conditions import MISSING, ORDERINGS, TESTS, Compares, Matches, Test
from tracker.reading.operands import STATES, as_number, is_number, length_of_time, moment

FIELDS = (
    "id",
    "name",
    "project",
    "group",
    "job_type",
    "tags",
    "notes",
    "state",
    "step",
    "start_time",
    "end_time",
    "duration",
    "points",
    "exit_code",
    "reason",
)
"""Fields of a run that a filter or an order may name, besides ``config.<key>`` and ``summary.<key>``."""

TEXT_FIELDS = frozenset({"id", "name", "project", "group", "job_type", "tags", "notes", "state", "reason"})
TIME_FIELDS = frozenset({"start_time", "end_time"})

SYNONYMS = {"display_name": "name", "displayName": "name", "jobType": "job_type", "created_at": "start_time"}
"""Names that Weights & Biases uses in filters for the same fields."""

_MAPS = {"config": "config", "summary": "summary", "summary_metrics": "summary"}

Fetch: TypeAlias = Callable[[Any], Any]


def lookup(tree: Mapping[str, Any], path: str) -> Any:
    """Return the value of `tree` at `path`, whose dots may belong to a key or lead into a nested map; or `MISSING`."""
    if path in tree:
        return tree[path]
    cut = path.rfind(".")
    while cut > 0:
        inner = tree.get(path[:cut])
        if isinstance(inner, Mapping):
            value = lookup(inner, path[cut + 1 :])
            if value is not MISSING:
                return value
        cut = path.rfind(".", 0, cut)
    return MISSING


def is_known(field: str) -> bool:
    """Whether a name is that of a field, or begins as those of config and summary keys do."""
    head, _, path = field.partition(".")
    return bool(path and head in _MAPS) or SYNONYMS.get(field, field) in FIELDS


def is_text_field(field: str) -> bool:
    """Whether the values of a field are text by definition, so that digits are text, too."""
    return SYNONYMS.get(field, field) in TEXT_FIELDS


def fetcher(field: str) -> Fetch:
    """Return a function that takes a run and returns its `field`.

    Raises:
        FilterError: no such field; `resolve_field` finds what a bare key means.
    """
    head, _, path = field.partition(".")
    if path and head in _MAPS:
        return lambda run: lookup(getattr(run, _MAPS[head]), path)
    name = SYNONYMS.get(field, field)
    if name not in FIELDS:
        raise FilterError(f"no field {field!r}; fields are {', '.join(FIELDS)}, config.<key> and summary.<key>")
    return lambda run: getattr(run, name)


def resolve_field(field: str, runs: Iterable[Any]) -> str:
    """Return the full name of `field`: a bare key such as ``lr`` is ``config.lr`` or ``summary.lr``.

    Args:
        field: the name of a field, or a key.
        runs: the runs whose config and summary are looked at.

    Raises:
        FilterError: no run has the key, or both the config and the summary have it.
    """
    if not isinstance(field, str):
        raise FilterError(f"a field must be a string, not {field!r}")
    if is_known(field):
        return field
    runs = list(runs)
    places = [
        place
        for place in ("config", "summary")
        if any(lookup(getattr(run, place), field) is not MISSING for run in runs)
    ]
    if len(places) == 1:
        return f"{places[0]}.{field}"
    if places:
        raise FilterError(f"{field!r} is in the config and in the summary; write config.{field} or summary.{field}")
    if not runs:
        return f"config.{field}"
    keys = {key for run in runs for key in (*run.config, *run.summary)}
    similar = difflib.get_close_matches(field, [*FIELDS, *sorted(keys)], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    raise FilterError(
        f"no field {field!r}, and no key of a config or summary; {hint}Fields are {', '.join(FIELDS)}, config.<key> "
        "and summary.<key>"
    )


# -- filters -----------------------------------------------------------------------------------------------------------


def _any(passed: Iterable[bool]) -> bool:
    """Return whether one is true, after all were asked: each comparison sees every run that the filter comes to."""
    return any(list(passed))


_JUNCTIONS: Mapping[str, Callable[[Iterable[bool]], bool]] = {"$and": all, "$or": _any}
"""Operators on lists of filters."""

OPERATORS = (*TESTS, *_JUNCTIONS, "$not", "$search")

SEARCHED = ("id", "name", "tags", "notes", "group")
"""Fields that ``$search`` looks in."""


def _operand(field: str, operator: str, wanted: Any) -> Any:
    """Return what `operator` compares the values of `field` with.

    Raises:
        FilterError: the field never has such a value.
    """
    if operator in ("$regex", "$exists"):
        return wanted
    if operator in ("$in", "$nin"):
        if not isinstance(wanted, list | tuple | set | frozenset):
            raise FilterError(f"{operator} takes a list of values, not {wanted!r}")
        return [_operand(field, "$eq", one) for one in wanted]
    name = SYNONYMS.get(field, field)
    if name in TIME_FIELDS and wanted is not None:
        return moment(name, wanted)
    if name == "duration" and wanted is not None:
        return length_of_time(name, wanted)
    if operator in ORDERINGS and not (is_number(wanted) or isinstance(wanted, str)):
        raise FilterError(f"{operator} takes a number or a string, not {wanted!r}")
    if operator in ORDERINGS and isinstance(wanted, str) and re.search(r"\s(and|or|&&|\|\|)\s", wanted):
        raise FilterError(f"{wanted!r} is not a number; give several conditions one by one")
    if name == "state" and isinstance(wanted, str) and operator in ("$eq", "$ne") and wanted not in STATES:
        similar = difflib.get_close_matches(wanted, STATES, n=1)
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        raise FilterError(f"no state {wanted!r}; states are {', '.join(STATES)}{hint}")
    if name in TEXT_FIELDS and is_number(wanted):
        return str(wanted)
    if name in ("step", "points", "exit_code") and isinstance(wanted, str):
        number = as_number(wanted)
        if number is None:
            raise FilterError(f"{name} is a number, not {wanted!r}")
        return number
    return wanted


class _Comparison(NamedTuple):
    """A comparison in use.

    Attributes:
        given: the field as it was given.
        field: its full name.
        test: the comparison.
    """

    given: str
    field: str
    test: Compares


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """Note the field that an error is about."""
    try:
        yield
    except FilterError as error:
        error.field = field
        raise


class _Condition:
    """One field and its operators."""

    def __init__(self, field: str, wanted: Any) -> None:
        if not isinstance(field, str):
            raise FilterError(f"a field must be a string, not {field!r}")
        self._field = field
        if not isinstance(wanted, Mapping) or not any(str(key).startswith("$") for key in wanted):
            wanted = {"$eq": wanted}
        self._operands: list[tuple[str, Any]] = []
        for operator, operand in wanted.items():
            if operator not in TESTS:
                raise _unknown(operator)
            with _naming(field):
                self._operands.append((operator, _operand(field, operator, operand)))
        with _naming(field):
            self._tests()  # an operand that cannot be used is an error now

    def _tests(self) -> list[Test]:
        return [TESTS[operator](operand) for operator, operand in self._operands]

    def bind(self, runs: Sequence[Any], comparisons: list[_Comparison]) -> Test:
        with _naming(self._field):
            field = resolve_field(self._field, runs)
            fetch, tests = fetcher(field), self._tests()
            for test in tests:
                if isinstance(test, Matches):
                    test.prepare(map(fetch, runs))
        comparisons += [_Comparison(self._field, field, test) for test in tests if isinstance(test, Compares)]
        if len(tests) == 1:
            (test,) = tests
            return lambda run: test(fetch(run))
        return lambda run: all(test(fetch(run)) for test in tests)


class _Junction:
    """Several filters, of which all or one must pass."""

    def __init__(self, join: Callable[[Iterable[bool]], bool], parts: Sequence[_Part]) -> None:
        self._join = join
        self._parts = parts

    def bind(self, runs: Sequence[Any], comparisons: list[_Comparison]) -> Test:
        tests = [part.bind(runs, comparisons) for part in self._parts]
        return lambda run: self._join(test(run) for test in tests)


class _Negation:
    """A filter that must not pass."""

    def __init__(self, part: _Part) -> None:
        self._part = part

    def bind(self, runs: Sequence[Any], comparisons: list[_Comparison]) -> Test:
        test = self._part.bind(runs, comparisons)
        return lambda run: not test(run)


class _Search:
    """A text that one of the fields `SEARCHED` must contain, in letters of any case."""

    def __init__(self, wanted: Any) -> None:
        if not isinstance(wanted, str):
            raise FilterError(f"$search takes a text, not {wanted!r}")
        self._wanted = wanted.casefold()

    def bind(self, runs: Sequence[Any], comparisons: list[_Comparison]) -> Test:
        del runs, comparisons
        wanted = self._wanted

        def test(run: Any) -> bool:
            about = (run.id, run.name, *run.tags, run.notes, run.group)
            return any(isinstance(text, str) and wanted in text.casefold() for text in about)

        return test


_Part: TypeAlias = _Condition | _Junction | _Negation | _Search


def _unknown(operator: object) -> FilterError:
    return FilterError(f"unknown operator {operator!r} in a filter; operators are {', '.join(OPERATORS)}")


def _parse(filters: Any) -> _Part:
    if not isinstance(filters, Mapping):
        raise FilterError(f"filters must be a map such as {{'state': 'finished'}}, not {filters!r}")
    parts: list[_Part] = []
    for field, wanted in filters.items():
        if field in _JUNCTIONS:
            if not isinstance(wanted, list | tuple) or not wanted:
                raise FilterError(f"{field} takes a list of filters, not {wanted!r}")
            parts.append(_Junction(_JUNCTIONS[field], [_parse(one) for one in wanted]))
        elif field == "$not":
            parts.append(_Negation(_parse(wanted)))
        elif field == "$search":
            parts.append(_Search(wanted))
        elif str(field).startswith("$"):
            raise _unknown(field)
        else:
            parts.append(_Condition(field, wanted))
    return parts[0] if len(parts) == 1 else _Junction(all, parts)


class Filter:
    """Conditions on runs.

    Args:
        filters: field -> value, or field -> {operator: value}; all must hold. ``"$and"`` and ``"$or"`` take a list of
            such maps, ``"$not"`` one, ``"$search"`` a text to look for in id, name, tags, notes and group. A value
            equals a list that has it, as with tags. A bare key such as ``"lr"`` is one of the config or the summary.
            Times are Unix seconds, `datetime` objects, ISO dates (local time unless they say otherwise; a date alone
            is its midnight, or the whole day for equality) or ages such as ``"7d"``. Lengths of time are seconds or
            text such as ``"1h30m"``.
            None: every run passes.

    Raises:
        FilterError: an operator that does not exist, or a value that the field never has.
    """

    def __init__(self, filters: Mapping[str, Any] | None = None) -> None:
        self._root = _parse(filters or {})

    def select(self, runs: Sequence[Any]) -> list[Any]:
        """Return the runs that pass.

        Raises:
            FilterError: a field that no run has, or values that cannot be compared with what was asked for.
        """
        comparisons: list[_Comparison] = []
        test = self._root.bind(runs, comparisons)
        passed = [run for run in runs if test(run)]
        for one in comparisons:
            with _naming(one.given):
                one.test.check(one.field)
        return passed


class Order:
    """The order of runs: by one field; runs without it come last.

    Args:
        order: a field or a bare key with ``+`` (smallest first, the default) or ``-`` (largest first) before it.

    Raises:
        FilterError: not a string.
    """

    def __init__(self, order: Any) -> None:
        if not isinstance(order, str) or not order.strip("+-"):
            raise FilterError(f"order must be a field such as '-start_time' or '+summary.loss', not {order!r}")
        self.descending = order.startswith("-")
        self._field = order[1:] if order[:1] in ("+", "-") else order

    def sort(self, runs: Sequence[Any]) -> list[Any]:
        """Return `runs` in order; those with equal values keep theirs.

        Raises:
            FilterError: a field that no run has.
        """
        fetch = fetcher(resolve_field(self._field, runs))
        ranked: dict[str, list[tuple[Any, Any]]] = {"number": [], "text": []}
        last = []
        for run in runs:
            value = fetch(run)
            if isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value)):
                ranked["number"].append((value, run))
            elif isinstance(value, str):
                ranked["text"].append((value, run))
            else:
                last.append(run)
        in_order: list[Any] = []
        for pairs in ranked.values():
            pairs.sort(key=lambda pair: pair[0], reverse=self.descending)
            in_order.extend(run for _, run in pairs)
        return in_order + last
