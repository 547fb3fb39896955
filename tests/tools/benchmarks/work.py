"""The work of each tracker: ten floats per step. And the bare loop: the least that any implementation must do."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgpack

NAMES = tuple(f"metric{i}" for i in range(10))
POINTS = len(NAMES)


def metrics(step: int) -> dict[str, float]:
    """Return ten floats that use all their bits; `metric0` is different for each step."""
    start = step * 1.1
    return {name: start + i * 0.37 for i, name in enumerate(NAMES)}


class Bare:
    """Encodes the record that ``run.log`` would make, and appends it to a queue."""

    def __init__(self, run: str = "ab12cd34", client: str = "c0ffee12abcd") -> None:
        self.queue: deque[bytes] = deque(maxlen=100_000)
        self.run, self.client = run, client
        self.seq = 0

    def log(self, data: dict[str, float]) -> None:
        self.seq = seq = self.seq + 1
        self.queue.append(msgpack.packb(["log", self.run, self.client, seq, time.time(), {"step": seq, "data": data}]))


def json_line_writer(path: Path) -> tuple[Callable[[dict[str, float]], None], Callable[[], None]]:
    """Return a function that writes a step as a line of JSON, in one system call, and one that closes the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(data: dict[str, float]) -> None:
        os.write(fd, (json.dumps(data) + "\n").encode())

    return write, lambda: os.close(fd)
