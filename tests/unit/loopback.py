"""A small HTTP server on loopback that sends exactly the bytes that a test has planned.

One thread accepts connections, and one thread per connection responds; all have ended when the context is left.
"""

from __future__ import annotations

import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

SECONDS = 10.0
"""Timeout of the server for a client, in seconds."""


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """Response of the server to a request.

    Attributes:
        data: the bytes to send.
        cut: close the connection afterwards.
        silent: send nothing more until the context is left.
    """

    data: bytes
    cut: bool = False
    silent: bool = False


def reply(status: int, body: bytes = b"", length: int | None = None, cut: bool = False, **headers: str) -> Reply:
    """Return a reply with a Content-Length, by default that of the body; names of headers have "_" for "-"."""
    lines = [f"HTTP/1.1 {status} As Planned", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Reply("\r\n".join((*lines, "", "")).encode() + body, cut)


class Loopback:
    """A server that sends the next of `replies` to each request, and 200 when none remain; a context manager.

    Attributes:
        replies: the planned replies.
        requests: the received requests.
        connections: number of accepted connections.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.over = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="loopback")

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # joins the threads of the connections


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer.server_bind looks up the name of this machine

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may disconnect at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.loopback.connections += 1

    def _answer(self) -> None:
        loopback = self.server.loopback
        loopback.requests.append(Request(self.command, self.path, dict(self.headers.items()), self._body()))
        planned = loopback.replies.pop(0) if loopback.replies else reply(200)
        self.wfile.write(planned.data)
        if planned.silent:
            loopback.over.wait(SECONDS)
        self.close_connection = planned.cut or planned.silent

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing; see `Loopback.requests`."""
