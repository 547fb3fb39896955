"""Runs a command in a terminal of a given width (a pty) and returns what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import NamedTuple

COLOUR = re.compile("\x1b\\[[0-9;]*m")


class Screen(NamedTuple):
    """Result of a command on a terminal: exit code, lines without colours, and the raw output."""

    code: int
    lines: list[str]
    raw: str


def on_terminal(root: Path, *arguments: str, columns: int = 80, answer: str = "", **variables: str) -> Screen:
    """Run ``tracker`` with all of its streams on a terminal of `columns`; type `answer` there first."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.cli.main", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**inherited, "TERM": "xterm", "TRACKER_DIR": str(root), **variables},
        start_new_session=True,
    )
    os.close(follower)
    os.write(leader, answer.encode())
    output = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # Linux: the other side was closed
            break
        if not data:
            break
        output += data
    os.close(leader)
    raw = output.decode().replace("\r\n", "\n")
    return Screen(process.wait(30), COLOUR.sub("", raw).splitlines(), raw)
