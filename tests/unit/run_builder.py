"""Makes runs on disk without a sidecar: records into a log, the log into a store, as a sidecar would leave them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.log.writer import LogWriter
from sidecar.projections.replay import replay
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOCK_NAME, LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.records import Record

START = 1_700_000_000.0


class RunBuilder:
    """A run that is being made.

    Args:
        root: the root directory.
        run_id: its id.
        about: what its first record says: project, name, tags, …
    """

    def __init__(self, root: Path, run_id: str, client: str = "client000001", **about: Any) -> None:
        self.id = run_id
        self.dir = root / RUNS_NAME / run_id
        self.dir.mkdir(parents=True)
        self.log_path = self.dir / LOG_NAME
        self.store_path = self.dir / STORE_NAME
        self.client = client
        self.last: dict[str, int] = {}
        self.clock = float(about.get("start_time", START))
        self.log = LogWriter.open(self.log_path)
        self.write("run", {"project": "demo", "name": run_id, "start_time": self.clock, **about})

    def write(self, kind: str, body: dict[str, Any], client: str | None = None, seq: int | None = None) -> int:
        """Append one record; return the offset where it begins."""
        client = self.client if client is None else client
        if seq is None:
            seq = self.last.get(client, 0) + 1 if client else 0
        self.last[client] = seq
        self.clock += 1.0
        offset = self.log.offset
        self.log.append(frame(encode(Record(kind, self.id, client, seq, self.clock, body))))
        return offset

    def row(self, step: int, client: str | None = None, /, **data: Any) -> int:
        return self.write("log", {"step": step, "data": data}, client)

    def finish(self, state: str = "finished", **body: Any) -> RunBuilder:
        """End the run and bring its store up to its log."""
        self.write("exit", {"state": state, "exit_code": 0 if state == "finished" else 1, **body})
        self.log.close()
        return self.store()

    def store(self) -> RunBuilder:
        """Bring the store up to the log."""
        with StoreWriter(self.store_path) as writer:
            replay(self.log_path, writer.checkpoint, writer)
        return self

    def damage(self, start: int, end: int) -> None:
        """Turn over the bits of a stretch of the log."""
        with open(self.log_path, "r+b") as file:
            file.seek(start)
            data = file.read(end - start)
            file.seek(start)
            file.write(bytes(255 - byte for byte in data))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run's lock, as a live sidecar does."""
        fd = os.open(self.dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, b"/somewhere/connection.json")
            yield
        finally:
            (self.dir / LOCK_NAME).unlink()
            os.close(fd)
