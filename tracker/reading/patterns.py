"""Pattern: a regular expression typed by a user, matched in bounded time.

Python's `re` backtracks: nested repetitions, such as ``(a+)+$``, can take exponential time. A pattern
that may do so is matched in another process, with a timeout. Used on any thread.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from typing import Any

from tracker.errors import FilterError

MAX_SECONDS = 2.0
"""Maximum time for matching a pattern that may be slow, in seconds."""

MAX_PATTERN = 1000
"""Maximum length of a pattern, in characters."""

_MANY = 16
"""Repetitions up to this number do not count as such."""

_MOST_REPEATS = 3
"""Number of repetitions one after the other up to which a pattern is matched at once."""

_LONG = 5000
"""Length of a text from which even two repetitions may take long."""

_NESTED = 1000
"""Number that stands for repetitions inside others."""

_COUNTED = re.compile(r"\{(\d*)(,?)(\d*)\}", re.ASCII)

_CHILD = """\
import json, re, sys
pattern, texts = json.loads(sys.stdin.buffer.read())
search = re.compile(pattern).search
print(json.dumps([search(text) is not None for text in texts]))
"""


class Pattern:
    """A regular expression that is searched for.

    Args:
        pattern: the expression.

    Raises:
        FilterError: the expression is not valid.
    """

    def __init__(self, pattern: Any) -> None:
        try:
            if len(pattern) > MAX_PATTERN:
                raise ValueError(f"it has {len(pattern):,} characters, more than {MAX_PATTERN:,}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about syntax that a later Python may read differently
                compiled = re.compile(pattern)
            if not isinstance(pattern, str):
                raise TypeError("it must be a string")
        except (re.error, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FilterError(f"{pattern!r} is not a valid regular expression: {error}") from error
        self._text = pattern
        self._search = compiled.search
        self._repeats = _repeats(pattern)
        self._known: dict[str, bool] = {}

    def matches(self, text: str) -> bool:
        """Whether the pattern is found in `text`."""
        if not self._may_take_long(text):
            return self._search(text) is not None
        if text not in self._known:
            self.prepare([text])
        return self._known[text]

    def prepare(self, texts: Iterable[str]) -> None:
        """Match the texts that may be slow in one batch.

        Raises:
            FilterError: it takes longer than `MAX_SECONDS`.
        """
        if self._repeats == 0:
            return
        unknown = [text for text in dict.fromkeys(texts) if self._may_take_long(text) and text not in self._known]
        if unknown:
            self._known |= zip(unknown, _match_elsewhere(self._text, unknown), strict=True)

    def _may_take_long(self, text: str) -> bool:
        return self._repeats > _MOST_REPEATS or (self._repeats > 1 and len(text) > _LONG)


def _repeats(pattern: str) -> int:
    """Return the number of repetitions one after the other in a pattern; a large one if any is inside another."""
    repeats, inside, at = 0, [0], 0
    previous = "("
    while at < len(pattern):
        character, before, previous = pattern[at], previous, "atom"
        start, at = at, at + 1
        if character == "\\":
            if pattern[at : at + 1].isdigit():
                return _NESTED  # what a group matched, again
            at += 1
        elif character == "[":
            at = _end_of_set(pattern, start)
        elif character == "(":
            if pattern.startswith("?P=", at):
                return _NESTED
            inside.append(0)
            previous = "("
        elif character == ")" and len(inside) > 1:
            within = inside.pop()
            if within and _most(pattern, at) > 1:
                return _NESTED
            inside[-1] += within
        elif character == "|":
            inside[-1] += 1  # alternatives, repeated, may be as ambiguous as repetitions
            previous = "("
        elif before == "atom" and (_most(pattern, start) > _MANY or character == "?"):
            repeats += 1
            inside[-1] += 1
            previous = "repetition"
    return repeats


def _end_of_set(pattern: str, at: int) -> int:
    """Return the index after a set of characters such as ``[^]a-z]``."""
    end = at + 1
    if pattern.startswith("^", end):
        end += 1
    if pattern.startswith("]", end):
        end += 1
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1


def _most(pattern: str, at: int) -> float:
    """Return how often what is before an index may be repeated: 1 if no repetition begins there."""
    if pattern.startswith(("*", "+"), at):
        return math.inf
    counted = _COUNTED.match(pattern, at)
    if counted is None:
        return 1
    most = counted[3] or ("" if counted[2] else counted[1])
    return float(most) if most else math.inf


def _match_elsewhere(pattern: str, texts: list[str]) -> list[bool]:
    import json
    import subprocess
    import sys

    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([pattern, texts]).encode(),
            capture_output=True,
            timeout=MAX_SECONDS,
            check=True,
        )
        answers: list[bool] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise FilterError(
            f"matching {pattern!r} takes longer than {MAX_SECONDS:g} s; use fewer repetitions (* and +), none of them "
            "inside another"
        ) from error
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise FilterError(f"{pattern!r} cannot be matched: {error}") from error
    return answers
