"""Clickhouse: sends SQL to one ClickHouse server, and classifies its errors by what to do. Knows nothing of the schema.

Uses HTTP, https://clickhouse.com/docs/interfaces/http. One thread at a time.

An address is ``clickhouse+http://host:8123/database``, or ``https``. The default port is 8123, or 8443 with https; the
default database is ``default``. A path before the database is kept, for servers behind a proxy. User and password come
from `CLICKHOUSE_USER` and `CLICKHOUSE_PASSWORD`, or from the files that `CLICKHOUSE_USER_FILE` and
`CLICKHOUSE_PASSWORD_FILE` name. Options are those of `schema`, and ``setting.NAME=VALUE`` for a server setting that is
sent with every request, such as ``setting.async_insert=1`` (current releases: small inserts of many runs are combined,
and each is still waited for) or ``setting.insert_quorum=2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sidecar.protocol.sink_address import SinkAddress
from sidecar.protocol.sink_kinds import SINK_KINDS
from sidecar.sinks.clickhouse.schema import Schema
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.http import TIMEOUT_SECONDS, Answer, HttpServer, secret

PORTS = {"http": 8123, "https": 8443}
DATABASE = "default"

_ANSWERED = (400, 401, 403, 404, 500, 501)
"""Status codes of responses that contain an error of ClickHouse itself."""

_CODE = re.compile(rb"\s*Code: (\d+)")

REFUSED = frozenset(
    {
        16, 36, 43, 44, 46, 47, 50, 53, 60, 62, 81, 115, 164, 170, 192, 193, 194, 195, 291, 344, 452, 474, 497, 516
    }
)  # fmt: skip
"""Codes of errors that do not pass by themselves: unknown column (16, 47), invalid argument or type (36, 43, 44, 50,
53), unknown function (46), table (60) or database (81), syntax (62), unknown setting (115) or one that must not be
changed (452), read only (164), unknown cluster (170), user and password (192 to 195, 516), access denied (291, 497),
not supported (344), unknown disk or volume (474). See ``src/Common/ErrorCodes.cpp`` of ClickHouse."""


class Endpoint(NamedTuple):
    """A parsed address.

    Attributes:
        url: URL of the server, without a slash at the end.
        schema: the tables.
        settings: name -> value of server settings.
    """

    url: str
    schema: Schema
    settings: dict[str, str]


def endpoint_of(address: SinkAddress) -> Endpoint:
    """Return the parsed address.

    Raises:
        ValueError: an option is unknown or invalid.
    """
    parts = urlsplit(address.url)
    prefix, _, database = parts.path.rstrip("/").rpartition("/")
    host = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{PORTS[parts.scheme]}"
    settings = {name.partition(".")[2]: value for name, value in address.options.items() if name.startswith("setting.")}
    options = {name: value for name, value in address.options.items() if not name.startswith("setting.")}
    try:
        schema = Schema.of(unquote(database) or DATABASE, options)
    except ValueError as error:
        raise ValueError(f"{address.text}: {error}") from error
    if schema.distributed:
        settings = {"insert_distributed_sync": "1", **settings}  # an insert returns when the shards have it
    return Endpoint(f"{parts.scheme}://{host}{prefix}", schema, settings)


class Clickhouse:
    """One server and one database in it.

    Args:
        address: its address.
        timeout: maximum time without a byte of a response, in seconds. The response to an insert comes when it is done,
            that to a query when the whole result is known.

    Attributes:
        schema: the tables.

    Raises:
        SinkRefusedError: the address has an invalid option, or a secret cannot be read.
    """

    def __init__(self, address: SinkAddress, timeout: float = TIMEOUT_SECONDS) -> None:
        try:
            url, self.schema, self._settings = endpoint_of(address)
        except ValueError as error:
            raise SinkRefusedError(str(error)) from error
        self._server = HttpServer(url, timeout=timeout)
        user, password = map(secret, SINK_KINDS["clickhouse"].secrets)
        headers = {"X-ClickHouse-User": user or ("default" if password else None), "X-ClickHouse-Key": password}
        self._headers = {name: value for name, value in headers.items() if value}

    def query(self, sql: str) -> bytes:
        """Return the complete result of a query or a command.

        Raises:
            SinkUnavailableError, SinkRefusedError: as `HttpServer.request`, or the server reports an error.
        """
        return self._request(sql.encode(), {"wait_end_of_query": "1"})

    def insert(self, table: str, columns: Iterable[str], form: str, rows: bytes | Iterable[bytes]) -> None:
        """Insert rows; return when the server has stored them.

        Args:
            table: name of the table in SQL.
            columns: names of the columns in SQL.
            form: format of the rows: ``"Native"`` or ``"RowBinary"``.
            rows: the rows in that format, whole or in pieces.
        """
        self._request(rows, {"query": f"INSERT INTO {table} ({', '.join(columns)}) FORMAT {form}"})

    def _request(self, data: bytes | Iterable[bytes], params: dict[str, str]) -> bytes:
        answer = self._server.request(
            "POST", "/", data=data, params={**params, **self._settings}, headers=self._headers, expected=_ANSWERED
        )
        if answer.status >= 300:
            raise error_of(self._server.url, answer)
        return answer.body

    def close(self) -> None:
        self._server.close()


def error_of(url: str, answer: Answer) -> SinkUnavailableError | SinkRefusedError:
    """Return the exception for a response that reports an error."""
    text = " ".join(answer.body[:2000].decode(errors="replace").split())
    text = text.replace("e.displayText() = ", "").removesuffix(", e.what() = DB::Exception")
    what = f"{url}: {answer.status}: {text[:500]}"
    code = _CODE.match(answer.body)
    if code is None:  # it is not from ClickHouse, but from a proxy
        return SinkUnavailableError(what) if answer.status >= 500 else SinkRefusedError(what)
    return SinkRefusedError(what) if int(code[1]) in REFUSED else SinkUnavailableError(what)


__all__ = ["Clickhouse", "Endpoint", "endpoint_of", "error_of"]
