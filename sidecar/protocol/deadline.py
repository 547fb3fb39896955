"""A moment by which something must be over: made once at the top of an operation and passed down."""

from __future__ import annotations

import time

_MAX_SECONDS = 1e6
"""Maximum timeout, in seconds. Eleven days are as good as forever, and some system calls reject more."""


class Deadline:
    """A point on the monotonic clock.

    Args:
        seconds: from now; None means never.
    """

    __slots__ = ("moment",)

    def __init__(self, seconds: float | None) -> None:
        self.moment = None if seconds is None else time.monotonic() + min(seconds, _MAX_SECONDS)

    def left(self, at_most: float | None = None) -> float | None:
        """Return the seconds until the deadline, at least 0; None for never. `at_most` caps it, and replaces None."""
        if self.moment is None:
            return at_most
        remaining = max(0.0, self.moment - time.monotonic())
        return remaining if at_most is None else min(remaining, at_most)

    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self.moment is not None and time.monotonic() >= self.moment

    def expire(self) -> None:
        """Make it over now; any thread may call it."""
        self.moment = time.monotonic()

    def __repr__(self) -> str:
        remaining = self.left()
        return "Deadline(never)" if remaining is None else f"Deadline({remaining:.3f} s left)"
