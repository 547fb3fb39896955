"""A progress bar on standard error, on a terminal only, and only for what takes longer than a second."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from tracker.terminal.messages import is_terminal, say

_PATIENCE = 1.0
_EVERY = 0.1
_CELLS = 30


class Progress:
    """Call it with (done, total) as often as you like; leave the `with` block and it is gone from the screen.

    Args:
        label: what is being done, such as ``"verify abc123"``.
        stream: where to draw; None for standard error.
        silent: draw nothing.
    """

    def __init__(self, label: str, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._label = label
        self._stream = stream
        self._next = time.monotonic() + _PATIENCE
        self._drawn = 0
        self._wanted = not silent and is_terminal(stream)

    def __call__(self, done: int, total: int) -> None:
        """Say that `done` of `total` is done; `total` 0 if nobody knows."""
        if not self._wanted:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        if total > 0:
            share = min(1.0, done / total)
            filled = round(share * _CELLS)
            line = f"{self._label}  [{'#' * filled}{'.' * (_CELLS - filled)}] {share:4.0%}"
        else:
            line = f"{self._label}  {done:,}"
        say("\r" + line.ljust(self._drawn), self._stream)
        self._drawn = len(line)

    def close(self) -> None:
        """Wipe the bar. May be called twice."""
        if self._drawn:
            say("\r" + " " * self._drawn + "\r", self._stream)
            self._drawn = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
