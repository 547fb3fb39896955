"""A sink that follows the contract, with a server in memory that fails as planned by a test."""

from __future__ import annotations

from collections import Counter

from sidecar.log.reader import Batch
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record
from sidecar.sinks.contract import SinkTarget


class MemoryServer:
    """A server in memory: the received batches, and the planned failures.

    Attributes:
        batch_bytes: the batch size that its sinks prefer.
        open_error, error: raised by each `open` or `send`, unless None.
        lost: whether `send` reports that the server has lost everything.
        after: whether `error` is raised after the batch was stored, as if the response had been lost.
        batches: the received batches, including refused ones.
        counts: client and seq of each stored record -> how often it was sent.
        records: the stored records, in the order of their first arrival.
        states: the run's state with each batch.
        memories: the sink's memory at each `open`.
        made, opened, closed: how often a sink was created, opened, closed.
    """

    def __init__(self, batch_bytes: int = 1 << 20) -> None:
        self.batch_bytes = batch_bytes
        self.open_error: Exception | None = None
        self.error: Exception | None = None
        self.after = self.lost = False
        self.batches: list[Batch] = []
        self.counts: Counter[tuple[str, int]] = Counter()
        self.records: list[Record] = []
        self.states: list[RunState] = []
        self.memories: list[dict[str, object]] = []
        self.made = self.opened = self.closed = 0

    def sink(self, target: SinkTarget) -> MemorySink:
        self.made += 1
        return MemorySink(self, target)


class MemorySink:
    """See `sidecar.sinks.contract.Sink`."""

    def __init__(self, server: MemoryServer, target: SinkTarget) -> None:
        self.server = server
        self.target = target
        self.batch_bytes = server.batch_bytes

    def open(self) -> None:
        self.server.opened += 1
        self.server.memories.append(dict(self.target.memory))
        if self.server.open_error is not None:
            raise self.server.open_error
        self.target.memory.setdefault("id", f"made{self.server.opened}")

    def send(self, batch: Batch, state: RunState) -> int:
        server = self.server
        server.batches.append(batch)
        if server.error is not None and not server.after:
            raise server.error
        if server.lost:
            return 0
        for record in batch.records:
            server.counts[record.client, record.seq] += 1
            if server.counts[record.client, record.seq] == 1:
                server.records.append(record)
        server.states.append(RunState.from_map(state.to_map()))
        if server.error is not None:
            raise server.error
        return batch.end

    def version(self) -> str:
        return "1.0"

    def close(self, deadline: Deadline) -> None:
        self.server.closed += 1
