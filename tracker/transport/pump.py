"""The pump thread: sends what is new in the window, takes acks and answers, attaches again when that is needed.

It owns the client's two sockets. It knows nothing of metrics: it moves bytes. `log()` never wakes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sidecar.protocol.channels import Channel, pull, push
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError, SidecarError
from sidecar.protocol.records import Record
from tracker.errors import TrackerError
from tracker.transport.backend import Attached
from tracker.transport.mailbox import Mailbox

_log = logging.getLogger("tracker")

_MUCH_BYTES = 64 * 1024

CALM_INTERVAL = 0.2
"""Maximum interval between two looks at the window, in seconds, reached while there is little to send: a look takes
some 300 µs from the training loop, and a record in the window is as safe as one that was sent."""

_IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""So much may be sent and not yet acked: it bounds what the sidecar must hold for this client."""

_ACK_EVERY = 0.02
"""Acks are looked for at most so often, unless somebody waits."""

_CHECK_SECONDS = 0.5
"""How often the sidecar's process is looked for; five times as often while somebody waits."""

_SILENCE_SECONDS = 2.0
"""Without an ack for so long, with something to ack, the sidecar is asked at its door."""

_FAR_SILENCE_SECONDS = 8.0
"""The same where a network is in between, which may stall for seconds and lose nothing."""

_ANSWER_SECONDS = 10.0
"""An answer may take longer than an ack: the store may have much to catch up with."""

_BEAT_SECONDS = 1.0

_GOODBYE_SECONDS = 1.0
"""So long a ``detach`` may be on its way in the background; the process may end meanwhile."""

Attach = Callable[[bool, Deadline], Attached]
"""Attaches at the door; the first argument says that it is a re-attach."""


class Source(Protocol):
    """What a pump takes records from: a `Window`, or what is left of one."""

    run: str
    client: str
    seq: int
    acked: int

    @property
    def sent(self) -> int:
        """The number of the last record that `take` gave."""

    def take(self) -> tuple[bytes, int] | None:
        """Return frames that were not taken yet, and the number of the last; None where there are none."""

    def rewind(self, acked: int) -> None:
        """Take again from the record after `acked` on."""

    def release(self, acked: int) -> None:
        """Records up to `acked` are durable."""

    def prepare(self) -> None:
        """Called at every look."""


