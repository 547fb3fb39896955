"""Values in filters: moments as people write them, numbers in text, what can be compared with what. Pure functions."""

from __future__ import annotations

import re
import time
from datetime import date, datetime, timedelta
from numbers import Real
from typing import Any, NamedTuple

from tracker.errors import FilterError

STATES = ("running", "finished", "failed", "killed", "preempted", "crashed", "stalled", "unreadable")
"""The states that a run may have."""

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(sec|s|min|m|h|d|w)", re.ASCII)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", re.ASCII)
_FIRST_SECOND = 1e8
"""Smaller numbers of Unix seconds are years or dates without dashes."""

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Moment(NamedTuple):
    """A time in a filter: Unix seconds from `start` on, before `end`; a date lasts a day."""

    start: float
    end: float


def moment(field: str, value: Any) -> Moment:
    """Return the time that a filter means.

    Raises:
        FilterError: `value` is not a time.
    """
    number: Any = as_number(value) if isinstance(value, str) else value
    if is_number(number):
        if number <= 0 or number >= _FIRST_SECOND:
            return Moment(float(number), _after(float(number)))
        raise _not_a_time(field, value)
    if isinstance(value, datetime):
        return Moment(value.timestamp(), _after(value.timestamp()))
    if isinstance(value, date):
        return _day(value)
    if isinstance(value, str):
        text = value.strip()
        age = _AGE.fullmatch(text)
        if age is not None:
            start = time.time() - float(age[1]) * _SECONDS[age[2]]
            return Moment(start, _after(start))
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                return _day(date.fromisoformat(text))
            if not _ISO.match(text):  # newer Pythons take more than the oldest does
                raise ValueError(text)
            parsed = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
            whole = 60.0 if re.fullmatch(r".*[T ]\d{2}:\d{2}", text) else 1.0
            return Moment(parsed.timestamp(), parsed.timestamp() + whole)
        except (ValueError, OverflowError, OSError):
            pass
    raise _not_a_time(field, value)


def _not_a_time(field: str, value: object) -> FilterError:
    return FilterError(
        f"{field} is a time, not {value!r}; give a date (2026-05-01), a time (2026-05-01T12:30), an age (7d, 12h, 30m) "
        "or Unix seconds"
    )


def _day(day: date) -> Moment:
    start = datetime(day.year, day.month, day.day)
    return Moment(start.timestamp(), (start + timedelta(days=1)).timestamp())


def _after(moment: float) -> float:
    """Return the end of a moment that was given exactly."""
    return moment + 1e-6


def length_of_time(field: str, value: Any) -> float:
    """Return a length of time in seconds: a number, or text such as ``"90s"``, ``"1h30m"``, ``"2 h 5 min"``.

    Raises:
        FilterError: `value` is not a length of time.
    """
    number: Any = as_number(value) if isinstance(value, str) else value
    if is_number(number):
        return float(number)
    parts = _AGE.findall(value) if isinstance(value, str) else []
    if parts and not _AGE.sub("", value).strip():
        return float(sum(float(count) * _SECONDS[unit] for count, unit in parts))
    raise FilterError(f"{field} is a length of time, not {value!r}; give seconds, or a time such as 90s, 15m or 1h30m")


def is_number(value: object) -> bool:
    """Whether `value` is a number of any library, and not a truth value."""
    return not isinstance(value, bool) and isinstance(value, Real)


def as_number(text: str) -> float | None:
    """Return the number that `text` says; None if it is not one."""
    try:
        return float(text)
    except ValueError:
        return None


def comparable(value: Any, bound: Any) -> tuple[Any, Any] | None:
    """Return `value` and `bound` as two numbers or two texts; None if they are neither.

    Text that says a number is one where the other is a number.
    """
    if isinstance(value, str) and isinstance(bound, str):
        return value, bound
    numbers = [as_number(one) if isinstance(one, str) else one for one in (value, bound)]
    if all(isinstance(number, Real) for number in numbers):
        return numbers[0], numbers[1]
    return None
