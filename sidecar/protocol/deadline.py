"""A moment by which something must be over: made once at the top of a shutdown and passed down."""

from __future__ import annotations

import time

_EVER = 1e6
"""Seconds; what waits for eleven days waits for ever, and more is too much for some system calls."""


class Deadline:
    """A point on the monotonic clock.

    Args:
        seconds: from now on; None means never.
    """

    __slots__ = ("moment",)

    def __init__(self, seconds: float | None) -> None:
        self.moment = None if seconds is None else time.monotonic() + min(seconds, _EVER)

    def left(self, at_most: float | None = None) -> float | None:
        """Seconds until the deadline, never negative; None for never. `at_most` caps it (and replaces None)."""
        if self.moment is None:
            return at_most
        left = max(0.0, self.moment - time.monotonic())
        return left if at_most is None else min(left, at_most)

    def over(self) -> bool:
        return self.moment is not None and time.monotonic() >= self.moment

    def __repr__(self) -> str:
        left = self.left()
        return "Deadline(never)" if left is None else f"Deadline({left:.3f} s left)"
