"""ClickHouse servers for the tests, with files and ports of their own; each is started once, and stopped at the end.

In a test module::

    clickhouse = clickhouse_server.clickhouse
    modern_clickhouse = clickhouse_server.modern_clickhouse

makes them fixtures of these names. The first is the installed server (Debian's is 18.16), the second the current
release, from the package chdb. They are queried directly here, not through the code under test.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import REPOSITORY, wait_until

USER, PASSWORD = "alice", "s3cret"
"""A user with a password; the user `default` has none."""

READER = "reader"
"""A user that can only read, without a password."""

CLUSTER = "alone"
"""A cluster with one shard, the server itself."""

_CONFIG = """\
<yandex>
    <logger><level>warning</level><console>1</console></logger>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{http}</http_port>
    <tcp_port>{tcp}</tcp_port>
    <path>{directory}/data/</path>
    <tmp_path>{directory}/tmp/</tmp_path>
    <user_files_path>{directory}/user_files/</user_files_path>
    <format_schema_path>{directory}/format_schemas/</format_schema_path>
    <users_config>users.xml</users_config>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <mark_cache_size>16777216</mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <max_concurrent_queries>50</max_concurrent_queries>
    <keep_alive_timeout>60</keep_alive_timeout>
    <remote_servers>
        <{cluster}><shard><replica><host>127.0.0.1</host><port>{tcp}</port></replica></shard></{cluster}>
    </remote_servers>
</yandex>
"""

_USERS = """\
<yandex>
    <profiles>
        <default><max_memory_usage>1000000000</max_memory_usage><max_threads>2</max_threads></default>
        <readonly><readonly>1</readonly></readonly>
    </profiles>
    <users>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
        </default>
        <{user}>
            <password>{password}</password>
            <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
        </{user}>
        <{reader}>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks><profile>readonly</profile><quota>default</quota>
        </{reader}>
    </users>
    <quotas><default></default></quotas>
</yandex>
"""


class ClickhouseServer:
    """The installed server.

    Args:
        directory: for all its files.

    Attributes:
        port: port of its HTTP interface.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, tcp = free_ports(2)
        (directory / "config.xml").write_text(
            _CONFIG.format(http=self.port, tcp=tcp, directory=directory, cluster=CLUSTER)
        )
        (directory / "users.xml").write_text(_USERS.format(user=USER, password=PASSWORD, reader=READER))
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> ClickhouseServer:
        """Start it; return when it responds.

        Raises:
            AssertionError: it is not installed, or does not start.
        """
        assert self._process is None
        with open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                start_new_session=True,
            )
        wait_until(self._answers, "ClickHouse responds")
        return self

    def _command(self) -> list[str]:
        return [*_program(), f"--config-file={self.directory}/config.xml"]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"ClickHouse has ended: {self._output.read_text(errors='replace')[-2000:]}"
        try:
            return self.query("SELECT 1") == "1\n"
        except (urllib.error.URLError, ConnectionError):
            return False

    def query(self, sql: str) -> str:
        """Return the response to a query, in TabSeparated unless `sql` names another format."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", data=sql.encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{sql}: {error.read().decode(errors='replace')}") from None
        return body.decode()

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        """Return the rows of the response to a query."""
        return [tuple(line.split("\t")) for line in self.query(sql).splitlines()]

    def address(self, database: str, port: int | None = None, options: Mapping[str, str] | None = None) -> str:
        """Return the address of a database; `port` is that of a proxy in front of the server, if any."""
        query = f"?{urllib.parse.urlencode(options)}" if options else ""
        return f"clickhouse+http://127.0.0.1:{port or self.port}/{database}{query}"

    def stop(self) -> None:
        """Kill it; its data is discarded. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class ModernClickhouse(ClickhouseServer):
    """The current release, embedded in a process that speaks ClickHouse's HTTP interface; see `chdb_server`."""

    def _command(self) -> list[str]:
        assert importlib.util.find_spec("chdb"), "chdb is not installed; install it: pip install -e '.[test-all]'"
        return [sys.executable, "-m", "tests.servers.chdb_server", str(self.port), str(self.directory)]


def _program() -> list[str]:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/bin"])
    if program := shutil.which("clickhouse-server", path=path):
        return [program]
    if program := shutil.which("clickhouse", path=path):
        return [program, "server"]
    raise AssertionError("clickhouse-server is not installed; install it: apt-get install clickhouse-server")


def free_ports(count: int) -> list[int]:
    """Return TCP ports on which nothing listens."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


_shared: dict[type[ClickhouseServer], ClickhouseServer] = {}


def _started(kind: type[ClickhouseServer], temporary: Path) -> Iterator[ClickhouseServer]:
    if kind not in _shared:  # called for each module that has the fixture; they share one server
        _shared[kind] = kind(Path(tempfile.mkdtemp(prefix="clickhouse-", dir=temporary))).start()
    yield _shared[kind]
    _shared[kind].stop()


@pytest.fixture(scope="session")
def clickhouse(temporary: Path) -> Iterator[ClickhouseServer]:
    """The installed server."""
    yield from _started(ClickhouseServer, temporary)


@pytest.fixture(scope="session")
def modern_clickhouse(temporary: Path) -> Iterator[ClickhouseServer]:
    """The current release."""
    yield from _started(ModernClickhouse, temporary)