class Pump:
    """Moves records from a window to a sidecar.

    Args:
        window: where they are.
        mailbox: where answers go.
        attach: attaches again; called on the pump thread.
        alive: whether the sidecar's process is known to live; cheap.
        interval: seconds between two looks at the window.
    """

    def __init__(
        self,
        window: Source,
        mailbox: Mailbox,
        attach: Attach,
        alive: Callable[[], bool],
        interval: float,
    ) -> None:
        self._window = window
        self._mailbox = mailbox
        self._attach = attach
        self._alive = alive
        self._interval = interval
        self._wake = threading.Lock()  # held; released to wake the thread: a third of what a Semaphore costs
        self._wake.acquire()
        self._closing = False
        self._records: Channel | None = None
        self._results: Channel | None = None
        self._unsent: bytes | None = None
        self._flight: deque[tuple[int, int]] = deque()
        self._in_flight = 0
        self._requests: deque[tuple[int, str]] = deque()
        self._asked: dict[int, str] = {}
        self._acks_at = 0.0
        self._heard = time.monotonic()
        self._sent_at = time.monotonic()
        self._checked_at = 0.0
        self._retry_at = 0.0
        self._retries = 0
        self._silence = _SILENCE_SECONDS
        self._warned: set[str] = set()
        self._first: Attached | None = None
        self._thread: threading.Thread | None = None
        self._pause = interval

    # -- from any thread ----------------------------------------------------------------------------------------

    def start(self, attached: Attached) -> None:
        """Begin, with an attachment that was made already."""
        self._first = attached
        self.start_detached()

    def start_detached(self) -> None:
        """Begin without one: the thread attaches itself, as after a loss of the connection."""
        self._thread = threading.Thread(target=self._run, name="tracker-pump", daemon=True)
        self._thread.start()

    def ask(self, what: str) -> int:
        """Queue a request behind all that was logged; return its number in the mailbox."""
        number = self._mailbox.expect()
        self._requests.append((number, what))
        self.wake()
        return number

    def wake(self) -> None:
        """Have it look at the window now; takes no lock, so that a signal handler may call it."""
        try:
            self._wake.release()
        except RuntimeError:
            return  # it was woken before, and has not yet begun

    def close(self, deadline: Deadline) -> None:
        """Say goodbye and end the thread."""
        self._closing = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(deadline.left())

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.acquire(timeout=self._careful_step(time.monotonic()))
            self._send_unnumbered("detach", {})
        finally:
            self._let_go(_GOODBYE_SECONDS)

    def _careful_step(self, now: float) -> float:
        """A step that survives what nobody thought of: it is said once, and begun again with a new attachment."""
        try:
            return self.step(now)
        except Exception as error:
            if "step" not in self._warned:
                _log.warning("sending failed and is begun again", exc_info=True)
            self._warn("step", f"{type(error).__name__}: {error}")
            self._retries += 1
            self._lose_connection(now)
            return self._delay()

    def step(self, now: float) -> float:
        """Do what is due; return in how many seconds to be called again at the latest."""
        try:
            if self._records is None and not self._reattach(now):
                self._window.prepare()
                return min(0.05, max(0.001, self._retry_at - now))
            moved = self._send(now)
            waiting = bool(self._asked)
            if waiting or now - self._acks_at >= _ACK_EVERY:
                self._acks_at = now
                self._receive(now)
                self._look_after(now)
            self._window.prepare()
        except SidecarError as error:
            self._warn("socket", f"{error}; attaching again")
            self._lose_connection(now)
            return self._interval
        if self._results is None:
            return 0.0
        if waiting:
            return 0.0 if self._results.wait(self._interval) else self._interval / 5
        self._pause = self._interval if moved >= _MUCH_BYTES else min(CALM_INTERVAL, self._pause * 1.5)
        return self._pause

    # -- sending ------------------------------------------------------------------------------------------------

    def _send(self, now: float) -> int:
        """Send what is new, as far as the bound on bytes in flight allows; then the requests. Return the bytes."""
        assert self._records is not None
        moved = 0
        while self._in_flight < _IN_FLIGHT_BYTES:
            if self._unsent is None:
                taken = self._window.take()
                if taken is None:
                    break
                self._unsent, last = taken
                self._flight.append((last, len(self._unsent)))
            if not self._records.send(self._unsent):
                return moved
            if self._in_flight == 0:
                self._heard = now  # from now on an ack is expected
            self._in_flight += len(self._unsent)
            moved += len(self._unsent)
            self._unsent = None
            self._sent_at = now
        while self._requests and self._window.sent >= self._window.seq:
            number, what = self._requests[0]
            if not self._send_unnumbered("request", {"id": number, "ask": what}):
                break
            self._asked[number] = what
            self._requests.popleft()
        if now - self._sent_at >= _BEAT_SECONDS and self._send_unnumbered("beat", {}):
            self._sent_at = now
        return moved

    def _send_unnumbered(self, kind: str, body: dict[str, Any]) -> bool:
        if self._records is None:
            return False
        return self._records.send(encode(Record(kind, self._window.run, self._window.client, 0, time.time(), body)))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _receive(self, now: float) -> None:
        results = self._results
        while results is not None and (message := results.receive()) is not None:
            self._heard = now
            try:
                result = decode(message)
            except RecordError as error:
                self._warn("result", f"a result of the sidecar's cannot be read: {error}")
                continue
            if result.client != self._window.client:  # taken for gone meanwhile, our port was given to another client
                self._lose_connection(now)
                return
            if result.kind == "ack":
                self._on_ack(result.body["seq"])
            elif result.kind == "answer":
                self._asked.pop(result.body["id"], None)
                self._on_ack(result.body.get("seq", 0))
                self._mailbox.deliver(result.body)
            elif result.kind == "reattach":
                self._lose_connection(now)
                return
            elif result.kind == "problem":
                self._warn(result.body["code"], f"the sidecar refused a record: {result.body['message']}")

    def _on_ack(self, seq: int) -> None:
        while self._flight and self._flight[0][0] <= seq:
            self._in_flight -= self._flight.popleft()[1]
        self._window.release(seq)

    # -- the sidecar's health -----------------------------------------------------------------------------------

    def _look_after(self, now: float) -> None:
        """Notice a sidecar that is gone, by its process or by its silence."""
        if now - self._checked_at >= (_CHECK_SECONDS / 5 if self._asked else _CHECK_SECONDS):
            self._checked_at = now
            if not self._alive():
                self._warn("gone", "the sidecar is gone; another one is started, nothing is lost")
                self._lose_connection(now)
                return
        silence = now - self._heard
        if self._in_flight > 0 and silence > self._silence:
            self._warn("silent", "the sidecar does not answer; what is logged is kept in the window meanwhile")
            self._lose_connection(now)
        elif self._asked and silence > _ANSWER_SECONDS:
            self._lose_connection(now)  # the question may be lost: it is asked again

    def _lose_connection(self, now: float) -> None:
        self._let_go()
        self._retry_at = min(now + self._delay(), self._retry_at + 2.0) if self._retry_at > now else now

    def _delay(self) -> float:
        return float(min(2.0, 0.02 * 2.0 ** min(self._retries, 7)))

    def _reattach(self, now: float) -> bool:
        if now < self._retry_at:
            return False
        first, self._first = self._first, None
        try:
            attached = first if first is not None else self._attach(True, Deadline(5.0))
        except (SidecarError, TrackerError) as error:
            self._retries += 1
            self._retry_at = time.monotonic() + self._delay()
            self._warn("attach", f"{error}; trying again, what is logged is kept in the window meanwhile")
            return False
        self._retries = 0
        self._open(attached)
        return True

    def _open(self, attached: Attached) -> None:
        self._silence = _FAR_SILENCE_SECONDS if attached.far else _SILENCE_SECONDS
        self._records = push(attached.security)
        self._records.connect(attached.records)
        self._results = pull(security=attached.security)
        self._results.connect(attached.results)
        self._flight.clear()
        self._in_flight = 0
        self._unsent = None
        if attached.last < self._window.acked:
            self._warn(
                "lost tail",
                f"run {self._window.run}: its sidecar has lost records {attached.last + 1} to {self._window.acked}, "
                "which it had kept, and takes none that come behind them; begin a new run, or resume this one",
            )
        self._window.rewind(attached.last)
        for number, what in sorted(self._asked.items(), reverse=True):
            self._requests.appendleft((number, what))
        self._asked.clear()
        self._heard = self._sent_at = time.monotonic()

    def _let_go(self, linger: float = 0.0) -> None:
        for channel in (self._records, self._results):
            if channel is not None:
                channel.close(linger)
        self._records = self._results = None

    def _warn(self, about: str, message: str) -> None:
        """Say it once per run; the log file of the sidecar has the rest."""
        if about not in self._warned:
            self._warned.add(about)
            _log.warning("%s", message)
