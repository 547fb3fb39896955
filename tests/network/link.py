"""BadLink: a TCP proxy between a client and its sidecar that is slow, stalls, and cuts connections within a frame.

    with BadLink(host, "10.77.1.1", "10.77.2.2", range(5757, 5767), output, Faults(seed=1)) as link:
        ...                                     # clients attach at tcp://10.77.1.1:5757
        link.begin()                            # until now it was only slow
        ...
    assert link.seen["cut"] > 0

It runs in a process of its own, on a host of `tests.network.namespaces` that both sides reach: a sidecar tells ports
and no address, so those of the proxy have the sidecar's numbers, and that takes an address of its own. What passes does
so byte for byte; the harm is done to all connections alike, since it is the link that is bad:

- every byte is on its way for `delay` seconds, in both directions;
- from time to time, once `begin` was called, nothing moves for some seconds;
- from time to time, then, a connection is cut: a part of what was about to pass still does, then both ends are reset.

A seed says when. Knows nothing of ZeroMQ. As a program, ``python -m tests.network.link JSON``, it prints a line for
each thing that happens, the first of them ``ready``.
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
_ON_ITS_WAY_BYTES = 1024 * 1024
"""A direction of a connection takes no more while so much is on its way in it."""


@dataclass(frozen=True)
class Faults:
    """What is wrong with a link.

    Attributes:
        seed: of what is at random.
        delay: seconds that each byte takes, each way.
        stall_every: a stall comes after between half of and one and a half of so many seconds; 0: none does.
        stall: the longest stall, in seconds; the shortest is a quarter of it.
        cut_every: the same for cuts.
        cut_first: so many connections are cut right after they begin, before all others.
    """

    seed: int = 0
    delay: float = 0.05
    stall_every: float = 4.0
    stall: float = 3.0
    cut_every: float = 1.5
    cut_first: int = 0


class BadLink:
    """The proxy; see above. As a context manager: it stands between.

    Args:
        host: where it runs.
        address: where it listens.
        target: where the sidecar is.
        ports: the sidecar's, of the door, of records and of results.
        output: a file for what it prints.
    """

    def __init__(
        self, host: Host, address: str, target: str, ports: Sequence[int], output: Path, faults: Faults
    ) -> None:
        self._host = host
        self._told = {"address": address, "target": target, "ports": list(ports), "faults": asdict(faults)}
        self._output = output
        self._process: Process | None = None

    @property
    def seen(self) -> Counter[str]:
        """What has happened so far: ``connection``, ``stall``, ``cut`` -> how often."""
        return Counter(line.split()[0] for line in self._output.read_text().splitlines() if line.strip())

    def begin(self) -> None:
        """Begin with stalls and cuts."""
        assert self._process is not None
        self._process.kill(signal.SIGUSR1)

    def mend(self) -> None:
        """No more stalls and cuts, but it stays slow."""
        assert self._process is not None
        self._process.kill(signal.SIGUSR2)

    def __enter__(self) -> BadLink:
        words = [sys.executable, "-u", "-m", "tests.network.link", json.dumps(self._told)]
        self._process = Process(self._host, words, self._output, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
        process = self._process
        wait_until(lambda: self.seen["ready"] or not process.alive(), "the proxy is ready")
        assert process.alive(), f"the proxy has ended: {self._output.read_text()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill(signal.SIGTERM)
        self._process.close()


class Apart:
    """A client's host and a sidecar's, joined by a bad link and, beside it, by a good one; the sidecar serves.

    As a context manager: all of it is there.

    Args:
        directory: for all of it; made if it is not there.

    Attributes:
        host: the client's.
        mine: a directory that only the client's host sees.
        far_root: the sidecar's root directory.
        key: the sidecar's public key.
        link: the bad one.
    """

    ADDRESS, DIRECT_ADDRESS = "tcp://10.77.1.1:5757", "tcp://10.77.3.2:5757"

    def __init__(self, directory: Path, faults: Faults) -> None:
        self._directory = directory
        self._faults = faults
        self._stack = ExitStack()
        self.mine = directory / "mine"
        self.far_root = directory / "theirs" / "root"

    def __enter__(self) -> Apart:
        with ExitStack() as stack:
            self._make(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _make(self, stack: ExitStack) -> None:
        theirs = self.far_root.parent
        for path in (self.mine, theirs):
            path.mkdir(parents=True)
        pair = new_key_pair()
        secret, _ = write_key_pair(theirs / "server", pair)
        self.key = pair.public
        network = stack.enter_context(Network(self._directory))
        self.host = network.host("trainer", hidden=[theirs])
        middle = network.host("middle")
        server = network.host("server", hidden=[self.mine])
        network.connect(self.host, "10.77.1.2", middle, "10.77.1.1")
        network.connect(server, "10.77.2.2", middle, "10.77.2.1")
        network.connect(self.host, "10.77.3.1", server, "10.77.3.2")
        options = ["--listen", "tcp://0.0.0.0:5757", "--ports", "5758-5765"]
        stack.enter_context(Served(server, self.far_root, *options, key=secret))
        output = self._directory / "link.out"
        ports = range(5757, 5766)
        self.link = stack.enter_context(BadLink(middle, "10.77.1.1", "10.77.2.2", ports, output, self._faults))

    def train(self, run: str, *, direct: bool = False, **options: Any) -> FarTrainer:
        """Start a steady trainer, with a root of its own."""
        address = self.DIRECT_ADDRESS if direct else self.ADDRESS
        env = {"TRACKER_SIDECAR": address, "TRACKER_SIDECAR_KEY": self.key}
        return FarTrainer(self.host, self.mine / run, "steady", run, env=env, **options)


# -- in the process of its own -----------------------------------------------------


class _Connection:
    """One connection through the proxy: two sockets, and what is on its way between them."""

    def __init__(self, one: asyncio.StreamWriter, other: asyncio.StreamWriter, condemned: bool) -> None:
        self.ends = (one, other)
        self.condemned = condemned  # the next that passes is its last

    def reset(self) -> None:
        for end in self.ends:
            found: socket.socket | None = end.get_extra_info("socket")
            if found is not None:  # with a linger of no time a close is a reset (socket(7))
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()


class _Proxy:
    """All connections of the link, and its faults."""

    def __init__(self, target: str, faults: Faults) -> None:
        self._target = target
        self._faults = faults
        self._chance = random.Random(faults.seed)
        self._moving = asyncio.Event()
        self._moving.set()
        self._connections: list[_Connection] = []
        self._begun = 0

    async def serve(self, address: str, ports: Sequence[int]) -> None:
        for port in ports:

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
                await self._accept(reader, writer, port)

            await asyncio.start_server(accept, address, port)
        loop = asyncio.get_running_loop()
        begun, mended = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, begun.set)
        loop.add_signal_handler(signal.SIGUSR2, mended.set)
        print("ready")
        await begun.wait()
        harm = [asyncio.create_task(self._stall_now_and_then()), asyncio.create_task(self._cut_now_and_then())]
        await mended.wait()
        for task in harm:
            task.cancel()
        self._moving.set()
        await loop.create_future()  # for ever

    async def _stall_now_and_then(self) -> None:
        while self._faults.stall_every:
            await asyncio.sleep(self._faults.stall_every * (0.5 + self._chance.random()))
            seconds = self._faults.stall * (0.25 + 0.75 * self._chance.random())
            print(f"stall {seconds:.3f}")
            self._moving.clear()
            await asyncio.sleep(seconds)
            self._moving.set()

    async def _cut_now_and_then(self) -> None:
        while self._faults.cut_every:
            await asyncio.sleep(self._faults.cut_every * (0.5 + self._chance.random()))
            if self._connections:
                self._chance.choice(self._connections).condemned = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target, port)
        except OSError:
            writer.transport.abort()
            return
        print(f"connection {port}")
        self._begun += 1
        connection = _Connection(writer, far_writer, self._begun <= self._faults.cut_first)
        self._connections.append(connection)
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, connection), self._carry(far_reader, writer, connection)
            )
        except (OSError, EOFError):
            pass  # an end has closed, or was cut
        finally:
            self._connections.remove(connection)
            connection.reset()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        """Carry one direction until its end, and raise EOFError then."""
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_ITS_WAY_BYTES // _CHUNK_BYTES)
        clock = asyncio.get_running_loop().time

        async def take() -> None:
            while data := await reader.read(_CHUNK_BYTES):
                await way.put((clock() + self._faults.delay, data))
            await way.put((clock() + self._faults.delay, b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await way.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._moving.wait()
                if not data:
                    raise EOFError
                if connection.condemned and len(data) > 1:
                    connection.condemned = False
                    writer.write(data[: self._chance.randrange(1, len(data))])
                    await writer.drain()
                    await asyncio.sleep(0)
                    print(f"cut {len(data)}")
                    raise EOFError
                writer.write(data)
                await writer.drain()
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


def main(text: str) -> None:
    """Stand between until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told = json.loads(text)
    asyncio.run(_Proxy(told["target"], Faults(**told["faults"])).serve(told["address"], told["ports"]))


if __name__ == "__main__":
    main(sys.argv[1])
