"""Filters and orders of runs: conditions as Weights & Biases and MongoDB write them, made into functions.

Pure functions on plain data, on any thread. Knows nothing of files: a run is asked for its fields by name.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

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
"""What a filter or an order may name, besides ``config.<key>`` and ``summary.<key>``."""

SYNONYMS = {"display_name": "name", "displayName": "name", "jobType": "job_type", "created_at": "start_time"}
"""The names that Weights & Biases uses in filters for the same."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""What a run gives for a config or summary key that it does not have. Equal to nothing but itself."""

Fetch: TypeAlias = Callable[[Any], Any]
Test: TypeAlias = Callable[[Any], bool]


def lookup(tree: Mapping[str, Any], path: str) -> Any:
    """Return what `tree` holds at `path`, whose dots may be part of a key or lead into a nested map; or `MISSING`."""
    if path in tree:
        return tree[path]
    cut = path.rfind(".")
    while cut > 0:
        inner = tree.get(path[:cut])
        if isinstance(inner, Mapping):
            found = lookup(inner, path[cut + 1 :])
            if found is not MISSING:
                return found
        cut = path.rfind(".", 0, cut)
    return MISSING


def fetcher(field: str) -> Fetch:
    """Return a function that takes a run and returns its `field`.

    Raises:
        ValueError: no such field.
    """
    head, _, path = field.partition(".")
    if path and head == "config":
        return lambda run: lookup(run.config, path)
    if path and head in ("summary", "summary_metrics"):
        return lambda run: lookup(run.summary, path)
    name = SYNONYMS.get(field, field)
    if name not in FIELDS:
        raise ValueError(
            f"runs have no field {field!r} to filter or order by; there are {', '.join(FIELDS)}, config.<key> and "
            "summary.<key>"
        )
    return lambda run: getattr(run, name)


def _equals(wanted: Any) -> Test:
    def test(value: Any) -> bool:
        if value is MISSING:
            return wanted is None
        if isinstance(value, list | tuple) and not isinstance(wanted, list | tuple):
            return wanted in value
        if isinstance(value, list | tuple):
            return list(value) == list(wanted)
        return bool(value == wanted)

    return test


def _one_of(wanted: Any) -> Test:
    if not isinstance(wanted, list | tuple | set | frozenset):
        raise ValueError(f"$in takes a list of values, not {wanted!r}")
    tests = [_equals(one) for one in wanted]
    return lambda value: any(test(value) for test in tests)


def _compares(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(bound: Any) -> Test:
        if not isinstance(bound, numbers.Real | str):
            raise ValueError(f"$lt, $lte, $gt and $gte take a number or a string, not {bound!r}")

        def test(value: Any) -> bool:
            if isinstance(value, str) != isinstance(bound, str) or not isinstance(value, int | float | str):
                return False
            return compare(value, bound)

        return test

    return make


def _matches(pattern: Any) -> Test:
    try:
        search = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise ValueError(f"$regex takes a regular expression, not {pattern!r}: {error}") from error

    def test(value: Any) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        return any(isinstance(one, str) and search(one) is not None for one in values)

    return test


def _not(make: Callable[[Any], Test]) -> Callable[[Any], Test]:
    def make_opposite(wanted: Any) -> Test:
        test = make(wanted)
        return lambda value: not test(value)

    return make_opposite


_OPERATORS: Mapping[str, Callable[[Any], Test]] = {
    "$eq": _equals,
    "$ne": _not(_equals),
    "$lt": _compares(lambda value, bound: value < bound),
    "$lte": _compares(lambda value, bound: value <= bound),
    "$gt": _compares(lambda value, bound: value > bound),
    "$gte": _compares(lambda value, bound: value >= bound),
    "$in": _one_of,
    "$nin": _not(_one_of),
    "$regex": _matches,
}
"""Operators on one field's value."""

_JUNCTIONS: Mapping[str, Callable[[list[bool]], bool]] = {"$and": all, "$or": any}
"""Operators on lists of filters."""

OPERATORS = (*_OPERATORS, *_JUNCTIONS)


def _unknown(operator: str) -> ValueError:
    return ValueError(f"unknown operator {operator!r} in a filter; there are {', '.join(OPERATORS)}")


def _condition(field: str, wanted: Any) -> Test:
    fetch = fetcher(field)
    if not isinstance(wanted, Mapping) or not any(str(key).startswith("$") for key in wanted):
        equal = _equals(wanted)
        return lambda run: equal(fetch(run))
    tests = []
    for operator, operand in wanted.items():
        if operator not in _OPERATORS:
            raise _unknown(operator)
        tests.append(_OPERATORS[operator](operand))
    return lambda run: all(test(fetch(run)) for test in tests)


def compile_filter(filters: Mapping[str, Any] | None) -> Test:
    """Return a function that says whether a run passes `filters`.

    Args:
        filters: field -> value, or field -> {operator: value}; all must hold. ``"$and"`` and ``"$or"`` take a list of
            such maps. A value equals a list that holds it, as with tags.

    Raises:
        ValueError: an operator or field that does not exist, or a value that an operator cannot use.
    """
    if filters is None:
        return lambda run: True
    if not isinstance(filters, Mapping):
        raise ValueError(f"filters are a map such as {{'state': 'finished'}}, not {filters!r}")
    tests = []
    for field, wanted in filters.items():
        if field in _JUNCTIONS:
            tests.append(_junction(field, wanted))
        elif str(field).startswith("$"):
            raise _unknown(field)
        else:
            tests.append(_condition(field, wanted))
    return lambda run: all(test(run) for test in tests)


def _junction(operator: str, filters: Any) -> Test:
    if not isinstance(filters, list | tuple) or not filters:
        raise ValueError(f"{operator} takes a list of filters, not {filters!r}")
    tests = [compile_filter(one) for one in filters]
    join = _JUNCTIONS[operator]
    return lambda run: join([test(run) for test in tests])


class Order:
    """How runs are sorted: by one field, those that do not have it last.

    Args:
        order: a field with ``+`` (smallest first, the default) or ``-`` (largest first) before it.

    Raises:
        ValueError: no such field.
    """

    def __init__(self, order: str) -> None:
        if not isinstance(order, str):
            raise ValueError(f"an order is a string such as '-start_time' or '+summary.loss', not {order!r}")
        self.descending = order.startswith("-")
        self._fetch = fetcher(order[1:] if order[:1] in ("+", "-") else order)

    def sort(self, runs: list[Any]) -> list[Any]:
        """Return `runs` in order; those with equal values stay as they are."""
        ranked: dict[str, list[tuple[Any, Any]]] = {"number": [], "text": []}
        last = []
        for run in runs:
            value = self._fetch(run)
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
