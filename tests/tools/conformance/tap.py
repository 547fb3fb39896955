"""TapThread: sits between a client and a real sidecar, records every message, and drops or adds some.

Owns all its sockets: a control socket, a record socket and result sockets towards the client, and a client's towards
the sidecar. Does not know what a client should log; `manners` judges what it recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import zmq

from sidecar.protocol.codec import decode, encode
from sidecar.protocol.errors import RecordError, SidecarError
from sidecar.protocol.frames import HEAD_BYTES
from sidecar.protocol.records import Body, Record
from sidecar.protocol.rows import ROW, SCHEMA, Schema
from tests.parts import parts_of
from tests.tools.conformance.processes import Sidecar, free_ports

_LOOK_SECONDS = 0.05

_STRANGE: tuple[tuple[str, Body], ...] = (
    ("weather", {"sky": "blue"}),
    ("problem", {"code": "value", "message": "made up by the kit: nothing was refused", "seq": 0}),
    ("ack", {"seq": 0, "a key of tomorrow": {"x": [None]}}),
)


class Event(NamedTuple):
    """One message that came by.

    Attributes:
        moment: when, in seconds of the monotonic clock.
        way: ``"ask"`` and ``"reply"`` on the control socket, ``"send"`` and ``"result"`` on the others.
        record: the message.
        payload: its bytes, for a client's record.
        passed: whether it was passed on.
    """

    moment: float
    way: str
    record: Record
    payload: bytes = b""
    passed: bool = True


@dataclass
class Tricks:
    """What the tap does besides passing messages on. Each happens once.

    Attributes:
        ignore_first_attach: the first question is not answered.
        refuse_second_attach: the next one is refused with ``closing``.
        strange_results: a `problem`, and results and keys that no client knows, precede the first ack.
        foreign_result_after: after this many numbered records a result for another client comes.
        lose_message_after: after this many numbered records one message of the client is lost.
        silent_after: after this many numbered records results are lost for `silent_seconds`.
        takes_rows_until: after this many numbered records the sidecar does not take rows: it does not say so in
            ``attached``, and rows do not reach it.
        restart_after_schema: the sidecar is killed and restarted behind the first schema of the client.
    """

    ignore_first_attach: bool = False
    refuse_second_attach: bool = False
    strange_results: bool = False
    foreign_result_after: int | None = None
    lose_message_after: int | None = None
    silent_after: int | None = None
    silent_seconds: float = 3.0
    takes_rows_until: int | None = None
    restart_after_schema: bool = False
    played: list[str] = field(default_factory=list)


class Tap:
    """The tap; a context manager.

    Args:
        sidecar: the real one, running.
        tricks: what to do besides passing messages on.

    Attributes:
        door: the endpoint at which a client attaches.
        events: all messages in order; to be read after the tap is closed.
        faults: unreadable messages of the client, in sentences.
    """

    def __init__(self, sidecar: Sidecar, tricks: Tricks) -> None:
        self._sidecar = sidecar
        self._tricks = tricks
        self._port = free_ports()
        self.door = f"tcp://127.0.0.1:{self._port}"
        self.events: list[Event] = []
        self.faults: list[str] = []
        self._numbered = 0
        self._silent_until = 0.0
        self._stood_still = 0.0
        self._schemas: dict[int, Schema] = {}
        self._takes_rows = True
        self._results: dict[str, tuple[zmq.Socket[bytes], zmq.Socket[bytes], str]] = {}
        self._stop = threading.Event()
        self._bound = threading.Event()
        self._thread = threading.Thread(target=self._run, name="TapThread", daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        self._bound.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._door = self._socket(zmq.ROUTER)
        self._records = self._socket(zmq.PULL)
        self._onward = self._socket(zmq.PUSH)
        self._door.bind(self.door)
        self._records.bind(f"tcp://127.0.0.1:{self._port + 1}")
        self._bound.set()
        self._poller = zmq.Poller()
        for socket in (self._door, self._records):
            self._poller.register(socket, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            self._context.destroy(linger=0)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    def _step(self) -> None:
        asked = time.monotonic()
        ready = {socket for socket, _ in self._poller.poll(round(_LOOK_SECONDS * 1000))}
        # If this took longer than it can, the machine stood still, and the client with it.
        self._stood_still += max(0.0, time.monotonic() - asked - 2 * _LOOK_SECONDS)
        if self._door in ready:
            self._on_door()
        if self._records in ready:
            self._on_message(self._records.recv())
        for client, (back, _, _) in list(self._results.items()):
            if back in ready:
                self._on_result(client, back.recv())

    def _note(self, way: str, record: Record, payload: bytes = b"", passed: bool = True) -> None:
        self.events.append(Event(time.monotonic() - self._stood_still, way, record, payload, passed))

    def _once(self, trick: str, wanted: bool) -> bool:
        """Whether to play a trick now: it is wanted, and was not played before."""
        if wanted and trick not in self._tricks.played:
            self._tricks.played.append(trick)
            return True
        return False

    # -- the control socket -------------------------------------------------------------------------------------

    def _on_door(self) -> None:
        *envelope, payload = self._door.recv_multipart()
        try:
            request = decode(payload)
        except RecordError as error:
            self.faults.append(f"What it sent to the control socket cannot be read: {error}: {_hex(payload)}.")
            return
        ignored = self._once("ignore", self._tricks.ignore_first_attach)
        self._note("ask", request, passed=not ignored)
        if ignored:
            return
        if self._once("refuse", self._tricks.refuse_second_attach):
            self._reply(envelope, request, "refused", {"code": "closing", "message": "the run is being closed"})
            return
        try:
            answer = self._sidecar.ask(request.kind, request.body, request.run, request.client)
        except SidecarError as error:
            self._reply(envelope, request, "refused", {"code": getattr(error, "code", "form"), "message": str(error)})
            return
        body = answer.body
        if answer.kind == "attached":
            if not self._results:
                self._onward.connect(body["records"])
            results = self._result_port(request.client, body["results"])
            body = {**body, "records": f"tcp://*:{self._port + 1}", "results": f"tcp://*:{results}"}
            if _reached(self._tricks.takes_rows_until, self._numbered):
                self._takes_rows = False
                body.pop("rows", None)
            if self._tricks.strange_results:
                body |= {"a key of tomorrow": [1, {"deep": None}]}
        self._reply(envelope, request, answer.kind, body)

    def _reply(self, envelope: Sequence[bytes], request: Record, kind: str, body: Body) -> None:
        answer = Record(kind, request.run, request.client, 0, time.time(), body)
        self._note("reply", answer)
        self._door.send_multipart([*envelope, encode(answer)])

    def _result_port(self, client: str, endpoint: str) -> int:
        """Pass on results of `client`; return the port where it receives them."""
        known = self._results.get(client)
        if known is not None and known[2] == endpoint:
            return int(known[1].getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        back, front = self._socket(zmq.PULL), self._socket(zmq.PUSH)
        back.connect(endpoint)
        front.bind("tcp://127.0.0.1:*")
        self._poller.register(back, zmq.POLLIN)
        self._results[client] = (back, front, endpoint)
        return int(front.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    # -- records ------------------------------------------------------------------------------------------------

    def _on_message(self, message: bytes) -> None:
        found = list(self._read(message))
        numbered = sum(record.seq > 0 for record, _ in found)
        lost = numbered > 0 and self._once("lose", _reached(self._tricks.lose_message_after, self._numbered))
        for record, payload in found:
            self._note("send", record, payload, passed=not lost)
        self._numbered += numbered
        if numbered and self._once("silent", _reached(self._tricks.silent_after, self._numbered)):
            self._silent_until = time.monotonic() + self._tricks.silent_seconds
        if lost:
            return
        if not self._takes_rows:
            message = b"".join(framed for _, framed in found if not is_row(framed))
        kinds = [record.kind for record, _ in found]
        if SCHEMA in kinds and self._once("restart", self._tricks.restart_after_schema):
            frames = [framed for _, framed in found]
            rest = kinds.index(SCHEMA) + 1
            self._onward.send(b"".join(frames[:rest]))
            self._restart()
            message = b"".join(frames[rest:])
        if message:
            self._onward.send(message)

    def _restart(self) -> None:
        began = time.monotonic()
        self._sidecar.ask("status")
        self._sidecar.kill()
        self._sidecar.start()
        self._stood_still += time.monotonic() - began

    def _read(self, message: bytes) -> list[tuple[Record, bytes]]:
        """Return the records of a message and their bytes; note what cannot be read."""
        parts = list(parts_of(message, schemas=self._schemas))
        if not parts:
            self.faults.append("It sent an empty message.")
        found = []
        start = 0
        for part in parts:
            if part.record is None:
                self.faults.append(f"It sent a record that cannot be read: {part.error}: {_hex(message[start:])}.")
            else:
                found.append((part.record, part.frame))
            start = part.end
        return found

    # -- results ------------------------------------------------------------------------------------------------

    def _on_result(self, client: str, message: bytes) -> None:
        result = decode(message)
        front = self._results[client][1]
        if self._once("strange", self._tricks.strange_results):
            for kind, body in _STRANGE:
                self._hand(front, Record(kind, result.run, client, 0, time.time(), body))
        if self._once("foreign", _reached(self._tricks.foreign_result_after, self._numbered)):
            self._hand(front, Record("ack", result.run, "somebody-else", 0, time.time(), {"seq": 1 << 40}))
        if time.monotonic() < self._silent_until:
            self._note("result", result, passed=False)
        else:
            self._hand(front, result)

    def _hand(self, front: zmq.Socket[bytes], result: Record) -> None:
        try:
            front.send(encode(result), zmq.DONTWAIT)
        except zmq.Again:  # it has detached, or is just attaching
            self._note("result", result, passed=False)
        else:
            self._note("result", result)


def _hex(data: bytes) -> str:
    """The first 40 bytes, as people compare them with the hex dumps of PROTOCOL.md."""
    return data[:40].hex(" ") + (" ..." if len(data) > 40 else "")


def is_row(framed: bytes) -> bool:
    """Whether a frame holds a row."""
    return framed[HEAD_BYTES : HEAD_BYTES + 1] == bytes([ROW])


def _reached(wanted: int | None, numbered: int) -> bool:
    return wanted is not None and numbered >= wanted
