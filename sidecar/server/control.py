"""ControlSocket: answers requests to attach, to edit a run, for the status, and to stop. Used on the HandlerThread.

Owns the ROUTER socket. Who may attach is decided by `Sessions`; here each client gets a socket for its results.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from sidecar import __version__
from sidecar.pipeline.editor import Editing
from sidecar.pipeline.held_run import Session
from sidecar.pipeline.sessions import Sessions
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.channels import Channel
from sidecar.protocol.checks import check
from sidecar.protocol.codec import decode_envelope, encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.errors import ChannelError, RecordError, RefusedError
from sidecar.protocol.paths import path_value
from sidecar.protocol.records import KINDS, Body, Record
from sidecar.server.access import OpenAccess
from sidecar.server.endpoints import Endpoints
from sidecar.server.reading import Reading
from sidecar.server.results import ResultSockets

_log = logging.getLogger("sidecar")

_REQUESTS = ("attach", "change", "read", "status", "stop")


class _Request(NamedTuple):
    """A request and the way back to its sender.

    Attributes:
        record: what is requested.
        key: the public key it came with, "" without encryption.
        envelope: the routing parts that its answer begins with.
    """

    record: Record
    key: str
    envelope: list[bytes]


class ControlSocket:
    """Answers requests, each kind by its handler.

    Args:
        channel: the bound ROUTER socket.
        records_endpoint: where clients push their records.
        endpoints: where the sidecar is bound.
        access: which clients may connect.
        sessions: attaches clients.
        editing: takes edits.
        reading: takes reads.
        results: the clients' result sockets.
        call: queues a call of a function on the HandlerThread.
        status: returns the answer to ``status``.
        stop: called when a client asks the sidecar to stop, and may.
    """

    def __init__(
        self,
        channel: Channel,
        records_endpoint: str,
        endpoints: Endpoints,
        access: OpenAccess,
        sessions: Sessions,
        editing: Editing,
        reading: Reading,
        results: ResultSockets,
        call: Callable[[Callable[[], None]], None],
        status: Callable[[], Body],
        stop: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._records_endpoint = records_endpoint
        self._endpoints = endpoints
        self._access = access
        self._sessions = sessions
        self._editing = editing
        self._reading = reading
        self._results = results
        self._call = call
        self._status = status
        self._stop = stop
        self._routes: dict[str, Callable[[_Request], None]] = {
            "attach": self._on_attach,
            "change": self._on_change,
            "read": self._on_read,
            "status": self._on_status,
            "stop": self._on_stop,
        }

    def answer_all(self) -> None:
        """Answer the requests that have arrived."""
        while (received := self._channel.receive_parts_from()) is not None:
            (*envelope, payload), key = received
            try:
                record = read_request(payload)
            except RecordError as error:
                body = {"code": error.code, "message": str(error)}
                self._answer(_Request(Record("refused", "", "", 0, 0.0, {}), key, envelope), "refused", body)
                continue
            request = _Request(record, key, envelope)
            route = self._routes.get(record.kind)
            if route is not None:
                route(request)
            else:
                self._refuse(request, "kind", f"a {record.kind!r} record is an answer, not a request")

    def _answer(self, request: _Request, kind: str, body: Body) -> None:
        answer = request.record._replace(kind=kind, time=time.time(), body=body)
        self._channel.send_parts([*request.envelope, encode(answer)])

    def _refuse(self, request: _Request, code: str, message: str) -> None:
        self._answer(request, "refused", {"code": code, "message": message})

    def _refuse_for(self, request: _Request, error: RefusedError) -> None:
        message = str(error).encode(errors="replace").decode()  # it may name a path that is not UTF-8
        self._answer(request, "refused", {"code": error.code, "message": message, "where": path_value(error.where)})

    # -- status and stop ----------------------------------------------------------------------------------------

    def _on_status(self, request: _Request) -> None:
        body = self._status() | {"may_write": self._access.may_write(request.key)}
        self._answer(request, "status", body)

    def _on_stop(self, request: _Request) -> None:
        if not self._may_stop(request.key):
            self._refuse(request, "key", "stopping this sidecar from another machine needs its own key")
            return
        self._answer(request, "stop", {})
        self._stop()

    def _may_stop(self, key: str) -> bool:
        if self._access.keys is not None:
            return key == self._access.keys.public
        return self._endpoints.local

    # -- attach -------------------------------------------------------------------------------------------------

    def _refuses_to_write(self, request: _Request) -> bool:
        """Refuse the request of a client that may only read; return whether that was so."""
        writes = self._access.may_write(request.key)
        if not writes:
            role = "its role in the list of clients is 'reader'"
            self._refuse(request, "key", f"the key {request.key} may read runs, not write to them: {role}")
        return not writes

    def _on_attach(self, request: _Request) -> None:
        if self._refuses_to_write(request):
            return

        def answer(session: Session, state: Body) -> None:
            self._call(lambda: self._answer_attach(request, session, state))

        record = request.record
        try:
            self._sessions.attach(record, answer, request.key)
        except RefusedError as error:
            _log.info("client %r was refused for run %r: %s", record.client, record.run, error)
            self._refuse_for(request, error)

    def _answer_attach(self, request: _Request, session: Session, state: Body) -> None:
        if self._sessions.by_client.get(session.client) is not session:
            self._refuse(request, "closing", f"client {session.client!r} has detached meanwhile; try again")
            return
        try:
            results = self._results.endpoint(session.client)
        except ChannelError as error:
            self._refuse(request, "storage", str(error))
            self._sessions.give_up(session)
            return
        body: Body = {
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "records": self._records_endpoint,
            "results": results,
            "last": session.ledger.durable,
            "state": state.get("state", {}),
            "resumed": session.resumed,
            "rows": True,
        }
        if self._endpoints.local:  # other machines have no use for paths here, and no right to know them
            body |= {"directory": path_value(session.run.directory), "place": machine_id()}
        if state.get("error"):
            _log.warning("run %s: its state cannot be read: %s", session.run.id, state["error"])
        self._answer(request, "attached", body)

    # -- change -------------------------------------------------------------------------------------------------

    def _on_change(self, request: _Request) -> None:
        if self._refuses_to_write(request):
            return

        def answer(refused: RefusedError | None, error: str | None) -> None:
            self._call(lambda: self._answer_change(request, refused, error))

        try:
            self._editing.edit(request.record.run, request.record.body["edit"], answer)
        except RefusedError as error:
            self._refuse_for(request, error)
        except RecordError as error:
            self._answer(request, "refused", {"code": error.code, "message": str(error)})

    def _answer_change(self, request: _Request, refused: RefusedError | None, error: str | None) -> None:
        if refused is not None:
            self._refuse_for(request, refused)
        else:
            self._answer(request, "changed", {"error": error})

    # -- read ---------------------------------------------------------------------------------------------------

    def _on_read(self, request: _Request) -> None:
        def answer(refused: RefusedError | None, body: Body) -> None:
            if refused is not None:
                self._call(lambda: self._refuse_for(request, refused))
                return
            page = encode(request.record._replace(kind="page", time=time.time(), body=body))  # on the ReaderThread
            self._call(lambda: self._send_page([*request.envelope, page]))

        try:
            self._reading.read(request.envelope[0], request.record.run, request.record.body, answer)
        except RefusedError as error:
            self._refuse_for(request, error)

    def _send_page(self, parts: list[bytes]) -> None:
        self._channel.send_parts(parts)


def read_request(payload: bytes) -> Record:
    """Return the request in a message to the control socket.

    Raises:
        RecordError: it is not a record, or not one that the control socket takes.
    """
    record = decode_envelope(payload)
    kind = KINDS.get(record.kind)
    if kind is None or kind.way != "control":
        takes = ", ".join(_REQUESTS)
        raise RecordError("kind", f"a {record.kind!r} record on the control socket, which takes {takes}")
    check(record)
    return record
