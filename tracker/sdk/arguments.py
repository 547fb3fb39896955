"""Checks of the arguments of a `Run`'s methods. Pure functions."""

from __future__ import annotations

import numbers
from typing import Any

from sidecar.protocol.records import SUMMARIES

_MAX_EXIT_CODE = 255


def checked_exit_code(exit_code: Any) -> int:
    """Return the exit code that `finish` was given.

    Raises:
        TypeError, ValueError: it is not an integer from 0 to 255.
    """
    if isinstance(exit_code, bool) or not isinstance(exit_code, numbers.Integral):  # NumPy's too
        raise TypeError(f"finish: exit_code must be an integer, not {exit_code!r}")
    if not 0 <= int(exit_code) <= _MAX_EXIT_CODE:
        raise ValueError(f"finish: exit_code must be from 0 to {_MAX_EXIT_CODE}, not {exit_code}")
    return int(exit_code)


def aggregates(summary: Any) -> list[str]:
    """Return the options that `define_metric` was given, in a list or separated by commas.

    Raises:
        ValueError: an unknown option.
    """
    if summary is None:
        return []
    given = summary.split(",") if isinstance(summary, str) else list(summary) if _is_list(summary) else [summary]
    options = [option.strip() if isinstance(option, str) else option for option in given]
    for option in options:
        if option not in SUMMARIES:
            raise ValueError(f"define_metric: summary must be one or several of {', '.join(SUMMARIES)}, not {option!r}")
    return options


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)
