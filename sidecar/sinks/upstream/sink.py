"""UpstreamSink: sends a run to another sidecar, as clients do: exactly once, in the order of the log.

Each client of the run attaches there under its own id, and its records keep their numbers, so that the other sidecar
drops those that it has. What this sidecar wrote itself comes from a relay; see `sidecar.sinks.upstream.relay`.

Address: ``sidecar+tcp://host:5757``, with ``?key=FILE``, its public key, if it encrypts; `TRACKER_CLIENT_KEY` names the
file of this machine's own key pair. Used by one thread at a time.

Keys of its memory: ``relay`` (the relay's client id), ``relayed`` (the number of records that the relay has sent) and
``relayed_to`` (the log offset where that was), ``gap`` (client and seq of the record after the last gap in the log).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError, LogFormatError
from sidecar.sinks.contract import Batch, SinkTarget, SinkUnavailableError
from sidecar.sinks.upstream.link import Link
from sidecar.sinks.upstream.relay import Item, Relay, ended_clients, relay_id

_GROUP_SECONDS = 60.0
"""Maximum time until a group of records is acked, in seconds."""

_SILENCE_SECONDS = 2.0
_LONGEST_SILENCE_SECONDS = 16.0
"""Silence after which to attach again, in seconds; it doubles each time up to the maximum, since networks may stall."""

_UNSEEN_SECONDS = 30.0
"""Pause between sends after which to attach again first: the other sidecar may have taken the clients for dead."""

_GROUP_BYTES = 4 * 1024 * 1024
"""Size of a group, the records that are in flight at a time. Files are sent in parts, so that a group is bounded."""


class UpstreamSink:
    """Sends one run to one sidecar. See `sidecar.sinks.contract.Sink`."""

    batch_bytes = 1 << 20

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._memory = target.memory
        self._link = Link(target.run, target.address)
        self._ended: set[str] = set()

    def open(self) -> None:
        """Read the keys, and check that the other sidecar answers."""
        if "relay" not in self._memory:
            try:
                self._memory["relay"] = relay_id(self._target.directory, self._target.address.text)
            except (OSError, LogFormatError) as error:
                raise SinkUnavailableError(f"run {self._target.run}: its log cannot be read: {error}") from error
        self._memory.setdefault("relayed", 0)
        self.version()

    def version(self) -> str:
        """Return the version of the other sidecar."""
        return self._link.version()

    def send(self, batch: Batch, state: RunState) -> int:
        """Send a batch; return when all of it is in the log of the other sidecar."""
        relay = Relay(self._target.run, self._target.directory, str(self._memory["relay"]))
        from_start = batch.first_end <= self._memory.get("relayed_to", 0)
        relay.seq = 0 if from_start else self._memory["relayed"]
        if time.monotonic() - self._link.used_at > _UNSEEN_SECONDS:
            self._link.drop()
        try:
            for group in _groups(relay.items(batch)):
                if not self._deliver(group, relay, state):
                    return 0
        except ChannelError as error:
            self._link.drop()
            raise SinkUnavailableError(str(error)) from error
        self._memory["relayed"], self._memory["relayed_to"] = relay.seq, batch.end
        self._detach_ended(ended_clients(batch))
        return batch.end

    def _deliver(self, group: list[Item], relay: Relay, state: RunState) -> bool:
        """Return when the other sidecar has a group in its log; False if it has lost earlier records."""
        deadline = Deadline(_GROUP_SECONDS)
        patience = _SILENCE_SECONDS
        while True:
            self._attach(group, state)
            missing = self._missing(group, relay)
            if missing is None:
                return False
            if not missing or self._link.push(missing, patience, deadline):
                return True
            self._link.drop()
            patience = min(_LONGEST_SILENCE_SECONDS, 2 * patience)
            if deadline.over():
                raise SinkUnavailableError(f"{self._target.address.url}: no ack within {_GROUP_SECONDS:.0f} s")

    def _attach(self, group: list[Item], state: RunState) -> None:
        """Attach the clients of a group; at first also those that are silent now, which would be taken for dead."""
        clients = {item.client for item in group}
        if not self._link.attached:
            clients |= {client for client, writer in state.writers.items() if writer.state == "running"}
            clients |= {self._memory["relay"]} if self._memory["relayed"] else set()
        self._link.attach(clients)
        self._ended -= clients

    def _missing(self, group: list[Item], relay: Relay) -> list[Item] | None:
        """Return the items that the other sidecar does not have.

        It accepts only consecutive numbers. A gap is either damage in this log, for which substitutes are sent, or
        records that the other sidecar has lost. So at the first sight of a gap the result is None, to have everything
        resent; if it is still there then, it is damage.
        """
        missing = []
        last = dict(self._link.last)
        seen: set[str] = set()
        for item in group:
            gap = range(last[item.client] + 1, item.first)
            if gap and item.client not in seen and self._memory.get("gap") != [item.client, item.first]:
                self._memory["gap"] = [item.client, item.first]
                return None
            missing += [relay.damaged(item.client, seq) for seq in gap]
            if item.seq > last[item.client]:
                missing.append(item.after(last[item.client]))
                last[item.client] = item.seq
            seen.add(item.client)
        return missing

    def _detach_ended(self, clients: set[str]) -> None:
        """Detach clients that have ended, and with the last of them the relay."""
        self._ended |= clients
        if self._link.attached - self._ended <= {self._memory["relay"]}:
            self._ended |= self._link.attached
        self._link.detach(self._ended)

    def close(self, deadline: Deadline) -> None:
        """Detach all clients; they attach again for what has not been sent."""
        self._link.close(deadline)


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the items in groups of about `_GROUP_BYTES`."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item.frames)
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


__all__ = ["UpstreamSink"]
