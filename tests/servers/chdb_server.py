"""``python -m tests.servers.chdb_server PORT DIRECTORY``: a current ClickHouse on loopback, from the package chdb.

chdb is ClickHouse as a library, without its HTTP interface. This module adds the part that the sink and the reader use:
a statement in the body of a POST, or in the parameter ``query`` with the rows of an insert in the body. There are no
users and no settings; an unknown parameter is an error.
"""

from __future__ import annotations

import importlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_PARAMETERS = {"query", "wait_end_of_query"}


class Engine:
    """A session of chdb, used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        chdb: Any = importlib.import_module("chdb.session")
        self._session: Any = chdb.Session(str(directory / "data"))
        self._rows = directory / "rows"
        self._lock = threading.Lock()

    def run(self, statement: str, rows: bytes | None) -> bytes:
        """Run a statement; the rows of an insert are passed in a file, which is parsed as in a server."""
        with self._lock:
            if rows is not None:
                self._rows.write_bytes(rows)
                statement, _, form = statement.rpartition(" FORMAT ")
                statement += f" FROM INFILE '{self._rows}' FORMAT {form}"
            answer: bytes = self._session.query(statement, "TabSeparated").bytes()
            return answer


class Handler(BaseHTTPRequestHandler):
    """Answers requests as ClickHouse's HTTP interface does."""

    protocol_version = "HTTP/1.1"
    engine: Engine

    def do_POST(self) -> None:
        body = self._body()
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        unknown = sorted(set(parameters) - _PARAMETERS)
        status, answer = 200, b""
        if unknown:
            status, answer = 404, f"Code: 115. DB::Exception: Unknown setting '{unknown[0]}'".encode()
        else:
            statement = parameters.get("query", "")
            try:
                answer = self.engine.run(statement, body) if statement else self.engine.run(body.decode(), None)
            except Exception as error:  # chdb has one exception, with ClickHouse's message
                status, answer = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def main(port: int, directory: Path) -> None:
    Handler.engine = Engine(directory)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
