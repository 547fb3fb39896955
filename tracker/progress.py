"""A progress bar for what takes over a second; to a terminal only."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line on standard error, drawn again in place.

    Args:
        title: what is going on.
        silent: draw nothing.
    """

    def __init__(self, title: str, *, silent: bool = False) -> None:
        self._title = title
        self._started = time.monotonic()
        self._drawn = False
        self._on = not silent and sys.stderr.isatty()

    def show(self, part: float) -> None:
        """Draw it with `part` (0 to 1) done, if more than a second has passed."""
        if self._on and time.monotonic() - self._started > 1.0:
            part = min(1.0, max(0.0, part))
            bar = "#" * round(part * 30)
            sys.stderr.write(f"\r{self._title[:40]} [{bar:<30}] {part:4.0%}")
            sys.stderr.flush()
            self._drawn = True

    def close(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
