"""RawClient: a client written with nothing but the protocol, to send any bytes to a sidecar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.channels import Channel
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.records import Record
from tests.support.subprocesses import LaunchedSidecar
from tests.support.waiting import wait_until


class RawClient:
    """A client that numbers records and sends bytes, without a window and without resending.

    Args:
        sidecar: the sidecar to attach to.
        run: the run's id.
        name: its client id.
        body: more fields of the attach request.
    """

    def __init__(self, sidecar: LaunchedSidecar, run: str, name: str, **body: Any) -> None:
        self.run = run
        self.name = name
        self.seq = 0
        self.results: list[Record] = []
        request = {"protocol": PROTOCOL_VERSION, "pid": os.getpid(), "place": machine_id(), **body}
        self.attached = sidecar.ask("attach", request, run, name).body
        self._records: Channel = channels.push()
        self._records.connect(self.attached["records"])
        self._results: Channel = channels.pull()
        self._results.connect(self.attached["results"])

    def send(self, message: bytes) -> None:
        wait_until(lambda: self._records.send(message), "the record socket accepts a message")

    def record(self, kind: str, body: dict[str, Any], seq: int | None = None) -> Record:
        """Return a record with the next sequence number, or with `seq`."""
        self.seq = self.seq + 1 if seq is None else seq
        return Record(kind, self.run, self.name, self.seq, time.time(), body)

    def send_record(self, kind: str, body: dict[str, Any]) -> None:
        """Send a record with the next sequence number."""
        self.send(encode(self.record(kind, body)))

    def log(self, step: int, **data: Any) -> None:
        self.send_record("log", {"step": step, "data": data})

    def send_unnumbered(self, kind: str, body: dict[str, Any]) -> None:
        self.send(encode(Record(kind, self.run, self.name, 0, time.time(), body)))

    def ask(self, what: str, number: int = 1) -> dict[str, Any]:
        """Send a request, and return the body of its answer."""
        self.send_unnumbered("request", {"id": number, "ask": what})
        return self.result("answer", lambda body: bool(body["id"] == number))

    def result(self, kind: str, matches: Callable[[dict[str, Any]], bool] = lambda body: True) -> dict[str, Any]:
        """Return the body of the next result of this kind; results that came before stay in `results`."""

        def receive() -> dict[str, Any] | None:
            self._results.wait(0.05)
            while (message := self._results.receive()) is not None:
                self.results.append(decode(message))
            for position, result in enumerate(self.results):
                if result.kind == kind and matches(result.body):
                    del self.results[position]
                    return result.body
            return None

        body = wait_until(receive, f"a result {kind!r}; received {[(r.kind, r.body) for r in self.results]}")
        assert body is not None
        return body

    def close(self) -> None:
        self._records.close()
        self._results.close()
