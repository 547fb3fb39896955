"""UpstreamSink: passes a run on to another sidecar, as clients do: exactly once, in the order of the log.

Each client of the run attaches there under its own id, and its records keep their numbers, so the sidecar there drops
what it has. What this sidecar wrote itself (number 0) is numbered here: it comes from a *relay*, a client whose id is
made of where the log is and how it begins, so that it stays the same. Used by one thread at a time, which owns the
sockets. Address: ``sidecar+tcp://host:5757``, with ``?key=FILE`` (its public key) where it encrypts;
``TRACKER_CLIENT_KEY`` names this machine's own key file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.log.reader import Batch
from sidecar.projections.replay import records
from sidecar.projections.run_state import RunState
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.ask import ask
from sidecar.protocol.channels import Channel, Poll, new_key_pair, pull, push
from sidecar.protocol.codec import decode, encode, pack
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.digests import digest_file
from sidecar.protocol.endpoints import reached
from sidecar.protocol.errors import (
    ChannelError,
    KeyFileError,
    LogFormatError,
    RecordError,
    RefusedError,
    UnreachableError,
)
from sidecar.protocol.frames import frame
from sidecar.protocol.keys import Security, read_key_pair, read_public_key
from sidecar.protocol.layout import FILES_NAME, LOG_NAME
from sidecar.protocol.limits import MAX_CHUNK_BYTES
from sidecar.protocol.records import RELAY, Record, uses
from sidecar.sinks.contract import SinkRefusedError, SinkTarget, SinkUnavailableError

_log = logging.getLogger("sidecar")

_DOOR_SECONDS = 3.0
_GROUP_SECONDS = 60.0
_SILENCE_SECONDS = 2.0
_LONGEST_SILENCE_SECONDS = 16.0
"""Without an ack for so long it is attached again, and the next time waited twice as long: a network may stall."""

_UNSEEN_SECONDS = 30.0
"""After so long without a record a new attachment is made: the sidecar there may have taken this one for gone."""

_MESSAGE_BYTES = 256 * 1024
_GROUP_BYTES = 4 * 1024 * 1024
"""So much is on its way at once: files are passed on in parts, never whole."""

_DAMAGED = "damaged"
"""The code of a ``rejected`` record in the place of one that is damaged in this log."""

_GOODBYE_SECONDS = 1.0
_LATER = ("elsewhere", "closing", "storage", "client")
"""Refusals of the door that pass by themselves; the last where a client's id is that of another run for now."""


class _Item(NamedTuple):
    """A record on its way: whose, its number there, its frame."""

    client: str
    seq: int
    frame: bytes


