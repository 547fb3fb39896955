"""The pump thread: sends new records from the window, takes acks and answers, and attaches again when needed.

It owns the client's two sockets, and closes the window when it ends. It knows nothing of metrics: it moves bytes.
`log()` never wakes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from sidecar.protocol.channels import Channel, pull, push
from sidecar.protocol.codec import decode, encode, expand_rows
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RecordError, SidecarError
from sidecar.protocol.records import Record
from sidecar.protocol.rows import SCHEMA, Schema
from tracker.errors import TrackerError
from tracker.transport.backend import Attached
from tracker.transport.mailbox import Mailbox

_log = logging.getLogger("tracker")

_BUSY_BYTES = 64 * 1024
"""New bytes in one step from which on the next step follows after the shortest interval."""

_IDLE_INTERVAL = 0.2
"""Maximum interval between two steps, in seconds. The interval grows to it while there is little to send: a step takes
some 300 µs from the training loop, and a record in the window is as safe as one that was sent."""

_IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""Maximum of bytes sent and not yet acked; it bounds what the sidecar must hold for this client."""

_RECEIVE_INTERVAL = 0.02
"""Minimum interval between two reads of acks, in seconds, unless a request waits for its answer."""

_PROCESS_CHECK_INTERVAL = 0.5
"""Interval between two checks of the sidecar's process, in seconds; a fifth of it while a request waits."""

_ACK_TIMEOUT = 2.0
"""Seconds without an ack, while one is due, after which the client attaches again."""

_REMOTE_ACK_TIMEOUT = 8.0
"""The same across a network, which may stall for seconds and lose nothing."""

_ANSWER_TIMEOUT = 10.0
"""Seconds without an answer after which a request is sent again. The store may have much to catch up with."""

_BEAT_INTERVAL = 1.0
"""Seconds without sending after which a ``beat`` is sent."""

_DETACH_LINGER = 1.0
"""Seconds that a ``detach`` may take in the background after the sockets are closed; the process may end meanwhile."""

_ATTACH_TIMEOUT = 5.0
_MAX_RETRY_DELAY = 2.0

Attach = Callable[[bool, Deadline], Attached]
"""Attaches to the run; the first argument says whether it is a re-attach."""

Handler = Callable[[dict[str, Any]], None]
"""Takes the body of a result."""


class Source(Protocol):
    """What a pump takes records from: a `Window`, or an orphaned one."""

    run: str
    client: str
    seq: int
    acked: int

    @property
    def sent(self) -> int:
        """The number of the last record that `take` returned."""

    def take(self) -> tuple[bytes, int] | None:
        """Return the frames that follow those taken last, and the number of the last one; None if there are none."""

    def schemas(self) -> Sequence[Schema]:
        """Return the schemas of its rows."""

    def rewind(self, acked: int) -> None:
        """Let `take` continue with the record after `acked`."""

    def release(self, acked: int) -> None:
        """Records up to `acked` are durable."""

    def prepare(self) -> None:
        """Called once a step."""

    def close(self) -> None:
        """Called once, when the pump has ended."""


