"""A real ClickHouse server for the tests, with files and ports of its own; started once, stopped at the end.

In a test module::

    clickhouse = clickhouse_server.clickhouse

makes it the fixture of that name. Speaks with the server by itself, not through what is tested.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import wait_until

USER, PASSWORD = "alice", "s3cret"
"""Somebody who needs a password; `default` needs none."""

READER = "reader"
"""Somebody who may only read, and needs no password."""

CLUSTER = "alone"
"""A cluster of one shard, which is the server itself."""

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
    """The server.

    Args:
        directory: where all of it is.

    Attributes:
        port: of its HTTP interface.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, tcp = _free_ports(2)
        (directory / "config.xml").write_text(
            _CONFIG.format(http=self.port, tcp=tcp, directory=directory, cluster=CLUSTER)
        )
        (directory / "users.xml").write_text(_USERS.format(user=USER, password=PASSWORD, reader=READER))
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> ClickhouseServer:
        """Return when it answers.

        Raises:
            AssertionError: it is not installed, or does not start.
        """
        assert self._process is None
        with open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                [*_program(), f"--config-file={self.directory}/config.xml"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
            )
        wait_until(self._answers, "ClickHouse answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"ClickHouse has ended: {self._output.read_text(errors='replace')[-2000:]}"
        try:
            return self.query("SELECT 1") == "1\n"
        except (urllib.error.URLError, ConnectionError):
            return False

    def query(self, sql: str) -> str:
        """Return an answer, as TabSeparated if `sql` asks for no other format."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", data=sql.encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                found: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{sql}: {error.read().decode(errors='replace')}") from None
        return found.decode()

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        """Return an answer's rows."""
        return [tuple(line.split("\t")) for line in self.query(sql).splitlines()]

    def address(self, database: str, port: int | None = None, options: Mapping[str, str] | None = None) -> str:
        """Return the address of a database, through another port if one is given."""
        query = f"?{urllib.parse.urlencode(options)}" if options else ""
        return f"clickhouse+http://127.0.0.1:{port or self.port}/{database}{query}"

    def stop(self) -> None:
        """Kill it: what it keeps is thrown away. May be called again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _program() -> list[str]:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/bin"])
    if found := shutil.which("clickhouse-server", path=path):
        return [found]
    if found := shutil.which("clickhouse", path=path):
        return [found, "server"]
    raise AssertionError("there is no clickhouse-server; install it: apt-get install clickhouse-server")


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


_shared: list[ClickhouseServer] = []


@pytest.fixture(scope="session")
def clickhouse(temporary: Path) -> Iterator[ClickhouseServer]:
    """The server of all tests."""
    if not _shared:  # a fixture is one for each module that has it, the server one for all
        directory = Path(tempfile.mkdtemp(prefix="clickhouse-", dir=temporary))
        _shared.append(ClickhouseServer(directory).start())
    yield _shared[0]
    _shared[0].stop()
