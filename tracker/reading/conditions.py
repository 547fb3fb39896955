"""Tests of one value: equality, comparisons, membership, patterns. What `filters` makes of operators.

Pure functions on plain data, on any thread. A comparison that fits no value is an error, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from tracker.errors import FilterError
from tracker.reading.operands import Moment, as_number, comparable, is_number
from tracker.reading.patterns import Pattern

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a config or summary key that a run does not have. Equal to nothing but itself."""

Test: TypeAlias = Callable[[Any], bool]


def _equals(wanted: Any) -> Test:
    if isinstance(wanted, float) and wanted != wanted:
        return lambda value: isinstance(value, float) and value != value
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


class Compares:
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


class Matches:
    """A test with a regular expression, on a text, a number, or the elements of a list."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = Pattern(pattern)

    def __call__(self, value: Any) -> bool:
        return any(map(self._pattern.matches, texts_in(value)))

    def prepare(self, values: Iterable[Any]) -> None:
        """Prepare for the values to be tested: if the pattern may be slow, they are matched in one batch.

        Raises:
            FilterError: it takes too long.
        """
        self._pattern.prepare(text for value in values for text in texts_in(value))


def texts_in(value: Any) -> list[str]:
    """Return the texts in a value: itself, a number as text, or those of a list."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = (str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in values)
    return [text for text in texts if isinstance(text, str)]


def _contains(wanted: Any) -> Test:
    is_equal = _equals(wanted)
    part = str(wanted).casefold()

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return part in value.casefold()
        if isinstance(value, list | tuple):
            return any(map(is_equal, value))
        return isinstance(value, Mapping) and str(wanted) in value

    return test


def _exists(wanted: Any) -> Test:
    if not isinstance(wanted, bool):
        raise FilterError(f"$exists takes true or false, not {wanted!r}")
    return lambda value: (value is not MISSING and value is not None and value != []) is wanted


def _not(make: Callable[[Any], Test]) -> Callable[[Any], Test]:
    def make_opposite(wanted: Any) -> Test:
        test = make(wanted)
        return lambda value: not test(value)

    return make_opposite


ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
}

TESTS: Mapping[str, Callable[[Any], Test]] = {
    "$eq": _equals,
    "$ne": _not(_equals),
    **{operator: partial(Compares, compare) for operator, compare in ORDERINGS.items()},
    "$in": _one_of,
    "$nin": _not(_one_of),
    "$regex": Matches,
    "$contains": _contains,
    "$exists": _exists,
}
"""Operators on one field's value."""
