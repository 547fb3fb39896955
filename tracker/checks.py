"""What values a setting takes: each function returns a `Check`. Pure but for `addresses`, which looks for key files."""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sidecar.protocol.limits import NAME_RULE, valid_name
from sidecar.protocol.sink_address import SinkAddress, parse_sinks

_MAX_TEXT = 100_000


@dataclass(frozen=True)
class Check:
    """What values a setting takes.

    Attributes:
        must_be: completes "<setting> must be …"; empty: what `accept` raises says it.
        accept: returns the value in its plain form; raises ValueError or TypeError for one that is not acceptable.
        parse: returns the value for a text from the environment or the settings file; raises ValueError.
    """

    must_be: str
    accept: Callable[[Any], Any]
    parse: Callable[[str], Any] = str


def text() -> Check:
    """A non-empty string."""

    def accept(value: Any) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
            raise ValueError
        return value

    return Check(f"a non-empty string of at most {_MAX_TEXT:,} characters", accept)


def words() -> Check:
    """A non-empty string for people; bytes of a file name that are not UTF-8 are replaced."""
    accept = text().accept

    def readable(value: Any) -> str:
        return str(accept(value)).encode(errors="replace").decode()

    return Check(text().must_be, readable)


def path() -> Check:
    """A path; an empty one counts as not given."""

    def accept(value: Any) -> Any:
        if not isinstance(value, str | os.PathLike):
            raise TypeError
        return value

    return Check("a path", accept)


def one_of(*choices: str, true: str | None = None, false: str | None = None) -> Check:
    """One of some strings; `true` and `false` are what True and False stand for, as in Weights & Biases."""

    def accept(value: Any) -> str:
        if isinstance(value, bool) and true and false:
            return true if value else false
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    *most, last = (repr(choice) for choice in choices)
    return Check(f"{', '.join(most)} or {last}", accept)


def seconds() -> Check:
    """A duration."""

    def accept(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 0:
            raise ValueError
        return float(value)

    return Check("a number of seconds greater than 0", accept, float)


def at_least(least: int) -> Check:
    """A size in bytes."""

    def accept(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            raise ValueError
        return int(value)

    return Check(f"a whole number of bytes, at least {least}", accept, int)


def flag() -> Check:
    """True or False."""
    words = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

    def parse(value: str) -> bool:
        if value.lower() not in words:
            raise ValueError
        return words[value.lower()]

    def accept(value: Any) -> bool:
        if isinstance(value, str):
            return parse(value)
        if value not in (True, False):
            raise ValueError
        return bool(value)

    return Check("true or false", accept, parse)


def run_name() -> Check:
    """A string that can be a run's id."""

    def accept(value: Any) -> str:
        if not valid_name(value):
            raise ValueError
        return str(value)

    return Check(f"a valid run id ({NAME_RULE})", accept)


def strings() -> Check:
    """A sequence of strings; in a text they are separated by commas."""

    def accept(value: Any) -> tuple[str, ...]:
        items = ("",) if isinstance(value, str) else tuple(value)
        if not all(isinstance(item, str) and item for item in items):
            raise ValueError
        return tuple(dict.fromkeys(item.encode(errors="replace").decode() for item in items))

    def parse(value: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in value.split(",") if item.strip())

    return Check("a sequence of non-empty strings", accept, parse)


def addresses() -> Check:
    """Addresses of servers; in a text they are separated by commas. A message names the address at fault."""
    return Check("", lambda value: tuple(_with_absolute_key(address) for address in parse_sinks(value)))


def _with_absolute_key(address: SinkAddress) -> str:
    """Return a sink's address; a key file in it by its full path, since the sidecar runs in another directory."""
    key = address.options.get("key")
    if key is None or not os.path.exists(key) or os.path.isabs(key):
        return address.text
    before, _, options = address.text.partition("?")
    parts = [f"key={quote(os.path.abspath(key))}" if part.startswith("key=") else part for part in options.split("&")]
    return f"{before}?{'&'.join(parts)}"
