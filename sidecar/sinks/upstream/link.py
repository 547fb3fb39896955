"""Link: attaches the clients of a run to another sidecar, sends their records, and reads the acks.

Owns the sockets. Used by one thread at a time. Knows nothing of logs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator

from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.ask import ask
from sidecar.protocol.channels import Channel, Poll, new_key_pair, pull, push
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.endpoints import reached
from sidecar.protocol.errors import ChannelError, KeyFileError, RecordError, RefusedError, UnreachableError
from sidecar.protocol.frames import frame
from sidecar.protocol.keys import Security, read_key_pair, read_public_key
from sidecar.protocol.records import Record
from sidecar.protocol.rows import SCHEMA
from sidecar.protocol.sink_address import SinkAddress
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.upstream.relay import Item

_log = logging.getLogger("sidecar")

_CONTROL_SECONDS = 3.0
_DETACH_SECONDS = 1.0
_MESSAGE_BYTES = 256 * 1024
_TEMPORARY = ("elsewhere", "closing", "storage", "client")
"""Codes of refusals that pass by themselves; the last while another run there has a client of the same id."""


class Link:
    """The connection of one run to one sidecar.

    Args:
        run: the run's id.
        address: the sidecar.

    Attributes:
        last: client -> the last seq that the sidecar has; of clients that are, or were, attached.
        used_at: monotonic time of the last attach or send.
    """

    def __init__(self, run: str, address: SinkAddress) -> None:
        self._run = run
        self._address = address
        self._security: Security | None = None
        self._records: Channel | None = None
        self._results: dict[str, Channel] = {}
        self._refused_rows: set[str] = set()  # clients with a schema that the other sidecar did not take
        self._declared: dict[str, set[int]] = {}  # attached client that may send rows -> words of its known schemas
        self.last: dict[str, int] = {}
        self.used_at = 0.0

    @property
    def attached(self) -> frozenset[str]:
        """The clients that are attached."""
        return frozenset(self._results)

    def version(self) -> str:
        """Return the version of the sidecar.

        Raises:
            SinkError: as all methods that make requests: it cannot be reached, or refuses.
        """
        self._security = self._security or self._keys()
        return str(self._ask(Record("status", "", "", 0, time.time(), {})).body["version"])

    def _keys(self) -> Security | None:
        key = self._address.options.get("key")
        if key is None:
            return None
        own = os.environ.get("TRACKER_CLIENT_KEY")
        try:
            return Security(read_public_key(key), read_key_pair(own) if own else new_key_pair())
        except (KeyFileError, ChannelError) as error:
            raise SinkRefusedError(str(error)) from error

    def _ask(self, request: Record) -> Record:
        try:
            return ask(self._address.url, request, Deadline(_CONTROL_SECONDS), self._security)
        except RefusedError as error:
            if error.code in _TEMPORARY:
                raise SinkUnavailableError(f"{self._address.url}: {error}") from error
            raise SinkRefusedError(f"{self._address.url}: {error}") from error
        except (UnreachableError, RecordError) as error:
            raise SinkUnavailableError(str(error)) from error

    def attach(self, clients: Iterable[str]) -> None:
        """Attach those clients that are not attached, and learn their `last`.

        Raises:
            SinkError: as `version`. ChannelError: a socket cannot be connected.
        """
        for client in sorted(set(clients) - self.attached):
            body = {
                "protocol": PROTOCOL_VERSION,
                "again": True,
                "relay": True,
                "pid": os.getpid(),
                "place": machine_id(),
            }
            answer = self._ask(Record("attach", self._run, client, 0, time.time(), body)).body
            if self._records is None:
                self._records = push(self._security)
                self._records.connect(reached(answer["records"], self._address.url))
            channel = pull(security=self._security)
            self._results[client] = channel
            channel.connect(reached(answer["results"], self._address.url))
            self.last[client] = answer["last"]
            if answer.get("rows") and client not in self._refused_rows:
                self._declared[client] = set()
        self.used_at = time.monotonic()

    def push(self, items: list[Item], patience: float, deadline: Deadline) -> bool:
        """Send items of attached clients, in order, and wait for their acks.

        Returns:
            False if they must be sent again: there was no result for `patience` seconds, the deadline is over, or the
            sidecar asks to attach again.
        """
        assert self._records is not None
        wanted = {item.client: item.seq for item in items}
        poll = Poll()
        channels = [self._results[client] for client in wanted]
        for channel in channels:
            poll.add(channel)
        messages = self._messages(items)
        unsent = next(messages, None)
        heard_at = time.monotonic()
        while any(self.last[client] < seq for client, seq in wanted.items()):
            while unsent is not None and self._records.send(unsent):
                unsent = next(messages, None)
                self.used_at = time.monotonic()
            for _ in poll.wait(0.05 if unsent is None else 0.002, channels):
                pass
            for client in wanted:
                while (message := self._results[client].receive()) is not None:
                    heard_at = time.monotonic()
                    if not self._on_result(client, message):
                        return False
            if time.monotonic() - heard_at > patience or deadline.over():
                return False
        return True

    def _messages(self, items: list[Item]) -> Iterator[bytes]:
        """Yield the frames of items in messages of about `_MESSAGE_BYTES`, behind the schemas that they need.

        After much, a request of each client follows: its answer comes with an ack, which would else come later.
        """
        frames: list[bytes] = []
        size = 0
        much = False
        for item in self._as_taken(items):
            if item.schema is not None and item.schema.word not in self._declared[item.client]:
                self._declared[item.client].add(item.schema.word)
                declared = Record(SCHEMA, self._run, item.client, 0, time.time(), item.schema.body())
                frames.append(frame(encode(declared)))
            frames.append(item.frames)
            size += len(item.frames)
            if size >= _MESSAGE_BYTES:
                yield b"".join(frames)
                frames, size, much = [], 0, True
        if frames:
            yield b"".join(frames)
        if much:
            for client in {item.client for item in items}:
                yield encode(Record("request", self._run, client, 0, time.time(), {"id": 0, "ask": "flush"}))

    def _as_taken(self, items: list[Item]) -> Iterator[Item]:
        """Yield items, rows as records where the other sidecar does not take rows."""
        for item in items:
            if item.schema is None or item.client in self._declared:
                yield item
            else:
                yield from item.records()

    def _on_result(self, client: str, message: bytes) -> bool:
        """Note an ack; return False if the client must attach again."""
        try:
            result = decode(message)
        except RecordError as error:
            _log.warning("run %s: a result from %s cannot be read: %s", self._run, self._address.url, error)
            return True
        if result.client != client:  # ours was taken for dead there, and its port given to another client
            return False
        if result.kind == "ack":
            self.last[client] = max(self.last[client], result.body["seq"])
        elif result.kind == "problem":
            _log.warning("run %s: %s: %s", self._run, self._address.url, result.body["message"])
            if result.body.get("seq") == 0:  # a schema: its rows can be sent only as records
                self._refused_rows.add(client)
                return False
        return result.kind != "reattach"

    def detach(self, clients: Iterable[str]) -> None:
        """Detach those clients that are attached."""
        for client in sorted(self.attached & set(clients)):
            if self._records is not None:
                self._records.send(encode(Record("detach", self._run, client, 0, time.time(), {})))
            self._results.pop(client).close()
            self._declared.pop(client, None)

    def drop(self) -> None:
        """Close all sockets without detaching, to attach again."""
        for channel in self._results.values():
            channel.close()
        self._results.clear()
        self._declared.clear()
        if self._records is not None:
            self._records.close()
            self._records = None

    def close(self, deadline: Deadline) -> None:
        """Detach all clients, and close the sockets. May be called twice."""
        self.detach(self.attached)
        if self._records is not None:
            self._records.close(deadline.left(_DETACH_SECONDS) or 0.0)
            self._records = None


__all__ = ["Link"]
