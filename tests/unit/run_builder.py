"""Builds runs on disk without a sidecar: writes records to a log, and the log to a store, as a sidecar does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
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
from sidecar.protocol.rows import CODES, SCHEMA, Schema, new_schema_id

START = 1_700_000_000.0


class RunBuilder:
    """A run that is being built.

    Args:
        root: the root directory.
        run_id: id of the run.
        client: id of the client whose records `write` appends by default.
        about: keys of the first record: project, name, tags, …
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
        """Append a record; return its offset in the log."""
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

    def rows(self, step: int, client: str | None = None, /, **columns: Sequence[Any]) -> Schema:
        """Append packed rows, whose steps count from `step` on, behind their schema; return that."""
        client = self.client if client is None else client
        types = "".join(CODES[type(values[0])] for values in columns.values())
        schema = Schema(new_schema_id(), self.id, client, tuple(columns), types)
        self.write(SCHEMA, schema.body(), client)
        for number, values in enumerate(zip(*columns.values(), strict=True)):
            self.last[client] += 1
            self.clock += 1.0
            self.log.append(frame(schema.pack(schema.word, self.last[client], self.clock, step + number, *values)))
        return schema

    def finish(self, state: str = "finished", **body: Any) -> RunBuilder:
        """End the run, and apply its log to its store."""
        self.write("exit", {"state": state, "exit_code": 0 if state == "finished" else 1, **body})
        self.log.close()
        return self.store()

    def store(self) -> RunBuilder:
        """Apply new records of the log to the store."""
        with StoreWriter(self.store_path) as writer:
            replay(self.log_path, writer.checkpoint, writer)
            writer.make_pieces()
        return self

    def damage(self, start: int, end: int) -> None:
        """Invert the bits of a range of the log."""
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
