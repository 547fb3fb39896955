"""Relay: turns the records of a run's log into those to send to the sidecar upstream. Reads files, knows no socket.

Records of clients keep client and seq. Records without a number, which this sidecar wrote itself, are sent by the
*relay*, a client that numbers them; so is the content of files that are in the run's directory and in no record.
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
from sidecar.protocol.codec import encode, pack
from sidecar.protocol.digests import digest_file
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import FILES_NAME, LOG_NAME
from sidecar.protocol.limits import MAX_CHUNK_BYTES
from sidecar.protocol.records import RELAY, Record, uses
from sidecar.protocol.rows import SCHEMA

_log = logging.getLogger("sidecar")

DAMAGED = "damaged"
"""Code of a ``rejected`` record that is sent in place of one that is damaged in the log."""

_FIRST_BATCH_BYTES = 4096


class Item(NamedTuple):
    """A record to send: its client, its seq, and its frame."""

    client: str
    seq: int
    frame: bytes


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
        for record in batch.records:
            if record.kind == SCHEMA:
                if record.client:  # its number is used; the rows are sent as records
                    yield Item(record.client, record.seq, frame(encode(record)))
                continue
            local = _is_local_file(record)
            if record.client and record.seq:
                sent = record._replace(body={**record.body, "relayed": True}) if local else record
                yield Item(record.client, record.seq, frame(encode(sent)))
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


def ended_clients(batch: Batch) -> set[str]:
    """Return the clients that have ended in a batch, and log nothing after it."""
    ended: set[str] = set()
    for record in batch.records:
        if record.kind == "exit":
            ended.add(record.body.get("writer", record.client))
        else:
            ended.discard(record.client)
    return ended - {""}


def _is_local_file(record: Record) -> bool:
    """Whether a record names a file whose content is in the run's directory on this machine, and in no record."""
    return uses("files", record.kind) and "data" not in record.body and not record.body.get("relayed")


__all__ = ["DAMAGED", "Item", "Relay", "ended_clients", "relay_id"]
