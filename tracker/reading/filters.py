"""Filters and orders of runs: conditions as Weights & Biases and MongoDB write them.

Pure functions on plain data, on any thread. Knows nothing of files: a run is asked for its fields by name. A condition
that cannot be answered is an error, never an empty answer.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from tracker.errors import FilterError
from tracker.reading.operands import STATES, Moment, as_number, comparable, is_number, moment

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
    "exit_code",
)
"""Fields of a run that a filter or an order may name, besides ``config.<key>`` and ``summary.<key>``."""

TEXT_FIELDS = frozenset({"id", "name", "project", "group", "job_type", "tags", "notes", "state"})
TIME_FIELDS = frozenset({"start_time", "end_time"})

SYNONYMS = {"display_name": "name", "displayName": "name", "jobType": "job_type", "created_at": "start_time"}
"""Names that Weights & Biases uses in filters for the same fields."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a config or summary key that a run does not have. Equal to nothing but itself."""

_MAPS = {"config": "config", "summary": "summary", "summary_metrics": "summary"}

Fetch: TypeAlias = Callable[[Any], Any]
Test: TypeAlias = Callable[[Any], bool]


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


def _is_known(field: str) -> bool:
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
    if _is_known(field):
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


# -- one condition ----------------------------------------------------------------------------------------------------


def _equals(wanted: Any) -> Test:
    if isinstance(wanted, Moment):
        return lambda value: isinstance(value, int | float) and wanted.start <= value < wanted.end

    def test(value: Any) -> bool:
        if value is MISSING:
            return wanted is None
        if isinstance(value, list | tuple) and not isinstance(wanted, list | tuple):
            return wanted in value
        if isinstance(value, list | tuple):
            return list(value) == list(wanted)
        if isinstance(value, str) and is_number(wanted):
            return bool(as_number(value) == wanted)  # "1.10" where 1.1 was asked for
        return bool(value == wanted)

    return test


def _one_of(wanted: Any) -> Test:
    tests = [_equals(one) for one in wanted]
    return lambda value: any(test(value) for test in tests)


class _Compares:
    """A test with <, <=, > or >=, which notes when nothing could be compared."""

    def __init__(self, compare: Callable[[Any, Any], bool], bound: Any) -> None:
        self._compare = compare
        self._bound = bound.start if isinstance(bound, Moment) else bound
        self.compared = False
        self.misfit: Any = MISSING

    def __call__(self, value: Any) -> bool:
        if value is MISSING or value is None:
            return False
        pair = comparable(value, self._bound)
        if pair is None:
            self.misfit = value
            return False
        self.compared = True
        return self._compare(*pair)

    def check(self, field: str) -> None:
        """Raise `FilterError` if the field has values, and none of them could be compared."""
        if self.misfit is not MISSING and not self.compared:
            kind = "text" if isinstance(self.misfit, str) else "a " + type(self.misfit).__name__
            if is_number(self.misfit):
                kind = "a number"
            raise FilterError(
                f"{field} is {kind}, such as {self.misfit!r}, and cannot be compared with {self._bound!r}"
            )


def _matches(pattern: Any) -> Test:
    try:
        search = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise FilterError(f"$regex takes a regular expression, not {pattern!r}: {error}") from error

    def test(value: Any) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        texts = (str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in values)
        return any(isinstance(text, str) and search(text) is not None for text in texts)

    return test


def _not(make: Callable[[Any], Test]) -> Callable[[Any], Test]:
    def make_opposite(wanted: Any) -> Test:
        test = make(wanted)
        return lambda value: not test(value)

    return make_opposite


_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
}

_OPERATORS: Mapping[str, Callable[[Any], Test]] = {
    "$eq": _equals,
    "$ne": _not(_equals),
    **{operator: partial(_Compares, compare) for operator, compare in _ORDERINGS.items()},
    "$in": _one_of,
    "$nin": _not(_one_of),
    "$regex": _matches,
}
"""Operators on one field's value."""


def _any(passed: Iterable[bool]) -> bool:
    """Return whether one is true, after all were asked: each comparison sees every run that the filter comes to."""
    return any(list(passed))


_JUNCTIONS: Mapping[str, Callable[[Iterable[bool]], bool]] = {"$and": all, "$or": _any}
"""Operators on lists of filters."""

OPERATORS = (*_OPERATORS, *_JUNCTIONS)