class UpstreamSink:
    """One run's way to a sidecar; see `sidecar.sinks.contract.Sink`."""

    batch_bytes = 1 << 20

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._door = target.address.url
        self._security: Security | None = None
        self._records: Channel | None = None
        self._results: dict[str, Channel] = {}
        self._last: dict[str, int] = {}
        self._gone: set[str] = set()
        self._relayed = 0
        self._sent_at = 0.0

    def open(self) -> None:
        """Read the keys, and see that somebody is there."""
        memory = self._target.memory
        if "relay" not in memory:
            memory["relay"] = self._relay_id()
        memory.setdefault("relayed", 0)
        self.version()

    def _relay_id(self) -> str:
        """Return an id that nobody else has, and that is the same again should the memory be lost."""
        directory = self._target.directory
        try:
            first = next((encode(record) for record in records(directory / LOG_NAME, max_bytes=4096)), b"")
        except (OSError, LogFormatError) as error:
            raise SinkUnavailableError(f"run {self._target.run}: its log cannot be read: {error}") from error
        about = [platform.node(), str(directory.resolve()), self._target.address.text, first]
        return hashlib.sha256(pack(about)).hexdigest()[:24]

    def version(self) -> str:
        """Return which version of the sidecar is there."""
        self._security = self._security or self._keys()
        return str(self._ask(Record("status", "", "", 0, time.time(), {})).body["version"])

    def _keys(self) -> Security | None:
        key = self._target.address.options.get("key")
        if key is None:
            return None
        own = os.environ.get("TRACKER_CLIENT_KEY")
        try:
            return Security(read_public_key(key), read_key_pair(own) if own else new_key_pair())
        except (KeyFileError, ChannelError) as error:
            raise SinkRefusedError(str(error)) from error

    def _ask(self, question: Record) -> Record:
        try:
            return ask(self._door, question, Deadline(_DOOR_SECONDS), self._security)
        except RefusedError as error:
            if error.code in _LATER:
                raise SinkUnavailableError(f"{self._door}: {error}") from error
            raise SinkRefusedError(f"{self._door}: {error}") from error
        except (UnreachableError, RecordError) as error:
            raise SinkUnavailableError(str(error)) from error

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, batch: Batch, state: RunState) -> int:
        """Return when all of the batch is in the log of the sidecar there."""
        memory = self._target.memory
        again = bool(batch.ends) and batch.ends[0] <= memory.get("relayed_to", 0)  # the log is sent from its beginning
        self._relayed = 0 if again else memory["relayed"]
        if time.monotonic() - self._sent_at > _UNSEEN_SECONDS:
            self._let_go()
        try:
            for group in _groups(self._items(batch)):
                if not self._deliver(group, state):
                    return 0
        except ChannelError as error:
            self._let_go()
            raise SinkUnavailableError(str(error)) from error
        memory["relayed"], memory["relayed_to"] = self._relayed, batch.end
        self._detach(_ended(batch))
        return batch.end

    def _deliver(self, items: list[_Item], state: RunState) -> bool:
        """Return when the sidecar there has all items in its log; False where it has lost what came before them."""
        deadline = Deadline(_GROUP_SECONDS)
        patience = _SILENCE_SECONDS
        while True:
            wanted = {item.client for item in items}
            if not self._results:  # also those that are silent now: else they would be taken for gone there
                wanted |= {client for client, writer in state.writers.items() if writer.state == "running"}
                wanted |= {self._target.memory["relay"]} if self._target.memory["relayed"] else set()
            self._attach(wanted)
            left = self._left(items)
            if left is None:
                return False
            if not left or self._push(left, patience, deadline):
                return True
            self._let_go()
            patience = min(_LONGEST_SILENCE_SECONDS, 2 * patience)
            if deadline.over():
                raise SinkUnavailableError(f"{self._door}: no ack within {_GROUP_SECONDS:.0f} s")

    def _left(self, items: list[_Item]) -> list[_Item] | None:
        """Return what the sidecar there lacks, with something in the place of what is damaged in this log, since it
        takes no number without the one before; None where it lacks what it once had, so that all must be sent again."""
        memory = self._target.memory
        left = []
        last = dict(self._last)
        met: set[str] = set()
        for item in items:
            missing = range(last[item.client] + 1, item.seq)
            if missing and item.client not in met and memory.get("gap") != [item.client, item.seq]:
                memory["gap"] = [item.client, item.seq]  # if it is met again, it is here
                return None
            left += [self._damaged(item.client, number) for number in missing]
            if item.seq > last[item.client]:
                left.append(item)
                last[item.client] = item.seq
            met.add(item.client)
        return left

    def _damaged(self, client: str, seq: int) -> _Item:
        body = {"kind": "", "code": _DAMAGED, "message": "it is damaged in the log that it came from"}
        return _Item(client, seq, frame(encode(Record("rejected", self._target.run, client, seq, time.time(), body))))

    def _items(self, batch: Batch) -> Iterator[_Item]:
        """Yield what goes out for a batch; count in `_relayed` what the relay has sent."""
        for record in batch.records:
            left = _is_left_in_place(record)
            if record.client and record.seq:
                told = record._replace(body={**record.body, "relayed": True}) if left else record
                yield _Item(record.client, record.seq, frame(encode(told)))
            if left or not record.client:
                for own in self._own(record):
                    if self._relayed == 0:
                        about = {"parent": RELAY, "host": platform.node(), "pid": os.getpid()}
                        yield self._relay("run", record.time, about)
                    yield self._relay(own.kind, own.time, own.body)

    def _relay(self, kind: str, moment: float, body: dict[str, object]) -> _Item:
        client = str(self._target.memory["relay"])
        self._relayed += 1
        record = Record(kind, self._target.run, client, self._relayed, moment, body)
        return _Item(client, self._relayed, frame(encode(record)))

    def _own(self, record: Record) -> Iterator[Record]:
        """Yield what the relay says for a record without a number, or for a file that lies on this machine.

        The number of records depends on the record alone: sent again, they must have the same numbers.
        """
        if not _is_left_in_place(record):
            yield record
            return
        name, size = record.body["name"], record.body["size"]
        missing = record._replace(kind="file missing", body={"name": name})
        path = self._target.directory / FILES_NAME / name
        offsets = iter(range(0, max(1, size), MAX_CHUNK_BYTES))
        try:
            with open(path, "rb") as file:
                if digest_file(file).sha256 == record.body["sha256"]:
                    file.seek(0)
                    for offset in offsets:
                        body = {**record.body, "offset": offset, "data": file.read(MAX_CHUNK_BYTES)}
                        yield record._replace(body=body)
        except OSError as error:
            _log.warning("run %s: file %s cannot be read: %s", self._target.run, name, error)
        for number, _ in enumerate(offsets):
            if number == 0:
                _log.warning("run %s: file %s is not what was saved; it is not passed on", self._target.run, name)
            yield missing

    def _attach(self, clients: set[str]) -> None:
        """Have all clients attached; learn what the sidecar there has of each."""
        for client in sorted(clients - self._results.keys()):
            body = {
                "protocol": PROTOCOL_VERSION,
                "again": True,
                "relay": True,
                "pid": os.getpid(),
                "place": machine_id(),
            }
            found = self._ask(Record("attach", self._target.run, client, 0, time.time(), body)).body
            if self._records is None:
                self._records = push(self._security)
                self._records.connect(reached(found["records"], self._door))
            channel = pull(security=self._security)
            self._results[client] = channel
            channel.connect(reached(found["results"], self._door))
            self._last[client] = found["last"]
            self._gone.discard(client)
        self._sent_at = time.monotonic()

    def _push(self, items: list[_Item], patience: float, deadline: Deadline) -> bool:
        """Send all items in order, and wait until they are acked; False where they must be sent again."""
        assert self._records is not None
        wanted = {item.client: item.seq for item in items}
        poll = Poll()
        channels = [self._results[client] for client in wanted]
        for channel in channels:
            poll.add(channel)
        messages = list(_messages(items))
        at = 0
        heard = time.monotonic()
        while any(self._last[client] < seq for client, seq in wanted.items()):
            while at < len(messages) and self._records.send(messages[at]):
                at += 1
                self._sent_at = time.monotonic()
            for _ in poll.wait(0.002 if at < len(messages) else 0.05, channels):
                pass
            for client in wanted:
                while (message := self._results[client].receive()) is not None:
                    heard = time.monotonic()
                    if not self._on_result(client, message):
                        return False
            if time.monotonic() - heard > patience or deadline.over():
                return False
        return True

    def _on_result(self, client: str, message: bytes) -> bool:
        try:
            result = decode(message)
        except RecordError as error:
            _log.warning("run %s: a result of %s cannot be read: %s", self._target.run, self._door, error)
            return True
        if result.client != client:  # taken for gone there, and its port given to another
            return False
        if result.kind == "ack":
            self._last[client] = max(self._last[client], result.body["seq"])
        elif result.kind == "problem":
            _log.warning("run %s: %s: %s", self._target.run, self._door, result.body["message"])
        return result.kind != "reattach"

    # -- the end ------------------------------------------------------------------------------------------------

    def _detach(self, clients: set[str]) -> None:
        """Let clients that have ended go; with the last one the relay."""
        self._gone |= clients
        relay = str(self._target.memory["relay"])
        if self._results.keys() - self._gone <= {relay}:
            self._gone |= self._results.keys()
        for client in self._gone & self._results.keys():
            self._say_goodbye(client)

    def _say_goodbye(self, client: str) -> None:
        if self._records is not None:
            self._records.send(encode(Record("detach", self._target.run, client, 0, time.time(), {})))
        self._results.pop(client).close()

    def _let_go(self) -> None:
        for channel in self._results.values():
            channel.close()
        self._results.clear()
        if self._records is not None:
            self._records.close()
            self._records = None

    def close(self, deadline: Deadline) -> None:
        """Say goodbye for all clients; what is missing there comes with the next attachment."""
        for client in list(self._results):
            self._say_goodbye(client)
        if self._records is not None:
            self._records.close(deadline.left(_GOODBYE_SECONDS) or 0.0)
            self._records = None


def _is_left_in_place(record: Record) -> bool:
    """Whether a record names a file whose content is in this machine's directory of the run, and in no record."""
    return uses("files", record.kind) and "data" not in record.body and not record.body.get("relayed")


def _groups(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield the items in groups of a good size."""
    group: list[_Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item.frame)
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _ended(batch: Batch) -> set[str]:
    """Return the clients that a batch says are gone, and that say nothing after it."""
    gone: set[str] = set()
    for record in batch.records:
        if record.kind == "exit":
            gone.add(record.body.get("writer", record.client))
        else:
            gone.discard(record.client)
    return gone - {""}


def _messages(items: list[_Item]) -> Iterator[bytes]:
    """Yield the frames in messages of a good size."""
    frames: list[bytes] = []
    size = 0
    for item in items:
        frames.append(item.frame)
        size += len(item.frame)
        if size >= _MESSAGE_BYTES:
            yield b"".join(frames)
            frames, size = [], 0
    if frames:
        yield b"".join(frames)
