"""Relay: turns the records of a run's log into those to send to the sidecar upstream. Reads files, knows no socket.

Records of clients keep client and seq, and the frames that they have in the log, so rows stay rows. Records without a
number, which this sidecar wrote itself, are sent by the *relay*, a client that numbers them; so is the content of files
that are in the run's directory and in no record.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sidecar.log.reader import Batch
from sidecar.projections.replay import records
from sidecar.protocol.codec import decode_frames, encode, pack
from sidecar.protocol.digests import digest_file
from sidecar.protocol.frames import HEAD_BYTES, frame
from sidecar.protocol.layout import FILES_NAME, LOG_NAME
from sidecar.protocol.limits import MAX_CHUNK_BYTES
from sidecar.protocol.records import RELAY, Record, uses
from sidecar.protocol.rows import ROW, SCHEMA, Rows, Schema, records_of, word_of

_log = logging.getLogger("sidecar")

DAMAGED = "damaged"
"""Code of a ``rejected`` record that is sent in place of one that is damaged in the log."""

_FIRST_BATCH_BYTES = 4096

_ROWS_BYTES = 256 * 1024
"""Maximum size of rows that are one item, in bytes."""


class Item(NamedTuple):
    """A record to send, or rows that number consecutively.

    Attributes:
        client: its client.
        seq: its number; that of the last row.
        frames: its frame, or those of the rows.
        schema: the schema of the rows; None for a record.
    """

    client: str
    seq: int
    frames: bytes
    schema: Schema | None = None

    @property
    def first(self) -> int:
        """Number of the first row; `seq` for a record."""
        return self.seq if self.schema is None else self.seq + 1 - len(self.frames) // self.schema.frame_bytes

    def after(self, seq: int) -> Item:
        """Return what comes after the number `seq`."""
        if self.schema is None or seq < self.first:
            return self
        return self._replace(frames=self.frames[(seq + 1 - self.first) * self.schema.frame_bytes :])

    def records(self) -> Iterator[Item]:
        """Yield the same as records, for a sidecar that does not take rows."""
        if self.schema is None:
            yield self
            return
        items, _ = decode_frames(self.frames, schemas={self.schema.word: self.schema})
        for record in records_of(items):
            yield Item(self.client, record.seq, frame(encode(record)))


class Relay:
    """The relay of a run on its way to a server.

    Args:
        run: the run's id.
        directory: the run's directory.
        client: the relay's client id; see `relay_id`.

    Attributes:
        seq: number of the last record that the relay itself has sent.
    """

    def __init__(self, run: str, directory: Path, client: str) -> None:
        self._run = run
        self._directory = directory
        self.client = client
        self.seq = 0

    def items(self, batch: Batch) -> Iterator[Item]:
        """Yield the records to send for a batch; counts `seq` on.

        The relay's records depend only on the log: when the log is sent again, they get the same numbers.
        """
        for number, record in enumerate(batch.items):
            if isinstance(record, Rows):
                yield from _rows(record, batch.frames(number))
                continue
            if record.kind == SCHEMA and not record.client:
                continue  # the sidecar declares a client's schema again
            local = _is_local_file(record)
            if record.client and record.seq:
                if local:
                    sent = record._replace(body={**record.body, "relayed": True})
                    yield Item(record.client, record.seq, frame(encode(sent)))
                else:
                    yield _as_in_log(record, batch, number)
            if local:
                yield from self._numbered(self._content(record))
            elif not record.client:
                yield from self._numbered(iter([record]))

    def _numbered(self, unnumbered: Iterator[Record]) -> Iterator[Item]:
        for record in unnumbered:
            if self.seq == 0:
                attributes = {"parent": RELAY, "host": platform.node(), "pid": os.getpid()}
                yield self._next(Record("run", self._run, "", 0, record.time, attributes))
            yield self._next(record)

    def _next(self, record: Record) -> Item:
        self.seq += 1
        own = Record(record.kind, self._run, self.client, self.seq, record.time, record.body)
        return Item(self.client, self.seq, frame(encode(own)))

    def _content(self, record: Record) -> Iterator[Record]:
        """Yield the content of a file in records: always as many, with ``file missing`` for what cannot be read."""
        name, size = record.body["name"], record.body["size"]
        missing = record._replace(kind="file missing", body={"name": name})
        offsets = iter(range(0, max(1, size), MAX_CHUNK_BYTES))
        try:
            with open(self._directory / FILES_NAME / name, "rb") as file:
                if digest_file(file).sha256 == record.body["sha256"]:
                    file.seek(0)
                    for offset in offsets:
                        body = {**record.body, "offset": offset, "data": file.read(MAX_CHUNK_BYTES)}
                        yield record._replace(body=body)
        except OSError as error:
            _log.warning("run %s: file %s cannot be read: %s", self._run, name, error.strerror)
        for number, _ in enumerate(offsets):
            if number == 0:
                _log.warning("run %s: file %s has changed since it was saved; it is not sent on", self._run, name)
            yield missing

    def damaged(self, client: str, seq: int) -> Item:
        """Return what to send in place of a record that is damaged in the log."""
        body = {"kind": "", "code": DAMAGED, "message": "it is damaged in the log that it came from"}
        return Item(client, seq, frame(encode(Record("rejected", self._run, client, seq, time.time(), body))))


def relay_id(directory: Path, address: str) -> str:
    """Return the client id of a relay: unique to the log and the server, and the same when it is computed again.

    Args:
        directory: the run's directory.
        address: the server's address.

    Raises:
        OSError, LogFormatError: the log cannot be read.
    """
    first = next((encode(record) for record in records(directory / LOG_NAME, max_bytes=_FIRST_BATCH_BYTES)), b"")
    return hashlib.sha256(pack([platform.node(), str(directory.resolve()), address, first])).hexdigest()[:24]


def _rows(rows: Rows, frames: bytes) -> Iterator[Item]:
    """Yield rows, about `_ROWS_BYTES` at a time."""
    size = rows.schema.frame_bytes
    at_once = max(1, _ROWS_BYTES // size)
    for start in range(0, rows.count, at_once):
        end = min(start + at_once, rows.count)
        yield Item(rows.schema.client, rows.first + end - 1, frames[start * size : end * size], rows.schema)


def _as_in_log(record: Record, batch: Batch, number: int) -> Item:
    """Return a record in the frame that it has in the log, which may hold it as a row."""
    frames = batch.frames(number) or frame(encode(record))
    payload = frames[HEAD_BYTES:]
    schema = batch.schemas[word_of(payload)] if payload[0] == ROW else None
    return Item(record.client, record.seq, frames, schema)


def ended_clients(batch: Batch) -> set[str]:
    """Return the clients that have ended in a batch, and log nothing after it."""
    ended: set[str] = set()
    for record in batch.items:
        if isinstance(record, Rows):
            ended.discard(record.schema.client)
        elif record.kind == "exit":
            ended.add(record.body.get("writer", record.client))
        else:
            ended.discard(record.client)
    return ended - {""}


def _is_local_file(record: Record) -> bool:
    """Whether a record names a file whose content is in the run's directory on this machine, and in no record."""
    return uses("files", record.kind) and "data" not in record.body and not record.body.get("relayed")


__all__ = ["DAMAGED", "Item", "Relay", "ended_clients", "relay_id"]
