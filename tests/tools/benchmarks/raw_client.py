"""A client without the SDK: attaches through the control socket and pushes messages that were encoded beforehand.

With it, a measurement includes the sidecar, but not the time for encoding records. Implements ``sidecar/PROTOCOL.md``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import zmq

from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.connection import Connection, read_connection
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import is_held
from sidecar.protocol.limits import new_id
from sidecar.protocol.rows import Schema, new_schema_id
from tests.tools.benchmarks.work import metrics


def connection_of(run_directory: str) -> Connection:
    """Return the connection of the sidecar that holds a run."""
    holder = is_held(Path(run_directory))
    if not holder:
        raise RuntimeError(f"no sidecar holds {run_directory}")
    return read_connection(holder)


def encode_messages(run: str, client: str, records: int, per_message: int) -> list[bytes]:
    """Return messages of `per_message` framed records each, numbered from 1."""
    now = time.time()
    messages, parts = [], []
    for seq in range(1, records + 1):
        body = {"step": seq, "data": metrics(seq)}
        parts.append(frame(msgpack.packb(["log", run, client, seq, now + seq / 1e5, body])))
        if len(parts) == per_message or seq == records:
            messages.append(b"".join(parts))
            parts.clear()
    return messages


def encode_rows(run: str, client: str, records: int, per_message: int) -> list[bytes]:
    """Return the same as `encode_messages`, as packed rows; the first record declares their schema."""
    now = time.time()
    data = metrics(1)
    schema = Schema(new_schema_id(), run, client, tuple(data), "d" * len(data))
    parts = [frame(msgpack.packb(["schema", run, client, 1, now, schema.body()]))]
    messages = []
    for seq in range(2, records + 1):
        parts.append(frame(schema.pack(schema.word, seq, now + seq / 1e5, seq, *metrics(seq).values())))
        if len(parts) == per_message or seq == records:
            messages.append(b"".join(parts))
            parts.clear()
    return messages


class RawClient:
    """A client of a run; used on the thread that created it."""

    def __init__(self, control: str, run: str) -> None:
        self.run, self.client = run, new_id(12)
        self._context = zmq.Context()
        self._control = self._context.socket(zmq.DEALER)
        self._control.connect(control)
        self._control.send(self._pack("attach", {"protocol": PROTOCOL_VERSION, "label": "flood"}))
        if not self._control.poll(10_000):
            raise RuntimeError(f"no answer from the control socket {control}")
        kind, _, _, _, _, body = msgpack.unpackb(self._control.recv_multipart()[-1])
        if kind != "attached":
            raise RuntimeError(f"{kind}: {body}")
        self._records = self._context.socket(zmq.PUSH)
        self._records.connect(body["records"])
        self._results = self._context.socket(zmq.PULL)
        self._results.connect(body["results"])

    def _pack(self, kind: str, body: dict[str, Any], seq: int = 0) -> bytes:
        packed: bytes = msgpack.packb([kind, self.run, self.client, seq, time.time(), body])
        return packed

    def flood(self, messages: Sequence[bytes]) -> None:
        """Send all messages as fast as possible, and read results meanwhile."""
        for number, message in enumerate(messages):
            self._records.send(message)
            if number % 16 == 0:
                while self._results.poll(0):
                    self._check(self._results.recv())

    def ask(self, what: str, timeout: float = 120.0) -> None:
        """Send a request and wait for its answer: ``"flush"`` (all in the log) or ``"state"`` (also in the store)."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._records.send(self._pack("request", {"id": 1, "ask": what}))
            while self._results.poll(2000):  # an answer is lost if the queue is full: ask again
                if self._check(self._results.recv()) == "answer":
                    return
        raise RuntimeError(f"no answer to {what!r} in {timeout} s")

    def _check(self, message: bytes) -> str:
        unpacker = msgpack.Unpacker()
        unpacker.feed(message)
        kind = ""
        for kind, _, _, _, _, body in unpacker:
            if kind == "reattach" or kind == "problem" or body.get("error"):
                raise RuntimeError(f"the sidecar sent {kind}: {body}")
        return kind

    def close(self, last: int) -> None:
        """Send the exit of this writer, whose last number is `last`, and detach."""
        self._records.send(self._pack("exit", {"state": "finished", "exit_code": 0}, last + 1))
        self.ask("flush")
        self._records.send(self._pack("detach", {}))
        self._context.destroy(linger=1000)
