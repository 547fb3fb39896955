"""Couriers: a thread for each server that runs of this sidecar go to, so that one which is down holds up no other.

Called from the HandlerThread and the SenderThread. Knows no particular server; what it carries is a `Delivery`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sidecar.pipeline.stage import StageThread
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import SINKS_NAME
from sidecar.protocol.sink_address import SinkAddress
from sidecar.protocol.sink_progress import write_progress
from sidecar.sinks.delivery import Delivery

_LOOK_SECONDS = 0.25

PATIENCE_SECONDS = 3600.0
"""A sidecar with nobody left to serve waits so long for a server that takes nothing; then ``tracker sync`` must."""

_WAKE = True

Said = dict[str, dict[str, object]]
"""A server's address -> ``behind_bytes``, ``error``."""


class Courier:
    """Carries runs to one server: the stage of a thread, whose items only wake it."""

    def __init__(self, address: SinkAddress) -> None:
        self.address = address
        self._lock = threading.Lock()  # around the sets and the dict, never around a step
        self._deliveries: dict[str, Delivery] = {}
        self._growing: set[str] = set()
        self._left: set[str] = set()

    # -- from any thread ----------------------------------------------------------------------------------------

    def begin(self, directory: Path, *, held: bool) -> None:
        """Begin to send a run; `held` says that it is held here, so that it may grow; else somebody left it behind."""
        run = directory.name
        with self._lock:
            if run not in self._deliveries:
                self._deliveries[run] = Delivery(directory, self.address)
            if held:
                self._growing.add(run)
                self._left.discard(run)
            elif run not in self._growing:
                self._left.add(run)
            progress = self._deliveries[run].progress
        if not (directory / SINKS_NAME / self.address.name).exists():
            # Now, and not with its first step: whoever comes next must know that it goes there.
            with contextlib.suppress(OSError):
                write_progress(directory, progress)

    def ended(self, run: str) -> None:
        """A run was let go of here: once all of it is sent, it is done."""
        with self._lock:
            self._growing.discard(run)
            if run in self._deliveries:
                self._deliveries[run].hurry()

    def hurry(self, run: str) -> Delivery | None:
        """Somebody waits for a run; return its delivery if there is one."""
        with self._lock:
            delivery = self._deliveries.get(run)
        if delivery is not None:
            delivery.hurry()
        return delivery

    def deliveries(self) -> dict[str, Delivery]:
        """Return a copy: run -> delivery."""
        with self._lock:
            return dict(self._deliveries)

    def waiting(self, now: float) -> bool:
        """Whether something is still to be sent that this sidecar took, and there is hope that it will be."""
        for run, delivery in self.deliveries().items():
            since = delivery.failing_since
            if run not in self._left and delivery.behind_bytes() and (since is None or now - since < PATIENCE_SECONDS):
                return True
        return False

    # -- the stage ----------------------------------------------------------------------------------------------

    def process(self, item: bool) -> None:
        """Woken: `idle` does the rest."""

    def idle(self, now: float) -> float:
        """Give each run a step; let go of those that have ended and are there."""
        wait = _LOOK_SECONDS
        for run, delivery in self.deliveries().items():
            wait = min(wait, delivery.step(time.monotonic()))
            with self._lock:
                done = run not in self._growing and delivery.behind_bytes() == 0
                if done:
                    del self._deliveries[run]
                    self._left.discard(run)
            if done:
                delivery.close(Deadline(5.0))
        return wait

    def close(self, deadline: Deadline) -> None:
        """Let go; what is not sent is in the logs, and how far it is written down."""
        for delivery in self.deliveries().values():
            delivery.close(deadline)


class Couriers:
    """All servers of one sidecar.

    Args:
        always: the servers that every run goes to.
    """

    def __init__(self, always: Iterable[SinkAddress] = ()) -> None:
        self._always = tuple(always)
        self._couriers: dict[str, tuple[Courier, StageThread[bool]]] = {}

    def begin(self, directory: Path, addresses: Iterable[SinkAddress], *, held: bool = True) -> None:
        """Have a run sent to `addresses`, and one that is held here to those that every run goes to."""
        wanted = (*self._always, *addresses) if held else tuple(addresses)
        for address in {each.name: each for each in wanted}.values():
            if address.name not in self._couriers:
                courier = Courier(address)
                thread: StageThread[bool] = StageThread(f"Sender-{address.kind}", courier)
                thread.start()
                self._couriers[address.name] = (courier, thread)
            courier, thread = self._couriers[address.name]
            courier.begin(directory, held=held)
            thread.put(_WAKE)

    def ended(self, run: str) -> None:
        """A run was let go of: nothing more comes."""
        for courier, thread in self._all():
            courier.ended(run)
            thread.put(_WAKE)

    def progress(self, run: str) -> Said:
        """Return how far a run is to each server, and have it hurry: somebody waits."""
        found: Said = {}
        for courier, thread in self._all():
            delivery = courier.hurry(run)
            if delivery is not None:
                found[courier.address.text] = _said(delivery)
                thread.put(_WAKE)
        return found

    def backlog(self) -> dict[str, Said]:
        """Return, for each run, how far it is to each server."""
        found: dict[str, Said] = {}
        for courier, _ in self._all():
            for run, delivery in courier.deliveries().items():
                found.setdefault(run, {})[courier.address.text] = _said(delivery)
        return found

    def waiting(self) -> bool:
        """Whether something is on its way, so that the process must stay."""
        now = time.monotonic()
        return any(courier.waiting(now) for courier, _ in self._all())

    def failed(self) -> BaseException | None:
        """What ended a thread that should go on, if one did."""
        return next((thread.failed for _, thread in self._all() if thread.failed is not None), None)

    def close(self, deadline: Deadline) -> None:
        """End all threads. A request that is under way is waited for until the deadline."""
        for _, thread in self._all():
            thread.close(deadline)

    def _all(self) -> Iterator[tuple[Courier, StageThread[bool]]]:
        return iter(list(self._couriers.values()))


def _said(delivery: Delivery) -> dict[str, object]:
    return {"behind_bytes": delivery.behind_bytes(), "error": delivery.progress.error}
