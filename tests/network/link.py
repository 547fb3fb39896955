"""BadLink: a slow TCP proxy between a client and its sidecar that stalls and cuts connections within a frame.

    with BadLink(host, "10.77.1.1", "10.77.2.2", range(5757, 5767), output, Faults(seed=1)) as link:
        ...                                     # clients attach at tcp://10.77.1.1:5757
        link.start_faults()                     # until now it was only slow
        ...
    assert link.events["cut"] > 0

The proxy is a separate process on a host of `tests.network.namespaces` that both sides reach. A sidecar announces ports
but no address, so the proxy uses the sidecar's port numbers on an address of its own. Bytes are forwarded unchanged.
Faults affect all connections alike:

- every byte is delayed by `delay` seconds, in both directions;
- after `start_faults`, all traffic stops for some seconds from time to time;
- after `start_faults`, a connection is cut from time to time: part of the next chunk is forwarded, then both ends are
  reset.

The times depend on a seed. Does not know about ZeroMQ. As a program, ``python -m tests.network.link JSON``, it prints
one line for each event, beginning with ``ready``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sidecar.protocol.channels import new_key_pair
from sidecar.protocol.keys import write_key_pair
from tests.network.namespaces import FarTrainer, Host, Network, Process, Served
from tests.support import REPOSITORY, wait_until

_CHUNK_BYTES = 64 * 1024
_MAX_DELAYED_BYTES = 1024 * 1024
"""Maximum size of the delayed data in each direction of a connection, in bytes; beyond it reading stops."""


@dataclass(frozen=True)
class Faults:
    """The faults of a link.

    Attributes:
        seed: seed of the random times.
        delay: delay of each byte in each direction, in seconds.
        stall_every: mean time between two stalls, in seconds; the actual time is 0.5 to 1.5 times that. 0: no stalls.
        stall: maximum length of a stall, in seconds; the minimum is a quarter of it.
        cut_every: mean time between two cuts, as for stalls.
        cut_first: number of connections that are cut as soon as data passes, starting with the first.
    """

    seed: int = 0
    delay: float = 0.05
    stall_every: float = 4.0
    stall: float = 3.0
    cut_every: float = 1.5
    cut_first: int = 0


class BadLink:
    """The proxy. As a context manager, it runs until the exit.

    Args:
        host: the host it runs on.
        address: the address it listens at.
        target: the address of the sidecar.
        ports: the sidecar's ports: control, records and results.
        output: the file for its output.
    """

    def __init__(
        self, host: Host, address: str, target: str, ports: Sequence[int], output: Path, faults: Faults
    ) -> None:
        self._host = host
        self._options = {"address": address, "target": target, "ports": list(ports), "faults": asdict(faults)}
        self._output = output
        self._process: Process | None = None

    @property
    def events(self) -> Counter[str]:
        """Number of events so far, by name: ``connection``, ``stall``, ``cut``."""
        return Counter(line.split()[0] for line in self._output.read_text().splitlines() if line.strip())

    def start_faults(self) -> None:
        """Start stalls and cuts."""
        assert self._process is not None
        self._process.kill(signal.SIGUSR1)

    def stop_faults(self) -> None:
        """Stop stalls and cuts; the link stays slow."""
        assert self._process is not None
        self._process.kill(signal.SIGUSR2)

    def __enter__(self) -> BadLink:
        words = [sys.executable, "-u", "-m", "tests.network.link", json.dumps(self._options)]
        self._process = Process(self._host, words, self._output, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
        process = self._process
        wait_until(lambda: self.events["ready"] or not process.alive(), "the proxy is ready")
        assert process.alive(), f"the proxy ended: {self._output.read_text()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill(signal.SIGTERM)
        self._process.close()


class SeparatedHosts:
    """A client's host and a sidecar's host, connected by a bad link and also by a good one; the sidecar serves.

    As a context manager, it creates all of that, and removes it at the exit.

    Args:
        directory: the directory for all files; created if missing.

    Attributes:
        host: the client's host.
        client_dir: a directory that only the client's host sees.
        remote_root: the sidecar's root directory.
        key: the sidecar's public key.
        link: the bad link.
    """

    ADDRESS, DIRECT_ADDRESS = "tcp://10.77.1.1:5757", "tcp://10.77.3.2:5757"

    def __init__(self, directory: Path, faults: Faults) -> None:
        self._directory = directory
        self._faults = faults
        self._stack = ExitStack()
        self.client_dir = directory / "client"
        self.remote_root = directory / "server" / "root"

    def __enter__(self) -> SeparatedHosts:
        with ExitStack() as stack:
            self._create(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _create(self, stack: ExitStack) -> None:
        server_dir = self.remote_root.parent
        for path in (self.client_dir, server_dir):
            path.mkdir(parents=True)
        pair = new_key_pair()
        secret, _ = write_key_pair(server_dir / "server", pair)
        self.key = pair.public
        network = stack.enter_context(Network(self._directory))
        self.host = network.host("trainer", hidden=[server_dir])
        middle = network.host("middle")
        server = network.host("server", hidden=[self.client_dir])
        network.connect(self.host, "10.77.1.2", middle, "10.77.1.1")
        network.connect(server, "10.77.2.2", middle, "10.77.2.1")
        network.connect(self.host, "10.77.3.1", server, "10.77.3.2")
        options = ["--listen", "tcp://0.0.0.0:5757", "--ports", "5758-5765"]
        stack.enter_context(Served(server, self.remote_root, *options, key=secret))
        output = self._directory / "link.out"
        ports = range(5757, 5766)
        self.link = stack.enter_context(BadLink(middle, "10.77.1.1", "10.77.2.2", ports, output, self._faults))

    def train(self, run: str, *, direct: bool = False, **options: Any) -> FarTrainer:
        """Start a trainer that logs steadily, with its own root."""
        address = self.DIRECT_ADDRESS if direct else self.ADDRESS
        env = {"TRACKER_SIDECAR": address, "TRACKER_SIDECAR_KEY": self.key}
        return FarTrainer(self.host, self.client_dir / run, "steady", run, env=env, **options)


# -- in the proxy's process -------------------------------------------------------


class _Connection:
    """One connection through the proxy, made of two sockets."""

    def __init__(self, one: asyncio.StreamWriter, other: asyncio.StreamWriter, condemned: bool) -> None:
        self.ends = (one, other)
        self.condemned = condemned  # it is cut at the next chunk

    def reset(self) -> None:
        for end in self.ends:
            sock: socket.socket | None = end.get_extra_info("socket")
            if sock is not None:  # with a linger time of zero a close is a reset (socket(7))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()


class _Proxy:
    """All connections of the link, and its faults."""

    def __init__(self, target: str, faults: Faults) -> None:
        self._target = target
        self._faults = faults
        self._random = random.Random(faults.seed)
        self._moving = asyncio.Event()
        self._moving.set()
        self._connections: list[_Connection] = []
        self._accepted = 0

    async def serve(self, address: str, ports: Sequence[int]) -> None:
        for port in ports:

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
                await self._accept(reader, writer, port)

            await asyncio.start_server(accept, address, port)
        loop = asyncio.get_running_loop()
        started, stopped = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, started.set)
        loop.add_signal_handler(signal.SIGUSR2, stopped.set)
        print("ready")
        await started.wait()
        faults = [asyncio.create_task(self._stall_repeatedly()), asyncio.create_task(self._cut_repeatedly())]
        await stopped.wait()
        for task in faults:
            task.cancel()
        self._moving.set()
        await loop.create_future()  # until SIGTERM

    async def _stall_repeatedly(self) -> None:
        while self._faults.stall_every:
            await asyncio.sleep(self._faults.stall_every * (0.5 + self._random.random()))
            seconds = self._faults.stall * (0.25 + 0.75 * self._random.random())
            print(f"stall {seconds:.3f}")
            self._moving.clear()
            await asyncio.sleep(seconds)
            self._moving.set()

    async def _cut_repeatedly(self) -> None:
        while self._faults.cut_every:
            await asyncio.sleep(self._faults.cut_every * (0.5 + self._random.random()))
            if self._connections:
                self._random.choice(self._connections).condemned = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(self._target, port)
        except OSError:
            writer.transport.abort()
            return
        print(f"connection {port}")
        self._accepted += 1
        connection = _Connection(writer, target_writer, self._accepted <= self._faults.cut_first)
        self._connections.append(connection)
        try:
            await asyncio.gather(
                self._forward(reader, target_writer, connection), self._forward(target_reader, writer, connection)
            )
        except (OSError, EOFError):
            pass  # one end was closed or cut
        finally:
            self._connections.remove(connection)
            connection.reset()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        """Forward one direction until its end, then raise EOFError."""
        delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_DELAYED_BYTES // _CHUNK_BYTES)
        clock = asyncio.get_running_loop().time

        async def read() -> None:
            while data := await reader.read(_CHUNK_BYTES):
                await delayed.put((clock() + self._faults.delay, data))
            await delayed.put((clock() + self._faults.delay, b""))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, data = await delayed.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._moving.wait()
                if not data:
                    raise EOFError
                if connection.condemned and len(data) > 1:
                    connection.condemned = False
                    writer.write(data[: self._random.randrange(1, len(data))])
                    await writer.drain()
                    await asyncio.sleep(0)
                    print(f"cut {len(data)}")
                    raise EOFError
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def main(text: str) -> None:
    """Run the proxy until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    options = json.loads(text)
    asyncio.run(_Proxy(options["target"], Faults(**options["faults"])).serve(options["address"], options["ports"]))


if __name__ == "__main__":
    main(sys.argv[1])
