"""What is said to people on standard error, which may be full, closed or replaced: no training fails because of it."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Write `text` as it is to `stream` (None: standard error), if that can be written to."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # AttributeError: it is None, or a stand-in
        to = stream if stream is not None else sys.stderr
        to.write(text)
        to.flush()


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether `stream` (None: standard error) is a terminal."""
    try:
        return (stream if stream is not None else sys.stderr).isatty()
    except (OSError, ValueError, AttributeError):
        return False
