"""SinkSender: sends runs to one server, on a thread of its own, so that a server that is down delays no other.

`SinkSenders` starts one for each server that runs of this sidecar go to; it is called from the HandlerThread and the
SenderThread. Knows no particular server; a run on its way is a `Delivery`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sidecar.pipeline.stage import StageThread
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import SINKS_NAME
from sidecar.protocol.sink_address import SinkAddress
from sidecar.protocol.sink_progress import write_progress
from sidecar.sinks.contract import OpenSink
from sidecar.sinks.delivery import Delivery
from sidecar.sinks.registry import open_sink

POLL_SECONDS = 0.25
"""Maximum interval between looks at the logs of runs, in seconds."""

PATIENCE_SECONDS = 3600.0
"""How long an idle sidecar keeps retrying an unreachable server before it exits, in seconds; ``tracker sync`` can send
the rest."""

_CLOSE_SECONDS = 5.0

_WAKE = True

SinkStatus = dict[str, dict[str, object]]
"""A server's address -> ``behind_bytes`` (bytes of the log that it does not have yet) and ``error``."""


class SinkSender:
    """Sends runs to one server. A stage, whose items only wake it.

    Args:
        address: the server.
        open_sink: makes the sinks.
        clock: monotonic time.
    """

    def __init__(
        self,
        address: SinkAddress,
        open_sink: OpenSink = open_sink,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._open_sink = open_sink
        self._clock = clock
        self._lock = threading.Lock()  # guards the containers below; never held during a step
        self._deliveries: dict[str, Delivery] = {}
        self._held: set[str] = set()
        self._orphaned: set[str] = set()

    # -- from any thread ----------------------------------------------------------------------------------------

    def add(self, directory: Path, *, held: bool) -> None:
        """Start to send a run.

        Args:
            directory: the run's directory.
            held: whether this sidecar holds the run, so that it may grow; False for one that a dead sidecar left.
        """
        run = directory.name
        with self._lock:
            if run not in self._deliveries:
                self._deliveries[run] = Delivery(directory, self.address, self._open_sink)
            if held:
                self._held.add(run)
                self._orphaned.discard(run)
            elif run not in self._held:
                self._orphaned.add(run)
            progress = self._deliveries[run].progress
        if not (directory / SINKS_NAME / self.address.name).exists():
            # Before the first step, so that a later process knows that the run goes there even if this one is killed.
            with contextlib.suppress(OSError):
                write_progress(directory, progress)

    def closed(self, run: str) -> None:
        """This sidecar has closed a run: it is done once all of it has been sent."""
        with self._lock:
            self._held.discard(run)
            if run in self._deliveries:
                self._deliveries[run].wake()

    def wake(self, run: str) -> Delivery | None:
        """Send a run without gathering more first; return its delivery, or None if there is none."""
        delivery = self.deliveries().get(run)
        if delivery is not None:
            delivery.wake()
        return delivery

    def deliveries(self) -> dict[str, Delivery]:
        """Return a copy: run -> delivery."""
        with self._lock:
            return dict(self._deliveries)

    def pending(self) -> bool:
        """Whether to stay for this server: something is still to be sent, not orphaned, and the server did not fail for
        longer than `PATIENCE_SECONDS`."""
        now = self._clock()
        for run, delivery in self.deliveries().items():
            since = delivery.failing_since
            hopeful = since is None or now - since < PATIENCE_SECONDS
            if hopeful and run not in self._orphaned and delivery.behind_bytes():
                return True
        return False

    # -- the stage ----------------------------------------------------------------------------------------------

    def process(self, item: bool) -> None:
        """Wake up; `idle` does the work."""

    def idle(self, now: float) -> float:
        """Step each delivery; close those of closed runs that have been sent completely."""
        wait = POLL_SECONDS
        for run, delivery in self.deliveries().items():
            wait = min(wait, delivery.step(self._clock()))  # a step may take seconds, so `now` is out of date
            with self._lock:
                done = run not in self._held and delivery.behind_bytes() == 0
                if done:
                    del self._deliveries[run]
                    self._orphaned.discard(run)
            if done:
                delivery.close(Deadline(_CLOSE_SECONDS))
        return wait

    def close(self, deadline: Deadline) -> None:
        """Close all deliveries. What has not been sent stays in the logs, and the progress is saved."""
        for delivery in self.deliveries().values():
            delivery.close(deadline)


class SinkSenders:
    """All servers that runs of this sidecar go to, each with a `SinkSender` on its own thread.

    Args:
        always: the servers that every run goes to.
        open_sink: makes the sinks.
    """

    def __init__(self, always: Iterable[SinkAddress] = (), open_sink: OpenSink = open_sink) -> None:
        self._always = tuple(always)
        self._open_sink = open_sink
        self._senders: dict[str, tuple[SinkSender, StageThread[bool]]] = {}

    def add(self, directory: Path, addresses: Iterable[SinkAddress], *, held: bool = True) -> None:
        """Start to send a run to `addresses`; one that this sidecar holds also to the servers that every run goes to.
        See `SinkSender.add`."""
        wanted = (*self._always, *addresses) if held else tuple(addresses)
        for address in {each.name: each for each in wanted}.values():
            if address.name not in self._senders:
                self._senders[address.name] = self._started(address)
            sender, thread = self._senders[address.name]
            sender.add(directory, held=held)
            thread.put(_WAKE)

    def send_rest(self, directory: Path, addresses: Iterable[SinkAddress]) -> None:
        """Send what was appended to a run that is closed; the process stays for it."""
        for address in addresses:
            if address.name not in self._senders:
                self._senders[address.name] = self._started(address)
            sender, thread = self._senders[address.name]
            sender.add(directory, held=True)
            sender.closed(directory.name)
            thread.put(_WAKE)

    def _started(self, address: SinkAddress) -> tuple[SinkSender, StageThread[bool]]:
        sender = SinkSender(address, self._open_sink)
        thread: StageThread[bool] = StageThread(f"SinkSender-{address.kind}", sender)
        thread.start()
        return sender, thread

    def closed(self, run: str) -> None:
        """This sidecar has closed a run: nothing more is appended to it here."""
        for sender, thread in self._all():
            sender.closed(run)
            thread.put(_WAKE)

    def progress(self, run: str) -> SinkStatus:
        """Return the status of a run at each server, and wake the senders: somebody waits for it."""
        status: SinkStatus = {}
        for sender, thread in self._all():
            delivery = sender.wake(run)
            if delivery is not None:
                status[sender.address.text] = _status(delivery)
                thread.put(_WAKE)
        return status

    def backlog(self) -> dict[str, SinkStatus]:
        """Return the status of each run at each server."""
        status: dict[str, SinkStatus] = {}
        for sender, _ in self._all():
            for run, delivery in sender.deliveries().items():
                status.setdefault(run, {})[sender.address.text] = _status(delivery)
        return status

    def pending(self) -> bool:
        """Whether the process should stay because something is still to be sent."""
        return any(sender.pending() for sender, _ in self._all())

    def failed(self) -> BaseException | None:
        """The exception that ended a thread, if one did."""
        return next((thread.failed for _, thread in self._all() if thread.failed is not None), None)

    def close(self, deadline: Deadline) -> None:
        """End all threads. A request in progress is waited for until the deadline."""
        for _, thread in self._all():
            thread.close(deadline)

    def _all(self) -> Iterator[tuple[SinkSender, StageThread[bool]]]:
        return iter(list(self._senders.values()))


def _status(delivery: Delivery) -> dict[str, object]:
    return {"behind_bytes": delivery.behind_bytes(), "error": delivery.progress.error}
