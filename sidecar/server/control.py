"""The door: where a client attaches, and where it is asked how the sidecar is. Used on the HandlerThread.

Owns the ROUTER socket. Who is let in is the attendance's to say; the door finds each a place for its results.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sidecar import __version__
from sidecar.pipeline.held_run import Session
from sidecar.pipeline.sessions import Attendance
from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.checks import check
from sidecar.protocol.codec import decode_envelope, encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.errors import ChannelError, RecordError, RefusedError
from sidecar.protocol.records import KINDS, Body, Record
from sidecar.server.access import Guard
from sidecar.server.endpoints import Endpoints
from sidecar.server.results import ResultSockets

_log = logging.getLogger("sidecar")


class Door:
    """Answers questions.

    Args:
        endpoints: where it is bound, by the server.
        guard: who may connect; None: nothing is encrypted.
        attendance: who is let in to which run.
        results: the clients' result sockets.
        call: has a function called on the HandlerThread.

    Attributes:
        channel: its socket.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        guard: Guard | None,
        attendance: Attendance,
        results: ResultSockets,
        call: Callable[[Callable[[], None]], None],
    ) -> None:
        self.channel = channels.router(guard.keys if guard is not None else None)
        self._endpoints = endpoints
        self._guard = guard
        self._attendance = attendance
        self._results = results
        self._call = call

    def answer_all(
        self,
        records_endpoint: str,
        status: Callable[[], Body],
        attached: Callable[[Session], None],
        stop: Callable[[], None],
    ) -> None:
        """Answer what waits.

        Args:
            records_endpoint: where clients push their records.
            status: says how the sidecar is.
            attached: called with each client that is let in.
            stop: called when somebody who may asks for it.
        """
        while (found := self.channel.receive_parts_from()) is not None:
            (*envelope, payload), key = found
            try:
                request = read_request(payload)
            except RecordError as error:
                self._answer(envelope, Record("refused", "", "", 0, 0.0, {"code": error.code, "message": str(error)}))
                continue
            if request.kind == "attach":
                self._attach(envelope, request, key, records_endpoint, attached)
            elif request.kind == "status":
                self._answer(envelope, request._replace(body=status()))
            elif request.kind == "stop" and self._may_stop(key):
                self._answer(envelope, request._replace(body={}))
                stop()
            elif request.kind == "stop":
                self._refuse(envelope, request, "key", "only who holds this sidecar's own key may stop it from afar")
            else:
                self._refuse(envelope, request, "kind", f"a {request.kind!r} is an answer, not a question")

    def _may_stop(self, key: str) -> bool:
        if self._guard is not None:
            return key == self._guard.keys.public
        return self._endpoints.local

    def _refuse(self, envelope: list[bytes], request: Record, code: str, message: str) -> None:
        self._answer(envelope, request._replace(kind="refused", body={"code": code, "message": message}))

    def _answer(self, envelope: list[bytes], answer: Record) -> None:
        self.channel.send_parts([*envelope, encode(answer._replace(time=time.time()))])

    def _attach(
        self,
        envelope: list[bytes],
        request: Record,
        key: str,
        records_endpoint: str,
        attached: Callable[[Session], None],
    ) -> None:
        def answer(session: Session, found: Body) -> None:
            self._call(lambda: self._let_in(envelope, request, session, found, records_endpoint))

        try:
            session = self._attendance.attach(request, answer, key)
        except RefusedError as error:
            _log.info("client %r was refused for run %r: %s", request.client, request.run, error)
            body = {"code": error.code, "message": str(error), "where": error.where}
            self._answer(envelope, request._replace(kind="refused", body=body))
            return
        attached(session)

    def _let_in(
        self, envelope: list[bytes], request: Record, session: Session, found: Body, records_endpoint: str
    ) -> None:
        if self._attendance.sessions.get(session.client) is not session:
            self._refuse(envelope, request, "closing", f"client {session.client!r} has left meanwhile; try again")
            return
        try:
            results = self._results.endpoint(session.client)
        except ChannelError as error:
            self._refuse(envelope, request, "storage", str(error))
            self._attendance.give_up(session)
            return
        body: Body = {
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "records": records_endpoint,
            "results": results,
            "last": session.durable,
            "state": found.get("state", {}),
            "resumed": session.resumed,
        }
        if self._endpoints.local:  # of no use to others, and none of their business
            body |= {"directory": str(session.run.directory), "place": machine_id()}
        if found.get("error"):
            _log.warning("run %s: its state is not known: %s", session.run.id, found["error"])
        self._answer(envelope, request._replace(kind="attached", body=body))

    def close(self) -> None:
        self.channel.close()


def read_request(payload: bytes) -> Record:
    """Return what somebody asks at the door.

    Raises:
        RecordError: it is no record, or no question of the door's.
    """
    record = decode_envelope(payload)
    kind = KINDS.get(record.kind)
    if kind is None or kind.way != "control":
        raise RecordError("kind", f"a {record.kind!r} record at the door; it takes attach, status and stop")
    check(record)
    return record
