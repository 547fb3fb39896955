"""One ClickHouse server: where an address says it is, SQL to it, its errors told apart by what is to be done.

Over HTTP, https://clickhouse.com/docs/interfaces/http. One thread at a time. Knows SQL's outside, no table.

An address is ``clickhouse+http://host:8123/database``, or ``https``. Without a port it is 8123, or 8443 with https;
without a database it is ``default``. A path before the database is kept, for servers behind a proxy. The user and the
password come from `CLICKHOUSE_USER` and `CLICKHOUSE_PASSWORD`, or from the files that `CLICKHOUSE_USER_FILE` and
`CLICKHOUSE_PASSWORD_FILE` name. Options: those of `schema`, and ``setting.NAME=VALUE`` for a setting of the server's
that goes with every request, such as ``setting.async_insert=1`` (today's releases: small inserts of many runs are put
together, and each is still waited for) or ``setting.insert_quorum=2``.
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
"""HTTP codes with which ClickHouse answers with an error of its own in the body."""

_CODE = re.compile(rb"\s*Code: (\d+)")

REFUSED = frozenset(
    {
        16, 36, 43, 44, 46, 47, 50, 53, 60, 62, 81, 115, 164, 170, 192, 193, 194, 195, 291, 344, 452, 474, 497, 516
    }
)  # fmt: skip
"""The server's errors that do not go away by themselves: no such column (16, 47), a bad argument or type (36, 43, 44,
50, 53), no such function (46), table (60) or database (81), syntax (62), no such setting (115) or one that may not be
changed (452), read only (164), no such cluster (170), user and password (192 to 195, 516), no right to it (291, 497),
not supported (344), no such place (474). See ``src/Common/ErrorCodes.cpp`` of ClickHouse."""


class Place(NamedTuple):
    """What an address says.

    Attributes:
        url: of the server, without a slash at the end.
        schema: which tables.
        settings: name -> value, of the server's.
    """

    url: str
    schema: Schema
    settings: dict[str, str]


def place_of(address: SinkAddress) -> Place:
    """Return what an address says.

    Raises:
        ValueError: naming what cannot be.
    """
    parts = urlsplit(address.url)
    before, _, database = parts.path.rstrip("/").rpartition("/")
    host = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{PORTS[parts.scheme]}"
    settings = {name.partition(".")[2]: value for name, value in address.options.items() if name.startswith("setting.")}
    options = {name: value for name, value in address.options.items() if not name.startswith("setting.")}
    try:
        schema = Schema.of(unquote(database) or DATABASE, options)
    except ValueError as error:
        raise ValueError(f"{address.text}: {error}") from error
    if schema.distributed:
        settings = {"insert_distributed_sync": "1", **settings}  # an insert is answered when the shards have it
    return Place(f"{parts.scheme}://{host}{before}", schema, settings)


class Clickhouse:
    """One server and one database in it.

    Args:
        address: where it is.
        timeout: seconds without a byte of an answer: an insert is answered when it is done, a question when all of its
            answer is known.

    Attributes:
        schema: the tables.

    Raises:
        SinkRefusedError: the address has options that cannot be, or a secret cannot be read.
    """

    def __init__(self, address: SinkAddress, timeout: float = TIMEOUT_SECONDS) -> None:
        try:
            url, self.schema, self._settings = place_of(address)
        except ValueError as error:
            raise SinkRefusedError(str(error)) from error
        self._server = HttpServer(url, timeout=timeout)
        user, password = map(secret, SINK_KINDS["clickhouse"].secrets)
        given = {"X-ClickHouse-User": user or ("default" if password else None), "X-ClickHouse-Key": password}
        self._headers = {name: value for name, value in given.items() if value}

    def query(self, sql: str) -> bytes:
        """Return the answer to a question or a command, all of it or an error.

        Raises:
            SinkUnavailableError, SinkRefusedError: as `HttpServer.request`, and by what the server says.
        """
        return self._request(sql.encode(), {"wait_end_of_query": "1"})

    def insert(self, table: str, columns: Iterable[str], form: str, rows: bytes | Iterable[bytes]) -> None:
        """Insert rows; return when the server keeps them.

        Args:
            table: its name in SQL.
            columns: their names in SQL.
            form: of the rows: ``"Native"`` or ``"RowBinary"``.
            rows: their bytes, or pieces of them.
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
    """Return what an answer says that is an error."""
    text = " ".join(answer.body[:2000].decode(errors="replace").split())
    text = text.replace("e.displayText() = ", "").removesuffix(", e.what() = DB::Exception")
    what = f"{url}: {answer.status}: {text[:500]}"
    found = _CODE.match(answer.body)
    if found is None:  # not ClickHouse's own words: a proxy's
        return SinkUnavailableError(what) if answer.status >= 500 else SinkRefusedError(what)
    return SinkRefusedError(what) if int(found[1]) in REFUSED else SinkUnavailableError(what)


__all__ = ["Clickhouse", "Place", "error_of", "place_of"]
