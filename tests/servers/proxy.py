"""FaultyProxy: a small HTTP/1.1 proxy on loopback that stands in front of a real server and injects faults.

    def plan(number, method, path):
        return CUT_AFTER if number == 3 else None

    with FaultyProxy(server_port, plan) as proxy:
        ...                                     # send requests to proxy.url
    assert [request.path for request in proxy.requests] == [...]

A plan is called once per request, with its number, counted from 1 over all connections, its method, and its path with
the query. It can be replaced at any time (``proxy.plan = …``). It returns one of

    None                    pass on the request and the response
    delay(seconds)          the same, after a delay
    CUT_BEFORE              cut the connection; the server does not get the request
    CUT_AFTER               the server handles the request; drop its response and cut the connection
    HALF                    the server handles the request; send half of the response, then cut the connection
    answer(503)             respond with this status; the server does not get the request
    answer(429, retry_after=2)   the same, with a Retry-After: seconds, or a date as text

``proxy.requests`` has all requests in the order of their arrival, with the status of the response. Content is passed on
unchanged, except for its framing: a response is read completely, and sent with a Content-Length. ``proxy.target_port``
can be changed, for a server that was restarted. Client connections are kept open as HTTP/1.1 does, so that a client
that reuses a connection sees it cut. Knows nothing about the server. One thread per connection; all have ended when the
context is left.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

RESPONSE_TIMEOUT = 60.0
"""Maximum time to wait for the response of the server, in seconds."""

_HOP_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length"})


class Fault(NamedTuple):
    """Fault for a request, applied in the order of the attributes; see the constants below.

    Attributes:
        delay: delay before anything else, in seconds.
        cut_before: cut the connection before the server gets the request.
        status: status of a response by the proxy itself; 0 to pass the request on.
        retry_after: the ``Retry-After`` of that response.
        cut_after: cut the connection after the server has responded.
        half: send half of the response, then cut the connection.
    """

    delay: float = 0.0
    cut_before: bool = False
    status: int = 0
    retry_after: int | str | None = None
    cut_after: bool = False
    half: bool = False


CUT_BEFORE = Fault(cut_before=True)
CUT_AFTER = Fault(cut_after=True)
HALF = Fault(half=True)


def delay(seconds: float) -> Fault:
    return Fault(delay=seconds)


def answer(status: int, retry_after: int | str | None = None) -> Fault:
    return Fault(status=status, retry_after=retry_after)


Plan = Callable[[int, str, str], "Fault | None"]


@dataclass
class Request:
    """A request.

    Attributes:
        number: counted from 1.
        method, path: the path includes the query.
        headers: with names in lower case.
        body: its content, without chunks.
        fault: the injected fault, or None.
        status: status of the response by the server or the proxy; None until then, or if there was none.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    fault: Fault | None = None
    status: int | None = None


class FaultyProxy:
    """The proxy; see above.

    Args:
        target_port: port of the server on 127.0.0.1.
        plan: what to do with each request; by default all are passed on.

    Attributes:
        url: URL of the proxy, without a slash at the end.
        port: its port.
        requests: all requests so far.
    """

    def __init__(self, target_port: int, plan: Plan | None = None) -> None:
        self.target_port = target_port
        self.plan: Plan = plan or (lambda number, method, path: None)
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy is not started; use it as a context manager"
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyProxy:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="proxy")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None and self._thread is not None
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_all()
        self._server.server_close()  # joins the threads of the connections

    def note(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Request:
        """Record a request, and call the plan."""
        with self._lock:
            request = Request(len(self.requests) + 1, method, path, headers, body)
            self.requests.append(request)
        request.fault = self.plan(request.number, method, path)
        return request

    def wait(self, seconds: float) -> None:
        """Wait for this time, or until the proxy is closed."""
        self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    """Accepts connections, and keeps track of them so that they can be cut."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._all_cut = False
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer.server_bind looks up the name of this machine

    def add(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self._open.add(connection)
            if self._all_cut:
                _cut(connection)

    def discard(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self._open.discard(connection)

    def cut_all(self) -> None:
        with self._connections_lock:
            self._all_cut = True
            for connection in self._open:
                _cut(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may disconnect at any time."""


class _Handler(BaseHTTPRequestHandler):
    """A connection of a client, on a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.server.add(self.connection)

    def finish(self) -> None:
        self.server.discard(self.connection)
        try:
            super().finish()
        except OSError:
            return  # the client has disconnected

    def _pass(self) -> None:
        proxy = self.server.proxy
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = proxy.note(self.command, self.path, headers, self._body())
        fault = request.fault or Fault()
        if fault.delay:
            proxy.wait(fault.delay)
        if fault.cut_before:
            self._cut()
            return
        if fault.status:
            request.status = fault.status
            extra = [] if fault.retry_after is None else [("Retry-After", str(fault.retry_after))]
            text = b"" if fault.status in (204, 304) else f"{fault.status}, as planned\n".encode()
            self._answer(fault.status, "", [("Content-Type", "text/plain"), *extra], text)
            return
        try:
            status, reason, response_headers, body = self._ask(request)
        except (OSError, http.client.HTTPException):
            self._cut()  # pass on that the server has cut the connection
            return
        request.status = status
        if fault.cut_after:
            self._cut()
            return
        self._answer(status, reason, response_headers, body, half=fault.half)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue  # trailers
        return b"".join(parts)

    def _ask(self, request: Request) -> tuple[int, str, list[tuple[str, str]], bytes]:
        """Pass the request on, over a new connection."""
        server = http.client.HTTPConnection("127.0.0.1", self.server.proxy.target_port, timeout=RESPONSE_TIMEOUT)
        try:
            server.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_HEADERS:
                    server.putheader(name, value)
            if request.body or "content-length" in request.headers or "transfer-encoding" in request.headers:
                server.putheader("Content-Length", str(len(request.body)))
            server.putheader("Connection", "close")
            server.endheaders(request.body or None)
            response = server.getresponse()
            return response.status, response.reason, response.getheaders(), response.read()
        finally:
            server.close()

    def _answer(
        self, status: int, reason: str, headers: list[tuple[str, str]], body: bytes, half: bool = False
    ) -> None:
        self.send_response_only(status, reason or None)
        for name, value in headers:
            if name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        if status not in (204, 304):
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        if half:
            if body:
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
            else:
                self.flush_headers()
            self._cut()
            return
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        self.wfile.flush()
        _cut(self.connection)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing; see `FaultyProxy.requests`."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client has disconnected
