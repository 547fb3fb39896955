"""Messages to people on standard error, which may be full, closed or replaced: no training fails because of one."""

from __future__ import annotations

import contextlib
import select
import shutil
import sys
from typing import TextIO


def show(text: str, stream: TextIO | None = None) -> None:
    """Write `text` as it is to `stream` (None: standard error), if possible.

    In a Jupyter kernel None means standard output, because a notebook shows standard error as if it were an error.
    Characters that the stream's encoding lacks are written as ``?``.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # AttributeError: it is None, or a stand-in
        to = stream if stream is not None else sys.stdout if _in_kernel() else sys.stderr
        try:
            to.write(text)
        except UnicodeEncodeError:
            encoding = to.encoding or "ascii"
            to.write(text.encode(encoding, "replace").decode(encoding))
        to.flush()


def is_writable() -> bool:
    """Whether a line to standard error is written at once; not if it is a full pipe, or a terminal that was stopped."""
    try:
        poll = select.poll()
        poll.register(sys.stderr.fileno(), select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # a stand-in without a file
        return True


def _in_kernel() -> bool:
    """Whether what this process prints becomes the output of a notebook's cell."""
    return "ipykernel" in sys.modules and type(sys.stdout).__module__.startswith("ipykernel.")


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether `stream` (None: standard error) is a terminal."""
    try:
        return (stream if stream is not None else sys.stderr).isatty()
    except (OSError, ValueError, AttributeError):
        return False


def terminal_width(default: int = 100) -> int:
    """Return the terminal's columns, from ``COLUMNS`` or the terminal; `default` if there is none."""
    return max(20, shutil.get_terminal_size((default, 24)).columns)