def _operand(field: str, operator: str, wanted: Any) -> Any:
    """Return what `operator` compares the values of `field` with.

    Raises:
        FilterError: the field never has such a value.
    """
    if operator == "$regex":
        return wanted
    if operator in ("$in", "$nin"):
        if not isinstance(wanted, list | tuple | set | frozenset):
            raise FilterError(f"{operator} takes a list of values, not {wanted!r}")
        return [_operand(field, "$eq", one) for one in wanted]
    name = SYNONYMS.get(field, field)
    if name in TIME_FIELDS and wanted is not None:
        return moment(name, wanted)
    if operator in _ORDERINGS and not (is_number(wanted) or isinstance(wanted, str)):
        raise FilterError(f"{operator} takes a number or a string, not {wanted!r}")
    if operator in _ORDERINGS and isinstance(wanted, str) and re.search(r"\s(and|or|&&|\|\|)\s", wanted):
        raise FilterError(f"{wanted!r} is not a number; give several conditions one by one")
    if name == "state" and isinstance(wanted, str) and operator not in _ORDERINGS and wanted not in STATES:
        similar = difflib.get_close_matches(wanted, STATES, n=1)
        hint = f"; did you mean {similar[0]!r}?" if similar else ""
        raise FilterError(f"no state {wanted!r}; states are {', '.join(STATES)}{hint}")
    if name in TEXT_FIELDS and is_number(wanted):
        return str(wanted)
    if name in ("step", "exit_code") and isinstance(wanted, str):
        number = as_number(wanted)
        if number is None:
            raise FilterError(f"{name} is a number, not {wanted!r}")
        return number
    return wanted


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
            if operator not in _OPERATORS:
                raise _unknown(operator)
            self._operands.append((operator, _operand(field, operator, operand)))
        self._tests()  # an operand that cannot be used is an error now

    def _tests(self) -> list[Test]:
        return [_OPERATORS[operator](operand) for operator, operand in self._operands]

    def bind(self, runs: Sequence[Any], comparisons: list[tuple[str, _Compares]]) -> Test:
        field = resolve_field(self._field, runs)
        fetch, tests = fetcher(field), self._tests()
        comparisons += [(field, test) for test in tests if isinstance(test, _Compares)]
        return lambda run: all(test(fetch(run)) for test in tests)


class _Junction:
    """Several filters, of which all or one must pass."""

    def __init__(self, join: Callable[[Iterable[bool]], bool], parts: Sequence[_Condition | _Junction]) -> None:
        self._join = join
        self._parts = parts

    def bind(self, runs: Sequence[Any], comparisons: list[tuple[str, _Compares]]) -> Test:
        tests = [part.bind(runs, comparisons) for part in self._parts]
        return lambda run: self._join(test(run) for test in tests)


def _unknown(operator: object) -> FilterError:
    return FilterError(f"unknown operator {operator!r} in a filter; operators are {', '.join(OPERATORS)}")


def _parse(filters: Any) -> _Junction:
    if not isinstance(filters, Mapping):
        raise FilterError(f"filters must be a map such as {{'state': 'finished'}}, not {filters!r}")
    parts: list[_Condition | _Junction] = []
    for field, wanted in filters.items():
        if field in _JUNCTIONS:
            if not isinstance(wanted, list | tuple) or not wanted:
                raise FilterError(f"{field} takes a list of filters, not {wanted!r}")
            parts.append(_Junction(_JUNCTIONS[field], [_parse(one) for one in wanted]))
        elif str(field).startswith("$"):
            raise _unknown(field)
        else:
            parts.append(_Condition(field, wanted))
    return _Junction(all, parts)


class Filter:
    """Conditions on runs.

    Args:
        filters: field -> value, or field -> {operator: value}; all must hold. ``"$and"`` and ``"$or"`` take a list of
            such maps. A value equals a list that has it, as with tags. A bare key such as ``"lr"`` is one of the
            config or the summary. Times are Unix seconds, `datetime` objects, ISO dates (local time unless they say
            otherwise; a date alone is its midnight, or the whole day for equality) or ages such as ``"7d"``.
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
        comparisons: list[tuple[str, _Compares]] = []
        test = self._root.bind(runs, comparisons)
        passed = [run for run in runs if test(run)]
        for field, comparison in comparisons:
            comparison.check(field)
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