class Pump:
    """Moves records from a window to a sidecar, and results from the sidecar to the handlers of their kinds.

    Args:
        window: the records to send.
        mailbox: the requests that wait for an answer.
        attach: attaches again; called on the pump thread.
        alive: whether the sidecar's process is known to live; cheap.
        interval: minimum interval between two steps, in seconds.
        clock: tells the time for `step`, in seconds.
    """

    def __init__(
        self,
        window: Source,
        mailbox: Mailbox,
        attach: Attach,
        alive: Callable[[], bool],
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window = window
        self._mailbox = mailbox
        self._attach = attach
        self._alive = alive
        self._interval = interval
        self._clock = clock
        self._routes: dict[str, Callable[[Record, float], None]] = {
            "ack": self._on_ack,
            "answer": self._on_answer,
            "reattach": self._on_reattach,
            "problem": self._on_problem,
        }
        self._wake = threading.Lock()  # held; released to wake the thread: a third of what a Semaphore costs
        self._wake.acquire()
        self._closing = False
        self._records: Channel | None = None
        self._results: Channel | None = None
        self._unsent: bytes | None = None
        self._undeclared: deque[Schema] = deque()
        self._schemas: dict[int, Schema] | None = None  # of rows that this sidecar must get as records
        self._expanded: Iterator[tuple[bytes, int]] = iter(())
        self._expanding = False  # whether more of what was taken is to be sent
        self._in_flight: deque[tuple[int, int]] = deque()
        self._in_flight_bytes = 0
        self._requests: deque[tuple[int, str]] = deque()
        self._asked: dict[int, str] = {}
        self._received_at = self._checked_at = self._retry_at = 0.0
        self._heard_at = self._sent_at = clock()
        self._retries = 0
        self._ack_timeout = _ACK_TIMEOUT
        self._attach_deadline = Deadline(None)
        self._warned: set[str] = set()
        self._first: Attached | None = None
        self._thread: threading.Thread | None = None
        self._pause = interval

    # -- from any thread ----------------------------------------------------------------------------------------

    def on(self, kind: str, handler: Handler) -> None:
        """Have `handler` called on the pump thread with the body of each result of a kind. It must not wait."""
        self._routes[kind] = lambda result, now: self._call(handler, result)

    def start(self, attached: Attached) -> None:
        """Start the thread with an attachment that was made already."""
        self._first = attached
        self.start_detached()

    def start_detached(self) -> None:
        """Start the thread without an attachment: it attaches itself, as after the loss of a connection.

        Where no thread can be started, the records stay in the window for another process to take.
        """
        thread = threading.Thread(target=self._run, name="tracker-pump", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._warn("thread", f"run {self._window.run}: {error}; what this process logs is sent when it has ended")
        else:
            self._thread = thread

    def ask(self, what: str, deadline: Deadline) -> int:
        """Queue a request behind all that was logged, to be dropped at `deadline`; return its number in the mailbox."""
        number = self._mailbox.expect(deadline)
        self._requests.append((number, what))
        self.wake()
        return number

    def wake(self) -> None:
        """Have the thread take a step now; takes no lock, so that a signal handler may call it."""
        try:
            self._wake.release()
        except RuntimeError:
            return  # it was woken before, and has not yet begun

    def close(self, deadline: Deadline) -> None:
        """Ask the thread to detach, close the window and end; wait for that until `deadline`.

        After the deadline the thread ends by itself, as soon as it is able to.
        """
        self._closing = True
        self._attach_deadline.expire()
        self.wake()
        if self._thread is None:
            self._window.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(deadline.left())

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.acquire(timeout=self._guarded_step(self._clock()))
            self._send_unnumbered("detach", {})
        finally:
            self._close_sockets(_DETACH_LINGER)
            try:
                self._window.close()
            except OSError as error:
                self._warn("window", f"run {self._window.run}: its window could not be removed: {error}")

    def _guarded_step(self, now: float) -> float:
        """Take a step. An unexpected exception is logged once, and sending starts again with a new attachment."""
        try:
            return self.step(now)
        except Exception as error:
            if "step" not in self._warned:
                _log.warning("sending failed and is tried again", exc_info=True)
            self._warn("step", f"{type(error).__name__}: {error}")
            self._retries += 1
            self._lose_connection(now)
            return self._delay()

    def step(self, now: float) -> float:
        """Do what is due at `now`; return the maximum number of seconds until the next step."""
        self._drop_requests()
        try:
            if self._records is None and not self._reattach(now):
                self._window.prepare()
                return min(0.05, max(0.001, self._retry_at - now))
            moved = self._send(now)
            waiting = bool(self._asked)
            if waiting or now - self._received_at >= _RECEIVE_INTERVAL:
                self._received_at = now
                self._receive(now)
                self._check_sidecar(now)
            self._window.prepare()
        except SidecarError as error:
            self._warn("socket", f"{error}; attaching again")
            self._lose_connection(now)
            return self._interval
        if self._results is None:
            return 0.0
        if waiting:
            return 0.0 if self._results.wait(self._interval) else self._interval / 5
        self._pause = self._interval if moved >= _BUSY_BYTES else min(_IDLE_INTERVAL, self._pause * 1.5)
        return self._pause

    def _drop_requests(self) -> None:
        """Drop the requests whose answers are not expected any more."""
        while self._requests and not self._mailbox.expects(self._requests[0][0]):
            self._requests.popleft()
        if self._asked:
            self._asked = {number: what for number, what in self._asked.items() if self._mailbox.expects(number)}

    # -- sending ------------------------------------------------------------------------------------------------

    def _send(self, now: float) -> int:
        """Send new records up to the bound on bytes in flight, then requests. Return the number of record bytes."""
        assert self._records is not None
        moved = 0
        while self._undeclared:
            if not self._send_unnumbered(SCHEMA, self._undeclared[0].body()):
                return moved
            self._undeclared.popleft()
        while self._in_flight_bytes < _IN_FLIGHT_BYTES:
            if self._unsent is None:
                taken = self._take()
                if taken is None:
                    break
                self._unsent, last = taken
                self._in_flight.append((last, len(self._unsent)))
            if not self._records.send(self._unsent):
                return moved
            if self._in_flight_bytes == 0:
                self._heard_at = now  # from now on an ack is expected
            self._in_flight_bytes += len(self._unsent)
            moved += len(self._unsent)
            self._unsent = None
            self._sent_at = now
        while self._requests and self._window.sent >= self._window.seq and not self._expanding:
            number, what = self._requests[0]
            if not self._send_unnumbered("request", {"id": number, "ask": what}):
                break
            self._asked[number] = what
            self._requests.popleft()
        if now - self._sent_at >= _BEAT_INTERVAL and self._send_unnumbered("beat", {}):
            self._sent_at = now
        return moved

    def _take(self) -> tuple[bytes, int] | None:
        """Take the next message from the window; without rows, for a sidecar that does not know them."""
        if self._schemas is None:
            return self._window.take()
        message = next(self._expanded, None)
        if message is None and (taken := self._window.take()) is not None:
            self._schemas.update((schema.word, schema) for schema in self._window.schemas())
            self._expanded = expand_rows(taken[0], self._schemas, taken[1])
            message = next(self._expanded, None)
        self._expanding = message is not None and message[1] < self._window.sent
        return message

    def _send_unnumbered(self, kind: str, body: dict[str, Any]) -> bool:
        if self._records is None:
            return False
        return self._records.send(encode(Record(kind, self._window.run, self._window.client, 0, time.time(), body)))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _receive(self, now: float) -> None:
        """Pass the results that have come to the handlers of their kinds; unknown kinds are ignored."""
        while self._results is not None and (message := self._results.receive()) is not None:
            self._heard_at = now
            try:
                result = decode(message)
            except RecordError as error:
                self._warn("result", f"a result from the sidecar is not valid: {error}")
                continue
            if result.client != self._window.client:  # our session was closed, and its port is another client's now
                self._lose_connection(now)
                return
            handle = self._routes.get(result.kind)
            if handle is not None:
                handle(result, now)

    def _call(self, handler: Handler, result: Record) -> None:
        try:
            handler(result.body)
        except Exception:
            _log.warning("the handler of '%s' failed", result.kind, exc_info=True)

    def _on_ack(self, result: Record, now: float) -> None:
        self._release(result.body["seq"])

    def _on_answer(self, result: Record, now: float) -> None:
        self._asked.pop(result.body["id"], None)
        self._release(result.body.get("seq", 0))
        self._mailbox.deliver(result.body)

    def _on_reattach(self, result: Record, now: float) -> None:
        self._lose_connection(now)

    def _on_problem(self, result: Record, now: float) -> None:
        self._warn(result.body["code"], f"the sidecar refused a record: {result.body['message']}")

    def _release(self, acked: int) -> None:
        while self._in_flight and self._in_flight[0][0] <= acked:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        self._window.release(acked)

    # -- the connection -----------------------------------------------------------------------------------------

    def _check_sidecar(self, now: float) -> None:
        """Detect a sidecar that is gone, by its process or by its silence."""
        if now - self._checked_at >= _PROCESS_CHECK_INTERVAL / (5 if self._asked else 1):
            self._checked_at = now
            if not self._alive():
                self._warn("gone", "the sidecar is gone; another one is started, nothing is lost")
                self._lose_connection(now)
                return
        silence = now - self._heard_at
        if self._in_flight_bytes > 0 and silence > self._ack_timeout:
            self._warn("silent", "the sidecar does not answer; records stay in the window meanwhile")
            self._lose_connection(now)
        elif self._asked and silence > _ANSWER_TIMEOUT:
            self._lose_connection(now)  # the request may be lost: it is sent again

    def _lose_connection(self, now: float) -> None:
        self._close_sockets()
        self._retry_at = min(now + self._delay(), self._retry_at + 2.0) if self._retry_at > now else now

    def _delay(self) -> float:
        """Return the back-off after the failures so far, in seconds."""
        return float(min(_MAX_RETRY_DELAY, 0.02 * 2.0 ** min(self._retries, 7)))

    def _reattach(self, now: float) -> bool:
        if self._closing or now < self._retry_at:
            return False
        first, self._first = self._first, None
        try:
            attached = first if first is not None else self._attach_again()
        except (SidecarError, TrackerError) as error:
            self._retries += 1
            self._retry_at = self._clock() + self._delay()
            if not self._closing:
                self._warn("attach", f"{error}; trying again, records stay in the window meanwhile")
            return False
        self._retries = 0
        self._open(attached)
        return True

    def _attach_again(self) -> Attached:
        self._attach_deadline = deadline = Deadline(_ATTACH_TIMEOUT)
        if self._closing:  # since it was checked last; `close` may have expired the deadline before this one
            deadline.expire()
        return self._attach(True, deadline)

    def _open(self, attached: Attached) -> None:
        self._ack_timeout = _REMOTE_ACK_TIMEOUT if attached.far else _ACK_TIMEOUT
        self._records = push(attached.security)
        self._records.connect(attached.records)
        self._results = pull(security=attached.security)
        self._results.connect(attached.results)
        self._schemas = None if attached.rows else {}
        self._expanded = iter(())
        self._expanding = False
        self._undeclared = deque(self._window.schemas() if attached.rows else ())
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._unsent = None
        if attached.last < self._window.acked:
            self._warn(
                "lost tail",
                f"run {self._window.run}: its sidecar lost records {attached.last + 1} to {self._window.acked}, which "
                "it had acked, and will reject later ones; start a new run, or resume this one",
            )
        self._window.rewind(attached.last)
        for number, what in sorted(self._asked.items(), reverse=True):
            self._requests.appendleft((number, what))
        self._asked.clear()
        self._heard_at = self._sent_at = self._clock()

    def _close_sockets(self, linger: float = 0.0) -> None:
        for channel in (self._records, self._results):
            if channel is not None:
                channel.close(linger)
        self._records = self._results = None

    def _warn(self, topic: str, message: str) -> None:
        """Log a warning once per topic; the sidecar's log file has the rest."""
        if topic not in self._warned:
            self._warned.add(topic)
            _log.warning("%s", message)
