"""Waiting for a condition, and the constants that all tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

REPOSITORY = Path(__file__).resolve().parent.parent.parent
"""The top directory of this source tree."""

TIMEOUT = 30.0
"""Maximum wait for an expected event, in seconds. No test measures how long something takes with it."""

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str = "", seconds: float = TIMEOUT) -> Value:
    """Call `condition` until it returns a true value, and return that value.

    Raises:
        AssertionError: if this takes longer than `seconds`; `what` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:.0f} s: {what or condition}")
        time.sleep(0.005)
