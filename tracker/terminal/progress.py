"""Progress: a bar on standard error, on a terminal only, and only for what takes longer than a second."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from tracker.terminal.messages import is_terminal, show, terminal_width
from tracker.terminal.text import clean, fit

_DELAY = 1.0
"""Seconds before the bar appears."""

_INTERVAL = 0.1
"""Seconds between two drawings."""

_CELLS = 30


class Progress:
    """A progress bar. Call it with (done, total) as often as you like; leaving the ``with`` block removes it.

    Args:
        label: what is being done, such as ``"verify abc123"``.
        stream: where to draw; None for standard error.
        silent: draw nothing.
    """

    def __init__(self, label: str, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._label = clean(label)
        self._stream = stream
        self._next = time.monotonic() + _DELAY
        self._drawn = 0
        self._wanted = not silent and is_terminal(stream)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done; `total` is 0 if unknown."""
        if not self._wanted:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        if total > 0:
            share = min(1.0, done / total)
            filled = round(share * _CELLS)
            line = f"{self._label}  [{'#' * filled}{'.' * (_CELLS - filled)}] {share:4.0%}"
        else:
            line = f"{self._label}  {done:,}"
        line = fit(line, terminal_width() - 1)  # a line that wraps could not be wiped
        show("\r" + line.ljust(self._drawn), self._stream)
        self._drawn = len(line)

    def close(self) -> None:
        """Remove the bar. May be called twice."""
        if self._drawn:
            show("\r" + " " * self._drawn + "\r", self._stream)
            self._drawn = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
