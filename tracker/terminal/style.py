"""Style: colours for a terminal that shows them, plain text for everything else.

Decides once per stream, from the stream and the environment: ``NO_COLOR`` (https://no-color.org) turns colours off,
``FORCE_COLOR`` and ``CLICOLOR_FORCE`` turn them on, ``CLICOLOR=0`` and ``TERM=dumb`` turn them off; otherwise a
terminal has them and a file or a pipe has not. Foreign text goes through `tracker.terminal.text.clean` first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from tracker.terminal.messages import is_terminal

COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "bold": 1, "dim": 2}
"""Names of colours and their SGR codes."""

STATE_COLOURS = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "crashed": "red",
    "killed": "yellow",
    "preempted": "yellow",
    "stalled": "yellow",
    "unreadable": "red",
}
"""The colour of each state of a run."""


def shows_colours(stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what is written to `stream` (None: standard error).

    Args:
        stream: where the text goes.
        environment: default ``os.environ``.
    """
    variables = os.environ if environment is None else environment
    if variables.get("NO_COLOR"):
        return False
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if variables.get(name, "0") not in ("", "0"):
            return True
    if variables.get("CLICOLOR") == "0" or variables.get("FORCE_COLOR") == "0" or variables.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


class Style:
    """Colours text, or returns it unchanged.

    Args:
        enabled: whether to colour; `Style.of` decides it for a stream.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    @classmethod
    def of(cls, stream: TextIO | None = None) -> Style:
        """Return the style for what is written to `stream` (None: standard error)."""
        return cls(shows_colours(stream))

    def paint(self, text: str, colour: str) -> str:
        """Return `text` in one of `COLOURS`."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.enabled and text else text

    def state(self, state: str, text: str | None = None) -> str:
        """Return `text` (None: `state` itself) in the colour of a run's state."""
        shown = state if text is None else text
        colour = STATE_COLOURS.get(state)
        return shown if colour is None else self.paint(shown, colour)
